//! Every way to change a trail is found, and where.

use proptest::prelude::*;

use super::*;
use crate::audit::checkpoint::SigningKey;
use crate::audit::record::Place;
use crate::store::Micros;

const ACCOUNT: &str = "123456789012";

/// A trail of so many records.
fn trail(records: i64) -> Vec<Row> {
    let place = Place {
        account: ACCOUNT.to_owned(),
        region: "us-west-2".to_owned(),
    };
    let mut head = Head::genesis(ACCOUNT);
    (0..records)
        .map(|n| {
            let time = Micros(1_790_000_000_000_000 + n * 1_000_003);
            let record = Record::new(&place, time, "panorama.amazonaws.com", "ListDevices");
            let record = record.to_text().expect("a text");
            head = head.append(&record);
            row(head, time, record)
        })
        .collect()
}

fn row(head: Head, time: Micros, record: String) -> Row {
    Row {
        sequence: head.sequence,
        time,
        record,
        hash: head.hash,
    }
}

/// The number of the record at an index.
fn number(index: usize) -> i64 {
    i64::try_from(index).expect("small") + 1
}

/// The same records with numbers and hashes made anew: what somebody would write who can rewrite
/// the whole file.
fn rewritten(rows: &[Row]) -> Vec<Row> {
    let mut head = Head::genesis(ACCOUNT);
    rows.iter()
        .map(|old| {
            head = head.append(&old.record);
            row(head, old.time, old.record.clone())
        })
        .collect()
}

fn checkpoint(rows: &[Row], at: usize) -> Checkpoint {
    let key = SigningKey::from_seed(&[7; 32]).expect("a key");
    let head = Head {
        sequence: rows[at].sequence,
        hash: rows[at].hash,
    };
    key.sign(ACCOUNT, head, Micros(1_790_000_100_000_000))
}

fn verify(rows: &[Row], checkpoints: Vec<Checkpoint>) -> Result<Report, Problem> {
    let mut verifier = Verifier::new(checkpoints);
    for row in rows {
        verifier.push(row)?;
    }
    verifier.end()
}

#[test]
fn a_whole_trail_is_whole_and_the_report_says_how_far_checkpoints_reach() {
    let rows = trail(5);
    let report = verify(&rows, vec![checkpoint(&rows, 1), checkpoint(&rows, 3)]);
    let report = report.expect("whole");
    assert_eq!((report.first, report.last, report.covered), (1, 5, 4));
    assert_eq!(report.checkpoints, 2);
    assert_eq!(verify(&[], Vec::new()).expect("empty").last, 0);
}

#[test]
fn a_cut_tail_is_found_against_a_checkpoint() {
    let rows = trail(5);
    let signed = checkpoint(&rows, 4);
    for left in 0..5 {
        let problem = verify(&rows[..left], vec![signed.clone()]).expect_err("cut");
        assert_eq!(problem.sequence(), number(left), "{problem}");
        assert!(matches!(problem, Problem::Cut { .. }), "{problem}");
    }
}

#[test]
fn a_trail_written_anew_is_found_against_a_checkpoint_and_whole_without_one() {
    let rows = trail(6);
    let mut other = rows.clone();
    other.remove(3);
    other.extend(trail(1));
    let other = rewritten(&other);
    assert!(verify(&other, Vec::new()).is_ok());
    let problem = verify(&other, vec![checkpoint(&rows, 1), checkpoint(&rows, 5)]);
    let problem = problem.expect_err("written anew");
    assert!(
        matches!(
            problem,
            Problem::Rewritten {
                from: 3,
                sequence: 6,
                ..
            }
        ),
        "{problem}"
    );
}

#[test]
fn a_part_is_verified_from_the_hash_before_it() {
    let rows = trail(6);
    let before = previous(4, &rows[2].hash.to_string()).expect("a head");
    let check = |rows: &[Row], checkpoints| {
        let mut verifier = Verifier::after(before, checkpoints);
        rows.iter().try_for_each(|row| verifier.push(row))?;
        verifier.end()
    };
    let signed = vec![
        checkpoint(&rows, 0),
        checkpoint(&rows, 2),
        checkpoint(&rows, 5),
    ];
    let report = check(&rows[3..], signed.clone()).expect("whole");
    assert_eq!((report.first, report.last, report.checkpoints), (4, 6, 2));
    assert!(matches!(
        check(&rows[4..], signed.clone()),
        Err(Problem::Chain(_))
    ));
    assert!(matches!(
        check(&rows[3..5], signed),
        Err(Problem::Cut { .. })
    ));
}

#[test]
fn a_checkpoint_of_another_account_is_told() {
    let rows = trail(2);
    let mut foreign = checkpoint(&rows, 1);
    foreign.account = "210987654321".to_owned();
    assert!(matches!(
        verify(&rows, vec![foreign]),
        Err(Problem::Foreign { sequence: 2, .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_changed_byte_of_any_row_is_found_there(
        at in 0_usize..8, place in any::<prop::sample::Index>(), bit in 0_u8..7, column in 0..4,
    ) {
        let mut rows = trail(8);
        let row = &mut rows[at];
        match column {
            0 => {
                let mut bytes = row.record.clone().into_bytes();
                let index = place.index(bytes.len());
                bytes[index] ^= 1 << bit;
                // ASCII stays ASCII with bits below the seventh.
                row.record = String::from_utf8(bytes).expect("ASCII");
            }
            1 => row.hash.0[place.index(32)] ^= 1 << bit,
            2 => row.time.0 ^= 1 << bit,
            _ => row.sequence ^= 1 << bit,
        }
        let problem = verify(&rows, Vec::new()).expect_err("changed");
        prop_assert_eq!(problem.sequence(), number(at));
    }

    #[test]
    fn a_removed_a_doubled_and_a_moved_row_is_found(at in 0_usize..7, to in 0_usize..8) {
        let rows = trail(8);
        let mut removed = rows.clone();
        removed.remove(at);
        prop_assert!(verify(&removed, Vec::new()).is_err());
        let mut doubled = rows.clone();
        doubled.insert(at, rows[at].clone());
        prop_assert!(verify(&doubled, Vec::new()).is_err());
        if at != to {
            let mut moved = rows.clone();
            moved.swap(at, to);
            prop_assert!(verify(&moved, Vec::new()).is_err());
            // With the numbers as they should be, the hashes tell.
            for (index, row) in moved.iter_mut().enumerate() {
                row.sequence = number(index);
            }
            prop_assert!(verify(&moved, Vec::new()).is_err());
        }
    }

    #[test]
    fn an_inserted_record_is_found(at in 0_usize..=8) {
        let mut rows = trail(8);
        let mut inserted = trail(1).remove(0);
        inserted.sequence = number(at);
        rows.insert(at, inserted);
        for row in &mut rows[at + 1..] {
            row.sequence += 1;
        }
        // At the front it fits the beginning, and what followed the beginning fits no more.
        let found = number(at).max(2);
        let problem = verify(&rows, Vec::new()).expect_err("inserted");
        prop_assert_eq!(problem.sequence(), found);
    }
}

//! The store as a whole: durability, isolation, compare-and-swap.

use std::path::PathBuf;

use super::*;

fn scope() -> Scope {
    Scope {
        account: "123456789012".to_owned(),
        region: "us-west-2".to_owned(),
    }
}

fn device(id: &str, created: i64) -> devices::Device {
    devices::Device {
        id: id.to_owned(),
        name: format!("name-of-{id}"),
        description: None,
        networking_json: None,
        iot_thing: "panorama_x_Thing_00000000".to_owned(),
        provisioning: devices::Provisioning::AwaitingProvisioning,
        created: Micros(created),
        updated: Micros(created),
        reported_json: None,
        reported: None,
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("parapet.db");
    (folder, path)
}

#[tokio::test]
async fn an_acknowledged_write_is_there_after_reopening_without_a_close() {
    let (_folder, path) = place();
    let store = Store::open(&path).expect("open");
    store
        .write(|tx| devices::insert(tx, &scope(), &device("device-a", 1)))
        .await
        .expect("write");
    // The process dies here: no destructor runs, the writer's connection stays open.
    std::mem::forget(store);

    let again = Store::open(&path).expect("open again");
    let found = again
        .read(|c| devices::get(c, &scope(), "device-a"))
        .await
        .expect("read");
    assert_eq!(found, Some(device("device-a", 1)));
}

#[tokio::test]
async fn a_refused_write_leaves_nothing_and_disturbs_no_other() {
    let (_folder, path) = place();
    let store = Store::open(&path).expect("open");
    let refused = store.write(|tx| {
        devices::insert(tx, &scope(), &device("device-refused", 1))?;
        Err::<(), _>(StoreError::unknown("test", "on purpose"))
    });
    let kept = store.write(|tx| devices::insert(tx, &scope(), &device("device-kept", 2)));
    let (refused, kept) = tokio::join!(refused, kept);
    assert!(
        matches!(refused, Err(StoreError::Value { .. })),
        "{refused:?}"
    );
    kept.expect("the other write");
    let all = store
        .read(|c| devices::all(c, &scope(), ""))
        .await
        .expect("read");
    assert_eq!(all, [device("device-kept", 2)]);
}

#[tokio::test]
async fn a_panic_in_one_write_is_that_callers_error_alone() {
    let (_folder, path) = place();
    let store = Store::open(&path).expect("open");
    let broken: Result<(), StoreError> = store
        .write(|tx| {
            devices::insert(tx, &scope(), &device("device-broken", 1))?;
            panic!("on purpose")
        })
        .await;
    assert!(matches!(broken, Err(StoreError::Panicked)), "{broken:?}");
    store
        .write(|tx| devices::insert(tx, &scope(), &device("device-b", 2)))
        .await
        .expect("write");
    let all = store
        .read(|c| devices::all(c, &scope(), ""))
        .await
        .expect("read");
    assert_eq!(all, [device("device-b", 2)]);
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let (_folder, path) = place();
    let store = Store::open(&path).expect("open");
    let outcome: Result<usize, StoreError> = store
        .read(|c| Ok(c.execute("DELETE FROM devices", [])?))
        .await;
    assert!(matches!(outcome, Err(StoreError::Sqlite(_))), "{outcome:?}");
}

#[tokio::test]
async fn of_many_swaps_of_one_generation_one_wins() {
    let (_folder, path) = place();
    let store = Store::open(&path).expect("open");
    store
        .write(|tx| devices::insert(tx, &scope(), &device("device-a", 1)))
        .await
        .expect("write");
    for expected in 0..3 {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..16 {
            let store = store.clone();
            writers.spawn(async move {
                let document = desired::Stored {
                    generation: expected + 1,
                    document_json: format!("{{\"writer\":{writer}}}"),
                };
                store
                    .write(move |tx| {
                        desired::replace(tx, &scope(), "device-a", expected, &document, Micros(2))
                    })
                    .await
            });
        }
        let outcomes = writers.join_all().await;
        let won = outcomes
            .into_iter()
            .filter(|won| *won.as_ref().expect("write"))
            .count();
        assert_eq!(won, 1, "swaps of generation {expected}");
    }
    let stored = store
        .read(|c| desired::get(c, &scope(), "device-a"))
        .await
        .expect("read");
    assert_eq!(stored.map(|s| s.generation), Some(3));
}

#[tokio::test]
async fn pages_hold_every_row_once_and_the_newest_first() {
    let (_folder, path) = place();
    let store = Store::open(&path).expect("open");
    for number in 0..7_i64 {
        // Two rows share each instant.
        let row = device(&format!("device-{number}"), number / 2);
        store
            .write(move |tx| devices::insert(tx, &scope(), &row))
            .await
            .expect("write");
    }
    let mut seen = Vec::new();
    let mut after = Some(Position::start());
    while let Some(position) = after {
        let page: Page<devices::Device> = store
            .read(move |c| devices::list(c, &scope(), "", &position, 3))
            .await
            .expect("read");
        assert!(page.rows.len() <= 3);
        seen.extend(page.rows.into_iter().map(|d| d.id));
        after = page.next;
    }
    let expected: Vec<_> = (0..7).rev().map(|n| format!("device-{n}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn rows_of_another_region_are_not_seen() {
    let (_folder, path) = place();
    let store = Store::open(&path).expect("open");
    store
        .write(|tx| devices::insert(tx, &scope(), &device("device-a", 1)))
        .await
        .expect("write");
    let elsewhere = Scope {
        region: "eu-west-1".to_owned(),
        ..scope()
    };
    let found = store
        .read(move |c| devices::get(c, &elsewhere, "device-a"))
        .await
        .expect("read");
    assert_eq!(found, None);
}

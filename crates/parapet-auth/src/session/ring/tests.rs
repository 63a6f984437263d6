use super::*;
use crate::session::{SessionPolicies, Subject};

const NOW: i64 = 1_800_000_000;

fn key(id: u32) -> RingKey {
    RingKey::new(id, [u8::try_from(id).unwrap(); RING_KEY_BYTES]).unwrap()
}

fn ring() -> SessionRing {
    SessionRing::new(key(2), vec![key(1)])
}

fn claims() -> SessionClaims {
    SessionClaims {
        access_key: "ASIAEXAMPLEEXAMPLEEX".to_owned(),
        account: "123456789012".to_owned(),
        subject: Subject::Role {
            id: "AROAX".to_owned(),
            name: "reader".to_owned(),
            session: "ann".to_owned(),
        },
        issued_us: NOW * 1_000_000,
        expires: NOW + 3_600,
        mfa: Some(NOW),
        policies: SessionPolicies {
            inline: Some("{}".to_owned()),
            arns: vec!["arn:aws:iam::aws:policy/ReadOnlyAccess".to_owned()],
        },
        tags: [("team".to_owned(), "doors".to_owned())].into(),
        transitive: vec!["team".to_owned()],
        source_identity: Some("ann".to_owned()),
        opened_by: "arn:aws:iam::123456789012:user/ann".to_owned(),
        federation: None,
    }
}

fn text(secret: &SecretKey) -> &str {
    secret.expose()
}

#[test]
fn a_token_says_what_was_sealed_and_gives_the_same_secret() {
    let sealed = ring().seal(&claims(), [7; 12]).unwrap();
    let opened = ring().open(&sealed.token, NOW).unwrap();
    assert_eq!(opened.claims, claims());
    assert_eq!(text(&opened.secret), text(&sealed.secret));
    assert_eq!(text(&sealed.secret).len(), 40);
    assert!(!sealed.token.contains("reader"));
}

/// Attack A9, bit-flipped.
#[test]
fn a_token_with_any_bit_changed_does_not_open() {
    let token = ring().seal(&claims(), [7; 12]).unwrap().token;
    let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[index] ^= 1 << bit;
            let changed = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(
                ring().open(&changed, NOW).err(),
                Some(SessionError::Invalid),
                "byte {index} bit {bit}"
            );
        }
    }
}

#[test]
fn a_token_has_one_text() {
    let token = ring().seal(&claims(), [7; 12]).unwrap().token;
    for other in [
        format!("{token}="),
        format!("{token}A"),
        format!(" {token}"),
        token[..token.len() - 1].to_owned(),
        String::new(),
        "A".repeat(20_000),
    ] {
        assert_eq!(ring().open(&other, NOW).err(), Some(SessionError::Invalid));
    }
}

/// Attack A9, foreign and expired.
#[test]
fn a_token_of_another_server_and_one_whose_time_is_over_do_not_open() {
    let foreign = SessionRing::new(RingKey::new(2, [9; RING_KEY_BYTES]).unwrap(), Vec::new());
    let token = foreign.seal(&claims(), [7; 12]).unwrap().token;
    assert_eq!(ring().open(&token, NOW).err(), Some(SessionError::Invalid));
    let token = ring().seal(&claims(), [7; 12]).unwrap().token;
    assert!(ring().open(&token, NOW + 3_599).is_ok());
    assert_eq!(
        ring().open(&token, NOW + 3_600).err(),
        Some(SessionError::Expired)
    );
}

#[test]
fn a_token_outlives_the_turn_of_the_ring_but_not_the_loss_of_its_key() {
    let before = SessionRing::new(key(1), Vec::new());
    let sealed = before.seal(&claims(), [7; 12]).unwrap();
    let opened = ring().open(&sealed.token, NOW).unwrap();
    assert_eq!(text(&opened.secret), text(&sealed.secret));
    let after = SessionRing::new(key(3), vec![key(2)]);
    assert_eq!(
        after.open(&sealed.token, NOW).err(),
        Some(SessionError::Invalid)
    );
}

#[test]
fn two_sessions_share_no_secret() {
    let one = ring().seal(&claims(), [7; 12]).unwrap();
    let two = ring().seal(&claims(), [8; 12]).unwrap();
    assert_ne!(text(&one.secret), text(&two.secret));
    let other = SessionClaims {
        access_key: "ASIAOTHER".to_owned(),
        ..claims()
    };
    let three = ring().seal(&other, [7; 12]).unwrap();
    assert_ne!(text(&one.secret), text(&three.secret));
}

#[test]
fn claims_that_make_too_long_a_token_are_refused() {
    let mut long = claims();
    long.policies.inline = Some("x".repeat(13_000));
    assert!(matches!(
        ring().seal(&long, [7; 12]).err(),
        Some(SessionError::TooLarge)
    ));
}

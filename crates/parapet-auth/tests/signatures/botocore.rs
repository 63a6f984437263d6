//! Requests as botocore signed them, with a long-term key and with a session's: headers and URLs,
//! with and without a token. `tools/sign_vectors.py` made `botocore.json`.

use parapet_auth::{AuthError, Authenticated, Credential, SecretKey};
use serde::Deserialize;

use crate::sessions::ring;
use crate::wire::{NOW, SECRET, Wire, finish};

#[derive(Deserialize)]
struct Vector {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn vectors() -> Vec<(String, Wire)> {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("botocore.json")).unwrap();
    let wire = |vector: Vector| {
        let wire = Wire {
            method: vector.method,
            path: vector.path,
            query: vector.query,
            headers: vector.headers,
            body: vector.body.into_bytes(),
        };
        (vector.name, wire)
    };
    vectors.into_iter().map(wire).collect()
}

/// As a server does that knows the long-term key and has the ring.
fn verify(wire: &Wire, now: i64) -> Result<Authenticated, AuthError> {
    wire.verify_with(now, |claim, body| {
        if let Some(token) = claim.session_token() {
            let session = ring().open(token, now)?;
            let key = session.secret.derive(claim.scope());
            return finish(claim, Credential::Session(&key, &session), body);
        }
        let key = SecretKey::new(SECRET.to_owned()).derive(claim.scope());
        finish(claim, Credential::LongTerm(&key), body)
    })
}

#[test]
fn what_botocore_signs_is_believed() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 14);
    for (name, wire) in vectors {
        let outcome = verify(&wire, NOW);
        assert!(outcome.is_ok(), "{name}: {:?}", outcome.err());
    }
}

/// Pitfalls 1.4/14 and 1.4/15: presigned for ten minutes, the session lives fifteen.
#[test]
fn a_presigned_url_ends_with_its_time_or_its_token_whichever_is_first() {
    let presigned = vectors()
        .into_iter()
        .filter(|(name, _)| name.contains("presigned"));
    for (name, wire) in presigned {
        assert!(verify(&wire, NOW + 600).is_ok(), "{name}");
        assert_eq!(
            verify(&wire, NOW + 601).err(),
            Some(AuthError::Expired),
            "{name}"
        );
        if name.contains("session") {
            // The token's own secret signs a longer URL; the token ends it.
            let outcome = crate::sessions::open_longer(&wire, NOW + 900);
            assert!(matches!(outcome, Err(AuthError::Token(_))), "{name}");
        }
    }
}

/// Attack A9: the token of a presigned URL is part of what was signed.
#[test]
fn a_presigned_url_without_its_token_or_with_it_as_a_header_is_refused() {
    for (name, wire) in vectors() {
        if !(name.contains("presigned") && name.contains("session")) {
            continue;
        }
        let token = wire
            .query
            .split('&')
            .find(|part| part.starts_with("X-Amz-Security-Token="))
            .unwrap()
            .to_owned();
        let mut without = wire.clone();
        without.query = wire.query.replace(&format!("&{token}"), "");
        assert_ne!(without.query, wire.query, "{name}");
        assert!(verify(&without, NOW).is_err(), "{name}");
        let (_, value) = token.split_once('=').unwrap();
        let moved = without.with("x-amz-security-token", value);
        assert!(verify(&moved, NOW).is_err(), "{name}");
        let twice = wire.with("x-amz-security-token", value);
        assert!(verify(&twice, NOW).is_err(), "{name}");
    }
}

//! Attack A9 and pitfall 1.4/15: temporary keys and their tokens.

use parapet_auth::session::{
    OpenSession, RING_KEY_BYTES, RingKey, SealedSession, SessionClaims, SessionPolicies,
    SessionRing, Subject,
};
use parapet_auth::sigv4::{Protocol, TokenProblem};
use parapet_auth::{AuthError, Authenticated, Credential};

use crate::wire::{KEY, NOW, SECRET, Signer, Wire, finish};

const SESSION_KEY: &str = "ASIAPARAPETTESTKEY00";

pub(crate) fn ring() -> SessionRing {
    SessionRing::new(RingKey::new(1, [1; RING_KEY_BYTES]).unwrap(), Vec::new())
}

fn seal(access_key: &str) -> SealedSession {
    let claims = SessionClaims {
        access_key: access_key.to_owned(),
        account: "123456789012".to_owned(),
        subject: Subject::User {
            id: "AIDAX".to_owned(),
        },
        issued_us: NOW * 1_000_000,
        expires: NOW + 900,
        mfa: None,
        policies: SessionPolicies::default(),
        tags: std::collections::BTreeMap::new(),
        transitive: Vec::new(),
        source_identity: None,
        opened_by: String::new(),
        federation: None,
    };
    ring().seal(&claims, [3; 12]).unwrap()
}

/// A server that issues sessions: opens the token, derives the key, verifies.
fn verify(wire: &Wire, now: i64) -> Result<Authenticated, AuthError> {
    wire.verify_with(now, |claim, body| {
        let token = claim.session_token().unwrap_or_default();
        let session: OpenSession = ring().open(token, now)?;
        let key = session.secret.derive(claim.scope());
        finish(claim, Credential::Session(&key, &session), body)
    })
}

/// Verifies with a session that was opened while it lived.
pub(crate) fn open_longer(wire: &Wire, now: i64) -> Result<Authenticated, AuthError> {
    // A URL of a week, as the holder of the session may sign it; its signature is not reached.
    let mut longer = wire.clone();
    longer.query = longer
        .query
        .replace("X-Amz-Expires=600", "X-Amz-Expires=86400");
    longer.verify_with(now, |claim, body| {
        let token = claim.session_token().unwrap_or_default();
        let session = ring().open(token, NOW)?;
        let key = session.secret.derive(claim.scope());
        finish(claim, Credential::Session(&key, &session), body)
    })
}

fn signed(access_key: &str, secret: &str, token: Option<&str>, service: &str) -> Wire {
    let mut wire = Wire::post(b"");
    if let Some(token) = token {
        wire = wire.with("x-amz-security-token", token);
    }
    wire.sign(&Signer {
        access_key,
        secret,
        service,
        now: NOW,
    })
}

fn problem(outcome: Result<Authenticated, AuthError>) -> TokenProblem {
    match outcome {
        Err(AuthError::Token(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_is_believed_with_its_token_until_it_expires() {
    for service in ["panorama", "s3", "sts"] {
        let session = seal(SESSION_KEY);
        let wire = signed(
            SESSION_KEY,
            session.secret.expose(),
            Some(&session.token),
            service,
        );
        verify(&wire, NOW).unwrap();
        // The clock of S3 may differ by the whole life of this session.
        if service == "s3" {
            verify(&wire, NOW + 899).unwrap();
            assert_eq!(problem(verify(&wire, NOW + 900)), TokenProblem::Expired);
        }
    }
}

#[test]
fn a_temporary_key_without_its_token_is_refused() {
    let session = seal(SESSION_KEY);
    let wire = signed(SESSION_KEY, session.secret.expose(), None, "panorama");
    assert_eq!(problem(verify(&wire, NOW)), TokenProblem::Missing);
}

#[test]
fn a_long_term_key_with_a_token_is_refused() {
    let session = seal(SESSION_KEY);
    let wire = signed(KEY, SECRET, Some(&session.token), "panorama");
    assert_eq!(problem(verify(&wire, NOW)), TokenProblem::NotForKey);
}

#[test]
fn the_token_of_another_session_is_refused() {
    let (mine, other) = (seal(SESSION_KEY), seal("ASIAPARAPETTESTKEY01"));
    let wire = signed(
        SESSION_KEY,
        mine.secret.expose(),
        Some(&other.token),
        "panorama",
    );
    assert_eq!(problem(verify(&wire, NOW)), TokenProblem::Invalid);
    // A server that opened the wrong token does not get through either.
    let wire = signed(
        SESSION_KEY,
        mine.secret.expose(),
        Some(&mine.token),
        "panorama",
    );
    let outcome = wire.verify_with(NOW, |claim, body| {
        let session = ring().open(&other.token, NOW)?;
        let key = session.secret.derive(claim.scope());
        finish(claim, Credential::Session(&key, &session), body)
    });
    assert_eq!(problem(outcome), TokenProblem::Invalid);
}

#[test]
fn an_altered_token_is_refused_before_and_after_signing() {
    let session = seal(SESSION_KEY);
    let mut altered = session.token.clone().into_bytes();
    altered[40] = if altered[40] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    let wire = signed(
        SESSION_KEY,
        session.secret.expose(),
        Some(&altered),
        "panorama",
    );
    assert_eq!(problem(verify(&wire, NOW)), TokenProblem::Invalid);
}

#[test]
fn a_token_that_was_added_after_signing_is_refused() {
    let session = seal(SESSION_KEY);
    let wire = signed(SESSION_KEY, session.secret.expose(), None, "panorama")
        .with("x-amz-security-token", &session.token);
    let outcome = verify(&wire, NOW);
    assert!(
        matches!(outcome, Err(AuthError::UnsignedHeader(_))),
        "{outcome:?}"
    );
}

#[test]
fn a_session_signs_with_its_own_secret_only() {
    let session = seal(SESSION_KEY);
    let wire = signed(SESSION_KEY, SECRET, Some(&session.token), "panorama");
    assert_eq!(verify(&wire, NOW).err(), Some(AuthError::Mismatch));
}

#[test]
fn a_key_of_another_scope_is_the_servers_fault() {
    let session = seal(SESSION_KEY);
    let wire = signed(
        SESSION_KEY,
        session.secret.expose(),
        Some(&session.token),
        "panorama",
    );
    let outcome = wire.verify_with(NOW, |claim, body| {
        let open = ring().open(&session.token, NOW)?;
        let mut scope = claim.scope().clone();
        scope.service = "s3".to_owned();
        let key = open.secret.derive(&scope);
        finish(claim, Credential::Session(&key, &open), body)
    });
    let error = outcome.unwrap_err();
    assert_eq!(error.status(Protocol::RestJson), 500, "{error}");
}

#[test]
fn every_problem_of_a_token_has_the_code_that_clients_know() {
    let codes = |problem| {
        [Protocol::RestJson, Protocol::Query, Protocol::S3]
            .map(|protocol| AuthError::Token(problem).code(protocol))
    };
    for problem in [TokenProblem::Expired, TokenProblem::Revoked] {
        assert_eq!(
            codes(problem),
            ["ExpiredTokenException", "ExpiredToken", "ExpiredToken"]
        );
    }
    for problem in [
        TokenProblem::Missing,
        TokenProblem::NotForKey,
        TokenProblem::Invalid,
    ] {
        assert_eq!(
            codes(problem),
            [
                "UnrecognizedClientException",
                "InvalidClientTokenId",
                "InvalidToken"
            ]
        );
    }
}

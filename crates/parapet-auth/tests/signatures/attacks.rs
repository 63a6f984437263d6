//! Rows of the attack list (`research/security.md` 11) that need a whole request.

use parapet_auth::sigv4::{Fault, Protocol};
use parapet_auth::{AuthError, Claim, RequestHead, Rules};

use crate::wire::{NOW, REGION, Signer, Wire};

fn signed(service: &'static str) -> Wire {
    Wire::post(b"{}").sign(&Signer::long_term(service))
}

fn at(service: &'static str, signed_at: i64) -> Result<(), AuthError> {
    let signer = Signer {
        now: signed_at,
        ..Signer::long_term(service)
    };
    Wire::post(b"").sign(&signer).verify().map(|_| ())
}

/// Attack A8: five minutes and a second, fifteen for S3, and the far ends of the calendar.
#[test]
fn a_clock_that_is_off_is_told_the_servers_time() {
    for (service, allowed) in [("panorama", 300), ("iam", 300), ("sts", 300), ("s3", 900)] {
        assert_eq!(at(service, NOW - allowed), Ok(()));
        assert_eq!(at(service, NOW + allowed), Ok(()));
        for wrong in [-allowed - 1, allowed + 1] {
            let error = at(service, NOW + wrong).unwrap_err();
            assert_eq!(error.fault(), Fault::Clock, "{error}");
            assert_eq!(error.status(Protocol::of_service(service)), 403);
            let text = error.to_string();
            assert!(text.contains("20270115T080000Z"), "{text}");
            assert!(text.contains(&format!("{} min.", allowed / 60)), "{text}");
        }
    }
    for (date, day) in [
        ("19700101T000000Z", "19700101"),
        ("99991230T000000Z", "99991230"),
    ] {
        let mut wire = signed("panorama");
        for (_, value) in &mut wire.headers {
            *value = value
                .replace("20270115T080000Z", date)
                .replace("20270115", day);
        }
        let error = wire.verify().unwrap_err();
        assert_eq!(error.fault(), Fault::Clock, "{error}");
    }
}

/// Attack A8: `Date` is not signed by anybody and says nothing.
#[test]
fn a_request_with_date_only_is_refused() {
    let mut wire = signed("panorama").with("date", "Fri, 15 Jan 2027 08:00:00 GMT");
    wire.headers.retain(|(name, _)| name != "x-amz-date");
    assert_eq!(wire.verify().unwrap_err().fault(), Fault::Request);
}

/// Attack A11.
#[test]
fn other_algorithms_are_refused_by_name() {
    for algorithm in [
        "AWS4-ECDSA-P256-SHA256",
        "AWS3",
        "AWS4-HMAC-SHA1",
        "AWS",
        "",
    ] {
        let mut wire = signed("panorama");
        for (name, value) in &mut wire.headers {
            if name == "authorization" {
                *value = value.replace("AWS4-HMAC-SHA256", algorithm);
            }
        }
        assert_eq!(
            wire.verify().err(),
            Some(AuthError::Algorithm(algorithm.to_owned()))
        );
    }
}

/// Attack A13.
#[test]
fn a_path_with_two_readings_is_refused_whatever_signed_it() {
    for path in [
        "/devices/%2e%2e/packages",
        "/devices/%2E./packages",
        "/devices//packages",
        "/devices/./packages",
        "/devices/a%00b",
        "/devices/a\\b",
        "/devices/a%5Cb",
    ] {
        let mut wire = Wire::post(b"");
        path.clone_into(&mut wire.path);
        let wire = wire.sign(&Signer::long_term("panorama"));
        assert_eq!(
            wire.verify().err(),
            Some(AuthError::AmbiguousPath),
            "{path}"
        );
    }
    // A slash that is escaped is part of a name, a semicolon is a semicolon, and bytes that are no
    // UTF-8 are for the operation to refuse.
    for path in ["/packages/a%2Fb", "/packages/a;b=c", "/packages/%C0%AF"] {
        let mut wire = Wire::post(b"");
        path.clone_into(&mut wire.path);
        let wire = wire.sign(&Signer::long_term("panorama"));
        assert!(wire.verify().is_ok(), "{path}");
    }
}

/// Attack A15: HTTP/2's authority stands for the host, and both must be the same.
#[test]
fn a_host_that_differs_from_the_authority_is_refused() {
    let wire = signed("panorama");
    let host = "127.0.0.1:8443";
    let rules = Rules {
        region: REGION,
        strict_region: true,
        now: NOW,
    };
    let head = |authority, names: fn(&str) -> bool| {
        let headers = wire
            .headers
            .iter()
            .filter(move |(name, _)| names(name))
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        RequestHead::new("POST", "/", "", Some(authority), headers)
    };
    let both = head(host, |_| true).unwrap();
    assert!(Claim::parse(&both, &rules).is_ok());
    let authority = head(host, |name| name != "host").unwrap();
    assert!(Claim::parse(&authority, &rules).is_ok());
    let conflict = head("elsewhere.example", |_| true);
    assert!(matches!(conflict, Err(AuthError::Header { .. })));
}

/// Attack A4.
#[test]
fn parameters_of_a_signed_query_beside_a_signed_header_are_refused() {
    for parameter in [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "X-Amz-Signature=00",
        "X-Amz-Credential=x",
        "X-Amz-Security-Token=x",
        "x-amz-security-token=x",
    ] {
        let mut wire = Wire::post(b"");
        parameter.clone_into(&mut wire.query);
        let wire = wire.sign(&Signer::long_term("panorama"));
        let error = wire.verify().unwrap_err();
        assert_eq!(error.fault(), Fault::Request, "{parameter}: {error}");
    }
}

/// Attack A14, as far as it reaches the verifier.
#[test]
fn a_head_that_is_too_large_is_refused_before_it_is_hashed() {
    let mut many = signed("panorama");
    for number in 0..500 {
        many = many.with(&format!("x-h-{number}"), "v");
    }
    let long = signed("panorama").with("x-long", &"v".repeat(70_000));
    let mut query = signed("panorama");
    query.query = "q=1&".repeat(300_000);
    let mut parameters = signed("panorama");
    parameters.query = "a&".repeat(1_500);
    for wire in [many, long, query, parameters] {
        assert_eq!(wire.verify().err(), Some(AuthError::HeadTooLarge));
    }
}

/// Pitfall 1.4/18: errors say nothing that helps to guess.
#[test]
fn an_error_repeats_neither_signature_nor_what_was_hashed() {
    let wire = signed("panorama");
    let (_, authorization) = wire
        .headers
        .iter()
        .find(|(name, _)| name == "authorization")
        .unwrap();
    let signature = authorization.rsplit('=').next().unwrap().to_owned();
    let mut changed = wire.clone();
    changed.path.push('x');
    let text = format!("{0} {0:?}", changed.verify().unwrap_err());
    assert!(!text.contains(&signature), "{text}");
    assert!(!text.contains("aws4_request"), "{text}");
}

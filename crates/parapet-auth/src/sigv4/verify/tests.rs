//! Each pitfall of `research/security.md` 1.4 that a verifier can fall into is a test here.

use super::*;
use crate::policy::Grants;
use crate::principal::{Principal, PrincipalKind};
use crate::sigv4::SecretKey;
use crate::sigv4::request::RequestHead;
use crate::sigv4::{Protocol, Rules, SignRequest, sign, time};

const NOW: i64 = 1_800_000_000;
const SECRET: &str = "a-secret-of-forty-characters-0123456789a";
const KEY: &str = "AKIAPARAPETTESTKEY00";
const RULES: Rules<'_> = Rules {
    region: "us-west-2",
    strict_region: false,
    now: NOW,
};

fn secret() -> SecretKey {
    SecretKey::new(SECRET.to_owned())
}

fn caller() -> Caller {
    let principal = Principal {
        account: "123456789012".to_owned(),
        kind: PrincipalKind::User {
            id: "AIDAX".to_owned(),
            path: "/".to_owned(),
            name: "ann".to_owned(),
        },
    };
    Caller::new(principal, KEY, Grants::identity(Vec::new()))
}

/// A request that owns its parts, so that a test can alter them after signing.
struct Wire {
    method: &'static str,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Wire {
    fn signed(service: &str, now: i64, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers = [headers, &[("host", "127.0.0.1:8443")]].concat();
        let added = sign(&SignRequest {
            method: "POST",
            target: "/devices/a%2Fb?x=1",
            headers: &headers,
            body,
            access_key: KEY,
            secret_key: SECRET,
            region: "us-west-2",
            service,
            now: u64::try_from(now).unwrap(),
        })
        .unwrap();
        let mut all = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect::<Vec<_>>();
        all.extend(
            added
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        Self {
            method: "POST",
            path: "/devices/a%2Fb".to_owned(),
            query: "x=1".to_owned(),
            headers: all,
            body: body.to_vec(),
        }
    }

    fn verify(&self) -> Result<Authenticated, AuthError> {
        self.verify_by(&RULES)
    }

    fn verify_by(&self, rules: &Rules<'_>) -> Result<Authenticated, AuthError> {
        let headers = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes()));
        let head = RequestHead::new(self.method, &self.path, &self.query, None, headers)?;
        let claim = Claim::parse(&head, rules)?;
        assert_eq!(claim.access_key(), KEY);
        let key = secret().derive(claim.scope());
        if claim.service() == "s3" {
            claim.verify_head(Credential::LongTerm(&key), caller())
        } else {
            claim.verify_whole(Credential::LongTerm(&key), caller(), &self.body)
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        for header in self.headers.iter_mut().filter(|(known, _)| known == name) {
            value.clone_into(&mut header.1);
        }
    }
}

#[test]
fn a_signed_request_is_believed() {
    let proof = Wire::signed(
        "panorama",
        NOW,
        &[("content-type", "application/json")],
        b"{}",
    )
    .verify()
    .unwrap();
    assert_eq!(proof.scope().service, "panorama");
    assert!(matches!(proof.into_parts().1, BodyProof::Verified));
}

#[test]
fn anything_changed_after_signing_is_noticed() {
    let changes: [fn(&mut Wire); 6] = [
        |wire| wire.method = "PUT",
        |wire| wire.path.push('x'),
        |wire| wire.path = "/devices/a/b".to_owned(),
        |wire| wire.query = "x=2".to_owned(),
        |wire| wire.set("host", "127.0.0.1:9"),
        |wire| wire.set("content-type", "text/plain"),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut wire = Wire::signed(
            "panorama",
            NOW,
            &[("content-type", "application/json")],
            b"{}",
        );
        change(&mut wire);
        assert_eq!(
            wire.verify().err(),
            Some(AuthError::Mismatch),
            "change {index}"
        );
    }
    let mut wire = Wire::signed("panorama", NOW, &[], b"{}");
    wire.body = b"{ }".to_vec();
    assert!(matches!(wire.verify().err(), Some(AuthError::Body(_))));
}

#[test]
fn an_unsigned_amz_header_is_never_obeyed() {
    for service in ["panorama", "s3"] {
        for name in ["x-amz-copy-source", "x-amz-acl", "x-amz-meta-a"] {
            let mut wire = Wire::signed(service, NOW, &[], b"");
            wire.headers.push((name.to_owned(), "v".to_owned()));
            assert_eq!(
                wire.verify().err(),
                Some(AuthError::UnsignedHeader(name.to_owned()))
            );
        }
    }
    let mut wire = Wire::signed("panorama", NOW, &[], b"");
    wire.headers
        .push(("content-type".to_owned(), "v".to_owned()));
    assert!(matches!(
        wire.verify().err(),
        Some(AuthError::UnsignedHeader(_))
    ));
}

#[test]
fn the_clock_may_differ_by_five_minutes_and_by_fifteen_for_s3() {
    for (service, allowed) in [("panorama", 300), ("s3", 900)] {
        for sign in [-1, 1] {
            assert!(
                Wire::signed(service, NOW + sign * allowed, &[], b"")
                    .verify()
                    .is_ok()
            );
            let outcome = Wire::signed(service, NOW + sign * (allowed + 1), &[], b"").verify();
            assert!(
                matches!(outcome.err(), Some(AuthError::Skew { .. })),
                "{service} {sign}"
            );
        }
    }
}

#[test]
fn another_region_is_an_alias_unless_the_server_is_strict() {
    let wire = Wire::signed("panorama", NOW, &[], b"");
    let elsewhere = Rules {
        region: "eu-west-1",
        ..RULES
    };
    assert!(wire.verify_by(&elsewhere).is_ok());
    let strict = Rules {
        strict_region: true,
        ..elsewhere
    };
    assert!(matches!(
        wire.verify_by(&strict).err(),
        Some(AuthError::Scope { what: "region", .. })
    ));
}

#[test]
fn a_signature_for_one_service_is_none_for_another() {
    let mut wire = Wire::signed("s3", NOW, &[], b"");
    let authorization = wire
        .headers
        .iter()
        .find(|(n, _)| n == "authorization")
        .unwrap()
        .1
        .clone();
    wire.set(
        "authorization",
        &authorization.replace("/s3/", "/panorama/"),
    );
    assert_eq!(wire.verify().err(), Some(AuthError::Mismatch));
    let day = authorization.replace("20270115", "20270114");
    wire.set("authorization", &day);
    assert!(matches!(
        wire.verify().err(),
        Some(AuthError::Scope { what: "date", .. })
    ));
}

#[test]
fn headers_and_parameters_of_the_signature_stand_once() {
    for name in [
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "host",
    ] {
        let mut wire = Wire::signed("s3", NOW, &[], b"");
        let again = wire
            .headers
            .iter()
            .find(|(known, _)| known == name)
            .unwrap()
            .clone();
        wire.headers.push(again);
        assert!(
            matches!(wire.verify().err(), Some(AuthError::Header { .. })),
            "{name}"
        );
    }
    let mut wire = Wire::signed("s3", NOW, &[], b"");
    wire.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned();
    assert!(matches!(
        wire.verify().err(),
        Some(AuthError::Header { .. })
    ));
}

#[test]
fn a_malformed_signature_is_the_requests_fault_and_is_not_repeated() {
    let good = Wire::signed("panorama", NOW, &[], b"");
    let text = good
        .headers
        .iter()
        .find(|(n, _)| n == "authorization")
        .unwrap()
        .1
        .clone();
    let signature = text.split("Signature=").nth(1).unwrap().to_owned();
    for bad in [
        text.replace("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 "),
        text.replace("host;", "Host;"),
        text.replace("host;x-amz-content-sha256", "x-amz-content-sha256;host"),
        text.replace("host;", "host;host;"),
        text.replace("aws4_request", "aws4"),
        text.replace("us-west-2/", ""),
        text.replace(&signature, &signature.to_uppercase()),
        text.replace(&signature, &signature[1..]),
        text.replace(", ", "; "),
        "AWS4-HMAC-SHA256".to_owned(),
        format!("{text}, Signature={signature}"),
    ] {
        let mut wire = Wire::signed("panorama", NOW, &[], b"");
        wire.set("authorization", &bad);
        let error = wire.verify().unwrap_err();
        assert_eq!(error.status(Protocol::RestJson), 400, "{bad}: {error}");
        assert!(
            !error.to_string().to_lowercase().contains(&signature),
            "{error}"
        );
    }
    let mut wire = Wire::signed("panorama", NOW, &[], b"");
    wire.set("authorization", &text.replace("host;", "host;x-absent;"));
    assert!(wire.verify().is_err());
}

#[test]
fn a_wrong_signature_is_refused_wherever_it_differs() {
    let good = Wire::signed("panorama", NOW, &[], b"");
    let text = good
        .headers
        .iter()
        .find(|(n, _)| n == "authorization")
        .unwrap()
        .1
        .clone();
    for from_end in [1, 64] {
        let mut bytes = text.clone().into_bytes();
        let at = bytes.len() - from_end;
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        let mut wire = Wire::signed("panorama", NOW, &[], b"");
        wire.set("authorization", &String::from_utf8(bytes).unwrap());
        assert_eq!(wire.verify().err(), Some(AuthError::Mismatch));
    }
}

#[test]
fn only_s3_takes_a_body_that_is_not_signed() {
    let unsigned = [("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
    for service in ["panorama", "sts", "iam"] {
        let mut wire = Wire::signed(service, NOW, &[], b"");
        wire.set(unsigned[0].0, unsigned[0].1);
        assert!(
            matches!(wire.verify().err(), Some(AuthError::Body(_))),
            "{service}"
        );
    }
}

#[test]
fn a_path_that_routers_read_differently_is_refused_except_by_s3() {
    for path in ["//devices", "/devices/../x", "/devices/%2e%2e/x"] {
        let mut wire = Wire::signed("panorama", NOW, &[], b"");
        path.clone_into(&mut wire.path);
        assert_eq!(wire.verify().err(), Some(AuthError::AmbiguousPath));
        let mut wire = Wire::signed("s3", NOW, &[], b"");
        path.clone_into(&mut wire.path);
        assert_eq!(wire.verify().err(), Some(AuthError::Mismatch));
    }
}

#[test]
fn a_request_without_signature_and_one_of_the_old_kind_are_told_apart() {
    let headers = || [("host", "h".as_bytes())];
    let bare = RequestHead::new("GET", "/", "", None, headers()).unwrap();
    assert_eq!(Claim::parse(&bare, &RULES).err(), Some(AuthError::Missing));
    let old =
        RequestHead::new("GET", "/", "AWSAccessKeyId=x&Signature=y", None, headers()).unwrap();
    assert!(matches!(
        Claim::parse(&old, &RULES).err(),
        Some(AuthError::Algorithm(_))
    ));
}

#[test]
fn http2s_authority_stands_for_the_host() {
    let head = RequestHead::new("GET", "/", "", Some("h:1"), []).unwrap();
    assert_eq!(head.header("host"), Ok(Some("h:1")));
    let both = [("host", "other".as_bytes())];
    assert!(RequestHead::new("GET", "/", "", Some("h:1"), both).is_err());
}

#[test]
fn a_head_without_bounds_is_refused_before_it_is_hashed() {
    let many = std::iter::repeat_n(("x-a", "v".as_bytes()), 101);
    assert_eq!(
        RequestHead::new("GET", "/", "", None, many).err(),
        Some(AuthError::HeadTooLarge)
    );
    let long = "v".repeat(70_000);
    let one = [("x-a", long.as_bytes())];
    assert_eq!(
        RequestHead::new("GET", "/", "", None, one).err(),
        Some(AuthError::HeadTooLarge)
    );
    let high = [("x-a", "ä".as_bytes())];
    assert!(RequestHead::new("GET", "/", "", None, high).is_err());
}

/// A presigned URL as SDKs write it.
fn presigned(now: i64, expires: &str) -> (String, String) {
    let date = time::format(now).unwrap();
    let scope = Scope {
        day: date[..8].to_owned(),
        region: "us-west-2".to_owned(),
        service: "s3".to_owned(),
    };
    let credential = format!("{KEY}/{scope}").replace('/', "%2F");
    let query = format!(
        "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={date}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
    );
    let head = RequestHead::new("GET", "/b/k", &query, None, [("host", "h".as_bytes())]).unwrap();
    let mut canonical = String::new();
    let signed = std::iter::once("host");
    canonical::request(
        &head,
        PathRule::Wire,
        signed,
        "UNSIGNED-PAYLOAD",
        &mut canonical,
    )
    .unwrap();
    let text = string_to_sign(&date, &scope, &canonical);
    let signature = hex::encode(hmac::sign(&secret().derive(&scope).key, text.as_bytes()));
    (query, signature)
}

fn open(method: &str, query: &str, now: i64, extra: &[(&str, &str)]) -> Result<(), AuthError> {
    let headers = extra
        .iter()
        .chain(&[("host", "h")])
        .map(|(n, v)| (*n, v.as_bytes()));
    let head = RequestHead::new(method, "/b/k", query, None, headers)?;
    let claim = Claim::parse(&head, &Rules { now, ..RULES })?;
    let key = secret().derive(claim.scope());
    claim
        .verify_head(Credential::LongTerm(&key), caller())
        .map(|_| ())
}

#[test]
fn a_presigned_url_works_until_it_expires_and_for_nothing_else() {
    let (query, signature) = presigned(NOW, "3600");
    let url = format!("{query}&X-Amz-Signature={signature}");
    assert_eq!(open("GET", &url, NOW, &[]), Ok(()));
    assert_eq!(open("GET", &url, NOW + 3600, &[]), Ok(()));
    assert_eq!(open("GET", &url, NOW + 3601, &[]), Err(AuthError::Expired));
    assert!(matches!(
        open("GET", &url, NOW - 901, &[]),
        Err(AuthError::Skew { .. })
    ));
    assert_eq!(open("PUT", &url, NOW, &[]), Err(AuthError::Mismatch));
    let twice = format!("{url}&X-Amz-Expires=604800");
    assert!(matches!(
        open("GET", &twice, NOW, &[]),
        Err(AuthError::Malformed { .. })
    ));
    let streaming = [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")];
    assert!(matches!(
        open("GET", &url, NOW, &streaming),
        Err(AuthError::Header { .. })
    ));
    let copy = [("x-amz-copy-source", "/b/secret")];
    assert!(matches!(
        open("GET", &url, NOW, &copy),
        Err(AuthError::UnsignedHeader(_))
    ));
}

#[test]
fn a_presigned_url_lives_a_week_at_most() {
    for expires in ["0", "-1", "604801", "+60", "soon", ""] {
        let (query, signature) = presigned(NOW, expires);
        let url = format!("{query}&X-Amz-Signature={signature}");
        assert!(
            matches!(
                open("GET", &url, NOW, &[]),
                Err(AuthError::Malformed { .. })
            ),
            "{expires}"
        );
    }
}

#[test]
fn every_protocol_has_a_name_for_every_error() {
    for (error, names) in [
        (
            AuthError::Missing,
            [
                "MissingAuthenticationTokenException",
                "MissingAuthenticationToken",
                "AccessDenied",
            ],
        ),
        (
            AuthError::UnknownKey,
            [
                "UnrecognizedClientException",
                "InvalidClientTokenId",
                "InvalidAccessKeyId",
            ],
        ),
        (
            AuthError::Mismatch,
            [
                "InvalidSignatureException",
                "SignatureDoesNotMatch",
                "SignatureDoesNotMatch",
            ],
        ),
    ] {
        let found = [Protocol::RestJson, Protocol::Query, Protocol::S3].map(|p| error.code(p));
        assert_eq!(found, names);
    }
    assert_eq!(Protocol::of_service("sts"), Protocol::Query);
}

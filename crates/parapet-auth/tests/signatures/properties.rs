//! Over random requests: signed is believed, and one thing changed is not.

use proptest::prelude::*;

use crate::wire::{Signer, Wire};

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_~-]{1,12}",
        "[a-z]{1,4}(%2F|%20|%C3%BC|%3A)[a-z0-9]{1,4}",
        "[a-z+;=@!$&'(),]{1,6}",
    ]
}

fn request() -> impl Strategy<Value = (Wire, &'static str)> {
    let query = prop::collection::vec("[a-zA-Z0-9._~%+;-]{1,8}(=[a-zA-Z0-9%+/:-]{0,8})?", 0..5);
    let header = ("x-amz-meta-[a-z]{1,6}", "[ -~]{0,20}");
    (
        prop::sample::select(vec!["GET", "PUT", "POST", "DELETE"]),
        prop::collection::vec(segment(), 0..5),
        query,
        prop::collection::btree_map(header.0, header.1, 0..5),
        prop::collection::vec(any::<u8>(), 0..200),
        prop::sample::select(vec!["panorama", "parapet", "iam", "sts", "s3"]),
    )
        .prop_map(|(method, path, query, headers, body, service)| {
            let mut wire = Wire {
                method: method.to_owned(),
                path: format!("/{}", path.join("/")),
                query: query.join("&"),
                headers: vec![
                    ("host".to_owned(), "127.0.0.1:8443".to_owned()),
                    ("content-type".to_owned(), "application/json".to_owned()),
                ],
                body,
            };
            wire.headers.extend(headers);
            (wire, service)
        })
}

/// One thing that somebody on the way might change, at a place of their choice.
pub(crate) fn change(wire: &mut Wire, kind: usize, place: usize) -> bool {
    match kind {
        0 => {
            let other = if wire.method == "GET" { "PUT" } else { "GET" };
            other.clone_into(&mut wire.method);
        }
        1 => {
            let at = 1 + place % wire.path.len();
            wire.path.insert(at.min(wire.path.len()), 'z');
        }
        2 if !wire.query.is_empty() => {
            let at = place % wire.query.len();
            // 'z' and 'q' are no hexadecimal digits, so that no escape is written in another way.
            let new = if &wire.query[at..=at] == "z" {
                "q"
            } else {
                "z"
            };
            wire.query.replace_range(at..=at, new);
        }
        2 | 3 => wire
            .query
            .push_str(if wire.query.is_empty() { "z" } else { "&z" }),
        4 => {
            let at = place % wire.headers.len();
            if wire.headers[at].0 == "authorization" {
                return false;
            }
            wire.headers[at].1.push('z');
        }
        5 => {
            let at = place % wire.headers.len();
            wire.headers.remove(at);
        }
        6 => {
            let at = place % (wire.headers.len() + 1);
            let unsigned = ["x-amz-copy-source", "x-amz-acl", "x-amz-security-token"];
            let name = unsigned[place % unsigned.len()];
            wire.headers.insert(at, (name.to_owned(), "v".to_owned()));
        }
        7 => {
            let at = place % wire.headers.len();
            let again = wire.headers[at].clone();
            wire.headers.push(again);
        }
        _ => {
            let text = &mut wire
                .headers
                .iter_mut()
                .find(|(name, _)| name == "authorization")
                .unwrap()
                .1;
            let at = place % text.len();
            let new = match &text[at..=at] {
                "0" => "1",
                _ => "0",
            };
            text.replace_range(at..=at, new);
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 400,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_signed_is_believed((wire, service) in request()) {
        let signed = wire.sign(&Signer::long_term(service));
        let outcome = signed.verify();
        prop_assert!(outcome.is_ok(), "{:?}", outcome.err());
    }

    /// Attacks A1, A2, A3, A4, A5 and A6, at random places.
    #[test]
    fn what_was_changed_after_signing_is_not(
        (wire, service) in request(),
        kind in 0_usize..9,
        place in any::<prop::sample::Index>(),
    ) {
        let mut signed = wire.sign(&Signer::long_term(service));
        if change(&mut signed, kind, place.index(10_000)) {
            prop_assert!(signed.verify().is_err(), "change {} of {:?}", kind, signed);
        }
    }

    /// Attack A6: a body is what was signed, or refused.
    #[test]
    fn a_changed_body_is_refused(
        body in prop::collection::vec(any::<u8>(), 1..100),
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let mut signed = Wire::post(&body).sign(&Signer::long_term("panorama"));
        signed.body[place.index(body.len())] ^= 1 << bit;
        prop_assert!(signed.verify().is_err());
    }

    /// Nothing that stands in a head makes the verifier panic.
    #[test]
    fn any_head_gets_an_answer(
        path in "[!-~]{0,40}",
        query in "[!-~]{0,80}",
        authorization in "[ -~]{0,120}",
        date in "[0-9TZ]{0,18}",
    ) {
        let mut wire = Wire::post(b"");
        wire.path = path;
        wire.query = query;
        let wire = wire
            .with("authorization", &format!("AWS4-HMAC-SHA256 {authorization}"))
            .with("x-amz-date", &date);
        prop_assert!(wire.verify().is_err());
    }
}

//! Requests from bytes: signed, then changed in one thing, then written in another way.
//!
//! The first line of an input is the service, the method and the target; then headers, an empty
//! line, and the body.

use parapet_auth::AuthError;
use parapet_fuzz::{Target, feed};

use crate::properties::change;
use crate::wire::{Signer, Wire};

const SERVICES: [&str; 5] = ["panorama", "parapet", "iam", "sts", "s3"];
const WORDS: &[&str] = &[
    "s3 PUT /",
    "panorama POST /",
    "%2F",
    "%2f",
    "%25",
    "%",
    "+",
    "%20",
    "&",
    "=",
    "&&",
    "?",
    "//",
    "/../",
    "/./",
    "%2e%2e",
    "X-Amz-Signature=",
    "X-Amz-Algorithm=AWS4-HMAC-SHA256",
    "x-amz-meta-a: b\n",
    "x-amz-date: 20260101T000000Z\n",
    "  ",
    "\t",
    ",",
    ";",
];
/// Kinds of [`change`].
const CHANGES: usize = 9;

fn parse(input: &[u8]) -> Option<(Wire, &'static str)> {
    let (head, body) = match input.windows(2).position(|bytes| bytes == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let head = std::str::from_utf8(head)
        .ok()
        .filter(|head| head.is_ascii())?;
    let mut lines = head.lines();
    let mut first = lines.next()?.splitn(3, ' ');
    let (service, method, target) = (first.next()?, first.next()?, first.next()?);
    let service = *SERVICES.iter().find(|known| **known == service)?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = vec![("host".to_owned(), "127.0.0.1:8443".to_owned())];
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let is_name = |name: &str| {
            let proper = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !name.is_empty() && name.bytes().all(proper)
        };
        let by_signer = ["authorization", "x-amz-date", "x-amz-content-sha256"];
        if !is_name(name) || by_signer.contains(&name) {
            return None;
        }
        headers.push((name.to_owned(), value.to_owned()));
    }
    // What no HTTP library lets through.
    let proper = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    (path.starts_with('/') && proper(path) && proper(query) && proper(method)).then(|| {
        let wire = Wire {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body: body.to_vec(),
        };
        (wire, service)
    })
}

/// The same request as others may write it.
fn respelled(wire: &Wire) -> Vec<(&'static str, Wire)> {
    let mut all = Vec::new();
    let mut with = |what, change: &dyn Fn(&mut Wire)| {
        let mut other = wire.clone();
        change(&mut other);
        all.push((what, other));
    };
    with("the query's order", &|wire| {
        let parts: Vec<&str> = wire.query.split('&').rev().collect();
        wire.query = parts.join("&");
    });
    with("the query's escapes", &|wire| {
        let mut escape = 0;
        wire.query = std::mem::take(&mut wire.query)
            .chars()
            .map(|char| {
                escape = if char == '%' { 2 } else { escape - 1 };
                if escape < 0 && char.is_ascii_alphanumeric() {
                    format!("%{:02x}", char as u8)
                } else {
                    char.to_string()
                }
            })
            .collect();
    });
    with("the blanks of headers", &|wire| {
        for (name, value) in &mut wire.headers {
            if !name.starts_with("x-amz-") && name != "authorization" && name != "host" {
                *value = format!("\t {}  ", value.replace(' ', "  "));
            }
        }
    });
    with("the headers' order", &|wire| {
        wire.headers.sort_by(|(a, _), (b, _)| b.cmp(a));
    });
    all
}

/// What was signed is believed, or refused for what it is and never for its signature; with one
/// thing changed it is refused; written in another way that means the same it is believed.
#[test]
fn signature_breaks_no_promise() {
    feed(&Target {
        name: "signature",
        words: WORDS,
        run: &|input| {
            let Some((wire, service)) = parse(input) else {
                return false;
            };
            let Some(signed) = wire.try_sign(&Signer::long_term(service)) else {
                return false;
            };
            match signed.verify() {
                Err(AuthError::Mismatch | AuthError::Server(_) | AuthError::UnknownKey) => {
                    panic!("our own signature is not believed: {signed:?}")
                }
                Err(_) => return false,
                Ok(_) => {}
            }
            // Any number will do that every change of the input moves.
            let place = input.iter().fold(7_usize, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
            });
            for kind in 0..CHANGES {
                let mut changed = signed.clone();
                if change(&mut changed, kind, place % 10_007) {
                    assert!(changed.verify().is_err(), "change {kind}: {changed:?}");
                }
            }
            for (what, other) in respelled(&signed) {
                let outcome = other.verify();
                assert!(outcome.is_ok(), "{what}: {:?} {other:?}", outcome.err());
            }
            true
        },
    });
}

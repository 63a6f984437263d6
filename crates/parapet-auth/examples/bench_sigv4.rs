//! What the verification of a small request costs: `cargo run --release -p parapet-auth --example
//! bench_sigv4` prints one JSON object, nanoseconds per verification with and without a kept
//! signing key.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a measuring program needs a clock, and has nobody to report to"
)]

use std::sync::Arc;
use std::time::Instant;

use parapet_auth::sigv4::{SignRequest, sign};
use parapet_auth::{
    Caller, Claim, Credential, Grants, Principal, PrincipalKind, RequestHead, Rules, SecretKey,
};

const NOW: i64 = 1_800_000_000;
const KEY: &str = "AKIAPARAPETTESTKEY00";
const SECRET: &str = "a-secret-of-forty-characters-0123456789a";
const ROUNDS: u32 = 20_000;
const REPEATS: usize = 9;

fn main() {
    let body = br#"{"ApplicationInstanceIdToReplace":"applicationInstance-0123456789","Name":"x"}"#;
    let target = "/tags/arn%3Aaws%3Apanorama%3Aeu-central-1%3A123456789012%3Adevice%2Fdevice-a";
    let sent = [
        ("host", "parapet.example:8443"),
        ("content-type", "application/json"),
    ];
    let added = sign(&SignRequest {
        method: "POST",
        target,
        headers: &sent,
        body,
        access_key: KEY,
        secret_key: SECRET,
        region: "eu-central-1",
        service: "panorama",
        now: NOW.unsigned_abs(),
    })
    .unwrap();
    let unsigned = [
        ("user-agent", "Boto3/1.43 md/Botocore#1.43 ua/2.1 os/linux"),
        ("accept-encoding", "identity"),
        ("amz-sdk-request", "attempt=1"),
        ("content-length", "78"),
    ];
    let headers = sent
        .iter()
        .chain(&unsigned)
        .map(|(name, value)| (*name, value.as_bytes()))
        .chain(added.iter().map(|(name, value)| (*name, value.as_bytes())))
        .collect::<Vec<_>>();
    let caller = Caller::new(
        Principal {
            account: "123456789012".to_owned(),
            kind: PrincipalKind::Root,
        },
        KEY,
        Arc::new(Grants::Root),
    );
    let rules = Rules {
        region: "eu-central-1",
        strict_region: false,
        now: NOW,
    };
    let secret = SecretKey::new(SECRET.to_owned());
    let head = || RequestHead::new("POST", target, "", None, headers.iter().copied()).unwrap();
    let kept = secret.derive(Claim::parse(&head(), &rules).unwrap().scope());

    let with_kept_key = measure(|| {
        let head = head();
        let claim = Claim::parse(&head, &rules).unwrap();
        claim
            .verify_whole(Credential::LongTerm(&kept), caller.clone(), body)
            .unwrap();
    });
    let with_derivation = measure(|| {
        let head = head();
        let claim = Claim::parse(&head, &rules).unwrap();
        let key = secret.derive(claim.scope());
        claim
            .verify_whole(Credential::LongTerm(&key), caller.clone(), body)
            .unwrap();
    });
    println!(
        "{{\"bench\":\"sigv4\",\"ns_kept_key\":{with_kept_key},\"ns_derived_key\":{with_derivation},\"body_bytes\":{},\"headers\":{}}}",
        body.len(),
        headers.len()
    );
}

/// The median over repeats, nanoseconds per round.
fn measure(mut round: impl FnMut()) -> u64 {
    let mut found = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| round());
            (start.elapsed() / ROUNDS).as_nanos() as u64
        })
        .collect::<Vec<_>>();
    found.sort_unstable();
    found[REPEATS / 2]
}

//! Making signed requests: the command line's side of the same rules.

use aws_lc_rs::{digest, hmac};

use super::canonical::{self, PathRule};
use super::credential::{Scope, SecretKey};
use super::error::AuthError;
use super::request::RequestHead;
use super::verify::string_to_sign;
use super::{ALGORITHM, time};

/// A request that is to be signed. No `Debug`: it holds a secret.
#[derive(Clone, Copy)]
pub struct SignRequest<'a> {
    /// Upper-case method.
    pub method: &'a str,
    /// Path and query as they will be sent.
    pub target: &'a str,
    /// Headers that shall be signed, names in lower case; `host` is among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// The whole body.
    pub body: &'a [u8],
    /// Whose key.
    pub access_key: &'a str,
    /// Its secret.
    pub secret_key: &'a str,
    /// Region of the scope.
    pub region: &'a str,
    /// Signing name of the service.
    pub service: &'a str,
    /// Present time, seconds since the epoch.
    pub now: u64,
}

/// The headers to add: `x-amz-date`, `x-amz-content-sha256` and `authorization`.
pub fn sign(request: &SignRequest<'_>) -> Result<Vec<(&'static str, String)>, AuthError> {
    let now = i64::try_from(request.now).unwrap_or(i64::MAX);
    let date = time::format(now)
        .ok_or_else(|| AuthError::malformed("X-Amz-Date", "", "lies within the years 1 to 9999"))?;
    let payload = hex::encode(digest::digest(&digest::SHA256, request.body));
    let added = [
        ("x-amz-date", date.as_str()),
        ("x-amz-content-sha256", payload.as_str()),
    ];
    let headers = request
        .headers
        .iter()
        .chain(&added)
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect::<Vec<_>>();
    let mut signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    signed.sort_unstable();
    signed.dedup();
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((request.target, ""));
    let head = RequestHead::new(request.method, path, query, None, headers.iter().copied())?;
    let rule = if request.service == "s3" {
        PathRule::Wire
    } else {
        PathRule::Normalised
    };
    let mut canonical = String::with_capacity(512);
    canonical::request(
        &head,
        rule,
        signed.iter().copied(),
        &payload,
        &mut canonical,
    )?;
    let scope = Scope {
        day: date[..8].to_owned(),
        region: request.region.to_owned(),
        service: request.service.to_owned(),
    };
    let secret = SecretKey::new(request.secret_key.to_owned());
    let text = string_to_sign(&date, &scope, &canonical);
    let signature = hex::encode(hmac::sign(&secret.derive(&scope).key, text.as_bytes()));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
        request.access_key,
        signed.join(";")
    );
    Ok(vec![
        ("x-amz-date", date),
        ("x-amz-content-sha256", payload),
        ("authorization", authorization),
    ])
}

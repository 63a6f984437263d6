//! Making signed requests: the command line's side of the same rules.

use aws_lc_rs::{digest, hmac};

use super::canonical::{self, PathRule};
use super::credential::{Scope, SecretKey};
use super::error::AuthError;
use super::request::RequestHead;
use super::verify::string_to_sign;
use super::{ALGORITHM, time};

/// A request that is to be signed.
#[derive(Debug, Clone, Copy)]
pub struct ToSign<'a> {
    /// Upper-case method.
    pub method: &'a str,
    /// Path as it will be sent.
    pub path: &'a str,
    /// Query as it will be sent, without `?`.
    pub query: &'a str,
    /// `host[:port]` as the `host` header will say.
    pub host: &'a str,
    /// Other headers that shall be signed, names in lower case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The whole body.
    pub body: &'a [u8],
    /// Signing name of the service.
    pub service: &'a str,
    /// Region of the scope.
    pub region: &'a str,
    /// Present time, seconds since the epoch.
    pub now: i64,
}

/// The headers to add: `x-amz-date`, `x-amz-content-sha256` and `authorization`.
pub fn sign(
    request: &ToSign<'_>,
    access_key: &str,
    secret: &SecretKey,
) -> Result<Vec<(&'static str, String)>, AuthError> {
    let date = time::format(request.now)
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
        .chain(std::iter::once(&("host", request.host)))
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect::<Vec<_>>();
    let mut signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    signed.sort_unstable();
    signed.dedup();
    let head = RequestHead::new(
        request.method,
        request.path,
        request.query,
        None,
        headers.clone(),
    )?;
    let rule = if request.service == "s3" {
        PathRule::Wire
    } else {
        PathRule::Normalised
    };
    let canonical = canonical::request(&head, rule, &signed, &payload)?;
    let scope = Scope {
        day: date[..8].to_owned(),
        region: request.region.to_owned(),
        service: request.service.to_owned(),
    };
    let text = string_to_sign(&date, &scope, &canonical);
    let signature = hex::encode(hmac::sign(&secret.derive(&scope), text.as_bytes()));
    let authorization = format!(
        "{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={}, Signature={signature}",
        signed.join(";")
    );
    Ok(vec![
        ("x-amz-date", date),
        ("x-amz-content-sha256", payload),
        ("authorization", authorization),
    ])
}

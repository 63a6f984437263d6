//! Secret keys, the scope of a signature, the key derived for it, and what a server knows of it.

use std::fmt;

use aws_lc_rs::hmac;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::error::AuthError;
use crate::session::OpenSession;

/// A secret access key. No `Debug`; erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey(String);

impl SecretKey {
    /// From its text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Its text, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key that signs within `scope`. Worth keeping: it costs more than the rest of a
    /// verification, and signs nothing outside of its day, region and service.
    #[must_use]
    pub fn derive(&self, scope: &Scope) -> SigningKey {
        let mut first = format!("AWS4{}", self.0).into_bytes();
        let mut key = hmac::Key::new(hmac::HMAC_SHA256, &first);
        first.zeroize();
        for part in [
            scope.day.as_str(),
            &scope.region,
            &scope.service,
            "aws4_request",
        ] {
            let mut tag = hmac::sign(&key, part.as_bytes()).as_ref().to_vec();
            key = hmac::Key::new(hmac::HMAC_SHA256, &tag);
            tag.zeroize();
        }
        SigningKey {
            scope: scope.clone(),
            key,
        }
    }
}

/// What a secret access key becomes within a scope. No `Debug`; AWS-LC erases it when dropped.
#[derive(Clone)]
pub struct SigningKey {
    scope: Scope,
    pub(super) key: hmac::Key,
}

impl SigningKey {
    /// What it signs.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

/// What the server knows of the access key that a claim names.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// A key of a user, which comes without a token.
    LongTerm(&'a SigningKey),
    /// A session, good for requests with this very token and no other.
    Session(&'a SigningKey, &'a OpenSession),
}

impl<'a> Credential<'a> {
    pub(super) fn key(self) -> &'a SigningKey {
        match self {
            Self::LongTerm(key) | Self::Session(key, _) => key,
        }
    }
}

/// What a signature is good for: a day, a region, a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub day: String,
    /// Region as the client named it.
    pub region: String,
    /// Signing name of the service.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/aws4_request",
            self.day, self.region, self.service
        )
    }
}

/// `<access key>/<day>/<region>/<service>/aws4_request`.
pub(super) fn parse(text: &str) -> Result<(String, Scope), AuthError> {
    let bad = |rule| AuthError::malformed("Credential", text, rule);
    let parts = text.split('/').collect::<Vec<_>>();
    let [key, day, region, service, end] = parts.as_slice() else {
        return Err(bad(
            "holds five parts: key/date/region/service/aws4_request",
        ));
    };
    if !(1..=128).contains(&key.len())
        || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    {
        return Err(bad(
            "begins with an access key ID of at most 128 letters, digits or '_'",
        ));
    }
    if day.len() != 8 || !day.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad("holds the date as YYYYMMDD"));
    }
    let name = |part: &str| {
        (1..=64).contains(&part.len())
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if !name(region) || !name(service) {
        return Err(bad("holds region and service in lower case"));
    }
    if *end != "aws4_request" {
        return Err(bad("ends with aws4_request"));
    }
    let scope = Scope {
        day: (*day).to_owned(),
        region: (*region).to_owned(),
        service: (*service).to_owned(),
    };
    Ok(((*key).to_owned(), scope))
}

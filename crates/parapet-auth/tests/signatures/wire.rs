//! A request as it is on the wire, signed by our own signer.

use std::sync::Arc;

use parapet_auth::sigv4::{SignRequest, sign};
use parapet_auth::{
    AuthError, Authenticated, Caller, Claim, Credential, Grants, Principal, PrincipalKind,
    RequestHead, Rules, SecretKey,
};

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const KEY: &str = "AKIAPARAPETTESTKEY00";
pub(crate) const SECRET: &str = "a-secret-of-forty-characters-0123456789a";
pub(crate) const REGION: &str = "eu-central-1";

#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Whose key signs, for which service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signer<'a> {
    pub(crate) access_key: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) service: &'a str,
    pub(crate) now: i64,
}

impl Signer<'static> {
    pub(crate) fn long_term(service: &'static str) -> Self {
        Self {
            access_key: KEY,
            secret: SECRET,
            service,
            now: NOW,
        }
    }
}

impl Wire {
    pub(crate) fn post(body: &[u8]) -> Self {
        Self {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            query: String::new(),
            headers: vec![("host".to_owned(), "127.0.0.1:8443".to_owned())],
            body: body.to_vec(),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn sign(self, signer: &Signer<'_>) -> Self {
        self.try_sign(signer).unwrap()
    }

    /// `None` where it cannot be signed.
    pub(crate) fn try_sign(mut self, signer: &Signer<'_>) -> Option<Self> {
        let target = if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        };
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect::<Vec<_>>();
        let added = sign(&SignRequest {
            method: &self.method,
            target: &target,
            headers: &headers,
            body: &self.body,
            access_key: signer.access_key,
            secret_key: signer.secret,
            region: REGION,
            service: signer.service,
            now: u64::try_from(signer.now).unwrap(),
        })
        .ok()?;
        let added = added.into_iter().map(|(n, v)| (n.to_owned(), v));
        self.headers.extend(added);
        Some(self)
    }

    /// Verifies with the credential that `find` has for the claim.
    pub(crate) fn verify_with<F>(&self, now: i64, find: F) -> Result<Authenticated, AuthError>
    where
        F: for<'c> FnOnce(Claim<'c>, &[u8]) -> Result<Authenticated, AuthError>,
    {
        let headers = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes()));
        let head = RequestHead::new(&self.method, &self.path, &self.query, None, headers)?;
        let rules = Rules {
            region: REGION,
            strict_region: true,
            now,
        };
        find(Claim::parse(&head, &rules)?, &self.body)
    }

    /// Verifies as a server does that knows one long-term key.
    pub(crate) fn verify(&self) -> Result<Authenticated, AuthError> {
        self.verify_with(NOW, |claim, body| {
            if claim.access_key() != KEY {
                return Err(AuthError::UnknownKey);
            }
            let key = SecretKey::new(SECRET.to_owned()).derive(claim.scope());
            finish(claim, Credential::LongTerm(&key), body)
        })
    }
}

/// The last step, by service.
pub(crate) fn finish(
    claim: Claim<'_>,
    credential: Credential<'_>,
    body: &[u8],
) -> Result<Authenticated, AuthError> {
    if claim.service() == "s3" {
        claim.verify_head(credential, caller())
    } else {
        claim.verify_whole(credential, caller(), body)
    }
}

pub(crate) fn caller() -> Caller {
    let principal = Principal {
        account: "123456789012".to_owned(),
        kind: PrincipalKind::User {
            id: "AIDAX".to_owned(),
            path: "/".to_owned(),
            name: "ann".to_owned(),
        },
    };
    Caller::new(principal, KEY, Arc::new(Grants::identity(Vec::new())))
}

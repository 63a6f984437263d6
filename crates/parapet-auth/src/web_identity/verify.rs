//! From a token's text to who it speaks for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use thiserror::Error;

use super::claims::{Claims, WebIdentity};
use super::keys::{Algorithm, KeySet};

/// Longest token, in bytes: the limit of `AssumeRoleWithWebIdentity`.
const TOKEN_BYTES: usize = 20_000;
/// How far `iat` and `nbf` may lie ahead, in seconds, for clocks that differ. `exp` has no leeway.
const LEEWAY: i64 = 60;

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WebIdentityError {
    /// Not three parts, too long, or no JSON.
    #[error("the identity token is not a signed JWT: {0}")]
    Malformed(&'static str),
    /// An algorithm that is not in the list.
    #[error(
        "the identity token's algorithm {0:?} is not supported: sign with RS256, RS384, RS512, ES256 or ES384"
    )]
    Algorithm(String),
    /// No key of the issuer fits the token's `kid` and algorithm. Newer keys may.
    #[error("no key of the issuer fits the identity token")]
    NoKey,
    /// The key does not verify it.
    #[error("the identity token's signature does not verify")]
    Signature,
    /// Its time is over.
    #[error("the identity token has expired: get a new one")]
    Expired,
    /// `nbf` or `iat` lie in the future.
    #[error("the identity token is not valid yet: {0} lies in the future")]
    NotYet(&'static str),
    /// `iss` is not the expected issuer.
    #[error("the identity token's issuer is not the registered one")]
    Issuer,
    /// Made for somebody else.
    #[error("the identity token's audience is not registered with its provider")]
    Audience,
    /// A claim is missing or has another form.
    #[error("the identity token's claims cannot be read: {0}")]
    Claims(&'static str),
    /// A claim of a genuine token is of no use.
    #[error("a claim of the identity token is not acceptable: {0}")]
    Rejected(&'static str),
}

/// What a token has to say to be believed.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// `iss`, as registered.
    pub issuer: &'a str,
    /// Client IDs registered with the provider.
    pub audiences: &'a [String],
    /// Present time, seconds since the epoch.
    pub now: i64,
}

/// A token that was read and is not believed yet.
pub struct Unverified<'a> {
    signed: &'a [u8],
    signature: Vec<u8>,
    algorithm: Algorithm,
    kid: Option<String>,
    claims: Claims,
}

impl<'a> Unverified<'a> {
    /// Reads a token (compact serialisation).
    pub fn parse(token: &'a str) -> Result<Self, WebIdentityError> {
        use WebIdentityError::Malformed;
        if token.len() > TOKEN_BYTES {
            return Err(Malformed("it is longer than 20000 characters"));
        }
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or(Malformed("it has not three parts"))?;
        let (header, claims) = signed
            .split_once('.')
            .filter(|(_, claims)| !claims.contains('.'))
            .ok_or(Malformed("it has not three parts"))?;
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| Malformed("a part is not in base64url"))
        };
        let header: Header = serde_json::from_slice(&decode(header)?)
            .map_err(|_| Malformed("its header is no JSON object with alg"))?;
        if header.crit.is_some() {
            // An extension that must be understood, and is not (RFC 7515 section 4.1.11).
            return Err(Malformed("its header has critical extensions"));
        }
        let algorithm = Algorithm::parse(&header.alg)
            .ok_or_else(|| WebIdentityError::Algorithm(header.alg.chars().take(40).collect()))?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?)
            .map_err(|_| WebIdentityError::Claims("iss, sub, aud, exp and iat are required"))?;
        Ok(Self {
            signed: signed.as_bytes(),
            signature: decode(signature)?,
            algorithm,
            kid: header.kid,
            claims,
        })
    }

    /// The issuer that the token names. Good for one thing: to look for a registered provider.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.claims.iss
    }

    /// Verifies the signature first and the claims after it.
    pub fn verify(
        self,
        keys: &KeySet,
        expected: &Expected<'_>,
    ) -> Result<WebIdentity, WebIdentityError> {
        let mut candidates = keys
            .candidates(self.kid.as_deref(), self.algorithm)
            .peekable();
        if candidates.peek().is_none() {
            return Err(WebIdentityError::NoKey);
        }
        if !candidates.any(|key| key.verifies(self.algorithm, self.signed, &self.signature)) {
            return Err(WebIdentityError::Signature);
        }
        let claims = self.claims;
        if claims.iss != expected.issuer {
            return Err(WebIdentityError::Issuer);
        }
        if expected.now >= claims.exp {
            return Err(WebIdentityError::Expired);
        }
        let ahead = |time: i64| time > expected.now + LEEWAY;
        if ahead(claims.iat) {
            return Err(WebIdentityError::NotYet("iat"));
        }
        if claims.nbf.is_some_and(ahead) {
            return Err(WebIdentityError::NotYet("nbf"));
        }
        if let Some(fault) = claims.fault() {
            return Err(WebIdentityError::Rejected(fault));
        }
        let registered = |audience: &&String| expected.audiences.contains(audience);
        let audience = match &claims.azp {
            // The party that the token was issued to must be one of ours, too.
            Some(azp) => Some(azp).filter(registered),
            None => claims.aud.iter().find(registered),
        };
        let audience = audience.ok_or(WebIdentityError::Audience)?.clone();
        Ok(claims.into_identity(audience))
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

#[cfg(test)]
mod tests;

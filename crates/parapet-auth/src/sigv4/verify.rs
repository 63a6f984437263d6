//! From a claim and a key to the proof of who sent a request.

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};

use crate::principal::Caller;

use super::ALGORITHM;
use super::canonical::{self, PathRule};
use super::chunks::{Chain, ChunkDecoder};
use super::claim::Claim;
use super::credential::{Credential, Scope};
use super::error::{AuthError, TokenProblem};
use super::payload::{BodyProof, Declared};

/// Proof that the holder of an access key sent this head. Only this module makes one.
#[derive(Debug)]
pub struct Authenticated {
    caller: Caller,
    access_key: String,
    scope: Scope,
    signature: [u8; 32],
    presigned: bool,
    body: BodyProof,
}

impl Authenticated {
    /// Who sent the request.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// With which key.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// For which day, region and service.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The signature: two requests with the same one are the same request.
    #[must_use]
    pub fn signature(&self) -> &[u8; 32] {
        &self.signature
    }

    /// Whether the signature stood in the URL, which may be used as often as its holder likes.
    #[must_use]
    pub fn is_presigned(&self) -> bool {
        self.presigned
    }

    /// Who sent it, and what is proven about the body.
    #[must_use]
    pub fn into_parts(self) -> (Caller, BodyProof) {
        (self.caller, self.body)
    }
}

impl Claim<'_> {
    /// Verifies head and body together: all services but S3.
    pub fn verify_whole(
        self,
        credential: Credential<'_>,
        caller: Caller,
        body: &[u8],
    ) -> Result<Authenticated, AuthError> {
        if self.is_s3() {
            return Err(AuthError::Body(
                "of an S3 request is not read before its head",
            ));
        }
        let computed = digest::digest(&digest::SHA256, body);
        if let Some(declared) = self.head.header("x-amz-content-sha256")? {
            match Declared::parse(declared)? {
                Declared::Sha256(hash) if hash == computed.as_ref() => {}
                Declared::Sha256(_) => {
                    return Err(AuthError::Body("is not what x-amz-content-sha256 says"));
                }
                _ => return Err(AuthError::Body("must be signed for this service")),
            }
        }
        self.verify(credential, &hex::encode(computed), PathRule::Escaped)?;
        Ok(self.proven(caller, BodyProof::Verified))
    }

    /// Verifies the head of an S3 request; the body is proven later, as the result says.
    pub fn verify_head(
        self,
        credential: Credential<'_>,
        caller: Caller,
    ) -> Result<Authenticated, AuthError> {
        if !self.is_s3() {
            return Err(AuthError::Body("is part of the signature of this service"));
        }
        let header = self.head.header("x-amz-content-sha256")?;
        let text = match (header, self.presigned) {
            (Some(text), _) => text,
            (None, true) => "UNSIGNED-PAYLOAD",
            (None, false) => {
                return Err(AuthError::header("x-amz-content-sha256", "is missing"));
            }
        };
        let declared = Declared::parse(text)?;
        if self.presigned && declared.is_chunked() {
            return Err(AuthError::header(
                "x-amz-content-sha256",
                "streams in a presigned request",
            ));
        }
        let key = self.verify(credential, text, PathRule::Wire)?;
        let body = match declared {
            Declared::Sha256(hash) => BodyProof::Sha256(hash),
            Declared::Unsigned => BodyProof::Unsigned,
            chunked => BodyProof::Chunked(Box::new(self.chunks(key.clone(), chunked)?)),
        };
        Ok(self.proven(caller, body))
    }

    fn proven(self, caller: Caller, body: BodyProof) -> Authenticated {
        Authenticated {
            caller,
            access_key: self.access_key,
            scope: self.scope,
            signature: self.signature,
            presigned: self.presigned,
            body,
        }
    }

    /// The one comparison. Returns the derived key, which signed chunks go on with.
    fn verify<'k>(
        &self,
        credential: Credential<'k>,
        payload: &str,
        rule: PathRule,
    ) -> Result<&'k hmac::Key, AuthError> {
        self.check_credential(credential)?;
        let mut canonical = String::with_capacity(1024);
        canonical::request(self.head, rule, self.signed(), payload, &mut canonical)?;
        let text = string_to_sign(&self.date, &self.scope, &canonical);
        let key = &credential.key().key;
        // Compares in constant time.
        hmac::verify(key, text.as_bytes(), &self.signature).map_err(|_| AuthError::Mismatch)?;
        Ok(key)
    }

    /// That the key is the one of this claim's scope, and of a session the one of this very token.
    fn check_credential(&self, credential: Credential<'_>) -> Result<(), AuthError> {
        if *credential.key().scope() != self.scope {
            return Err(AuthError::Server("the signing key is of another scope"));
        }
        match (credential, &self.token) {
            (Credential::LongTerm(_), None) => Ok(()),
            (Credential::LongTerm(_), Some(_)) => Err(AuthError::Token(TokenProblem::NotForKey)),
            (Credential::Session(..), None) => Err(AuthError::Token(TokenProblem::Missing)),
            (Credential::Session(_, session), Some(token)) => {
                let hash = digest::digest(&digest::SHA256, token.as_bytes());
                if hash.as_ref() != session.token_sha256()
                    || session.claims.access_key != self.access_key
                {
                    return Err(AuthError::Token(TokenProblem::Invalid));
                }
                // Also ends a presigned URL that was to live longer than the token.
                if self.now >= session.claims.expires {
                    return Err(AuthError::Token(TokenProblem::Expired));
                }
                Ok(())
            }
        }
    }

    fn chunks(&self, key: hmac::Key, declared: Declared) -> Result<ChunkDecoder, AuthError> {
        let text = self
            .head
            .header("x-amz-decoded-content-length")?
            .ok_or_else(|| {
                AuthError::header(
                    "x-amz-decoded-content-length",
                    "is missing: a chunked body has it",
                )
            })?;
        let length = text.parse::<u64>().map_err(|_| {
            AuthError::malformed("x-amz-decoded-content-length", text, "is a number of bytes")
        })?;
        let announced = match (self.head.header("x-amz-trailer")?, declared) {
            (Some(_), Declared::SignedChunks) => {
                return Err(AuthError::header(
                    "x-amz-trailer",
                    "announces what cannot follow",
                ));
            }
            (Some(names), _) => names
                .split(',')
                .map(|name| name.trim().to_ascii_lowercase())
                .filter(|name| !name.is_empty())
                .collect(),
            (None, _) => Vec::new(),
        };
        let signing = (declared != Declared::UnsignedChunksWithTrailer).then(|| Chain {
            key,
            date: self.date.clone().into_owned(),
            scope: self.scope.to_string(),
            previous: hex::encode(self.signature),
            with_trailer: declared == Declared::SignedChunksWithTrailer,
        });
        Ok(ChunkDecoder::new(signing, announced, length))
    }
}

/// The text that the derived key signs.
pub(super) fn string_to_sign(date: &str, scope: &Scope, canonical: &str) -> String {
    let mut text = String::with_capacity(192);
    let hash = canonical::sha256_hex(canonical.as_bytes());
    // Writing to a String cannot fail.
    let _written = write!(text, "{ALGORITHM}\n{date}\n{scope}\n{hash}");
    text
}

#[cfg(test)]
mod tests;

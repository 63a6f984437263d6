//! From a request's head to the proof of who sent it.

use aws_lc_rs::{digest, hmac};

use crate::principal::Caller;
use crate::session::is_session_key;

use super::canonical::{self, Parameter, PathRule};
use super::chunks::{Chain, ChunkDecoder};
use super::credential::{self, Credential, Scope};
use super::error::{AuthError, TokenProblem};
use super::payload::{BodyProof, Declared};
use super::request::RequestHead;
use super::{ALGORITHM, time};

/// Longest life of a presigned URL, in seconds: a week.
const PRESIGNED_SECONDS: i64 = 604_800;
/// Clock difference that S3 allows, in seconds.
const SKEW_S3: i64 = 15 * 60;
/// Clock difference that all others allow, in seconds.
const SKEW: i64 = 5 * 60;

/// What this server takes.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Its region.
    pub region: &'a str,
    /// Whether signatures for other regions are refused instead of taken as aliases.
    pub strict_region: bool,
    /// Present time, seconds since the epoch.
    pub now: i64,
}

/// A request's claim to come from the holder of a key: well formed, in time, not yet verified.
#[derive(Debug)]
pub struct Claim<'a> {
    head: &'a RequestHead<'a>,
    access_key: String,
    scope: Scope,
    date: String,
    signed: Vec<String>,
    signature: [u8; 32],
    token: Option<String>,
    presigned: bool,
    now: i64,
}

/// Proof that the holder of an access key sent this head. Only this module makes one.
#[derive(Debug)]
pub struct Authenticated {
    caller: Caller,
    access_key: String,
    scope: Scope,
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

    /// Who sent it, and what is proven about the body.
    #[must_use]
    pub fn into_parts(self) -> (Caller, BodyProof) {
        (self.caller, self.body)
    }
}

impl<'a> Claim<'a> {
    /// Reads the claim and checks all that needs no key. [`AuthError::Missing`] when there is none.
    pub fn parse(head: &'a RequestHead<'a>, rules: &Rules<'_>) -> Result<Self, AuthError> {
        let authorization = head.header("authorization")?;
        let parameters = canonical::parameters(head.query)?;
        let in_query = parameters.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case(b"X-Amz-Algorithm")
                || name.eq_ignore_ascii_case(b"X-Amz-Signature")
        });
        let claim = match (authorization, in_query) {
            (Some(_), true) => {
                return Err(AuthError::header(
                    "authorization",
                    "is there beside a signed query",
                ));
            }
            (Some(text), false) => Self::from_header(head, text, rules.now)?,
            (None, true) => Self::from_query(head, &parameters, rules.now)?,
            (None, false) if parameters.iter().any(|(name, _)| name == b"AWSAccessKeyId") => {
                return Err(AuthError::Algorithm("AWS2".to_owned()));
            }
            (None, false) => return Err(AuthError::Missing),
        };
        claim.check(rules)?;
        Ok(claim)
    }

    /// Whose secret is needed to go on.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    /// The session token that came with it: the server opens it to learn whose session it is.
    #[must_use]
    pub fn session_token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// What the signature is good for: the signing key is derived for it.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The service that shall answer.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.scope.service
    }

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
        if canonical::is_ambiguous(self.head.path) {
            return Err(AuthError::AmbiguousPath);
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
            chunked => BodyProof::Chunked(Box::new(self.chunks(key, chunked)?)),
        };
        Ok(self.proven(caller, body))
    }

    fn is_s3(&self) -> bool {
        self.scope.service == "s3"
    }

    fn proven(self, caller: Caller, body: BodyProof) -> Authenticated {
        Authenticated {
            caller,
            access_key: self.access_key,
            scope: self.scope,
            body,
        }
    }

    fn from_header(head: &'a RequestHead<'a>, text: &str, now: i64) -> Result<Self, AuthError> {
        let (algorithm, rest) = text.split_once(' ').unwrap_or((text, ""));
        if algorithm != ALGORITHM {
            return Err(AuthError::Algorithm(algorithm.chars().take(40).collect()));
        }
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for part in rest.split(',') {
            // The value itself is not shown: it may be the signature.
            let bad = || {
                AuthError::malformed(
                    "Authorization",
                    "",
                    "holds Credential, SignedHeaders and Signature once each",
                )
            };
            let (name, value) = part.trim().split_once('=').ok_or_else(bad)?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed,
                "Signature" => &mut signature,
                _ => return Err(bad()),
            };
            if slot.replace(value).is_some() {
                return Err(bad());
            }
        }
        let missing = |part| AuthError::malformed(part, "", "is missing from Authorization");
        let (access_key, scope) =
            credential::parse(credential.ok_or_else(|| missing("Credential"))?)?;
        let date = head.header("x-amz-date")?.ok_or_else(|| {
            AuthError::header(
                "x-amz-date",
                "is missing: it says when the request was signed",
            )
        })?;
        Ok(Self {
            head,
            access_key,
            scope,
            date: date.to_owned(),
            signed: signed_headers(signed.ok_or_else(|| missing("SignedHeaders"))?)?,
            signature: parse_signature(signature.ok_or_else(|| missing("Signature"))?)?,
            token: head.header("x-amz-security-token")?.map(str::to_owned),
            presigned: false,
            now,
        })
    }

    fn from_query(
        head: &'a RequestHead<'a>,
        parameters: &[Parameter],
        now: i64,
    ) -> Result<Self, AuthError> {
        let find = |wanted: &'static str| -> Result<Option<&str>, AuthError> {
            let mut found = parameters
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
            let first = found.next();
            if found.next().is_some() {
                return Err(AuthError::malformed(wanted, "", "stands in the query once"));
            }
            let Some((name, value)) = first else {
                return Ok(None);
            };
            if name != wanted.as_bytes() {
                return Err(AuthError::malformed(wanted, "", "is written in this case"));
            }
            // A parameter and a header of the same name: nobody can know which one counts.
            if head.header(&wanted.to_ascii_lowercase())?.is_some() {
                return Err(AuthError::malformed(
                    wanted,
                    "",
                    "stands in query or header, not both",
                ));
            }
            std::str::from_utf8(value)
                .map(Some)
                .map_err(|_| AuthError::malformed(wanted, "", "is UTF-8"))
        };
        let need = |wanted: &'static str| {
            find(wanted)?.ok_or_else(|| AuthError::malformed(wanted, "", "is in a presigned URL"))
        };
        let algorithm = need("X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(AuthError::Algorithm(algorithm.chars().take(40).collect()));
        }
        let (access_key, scope) = credential::parse(need("X-Amz-Credential")?)?;
        let (date, expires) = (need("X-Amz-Date")?, need("X-Amz-Expires")?);
        let seconds = expires
            .parse::<i64>()
            .ok()
            .filter(|seconds| (1..=PRESIGNED_SECONDS).contains(seconds))
            .filter(|_| expires.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| {
                AuthError::malformed("X-Amz-Expires", expires, "is 1 to 604800 seconds")
            })?;
        let signed_at = parse_date(date)?;
        if now > signed_at.saturating_add(seconds) {
            return Err(AuthError::Expired);
        }
        Ok(Self {
            head,
            access_key,
            scope,
            date: date.to_owned(),
            signed: signed_headers(need("X-Amz-SignedHeaders")?)?,
            signature: parse_signature(need("X-Amz-Signature")?)?,
            token: find("X-Amz-Security-Token")?.map(str::to_owned),
            presigned: true,
            now,
        })
    }

    /// All rules that need no key.
    fn check(&self, rules: &Rules<'_>) -> Result<(), AuthError> {
        let signed_at = parse_date(&self.date)?;
        let allowed = if self.is_s3() { SKEW_S3 } else { SKEW };
        let early = signed_at.saturating_sub(rules.now) > allowed;
        // A presigned URL is late when it expires, which was looked at where it was read.
        let late = !self.presigned && rules.now.saturating_sub(signed_at) > allowed;
        if early || late {
            return Err(AuthError::Skew {
                signed: self.date.clone(),
                signed_at,
                now: rules.now,
                allowed,
            });
        }
        if self.date[..8] != self.scope.day {
            return Err(scope_error("date", &self.date[..8], &self.scope.day));
        }
        if rules.strict_region && self.scope.region != rules.region {
            return Err(scope_error("region", rules.region, &self.scope.region));
        }
        if self.presigned && !self.is_s3() {
            return Err(AuthError::malformed(
                "X-Amz-Algorithm",
                "",
                "stands in the query of S3 requests only; sign with the Authorization header",
            ));
        }
        match (is_session_key(&self.access_key), self.token.is_some()) {
            (true, false) => return Err(AuthError::Token(TokenProblem::Missing)),
            (false, true) => return Err(AuthError::Token(TokenProblem::NotForKey)),
            _ => {}
        }
        self.check_coverage()
    }

    /// Every header that a handler may obey is signed.
    fn check_coverage(&self) -> Result<(), AuthError> {
        let is_signed = |name: &str| self.signed.iter().any(|signed| signed == name);
        if !is_signed("host") {
            return Err(AuthError::UnsignedHeader("host".to_owned()));
        }
        for (name, _) in self.head.headers() {
            let must = (name.starts_with("x-amz-") && name != "x-amz-content-sha256")
                || (name == "content-type" && !self.presigned);
            if must && !is_signed(name) {
                return Err(AuthError::UnsignedHeader(name.chars().take(80).collect()));
            }
        }
        Ok(())
    }

    /// The one comparison. Returns the derived key, which signed chunks go on with.
    fn verify(
        &self,
        credential: Credential<'_>,
        payload: &str,
        rule: PathRule,
    ) -> Result<hmac::Key, AuthError> {
        self.check_credential(credential)?;
        let signed = self.signed.iter().map(String::as_str).collect::<Vec<_>>();
        let canonical = canonical::request(self.head, rule, &signed, payload)?;
        let text = string_to_sign(&self.date, &self.scope, &canonical);
        let key = &credential.key().key;
        // Compares in constant time.
        hmac::verify(key, text.as_bytes(), &self.signature).map_err(|_| AuthError::Mismatch)?;
        Ok(key.clone())
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
            date: self.date.clone(),
            scope: self.scope.to_string(),
            previous: hex::encode(self.signature),
            with_trailer: declared == Declared::SignedChunksWithTrailer,
        });
        Ok(ChunkDecoder::new(signing, announced, length))
    }
}

/// The text that the derived key signs.
pub(super) fn string_to_sign(date: &str, scope: &Scope, canonical: &str) -> String {
    let hash = canonical::sha256_hex(canonical.as_bytes());
    format!("{ALGORITHM}\n{date}\n{scope}\n{hash}")
}

fn scope_error(what: &'static str, wanted: &str, found: &str) -> AuthError {
    AuthError::Scope {
        what,
        wanted: wanted.to_owned(),
        found: found.to_owned(),
    }
}

fn parse_date(date: &str) -> Result<i64, AuthError> {
    time::parse(date)
        .ok_or_else(|| AuthError::malformed("X-Amz-Date", date, "has the form YYYYMMDDThhmmssZ"))
}

/// Lower case, sorted, each once.
fn signed_headers(text: &str) -> Result<Vec<String>, AuthError> {
    let names = text.split(';').map(str::to_owned).collect::<Vec<_>>();
    let proper = |name: &String| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
    };
    if !names.iter().all(proper) || !names.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(AuthError::malformed(
            "SignedHeaders",
            text,
            "names headers in lower case, sorted, each once",
        ));
    }
    Ok(names)
}

fn parse_signature(text: &str) -> Result<[u8; 32], AuthError> {
    let mut bytes = [0; 32];
    if text.bytes().any(|byte| byte.is_ascii_uppercase())
        || hex::decode_to_slice(text, &mut bytes).is_err()
    {
        return Err(AuthError::malformed(
            "Signature",
            "",
            "is 64 lower-case hexadecimal digits",
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;

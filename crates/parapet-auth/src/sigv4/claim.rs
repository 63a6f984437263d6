//! What a request says of itself, and every rule that needs no key.

use std::borrow::Cow;

use crate::session::is_session_key;

use super::canonical::{self, Parameter};
use super::credential::{self, Scope};
use super::error::{AuthError, TokenProblem};
use super::request::RequestHead;
use super::{ALGORITHM, time};

/// Longest life of a presigned URL of S3, in seconds: a week.
const PRESIGNED_SECONDS: i64 = 604_800;
/// The same of STS, whatever the URL says: such URLs prove who somebody is to third parties.
const PRESIGNED_STS_SECONDS: i64 = 15 * 60;
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
    pub(super) head: &'a RequestHead<'a>,
    pub(super) access_key: String,
    pub(super) scope: Scope,
    /// As sent: it is part of what was signed.
    pub(super) date: Cow<'a, str>,
    /// Names in lower case, sorted, each once, with `;` between them.
    pub(super) signed: Cow<'a, str>,
    pub(super) signature: [u8; 32],
    pub(super) token: Option<Cow<'a, str>>,
    pub(super) presigned: bool,
    pub(super) now: i64,
}

impl<'a> Claim<'a> {
    /// Reads the claim and checks all that needs no key. [`AuthError::Missing`] when there is none.
    pub fn parse(head: &'a RequestHead<'a>, rules: &Rules<'_>) -> Result<Self, AuthError> {
        let authorization = head.header("authorization")?;
        let parameters = canonical::parameters(head.query)?;
        let has = |wanted: &str| {
            let wanted = wanted.as_bytes();
            parameters
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        let in_query = has("X-Amz-Algorithm") || has("X-Amz-Signature");
        let claim = match (authorization, in_query) {
            (Some(_), true) => {
                return Err(AuthError::header(
                    "authorization",
                    "is there beside a signed query",
                ));
            }
            (Some(_), false) if has("X-Amz-Security-Token") || has("X-Amz-Credential") => {
                return Err(AuthError::header(
                    "authorization",
                    "is there beside parameters of a signed query",
                ));
            }
            (Some(text), false) => Self::from_header(head, text, rules.now)?,
            (None, true) => Self::from_query(head, &parameters, rules.now)?,
            (None, false) if has("AWSAccessKeyId") => {
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

    pub(super) fn is_s3(&self) -> bool {
        self.scope.service == "s3"
    }

    /// The names of the signed headers, sorted.
    pub(super) fn signed(&self) -> impl Iterator<Item = &str> + Clone {
        self.signed.split(';')
    }

    fn from_header(head: &'a RequestHead<'a>, text: &'a str, now: i64) -> Result<Self, AuthError> {
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
            date: Cow::Borrowed(date),
            signed: signed_headers(Cow::Borrowed(
                signed.ok_or_else(|| missing("SignedHeaders"))?,
            ))?,
            signature: parse_signature(signature.ok_or_else(|| missing("Signature"))?)?,
            token: head.header("x-amz-security-token")?.map(Cow::Borrowed),
            presigned: false,
            now,
        })
    }

    fn from_query(
        head: &'a RequestHead<'a>,
        parameters: &[Parameter<'a>],
        now: i64,
    ) -> Result<Self, AuthError> {
        let find = |wanted| find(head, parameters, wanted);
        let need = |wanted| {
            find(wanted)?.ok_or_else(|| AuthError::malformed(wanted, "", "is in a presigned URL"))
        };
        let algorithm = need("X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(AuthError::Algorithm(algorithm.chars().take(40).collect()));
        }
        let (access_key, scope) = credential::parse(&need("X-Amz-Credential")?)?;
        let (date, expires) = (need("X-Amz-Date")?, need("X-Amz-Expires")?);
        let seconds = expires
            .parse::<i64>()
            .ok()
            .filter(|seconds| (1..=PRESIGNED_SECONDS).contains(seconds))
            .filter(|_| expires.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| {
                AuthError::malformed("X-Amz-Expires", &expires, "is 1 to 604800 seconds")
            })?;
        let seconds = match scope.service.as_str() {
            "s3" => seconds,
            "sts" => seconds.min(PRESIGNED_STS_SECONDS),
            _ => {
                return Err(AuthError::malformed(
                    "X-Amz-Algorithm",
                    "",
                    "stands in the query of S3 and STS requests only; sign with the Authorization header",
                ));
            }
        };
        let signed_at = parse_date(&date)?;
        if now > signed_at.saturating_add(seconds) {
            return Err(AuthError::Expired);
        }
        Ok(Self {
            head,
            access_key,
            scope,
            date,
            signed: signed_headers(need("X-Amz-SignedHeaders")?)?,
            signature: parse_signature(&need("X-Amz-Signature")?)?,
            token: find("X-Amz-Security-Token")?,
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
                signed: self.date.clone().into_owned(),
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
        if !self.is_s3() && canonical::is_ambiguous(self.head.path) {
            return Err(AuthError::AmbiguousPath);
        }
        match (is_session_key(&self.access_key), self.token.is_some()) {
            (true, false) => return Err(AuthError::Token(TokenProblem::Missing)),
            (false, true) => return Err(AuthError::Token(TokenProblem::NotForKey)),
            _ => {}
        }
        self.check_coverage()
    }

    /// Every header that a handler may obey is signed. A session token in the query is: only the
    /// signature itself is left out of what is signed there.
    fn check_coverage(&self) -> Result<(), AuthError> {
        if !self.signed().any(|name| name == "host") {
            return Err(AuthError::UnsignedHeader("host".to_owned()));
        }
        let s3_url = self.presigned && self.is_s3();
        // Both lists are sorted.
        let mut signed = self.signed().peekable();
        for (name, _) in self.head.headers() {
            while signed.next_if(|known| *known < name).is_some() {}
            let must = (name.starts_with("x-amz-") && name != "x-amz-content-sha256")
                || (name == "content-type" && !s3_url);
            if must && signed.peek() != Some(&name) {
                return Err(AuthError::UnsignedHeader(name.chars().take(80).collect()));
            }
        }
        Ok(())
    }
}

/// The one parameter of this name, in this case, and no header of the same name: nobody could know
/// which one counts.
fn find<'a>(
    head: &RequestHead<'_>,
    parameters: &[Parameter<'a>],
    wanted: &'static str,
) -> Result<Option<Cow<'a, str>>, AuthError> {
    let bad = |rule| AuthError::malformed(wanted, "", rule);
    let mut found = parameters
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()));
    let first = found.next();
    if found.next().is_some() {
        return Err(bad("stands in the query once"));
    }
    let Some((name, value)) = first else {
        return Ok(None);
    };
    if name.as_ref() != wanted.as_bytes() {
        return Err(bad("is written in this case"));
    }
    if head.header(&wanted.to_ascii_lowercase())?.is_some() {
        return Err(bad("stands in query or header, not both"));
    }
    let text = match value {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes.clone()).ok().map(Cow::Owned),
    };
    text.map(Some).ok_or_else(|| bad("is UTF-8"))
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
fn signed_headers(text: Cow<'_, str>) -> Result<Cow<'_, str>, AuthError> {
    let proper = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
    };
    let mut last = "";
    for name in text.split(';') {
        if !proper(name) || name <= last {
            return Err(AuthError::malformed(
                "SignedHeaders",
                &text,
                "names headers in lower case, sorted, each once",
            ));
        }
        last = name;
    }
    Ok(text)
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

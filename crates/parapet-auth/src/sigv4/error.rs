//! Why a request is not believed, sorted by whose fault it is, and each protocol's name for it.
//!
//! No variant carries a canonical request, a string to sign or a signature: they would help
//! whoever guesses (`research/security.md` 1.4, row 18).

use thiserror::Error;

use super::time;
use crate::session::SessionError;

/// Why a signature was not accepted. Everything in it came from the request itself.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthError {
    /// No signature at all.
    #[error("Missing Authentication Token")]
    Missing,
    /// A part of the signature that cannot be read.
    #[error("{part} {value:?} is not acceptable: it {rule}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// The text, cut to 80 characters.
        value: String,
        /// What it should do.
        rule: &'static str,
    },
    /// A header that breaks a rule.
    #[error("header {name:?} {problem}")]
    Header {
        /// Its name, cut.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A header that a handler might obey but the signature does not cover.
    #[error("There were headers present in the request which were not signed: {0}")]
    UnsignedHeader(String),
    /// `SigV2`, `SigV4a` or nonsense.
    #[error("algorithm {0:?} is not supported: sign with AWS4-HMAC-SHA256")]
    Algorithm(String),
    /// Too many or too long headers or parameters.
    #[error("the request's headers or query are too large")]
    HeadTooLarge,
    /// The path is resolved differently by different programs.
    #[error("the path holds '//', '.' or '..' segments: send it resolved")]
    AmbiguousPath,
    /// Signed for another day, region or service.
    #[error("Credential should be scoped to {what} {wanted:?}, not {found:?}")]
    Scope {
        /// `date`, `region` or `service`.
        what: &'static str,
        /// What this server takes.
        wanted: String,
        /// What the request says.
        found: String,
    },
    /// The clocks differ by too much.
    #[error("{}", skew(.signed, *.signed_at, *.now, *.allowed))]
    Skew {
        /// The request's time as it says it.
        signed: String,
        /// The same in seconds since the epoch.
        signed_at: i64,
        /// This server's time, seconds since the epoch.
        now: i64,
        /// Allowed difference, seconds.
        allowed: i64,
    },
    /// A presigned URL after its time.
    #[error("Request has expired: make a new presigned URL")]
    Expired,
    /// No such access key.
    #[error("The security token included in the request is invalid")]
    UnknownKey,
    /// The session token does not fit, is missing, or is there without need.
    #[error("{0}")]
    Token(TokenProblem),
    /// Wrong key, or the request was altered on its way.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key and signing method"
    )]
    Mismatch,
    /// The body is not the one that was signed, or may not be sent in this way.
    #[error("the request's body {0}")]
    Body(&'static str),
    /// A mistake of this server, such as a key of another scope.
    #[error("the server failed to verify the signature: {0}")]
    Server(&'static str),
}

/// What is wrong with a session token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenProblem {
    /// A temporary access key (`ASIA…`) came without its token.
    #[error(
        "The security token included in the request is invalid: a temporary access key comes with its session token, send x-amz-security-token and sign it"
    )]
    Missing,
    /// A long-term access key (`AKIA…`) came with a token.
    #[error(
        "The security token included in the request is invalid: a long-term access key has no session token, remove it"
    )]
    NotForKey,
    /// Not one of ours, altered, or that of another access key.
    #[error("The security token included in the request is invalid")]
    Invalid,
    /// Its time is over.
    #[error("The security token included in the request is expired")]
    Expired,
    /// The sessions of its user or role were revoked.
    #[error("The security token included in the request is expired: its session was revoked")]
    Revoked,
}

impl From<SessionError> for AuthError {
    fn from(error: SessionError) -> Self {
        Self::Token(match error {
            SessionError::Expired => TokenProblem::Expired,
            SessionError::Invalid | SessionError::TooLarge | SessionError::Seal => {
                TokenProblem::Invalid
            }
        })
    }
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request cannot be read: 400.
    Request,
    /// It can, but is not believed: 403.
    Identity,
    /// The clocks of client and server differ: 403, with the server's time.
    Clock,
    /// The server's own: 500.
    Server,
}

/// How a service writes its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Panorama and our own operations.
    RestJson,
    /// STS and IAM.
    Query,
    /// S3.
    S3,
}

impl Protocol {
    /// Of the service with this signing name; a service that nobody knows answers as Panorama does.
    #[must_use]
    pub fn of_service(service: &str) -> Self {
        match service {
            "s3" => Self::S3,
            "sts" | "iam" => Self::Query,
            _ => Self::RestJson,
        }
    }
}

impl AuthError {
    pub(super) fn malformed(part: &'static str, value: &str, rule: &'static str) -> Self {
        Self::Malformed {
            part,
            value: value.chars().take(80).collect(),
            rule,
        }
    }

    pub(super) fn header(name: &str, problem: &'static str) -> Self {
        Self::Header {
            name: name.chars().take(80).collect(),
            problem,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Malformed { .. }
            | Self::Header { .. }
            | Self::Algorithm(_)
            | Self::HeadTooLarge
            | Self::AmbiguousPath => Fault::Request,
            Self::Skew { .. } => Fault::Clock,
            Self::Server(_) => Fault::Server,
            _ => Fault::Identity,
        }
    }

    /// HTTP status.
    #[must_use]
    pub fn status(&self, protocol: Protocol) -> u16 {
        match (self, protocol) {
            (Self::Body(_), _) | (Self::Scope { .. }, Protocol::S3) => 400,
            _ => match self.fault() {
                Fault::Request => 400,
                Fault::Identity | Fault::Clock => 403,
                Fault::Server => 500,
            },
        }
    }

    /// The error's name in a protocol: the one place that maps them (row 22 of the table).
    #[must_use]
    pub fn code(&self, protocol: Protocol) -> &'static str {
        use Protocol::{Query, RestJson, S3};
        match (self, protocol) {
            (Self::Missing, RestJson) => "MissingAuthenticationTokenException",
            (Self::Missing, Query) => "MissingAuthenticationToken",
            (Self::Missing | Self::UnsignedHeader(_) | Self::Expired, S3) => "AccessDenied",
            (
                Self::Token(TokenProblem::Expired | TokenProblem::Revoked) | Self::Expired,
                RestJson,
            ) => "ExpiredTokenException",
            (Self::Token(TokenProblem::Expired | TokenProblem::Revoked), Query | S3)
            | (Self::Expired, Query) => "ExpiredToken",
            (Self::UnknownKey | Self::Token(_), RestJson) => "UnrecognizedClientException",
            (Self::UnknownKey | Self::Token(_), Query) => "InvalidClientTokenId",
            (Self::UnknownKey, S3) => "InvalidAccessKeyId",
            (Self::Token(_), S3) => "InvalidToken",
            (Self::Server(_), RestJson) => "InternalServerException",
            (Self::Server(_), Query) => "InternalFailure",
            (Self::Server(_), S3) => "InternalError",
            (Self::Skew { .. }, S3) => "RequestTimeTooSkewed",
            (Self::Body(_), S3) => "XAmzContentSHA256Mismatch",
            (
                Self::Mismatch
                | Self::UnsignedHeader(_)
                | Self::Scope { .. }
                | Self::Skew { .. }
                | Self::Body(_),
                RestJson,
            ) => "InvalidSignatureException",
            (
                Self::Mismatch
                | Self::UnsignedHeader(_)
                | Self::Scope { .. }
                | Self::Skew { .. }
                | Self::Body(_),
                Query,
            )
            | (Self::Mismatch, S3) => "SignatureDoesNotMatch",
            (Self::HeadTooLarge, S3) => "RequestHeaderSectionTooLarge",
            (_, S3) => "AuthorizationHeaderMalformed",
            (_, RestJson) => "IncompleteSignatureException",
            (_, Query) => "IncompleteSignature",
        }
    }
}

/// The original's words, which SDKs and people look for, and which tell the server's time.
fn skew(signed: &str, signed_at: i64, now: i64, allowed: i64) -> String {
    let text = |at| time::format(at).unwrap_or_else(|| "an unknown time".to_owned());
    let (now_text, minutes) = (text(now), allowed / 60);
    if signed_at > now {
        let limit = text(now.saturating_add(allowed));
        format!(
            "Signature not yet current: {signed} is still later than {limit} ({now_text} + {minutes} min.); set the clock of the client"
        )
    } else {
        let limit = text(now.saturating_sub(allowed));
        format!(
            "Signature expired: {signed} is now earlier than {limit} ({now_text} - {minutes} min.); set the clock of the client"
        )
    }
}

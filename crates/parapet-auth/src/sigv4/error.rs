//! Why a request is not believed, sorted by whose fault it is, and each protocol's name for it.
//!
//! No variant carries a canonical request, a string to sign or a signature: they would help
//! whoever guesses (`research/security.md` 1.4, row 18).

use thiserror::Error;

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
    #[error(
        "Signature not yet current or expired: the request was signed at {signed}, {minutes} minutes are allowed; set the clock of the client"
    )]
    Skew {
        /// The request's time.
        signed: String,
        /// Allowed difference.
        minutes: i64,
    },
    /// A presigned URL after its time.
    #[error("Request has expired: make a new presigned URL")]
    Expired,
    /// No such access key.
    #[error("The security token included in the request is invalid")]
    UnknownKey,
    /// A session token, of which this server has issued none.
    #[error(
        "The security token included in the request is invalid: this server issued no session token"
    )]
    SessionToken,
    /// Wrong key, or the request was altered on its way.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key and signing method"
    )]
    Mismatch,
    /// The body is not the one that was signed, or may not be sent in this way.
    #[error("the request's body {0}")]
    Body(&'static str),
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request cannot be read: 400.
    Request,
    /// It can, but is not believed: 403.
    Identity,
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
            _ => Fault::Identity,
        }
    }

    /// HTTP status.
    #[must_use]
    pub fn status(&self, protocol: Protocol) -> u16 {
        match (self, protocol) {
            (Self::Body(_), _) | (Self::Scope { .. }, Protocol::S3) => 400,
            _ if self.fault() == Fault::Request => 400,
            _ => 403,
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
            (Self::UnknownKey | Self::SessionToken, RestJson) => "UnrecognizedClientException",
            (Self::UnknownKey | Self::SessionToken, Query) => "InvalidClientTokenId",
            (Self::UnknownKey, S3) => "InvalidAccessKeyId",
            (Self::SessionToken, S3) => "InvalidToken",
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
            (Self::Expired, RestJson) => "ExpiredTokenException",
            (Self::Expired, Query) => "ExpiredToken",
            (Self::HeadTooLarge, S3) => "RequestHeaderSectionTooLarge",
            (_, S3) => "AuthorizationHeaderMalformed",
            (_, RestJson) => "IncompleteSignatureException",
            (_, Query) => "IncompleteSignature",
        }
    }
}

//! How an operation of the Query protocol ends badly, with AWS's codes and statuses.

use thiserror::Error;

use crate::call::{Denied, Replayed};
use crate::store::StoreError;

/// What became of a request that was not carried out.
#[derive(Debug, Error)]
pub enum Failure {
    /// The caller's fault.
    #[error("{message}")]
    Refused {
        /// What kind.
        code: Code,
        /// For the caller: what is wrong, and what to do.
        message: String,
    },
    /// Our fault. The cause goes to the log, not to the caller.
    #[error("The server failed; see its log for this request ID.")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    /// A refusal.
    pub fn refused(code: Code, message: impl Into<String>) -> Self {
        Self::Refused {
            code,
            message: message.into(),
        }
    }

    /// A parameter breaks its constraint.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::refused(Code::ValidationError, message)
    }

    /// A parameter is well-formed and still of no use.
    pub fn input(message: impl Into<String>) -> Self {
        Self::refused(Code::InvalidInput, message)
    }

    /// The caller's policies do not allow it.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::refused(Code::AccessDenied, message)
    }

    /// Something is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::refused(Code::NoSuchEntity, message)
    }

    /// Something of ours failed.
    pub fn internal(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(source))
    }

    /// The code that the caller sees.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Internal(_) => Code::ServiceFailure,
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::denied(denied.0)
    }
}

/// Two clients may well send the same request in the same second, and then the signatures are the
/// same: SDKs answer this code by signing again a little later, which whoever replays cannot.
impl From<Replayed> for Failure {
    fn from(replayed: Replayed) -> Self {
        Self::refused(Code::Throttling, replayed.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

/// The codes of the two services, each with its status
/// (the `error` traits of the models of IAM and STS).
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal),+ $(,)?) => {
        /// What the caller may branch on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name),+
        }

        impl Code {
            /// As it is written in an answer.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name)),+
                }
            }

            /// HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status),+
                }
            }
        }
    };
}

codes! {
    /// No policy allows it, or one denies it.
    AccessDenied = 403,
    /// Other things hang on it.
    DeleteConflict = 409,
    /// There is one of this name.
    EntityAlreadyExists = 409,
    /// A session token is too old.
    ExpiredTokenException = 400,
    /// The issuer's keys cannot be had.
    IDPCommunicationError = 400,
    /// The identity token does not speak for this role.
    IDPRejectedClaim = 403,
    /// There is no such operation.
    InvalidAction = 400,
    /// A one-time code is wrong.
    InvalidAuthenticationCode = 403,
    /// An identity token is malformed, or its signature wrong.
    InvalidIdentityToken = 400,
    /// A parameter is of no use.
    InvalidInput = 400,
    /// A quota.
    LimitExceeded = 409,
    /// A policy document breaks the grammar.
    MalformedPolicyDocument = 400,
    /// The form cannot be read.
    MalformedQueryString = 400,
    /// It is not there.
    NoSuchEntity = 404,
    /// Policies or tags of a session are too large together.
    PackedPolicyTooLarge = 400,
    /// A policy that cannot be attached to this kind of identity.
    PolicyNotAttachable = 400,
    /// Too many requests.
    Throttling = 400,
    /// Nobody but its service changes it.
    UnmodifiableEntity = 400,
    /// Our fault.
    ServiceFailure = 500,
    /// A parameter breaks its constraint.
    ValidationError = 400,
}

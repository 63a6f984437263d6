//! How an operation ends badly, split by whose fault it is.

use thiserror::Error;

use crate::registry::Invalid;
use crate::store::StoreError;

use super::token::TokenError;

/// What became of a request that was not carried out.
#[derive(Debug, Error)]
pub enum Failure {
    /// The request breaks rules: `ValidationException`.
    #[error("the request is not valid: {0:?}")]
    Invalid(Vec<Invalid>),
    /// The same, where the message is a JSON document that names a reason
    /// (`CreateApplicationInstance`, `spec/api.md` 1.3).
    #[error("the manifest is not valid: {reason}")]
    Manifest {
        /// Why, for people.
        reason: String,
        /// Members of the documents, if they can be named.
        fields: Vec<Invalid>,
    },
    /// The caller's policies do not allow it: `AccessDeniedException`.
    #[error("{0}")]
    Denied(String),
    /// `ResourceNotFoundException`.
    #[error("no {kind} {id}")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// Under which name.
        id: String,
    },
    /// `ConflictException`.
    #[error("{message}")]
    Conflict {
        /// What stands in the way.
        kind: &'static str,
        /// Which one.
        id: String,
        /// Why, and what to do.
        message: String,
    },
    /// `ServiceQuotaExceededException`.
    #[error("{message}")]
    Quota {
        /// Which quota.
        code: &'static str,
        /// How much there may be, and what to do.
        message: String,
    },
    /// Our fault: `InternalServerException`. The cause goes to the log, not to the caller.
    #[error("the server failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    /// One broken rule.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Invalid::new(field, message)])
    }

    /// Something is not there.
    pub fn not_found(kind: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { kind, id: id.into() }
    }

    /// Something stands in the way.
    pub fn conflict(
        kind: &'static str,
        id: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::Conflict { kind, id: id.into(), message: message.into() }
    }

    /// Something of ours failed.
    pub fn internal(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Internal(Box::new(source))
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(vec![invalid])
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Foreign => Self::invalid(
                "NextToken",
                "was not given for this call; repeat the call without it, or with the filter it \
                 was given for",
            ),
            TokenError::Made => Self::internal(error),
        }
    }
}

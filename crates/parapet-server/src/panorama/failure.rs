//! How an operation ends badly, split by whose fault it is.

use parapet_api::{ApiError, FieldFault, ValidationException, ValidationExceptionReason};
use parapet_manifest::ManifestError;
use thiserror::Error;

use crate::call::{Denied, Replayed};
use crate::fleet::plan::PlanError;
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
        /// Whether a document cannot even be read.
        syntax: bool,
        /// Why, for people.
        reason: String,
        /// Members of the documents, if they can be named.
        fields: Vec<Invalid>,
    },
    /// The caller's policies do not allow it: `AccessDeniedException`.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The request came a second time: `ThrottlingException`, see [`Replayed`].
    #[error(transparent)]
    Replayed(#[from] Replayed),
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
        Self::NotFound {
            kind,
            id: id.into(),
        }
    }

    /// Something stands in the way.
    pub fn conflict(kind: &'static str, id: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Conflict {
            kind,
            id: id.into(),
            message: message.into(),
        }
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

impl From<ManifestError> for Failure {
    fn from(error: ManifestError) -> Self {
        let reason = error.to_string();
        let fields = vec![Invalid::new(error.field(), reason.clone())];
        Self::Manifest {
            syntax: error.is_syntax(),
            reason,
            fields,
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        Self::internal(error)
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

impl Failure {
    /// What the caller is told. The cause of an internal failure is left out; log it before.
    #[must_use]
    pub fn into_api(self) -> ApiError {
        match self {
            Self::Invalid(broken) => ValidationException::fields(faults(broken)).into(),
            Self::Manifest {
                syntax,
                reason,
                fields,
            } => {
                let fields = faults(fields);
                let message = serde_json::json!({
                    "reason": reason,
                    "message": reason,
                    "fields": fields,
                });
                let kind = if syntax {
                    ValidationExceptionReason::CannotParse
                } else {
                    ValidationExceptionReason::FieldValidationFailed
                };
                let exception = ValidationException::new(kind, message.to_string());
                ValidationException {
                    fields,
                    ..exception
                }
                .into()
            }
            Self::Denied(Denied(message)) => ApiError::AccessDenied { message },
            Self::Replayed(replayed) => ApiError::Throttling {
                message: replayed.to_string(),
            },
            Self::NotFound { kind, id } => ApiError::not_found(kind, &id),
            Self::Conflict { kind, id, message } => ApiError::conflict(kind, &id, message),
            Self::Quota { code, message } => ApiError::ServiceQuotaExceeded {
                message,
                quota_code: code.to_owned(),
                service_code: "panorama".to_owned(),
                resource_id: None,
                resource_type: None,
            },
            Self::Internal(_) => ApiError::internal(),
        }
    }
}

fn faults(broken: Vec<Invalid>) -> Vec<FieldFault> {
    broken
        .into_iter()
        .map(|invalid| FieldFault {
            name: invalid.field,
            message: invalid.message,
        })
        .collect()
}

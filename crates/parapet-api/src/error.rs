//! The API's errors: status, type and body of each (`spec/api.md` 1.3).
//!
//! These are what the caller sees; what went wrong inside belongs into the operator's log and
//! never into a message here.

use serde::Serialize;
use thiserror::Error;

use crate::enums::ValidationExceptionReason;

/// A name and a value that a console inserts into a translated message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorArgument {
    /// Name of the argument.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What is wrong with one member of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FieldFault {
    /// The member, with its path: `Tags.site`, `NodeSignals[0].Signal`.
    pub name: String,
    /// The value as far as it may be shown, and the rule.
    pub message: String,
}

/// `ValidationException`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ValidationException {
    /// For people.
    pub message: String,
    /// The kind of fault.
    pub reason: ValidationExceptionReason,
    /// Symbolic name for a translation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_id: Option<String>,
    /// What the translation inserts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub error_arguments: Vec<ErrorArgument>,
    /// The members at fault.
    pub fields: Vec<FieldFault>,
}

impl ValidationException {
    /// One with only a reason and a message.
    #[must_use]
    pub fn new(reason: ValidationExceptionReason, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            reason,
            error_id: None,
            error_arguments: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// One that is the fault of a single member.
    #[must_use]
    pub fn field(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldFault {
            name: name.into(),
            message: message.into(),
        }])
    }

    /// One that is the fault of these members.
    #[must_use]
    pub fn fields(fields: Vec<FieldFault>) -> Self {
        let message = match fields.as_slice() {
            [only] => format!("{}: {}", only.name, only.message),
            several => {
                let names: Vec<&str> = several.iter().map(|field| field.name.as_str()).collect();
                format!(
                    "{} members are not valid: {}",
                    several.len(),
                    names.join(", ")
                )
            }
        };
        Self {
            fields,
            ..Self::new(ValidationExceptionReason::FieldValidationFailed, message)
        }
    }
}

/// What is wrong with a signature or its key: generic codes of AWS's front door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureFault {
    /// No signature at all.
    MissingAuthenticationToken,
    /// A key that does not exist, or a token that does not belong to it.
    UnrecognizedClient,
    /// The signature does not match, or its time is too far off.
    InvalidSignature,
    /// A temporary key after its end.
    ExpiredToken,
    /// A signature header that cannot be read.
    IncompleteSignature,
}

impl SignatureFault {
    fn error_type(self) -> &'static str {
        match self {
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::IncompleteSignature => "IncompleteSignatureException",
        }
    }
}

/// An operation's failure.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApiError {
    /// 400.
    #[error("validate the request: {}", .0.message)]
    Validation(ValidationException),
    /// 403.
    #[error("authorize the request: {message}")]
    AccessDenied {
        /// For people.
        message: String,
    },
    /// 404.
    #[error("find {resource_type} {resource_id}: {message}")]
    ResourceNotFound {
        /// For people.
        message: String,
        /// What was asked for.
        resource_id: String,
        /// `Device`, `Package`, `PackageVersion`, `Node`, `ApplicationInstance`, `Job`.
        resource_type: String,
    },
    /// 409.
    #[error("change {resource_type} {resource_id}: {message}")]
    Conflict {
        /// For people.
        message: String,
        /// What is in the way.
        resource_id: String,
        /// As for `ResourceNotFound`.
        resource_type: String,
        /// Symbolic name for a translation.
        error_id: Option<String>,
        /// What the translation inserts.
        error_arguments: Vec<ErrorArgument>,
    },
    /// 402.
    #[error("stay within quota {quota_code}: {message}")]
    ServiceQuotaExceeded {
        /// For people.
        message: String,
        /// Which quota.
        quota_code: String,
        /// `panorama`.
        service_code: String,
        /// What would exceed it.
        resource_id: Option<String>,
        /// As for `ResourceNotFound`.
        resource_type: Option<String>,
    },
    /// 429.
    #[error("serve the request now: {message}")]
    Throttling {
        /// For people.
        message: String,
    },
    /// 403 and the like, before any operation is reached.
    #[error("verify the signature: {message}")]
    Signature {
        /// What is wrong.
        fault: SignatureFault,
        /// For people.
        message: String,
    },
    /// 500.
    #[error("serve the request: {message}")]
    InternalServer {
        /// For people; says nothing of the inside.
        message: String,
        /// When to try again, in seconds.
        retry_after_seconds: Option<u32>,
    },
}

impl ApiError {
    /// A thing that does not exist.
    #[must_use]
    pub fn not_found(resource_type: &str, resource_id: &str) -> Self {
        Self::ResourceNotFound {
            message: format!("{resource_type} {resource_id} does not exist"),
            resource_id: resource_id.to_owned(),
            resource_type: resource_type.to_owned(),
        }
    }

    /// A thing that is in the way.
    #[must_use]
    pub fn conflict(resource_type: &str, resource_id: &str, message: impl Into<String>) -> Self {
        Self::Conflict {
            message: message.into(),
            resource_id: resource_id.to_owned(),
            resource_type: resource_type.to_owned(),
            error_id: None,
            error_arguments: Vec::new(),
        }
    }

    /// A fault of ours.
    #[must_use]
    pub fn internal() -> Self {
        Self::InternalServer {
            message: "the service could not finish the request; its log says why".to_owned(),
            retry_after_seconds: None,
        }
    }

    /// Status code of the answer.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Validation(_) => 400,
            Self::ServiceQuotaExceeded { .. } => 402,
            Self::AccessDenied { .. } => 403,
            Self::ResourceNotFound { .. } => 404,
            Self::Conflict { .. } => 409,
            Self::Throttling { .. } => 429,
            Self::InternalServer { .. } => 500,
            Self::Signature { fault, .. } => match fault {
                SignatureFault::IncompleteSignature => 400,
                _ => 403,
            },
        }
    }

    /// Value of the header `x-amzn-ErrorType`.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Validation(_) => "ValidationException",
            Self::AccessDenied { .. } => "AccessDeniedException",
            Self::ResourceNotFound { .. } => "ResourceNotFoundException",
            Self::Conflict { .. } => "ConflictException",
            Self::ServiceQuotaExceeded { .. } => "ServiceQuotaExceededException",
            Self::Throttling { .. } => "ThrottlingException",
            Self::InternalServer { .. } => "InternalServerException",
            Self::Signature { fault, .. } => fault.error_type(),
        }
    }

    /// Value of the header `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            Self::InternalServer {
                retry_after_seconds,
                ..
            } => *retry_after_seconds,
            _ => None,
        }
    }

    /// The answer's body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let members = match self {
            Self::Validation(exception) => serde_json::json!(exception),
            Self::AccessDenied { message }
            | Self::Throttling { message }
            | Self::Signature { message, .. }
            | Self::InternalServer { message, .. } => serde_json::json!({ "Message": message }),
            Self::ResourceNotFound {
                message,
                resource_id,
                resource_type,
            } => serde_json::json!({
                "Message": message, "ResourceId": resource_id, "ResourceType": resource_type,
            }),
            Self::Conflict {
                message,
                resource_id,
                resource_type,
                error_id,
                error_arguments,
            } => serde_json::json!(Conflict {
                message,
                resource_id,
                resource_type,
                error_id: error_id.as_deref(),
                error_arguments,
            }),
            Self::ServiceQuotaExceeded {
                message,
                quota_code,
                service_code,
                resource_id,
                resource_type,
            } => serde_json::json!(Exceeded {
                message,
                quota_code,
                service_code,
                resource_id: resource_id.as_deref(),
                resource_type: resource_type.as_deref(),
            }),
        };
        members.to_string().into_bytes()
    }
}

impl From<ValidationException> for ApiError {
    fn from(exception: ValidationException) -> Self {
        Self::Validation(exception)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Conflict<'a> {
    message: &'a str,
    resource_id: &'a str,
    resource_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[ErrorArgument]>::is_empty")]
    error_arguments: &'a [ErrorArgument],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Exceeded<'a> {
    message: &'a str,
    quota_code: &'a str,
    service_code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_type: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(error: &ApiError) -> Value {
        serde_json::from_slice(&error.body()).unwrap()
    }

    #[test]
    fn a_quota_is_a_payment_required() {
        let error = ApiError::ServiceQuotaExceeded {
            message: "full".to_owned(),
            quota_code: "L-1".to_owned(),
            service_code: "panorama".to_owned(),
            resource_id: None,
            resource_type: None,
        };
        assert_eq!(
            (error.http_status(), error.error_type()),
            (402, "ServiceQuotaExceededException")
        );
        let expected = json!({"Message": "full", "QuotaCode": "L-1", "ServiceCode": "panorama"});
        assert_eq!(body(&error), expected);
    }

    #[test]
    fn a_validation_names_its_fields() {
        let error = ApiError::from(ValidationException::field("Name", "needed"));
        assert_eq!(error.http_status(), 400);
        let expected = json!({
            "Message": "Name: needed",
            "Reason": "FIELD_VALIDATION_FAILED",
            "Fields": [{"Name": "Name", "Message": "needed"}],
        });
        assert_eq!(body(&error), expected);
    }

    #[test]
    fn a_conflict_names_what_is_in_the_way() {
        let error = ApiError::conflict("Package", "package-x", "taken");
        assert_eq!(
            (error.http_status(), error.error_type()),
            (409, "ConflictException")
        );
        let expected =
            json!({"Message": "taken", "ResourceId": "package-x", "ResourceType": "Package"});
        assert_eq!(body(&error), expected);
    }

    #[test]
    fn a_missing_thing_is_named() {
        let error = ApiError::not_found("Device", "device-x");
        assert_eq!(
            (error.http_status(), error.error_type()),
            (404, "ResourceNotFoundException")
        );
        assert_eq!(body(&error)["ResourceId"], "device-x");
    }
}

//! A rule that the caller's input breaks.

use std::fmt;

/// Names the member, its value as far as it may be shown, and the remedy. Becomes a
/// `ValidationException` with one entry in `Fields`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The member as it is called on the wire, e.g. `TemplateParameters.StreamUrl`.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Invalid {
    /// From both parts.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl std::error::Error for Invalid {}

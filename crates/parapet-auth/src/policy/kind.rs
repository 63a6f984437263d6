//! Where policies are kept, and why documents are refused.

use thiserror::Error;

/// Where a policy is kept, which decides how long it may be and which elements it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// A managed policy, also one that serves as a permissions boundary.
    Managed,
    /// An inline policy of a user. The quota is for all of a user's inline policies together.
    InlineUser,
    /// An inline policy of a role; the quota is for all together.
    InlineRole,
    /// An inline policy of a group; the quota is for all together.
    InlineGroup,
    /// A role's trust policy.
    Trust,
    /// A policy that narrows a session.
    Session,
}

impl PolicyKind {
    /// Most characters, white space not counted (IAM user guide, "IAM and STS quotas").
    #[must_use]
    pub fn quota(self) -> usize {
        match self {
            Self::Managed => 6_144,
            Self::InlineUser | Self::Trust | Self::Session => 2_048,
            Self::InlineRole => 10_240,
            Self::InlineGroup => 5_120,
        }
    }
}

/// Why a policy document is refused.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// Longer than its kind may be: `LimitExceeded` of the original, the others are
    /// `MalformedPolicyDocument`.
    #[error("read a policy: it has {characters} characters, {quota} is the most; split it")]
    TooLong {
        /// Characters that are no white space.
        characters: usize,
        /// The most of its kind.
        quota: usize,
    },
    /// No JSON, or JSON that could be read in two ways.
    #[error("read a policy: it is no plain JSON")]
    Json(#[from] serde_json::Error),
    /// An element that is unknown, missing, or not as it must be.
    #[error("read a policy: {at}: {why}")]
    Element {
        /// Where: `Statement[0].Condition`.
        at: String,
        /// What is wrong and what to write instead.
        why: String,
    },
}

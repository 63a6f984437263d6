//! What policies say about a request, and how a denial is worded.
//!
//! Two audiences: [`Denial::message`] is what the caller reads, in the words of the original's
//! clients; [`Denial::explanation`] names the policy and the statement, for those who may know.

use std::fmt;
use std::sync::Arc;

/// Which set of policies a statement belongs to. The original's name for them is in [`Self::noun`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// Policies of a user, its groups, or a role.
    Identity,
    /// The permissions boundary.
    Boundary,
    /// The policies that a session was narrowed with.
    Session,
    /// The trust policy of a role.
    Trust,
}

impl Layer {
    /// As denials name it: `identity-based policy`.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
            Self::Trust => "resource-based policy",
        }
    }
}

/// One statement of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementRef {
    /// Where the policy is attached.
    pub layer: Layer,
    /// Name of the policy.
    pub policy: Arc<str>,
    /// Place of the statement in it, from 0.
    pub index: usize,
    /// Its `Sid`, if it has one.
    pub sid: Option<Arc<str>>,
}

impl fmt::Display for StatementRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sid {
            Some(sid) => write!(f, "statement {sid:?}")?,
            None => write!(f, "statement number {}", self.index + 1)?,
        }
        write!(f, " of {} {:?}", self.layer.noun(), self.policy)
    }
}

/// What the policies say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Every layer allows it and no statement denies it.
    Allowed {
        /// The allowing statement, the first of each layer; empty for the account's root.
        by: Vec<StatementRef>,
    },
    /// It may not.
    Denied(Denial),
}

impl Decision {
    /// Whether the action may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    /// Why not, if not.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Allowed { .. } => None,
            Self::Denied(denial) => Some(denial),
        }
    }
}

/// Why an action is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// A statement denies it.
    Explicit(StatementRef),
    /// No statement of this layer allows it.
    NoAllow(Layer),
    /// A statement could not be judged, which denies whatever the others say.
    Unjudged {
        /// The statement.
        statement: StatementRef,
        /// What was wrong, a fragment.
        why: String,
    },
    /// The resource asked about is neither `*` nor an ARN.
    NoArn,
    /// The account's root may not assume roles, as in the original.
    Root,
    /// The principal is of another account than the one that this server holds.
    OtherAccount {
        /// The foreign account.
        account: String,
    },
}

impl Denial {
    /// Whether it comes from the policies of the principal, which it may be shown, and not from a
    /// role's.
    #[must_use]
    pub fn is_of_own(&self) -> bool {
        match self {
            Self::Explicit(statement) | Self::Unjudged { statement, .. } => {
                statement.layer != Layer::Trust
            }
            Self::NoAllow(layer) => *layer != Layer::Trust,
            Self::NoArn | Self::Root | Self::OtherAccount { .. } => true,
        }
    }

    /// What the caller is told, worded as the original's clients and their users expect.
    /// `principal` is [`Principal::arn`](crate::Principal::arn).
    #[must_use]
    pub fn message(&self, principal: &str, action: &str, resource: &str) -> String {
        let reason = match self {
            Self::Explicit(statement) => {
                format!("with an explicit deny in {}", with_article(statement.layer))
            }
            Self::NoAllow(layer) => {
                format!("because no {} allows the {action} action", layer.noun())
            }
            Self::Unjudged { statement, .. } => format!(
                "because a condition in {} could not be evaluated",
                with_article(statement.layer)
            ),
            Self::NoArn => "because the resource is no ARN".to_owned(),
            Self::Root => "because the account's root may not assume roles".to_owned(),
            Self::OtherAccount { account } => format!(
                "because account {account} is not the account of this server, which serves one"
            ),
        };
        format!(
            "User: {principal} is not authorized to perform: {action} on resource: {resource} \
             {reason}"
        )
    }

    /// The statement at fault, or the layer that lacks one: for the audit record, for
    /// administrators and for the simulator. A fragment.
    #[must_use]
    pub fn explanation(&self, action: &str, resource: &str) -> String {
        match self {
            Self::Explicit(statement) => {
                format!("{action} on {resource} is denied by {statement}")
            }
            Self::NoAllow(layer) => format!(
                "no statement of any {} allows {action} on {resource}",
                layer.noun()
            ),
            Self::Unjudged { statement, why } => format!(
                "{action} on {resource} is denied because {statement} could not be evaluated: {why}"
            ),
            Self::NoArn => format!("{action} was asked about {resource:?}, which is no ARN"),
            Self::Root => format!(
                "{action} on {resource} was asked by the account's root, which may not assume roles"
            ),
            Self::OtherAccount { account } => format!(
                "{action} on {resource} was asked by account {account}; this server holds one \
                 account and no other may act in it"
            ),
        }
    }
}

fn with_article(layer: Layer) -> String {
    let article = if layer == Layer::Identity { "an" } else { "a" };
    format!("{article} {}", layer.noun())
}

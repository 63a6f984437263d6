//! IAM policies: documents in, decisions out.
//!
//! [`Policy::parse`] turns a document into compiled statements or refuses it: what would not be
//! honoured is never quietly ignored. [`decide`] asks the policies that speak for a caller about one
//! action on one resource, [`decide_trust`] asks a role's trust policy who may assume it. Deny wins,
//! silence denies, and so does a statement that cannot be judged.
//!
//! Pure: the time, the address and everything else a condition may ask about is in the [`Context`]
//! that the server fills. Follows the reference of the original's policy language (IAM user guide,
//! "IAM JSON policy reference" and "Policy evaluation logic"); differences are in
//! `docs/policies.md`.

pub mod actions;
mod arn;
mod condition;
mod context;
mod date;
mod decision;
mod evaluate;
mod glob;
mod json;
mod keys;
mod kind;
mod network;
mod number;
mod parse;
mod pattern;
mod simulate;
mod trust;
mod trustees;

use std::fmt;
use std::sync::Arc;

pub use context::Context;
pub use decision::{Decision, Denial, Layer, StatementRef};
pub use evaluate::{Question, authorize, decide};
pub use kind::{PolicyError, PolicyKind};
use parse::Effect;
pub use parse::Policy;
pub use simulate::{Simulated, simulate};
pub use trust::{Asker, decide_assume, decide_trust};

/// A policy under the name it is attached by.
#[derive(Clone)]
pub struct Attached {
    /// Name of the policy, for explanations.
    pub name: Arc<str>,
    /// What it says.
    pub policy: Arc<Policy>,
}

impl Attached {
    /// A policy under a name.
    pub fn new(name: impl Into<Arc<str>>, policy: impl Into<Arc<Policy>>) -> Self {
        Self {
            name: name.into(),
            policy: policy.into(),
        }
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attached({:?})", self.name)
    }
}

/// Everything that speaks for a caller.
#[derive(Debug, Clone)]
pub enum Grants {
    /// The account's root, which no policy restricts.
    Root,
    /// Anybody else.
    Policies {
        /// Policies of the user and its groups, or of the role.
        identity: Vec<Attached>,
        /// What the identity's policies can at most give.
        boundary: Option<Attached>,
        /// What the session can at most do; `None` when it was not narrowed, and then nothing is
        /// taken away. Several policies give the union of what each allows.
        session: Option<Vec<Attached>>,
    },
}

impl Grants {
    /// Identity policies without boundary or session.
    #[must_use]
    pub fn identity(policies: Vec<Attached>) -> Self {
        Self::Policies {
            identity: policies,
            boundary: None,
            session: None,
        }
    }
}

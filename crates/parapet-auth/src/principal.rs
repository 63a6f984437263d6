//! Who somebody is, once a signature or a session proved it.
//!
//! A [`Principal`] has two ARNs, as in the original: the one it is known by ([`Principal::arn`],
//! for a role's session the `sts` one) and the one policies compare (`aws:PrincipalArn`,
//! [`Principal::principal_arn`], for a role's session the role's own).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy::{Context, Grants};
use crate::session::SessionClaims;

/// An identity of an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Twelve digits.
    pub account: String,
    /// What kind of identity.
    pub kind: PrincipalKind,
}

/// The kinds of identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// The account itself.
    Root,
    /// An IAM user, with long-term keys or in a session of its own (`GetSessionToken`).
    User {
        /// Unique ID, `AIDA…`.
        id: String,
        /// `/`, or `/path/to/`: begins and ends with a slash.
        path: String,
        /// Name in the account.
        name: String,
    },
    /// A session of a role.
    AssumedRole {
        /// Unique ID of the role, `AROA…`.
        role_id: String,
        /// Path of the role: `/`, or `/path/to/`.
        path: String,
        /// Name of the role in the account.
        role: String,
        /// Name that the session was given.
        session: String,
    },
}

impl Principal {
    /// The ARN it is known by: what `GetCallerIdentity` says and what denials name. For a role's
    /// session `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
    #[must_use]
    pub fn arn(&self) -> String {
        match &self.kind {
            PrincipalKind::Root | PrincipalKind::User { .. } => self.principal_arn(),
            PrincipalKind::AssumedRole { role, session, .. } => {
                format!(
                    "arn:aws:sts::{}:assumed-role/{role}/{session}",
                    self.account
                )
            }
        }
    }

    /// What `aws:PrincipalArn` says: for a role's session the role's ARN, with its path.
    #[must_use]
    pub fn principal_arn(&self) -> String {
        let account = &self.account;
        match &self.kind {
            PrincipalKind::Root => format!("arn:aws:iam::{account}:root"),
            PrincipalKind::User { path, name, .. } => {
                format!("arn:aws:iam::{account}:user{path}{name}")
            }
            PrincipalKind::AssumedRole { path, role, .. } => {
                format!("arn:aws:iam::{account}:role{path}{role}")
            }
        }
    }

    /// What `GetCallerIdentity` calls `UserId` and policies call `aws:userid`: the account's number
    /// for the root, the unique ID of a user, `<role ID>:<session>` for a role's session.
    #[must_use]
    pub fn unique_id(&self) -> String {
        match &self.kind {
            PrincipalKind::Root => self.account.clone(),
            PrincipalKind::User { id, .. } => id.clone(),
            PrincipalKind::AssumedRole {
                role_id, session, ..
            } => format!("{role_id}:{session}"),
        }
    }

    /// What `aws:PrincipalType` says.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            PrincipalKind::Root => "Account",
            PrincipalKind::User { .. } => "User",
            PrincipalKind::AssumedRole { .. } => "AssumedRole",
        }
    }

    /// Sets the condition keys that follow from who it is: `aws:PrincipalArn`,
    /// `aws:PrincipalAccount`, `aws:PrincipalType`, `aws:userid`, and `aws:username` for users.
    pub fn describe(&self, context: &mut Context) {
        context.set("aws:PrincipalArn", self.principal_arn());
        context.set("aws:PrincipalAccount", self.account.as_str());
        context.set("aws:PrincipalType", self.type_name());
        context.set("aws:userid", self.unique_id());
        if let PrincipalKind::User { name, .. } = &self.kind {
            context.set("aws:username", name.as_str());
        }
    }
}

/// What an authenticated request carries: who asks, by which key, and what speaks for it.
///
/// Built once a key, when the key's owner is loaded; a request clones it, which copies counters.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// ID of the access key that signed, `AKIA…` or `ASIA…`.
    pub access_key: Arc<str>,
    /// Its policies.
    pub grants: Arc<Grants>,
    /// Tags of the user, or of the role and its session: `aws:PrincipalTag/…`.
    pub tags: Arc<BTreeMap<String, String>>,
    /// What the token of a session says; `None` for a long-term key.
    pub session: Option<Arc<SessionClaims>>,
}

impl Caller {
    /// Somebody without tags.
    pub fn new(
        principal: impl Into<Arc<Principal>>,
        access_key: impl Into<Arc<str>>,
        grants: impl Into<Arc<Grants>>,
    ) -> Self {
        Self {
            principal: principal.into(),
            access_key: access_key.into(),
            grants: grants.into(),
            tags: Arc::default(),
            session: None,
        }
    }

    /// Sets the condition keys that follow from who it is: those of [`Principal::describe`] and
    /// `aws:PrincipalTag/…`.
    pub fn describe(&self, context: &mut Context) {
        self.principal.describe(context);
        context.add_tags("aws:PrincipalTag/", self.tags.iter());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: PrincipalKind) -> Principal {
        Principal {
            account: "123456789012".to_owned(),
            kind,
        }
    }

    #[test]
    fn a_roles_session_has_two_arns() {
        let session = of(PrincipalKind::AssumedRole {
            role_id: "AROAX".to_owned(),
            path: "/service-role/".to_owned(),
            role: "reader".to_owned(),
            session: "ann".to_owned(),
        });
        assert_eq!(
            session.arn(),
            "arn:aws:sts::123456789012:assumed-role/reader/ann"
        );
        assert_eq!(
            session.principal_arn(),
            "arn:aws:iam::123456789012:role/service-role/reader"
        );
        assert_eq!(session.unique_id(), "AROAX:ann");
        let mut context = Context::new();
        session.describe(&mut context);
        assert_eq!(context.one("aws:username"), None);
        assert_eq!(context.one("AWS:principaltype"), Some("AssumedRole"));
    }

    #[test]
    fn users_and_the_root_have_one() {
        let user = of(PrincipalKind::User {
            id: "AIDAX".to_owned(),
            path: "/team/".to_owned(),
            name: "ann".to_owned(),
        });
        assert_eq!(user.arn(), "arn:aws:iam::123456789012:user/team/ann");
        assert_eq!(user.principal_arn(), user.arn());
        assert_eq!(user.unique_id(), "AIDAX");
        let root = of(PrincipalKind::Root);
        assert_eq!(root.arn(), "arn:aws:iam::123456789012:root");
        assert_eq!(root.unique_id(), "123456789012");
    }
}

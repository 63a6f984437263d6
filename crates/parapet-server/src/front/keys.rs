//! Access keys on their way to the verifier: looked up in the store, opened, never kept in the
//! clear beyond the request.

use std::sync::Arc;

use parapet_auth::{
    Attached, Caller, Grants, Policy, PolicyKind, Principal, PrincipalKind, SecretKey,
};
use thiserror::Error;

use crate::context::Context;
use crate::identity::key_label;
use crate::store::{StoreError, identities};

/// Why a key that is there cannot be used.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("open the secret of an access key")]
    Wrap(#[from] parapet_auth::WrapError),
    #[error("read the secret of an access key: it is no text")]
    Text(#[from] std::string::FromUtf8Error),
    #[error("read the policy of a user")]
    Policy(#[from] parapet_auth::PolicyError),
}

pub(super) struct Keys {
    context: Arc<Context>,
}

impl Keys {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// The secret of an access key, and who its user is.
    pub(super) async fn find(&self, id: &str) -> Result<Option<(SecretKey, Caller)>, KeyError> {
        let wanted = id.to_owned();
        let found = self
            .context
            .store
            .read(move |connection| identities::key(connection, &wanted))
            .await?;
        let Some(key) = found else { return Ok(None) };
        let mut secret = self
            .context
            .master_key
            .unwrap(&key_label(&key.account, &key.id), &key.wrapped)?;
        let secret = SecretKey::new(String::from_utf8(std::mem::take(&mut *secret))?);
        let policy = Policy::parse(&key.user.policy_json, PolicyKind::Managed)?;
        let principal = Principal {
            account: key.account,
            kind: PrincipalKind::User {
                id: key.user.id,
                path: "/".to_owned(),
                name: key.user.name,
            },
        };
        let grants = Grants::identity(vec![Attached::new("AdministratorAccess", policy)]);
        let caller = Caller::new(principal, key.id, grants);
        Ok(Some((secret, caller)))
    }
}

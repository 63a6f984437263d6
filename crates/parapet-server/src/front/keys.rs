//! Access keys on their way to the verifier: looked up in the store, opened, never kept in the
//! clear beyond the request.

use std::sync::Arc;

use parapet_auth::{
    Attached, Caller, Grants, Policy, PolicyKind, Principal, PrincipalKind, SecretKey,
};
use thiserror::Error;

use crate::context::Context;
use crate::identity::{ADMINISTRATOR, key_label};
use crate::store::access_keys::{self, KeyStatus};
use crate::store::{Holder, StoreError, attachments, inline_policies, users};

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
            .read::<_, StoreError, _>(move |connection| {
                let Some(key) = access_keys::get(connection, &wanted)? else {
                    return Ok(None);
                };
                let Some(user) = users::by_id(connection, &key.account, &key.user)? else {
                    return Ok(None);
                };
                let holder = Holder::user(&user.id);
                let inline = inline_policies::of(connection, &key.account, &holder)?;
                let attached = attachments::of(connection, &key.account, &holder)?;
                Ok(Some((key, user, inline, attached)))
            })
            .await?;
        let Some((key, user, inline, attached)) = found else {
            return Ok(None);
        };
        if key.status == KeyStatus::Inactive {
            return Ok(None);
        }
        let mut policies = Vec::new();
        for (name, document) in inline {
            let policy = Policy::parse(&document, PolicyKind::InlineUser)?;
            policies.push(Attached::new(name, policy));
        }
        if attached.iter().any(|arn| arn == ADMINISTRATOR) {
            let policy = Policy::parse(Policy::ADMINISTRATOR, PolicyKind::Managed)?;
            policies.push(Attached::new("AdministratorAccess", policy));
        }
        let mut secret = self
            .context
            .master_key
            .unwrap(&key_label(&key.account, &key.id), &key.wrapped)?;
        let secret = SecretKey::new(String::from_utf8(std::mem::take(&mut *secret))?);
        let principal = Principal {
            account: key.account,
            kind: PrincipalKind::User {
                id: user.id,
                path: user.path,
                name: user.name,
            },
        };
        let grants = Grants::identity(policies);
        let caller = Caller::new(principal, key.id, grants);
        Ok(Some((secret, caller)))
    }
}

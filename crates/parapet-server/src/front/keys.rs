//! Access keys on their way to the verifier: found in the directory, opened, never kept in the
//! clear beyond the request.

use std::sync::Arc;

use parapet_auth::sigv4::Scope;
use parapet_auth::{Caller, SecretKey, SigningKey};
use thiserror::Error;

use crate::context::Context;
use crate::directory::{DirectoryError, KeyEntry};
use crate::identity::key_label;

/// Why a key that is there cannot be used.
#[derive(Debug, Error)]
pub(super) enum KeyError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("open the secret of an access key")]
    Wrap(#[from] parapet_auth::WrapError),
    #[error("read the secret of an access key: it is no text")]
    Text(#[from] std::string::FromUtf8Error),
}

pub(super) struct Keys {
    context: Arc<Context>,
}

/// A long-term key that may sign.
pub(super) struct Found {
    /// Who asks, if the signature is good.
    pub(super) caller: Caller,
    /// What a good signature is made with.
    pub(super) signing: SigningKey,
    entry: Arc<KeyEntry>,
}

impl Found {
    /// The signature was good: the next one of this scope costs less.
    pub(super) fn proven(&self) {
        self.entry.remember(self.signing.clone());
    }
}

impl Keys {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// What a long-term access key signs with in `scope`, and who its user is. An inactive key is
    /// as unknown as one that does not exist.
    pub(super) async fn find(&self, id: &str, scope: &Scope) -> Result<Option<Found>, KeyError> {
        let Some(entry) = self.context.directory.key(id).await? else {
            return Ok(None);
        };
        if !entry.is_active {
            return Ok(None);
        }
        let signing = if let Some(signing) = entry.signing_key(scope) {
            signing
        } else {
            let mut secret = self
                .context
                .master_key
                .unwrap(&key_label(&entry.account, &entry.id), &entry.wrapped)?;
            SecretKey::new(String::from_utf8(std::mem::take(&mut *secret))?).derive(scope)
        };
        Ok(Some(Found {
            caller: entry.caller.clone(),
            signing,
            entry,
        }))
    }
}

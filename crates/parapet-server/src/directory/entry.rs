//! What is known of a principal, ready to be asked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use parapet_auth::sigv4::Scope;
use parapet_auth::{Caller, Grants, Policy, Principal, SigningKey};

use crate::store::Micros;
use crate::store::access_keys::{AccessKey, KeyStatus};

/// Signing keys of one access key: a client uses one a day, region and service.
const SIGNING_KEYS: usize = 8;

/// A user.
#[derive(Debug)]
pub struct UserEntry {
    /// `AIDA…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// As a principal.
    pub principal: Arc<Principal>,
    /// Its policies, those of its groups, and its boundary.
    pub grants: Arc<Grants>,
    /// Its tags.
    pub tags: Arc<BTreeMap<String, String>>,
    /// Its sessions issued before this instant are void.
    pub not_before: Option<Micros>,
}

/// A role.
#[derive(Debug)]
pub struct RoleEntry {
    /// `AROA…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
    /// `arn:aws:iam::<account>:role<path><name>`.
    pub arn: String,
    /// Its policies and its boundary.
    pub grants: Arc<Grants>,
    /// Who may assume it.
    pub trust: Arc<Policy>,
    /// Its tags.
    pub tags: Arc<BTreeMap<String, String>>,
    /// Longest session, in seconds.
    pub max_session_s: u32,
    /// Its sessions issued before this instant are void.
    pub not_before: Option<Micros>,
}

/// An access key and its user. The secret stays wrapped.
pub struct KeyEntry {
    /// `AKIA…`.
    pub id: String,
    /// Account that it belongs to.
    pub account: String,
    /// Whether it may be used.
    pub is_active: bool,
    /// The secret, wrapped.
    pub wrapped: Vec<u8>,
    /// Whose key.
    pub user: Arc<UserEntry>,
    /// Who asks when this key signed.
    pub caller: Caller,
    /// Derived keys; each signs for one day, region and service only.
    signing: Mutex<Vec<SigningKey>>,
}

impl KeyEntry {
    pub(super) fn new(key: AccessKey, user: Arc<UserEntry>) -> Self {
        let caller = Caller {
            tags: Arc::clone(&user.tags),
            ..Caller::new(
                Arc::clone(&user.principal),
                key.id.as_str(),
                Arc::clone(&user.grants),
            )
        };
        Self {
            id: key.id,
            account: key.account,
            is_active: key.status == KeyStatus::Active,
            wrapped: key.wrapped,
            user,
            caller,
            signing: Mutex::default(),
        }
    }

    /// The key that signs within `scope`, if it was derived before.
    pub fn signing_key(&self, scope: &Scope) -> Option<SigningKey> {
        let keys = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        keys.iter().find(|key| key.scope() == scope).cloned()
    }

    /// Remembers a derived key, in place of the oldest when there are too many. Only keys that a
    /// signature was verified with: others would let anybody push good ones out.
    pub fn remember(&self, key: SigningKey) {
        let mut keys = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.iter().any(|held| held.scope() == key.scope()) {
            return;
        }
        if keys.len() >= SIGNING_KEYS {
            keys.remove(0);
        }
        keys.push(key);
    }
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry")
            .field("id", &self.id)
            .field("user", &self.user.name)
            .field("is_active", &self.is_active)
            .finish_non_exhaustive()
    }
}

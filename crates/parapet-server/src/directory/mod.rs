//! Principals in memory: who a key belongs to and what speaks for its owner, ready to be asked.
//!
//! Owns copies of what the store says of access keys, users, roles and policies, with all documents
//! parsed. An entry is loaded when it is first asked for and dropped when anything that a decision
//! depends on changes, so that a request costs no look-up in a table. Two things tell of a change:
//! [`Directory::changed`], which every operation that writes such tables calls after its commit,
//! and [`watch`], which compares the store's generation twice a second and so sees what other
//! processes wrote. What is loaded from an older generation than the newest known is used once and
//! not kept.
//!
//! Task: [`watch`], one, which reads the generation and writes down when keys were last used.

mod entry;
mod last_use;
mod load;
mod session;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use parapet_auth::{Attached, Caller, PolicyError};
use rusqlite::Connection;
use thiserror::Error;
use tokio::sync::watch::Receiver;

pub use entry::{KeyEntry, RoleEntry, UserEntry};
pub use last_use::KeyUse;
pub(crate) use load::group_policies;
pub use session::SessionRefusal;

use crate::front::listener::told;
use crate::store::{Store, StoreError, access_keys, accounts, roles, users};
use last_use::LastUses;

/// Entries of one kind. More than any account's busy principals; when full, all are dropped and
/// loaded again as they are asked for.
const ENTRIES: usize = 8_192;
/// How often the store's generation is looked at: a change takes effect within a second.
const POLL: Duration = Duration::from_millis(500);
/// Every how many looks the uses of keys are written down.
const LOOKS_PER_FLUSH: u32 = 120;

/// Why a principal that is there cannot be used. Each of these denies.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored document that this version does not take.
    #[error("read the policy {name:?} of {holder}")]
    Policy {
        /// Whose.
        holder: String,
        /// Its name or ARN.
        name: String,
        /// What is wrong with it.
        #[source]
        source: PolicyError,
    },
    /// An attachment or boundary that leads nowhere.
    #[error("find the policy {arn}, which is attached to {holder}")]
    PolicyMissing {
        /// Whose.
        holder: String,
        /// Which.
        arn: String,
    },
}

/// The principals of the account.
pub struct Directory {
    store: Store,
    account: String,
    tables: Mutex<Tables>,
    uses: LastUses,
}

/// All entries are of one generation.
#[derive(Default)]
struct Tables {
    /// Of the store, as far as is known; `None` before the first load and after a change.
    generation: Option<i64>,
    /// Counts how often the entries were dropped.
    drops: u64,
    /// IDs of all keys that there are, so that an unknown one costs no look-up.
    known: Option<Arc<HashSet<String>>>,
    keys: HashMap<String, Arc<KeyEntry>>,
    users: HashMap<String, Arc<UserEntry>>,
    /// By ID.
    roles: HashMap<String, Arc<RoleEntry>>,
    role_ids: HashMap<String, String>,
    policies: HashMap<String, Attached>,
    /// Callers in a session, by the hash of its token.
    sessions: HashMap<[u8; 32], Caller>,
}

impl Tables {
    fn drop_all(&mut self, generation: Option<i64>) {
        *self = Self {
            generation,
            drops: self.drops.wrapping_add(1),
            ..Self::default()
        };
    }
}

impl Directory {
    /// Of the principals of `account`; loads nothing yet.
    #[must_use]
    pub fn new(store: Store, account: String) -> Self {
        Self {
            store,
            account,
            tables: Mutex::default(),
            uses: LastUses::default(),
        }
    }

    /// Forgets everything: principals, keys, policies or tags have changed. Call it after the
    /// commit and before the answer.
    pub fn changed(&self) {
        self.tables().drop_all(None);
    }

    /// The key with this ID, active or not, and its user.
    pub async fn key(&self, id: &str) -> Result<Option<Arc<KeyEntry>>, DirectoryError> {
        {
            let tables = self.tables();
            if let Some(found) = tables.keys.get(id) {
                return Ok(Some(Arc::clone(found)));
            }
            if tables
                .known
                .as_ref()
                .is_some_and(|known| !known.contains(id))
            {
                return Ok(None);
            }
        }
        let (wanted, account) = (id.to_owned(), self.account.clone());
        let (found, known) = self
            .load(
                move |connection| {
                    let known = Arc::new(access_keys::ids(connection)?);
                    let Some(key) = access_keys::get(connection, &wanted)? else {
                        return Ok((None, known));
                    };
                    let Some(user) = users::by_id(connection, &account, &key.user)? else {
                        return Ok((None, known));
                    };
                    let user = Arc::new(load::user(connection, &account, user)?);
                    Ok((Some(Arc::new(KeyEntry::new(key, user))), known))
                },
                |tables, (found, known)| {
                    tables.known = Some(Arc::clone(known));
                    if let Some(found) = found {
                        keep(&mut tables.keys, found.id.clone(), found);
                    }
                },
            )
            .await?;
        drop(known);
        Ok(found)
    }

    /// The user with this ID.
    pub async fn user(&self, id: &str) -> Result<Option<Arc<UserEntry>>, DirectoryError> {
        if let Some(found) = self.tables().users.get(id) {
            return Ok(Some(Arc::clone(found)));
        }
        let (wanted, account) = (id.to_owned(), self.account.clone());
        self.load(
            move |connection| {
                let Some(user) = users::by_id(connection, &account, &wanted)? else {
                    return Ok(None);
                };
                Ok(Some(Arc::new(load::user(connection, &account, user)?)))
            },
            |tables, found| {
                if let Some(found) = found {
                    keep(&mut tables.users, found.id.clone(), found);
                }
            },
        )
        .await
    }

    /// The role of this name.
    pub async fn role(&self, name: &str) -> Result<Option<Arc<RoleEntry>>, DirectoryError> {
        {
            let tables = self.tables();
            if let Some(found) = tables
                .role_ids
                .get(name)
                .and_then(|id| tables.roles.get(id))
            {
                return Ok(Some(Arc::clone(found)));
            }
        }
        let wanted = name.to_owned();
        self.load_role(move |connection, account| roles::by_name(connection, account, &wanted))
            .await
    }

    /// The role with this ID.
    pub async fn role_with_id(&self, id: &str) -> Result<Option<Arc<RoleEntry>>, DirectoryError> {
        if let Some(found) = self.tables().roles.get(id) {
            return Ok(Some(Arc::clone(found)));
        }
        let wanted = id.to_owned();
        self.load_role(move |connection, account| roles::by_id(connection, account, &wanted))
            .await
    }

    async fn load_role(
        &self,
        find: impl FnOnce(&Connection, &str) -> Result<Option<roles::Role>, StoreError> + Send + 'static,
    ) -> Result<Option<Arc<RoleEntry>>, DirectoryError> {
        let account = self.account.clone();
        self.load(
            move |connection| {
                let Some(role) = find(connection, &account)? else {
                    return Ok(None);
                };
                Ok(Some(Arc::new(load::role(connection, &account, role)?)))
            },
            |tables, found| {
                if let Some(found) = found {
                    keep(&mut tables.role_ids, found.name.clone(), &found.id);
                    keep(&mut tables.roles, found.id.clone(), found);
                }
            },
        )
        .await
    }

    /// The managed policy with this ARN, of the account or of AWS.
    pub async fn policy(&self, arn: &str) -> Result<Option<Attached>, DirectoryError> {
        if let Some(found) = self.tables().policies.get(arn) {
            return Ok(Some(found.clone()));
        }
        let (wanted, account, at) = (arn.to_owned(), self.account.clone(), arn.to_owned());
        self.load(
            move |connection| load::managed(connection, &account, &wanted),
            move |tables, found| {
                if let Some(found) = found {
                    keep(&mut tables.policies, at, found);
                }
            },
        )
        .await
    }

    /// Reads something and keeps it, unless something changed in the meantime.
    async fn load<T, R, K>(&self, read: R, keep: K) -> Result<T, DirectoryError>
    where
        T: Send + 'static,
        R: FnOnce(&Connection) -> Result<T, DirectoryError> + Send + 'static,
        K: FnOnce(&mut Tables, &T),
    {
        let before = self.tables().drops;
        let (found, generation) = self
            .store
            .read::<_, DirectoryError, _>(move |connection| {
                // One snapshot: what is read is of exactly this generation.
                Ok((read(connection)?, accounts::generation(connection)?))
            })
            .await?;
        let mut tables = self.tables();
        if tables.drops == before {
            match tables.generation {
                Some(known) if known > generation => return Ok(found),
                Some(known) if known == generation => {}
                _ => tables.drop_all(Some(generation)),
            }
            keep(&mut tables, &found);
        }
        drop(tables);
        Ok(found)
    }

    /// Compares the generation with the store's.
    async fn poll(&self) -> Result<(), StoreError> {
        let now = self
            .store
            .read::<_, StoreError, _>(accounts::generation)
            .await?;
        let mut tables = self.tables();
        if tables.generation.is_some_and(|known| known < now) {
            tables.drop_all(Some(now));
        }
        Ok(())
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // Nothing panics while it holds the lock, and the tables are whole between any two calls.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts an entry into a table that holds so many and no more.
fn keep<K: Eq + Hash, V: Clone>(table: &mut HashMap<K, V>, key: K, value: &V) {
    if table.len() >= ENTRIES {
        table.clear();
    }
    table.insert(key, value.clone());
}

/// Looks for changes that other processes made, and writes down when keys were used, until told to
/// end.
pub async fn watch(directory: Arc<Directory>, mut shutdown: Receiver<bool>) {
    let mut looks = 0_u32;
    loop {
        let is_over = tokio::select! {
            () = tokio::time::sleep(POLL) => false,
            () = told(&mut shutdown) => true,
        };
        if !is_over && let Err(error) = directory.poll().await {
            // Without knowing, nothing that is held counts.
            directory.changed();
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "could not look for changed principals");
        }
        looks += 1;
        if is_over || looks >= LOOKS_PER_FLUSH {
            looks = 0;
            if let Err(error) = directory.uses.flush(&directory.store).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "could not record when keys were last used");
            }
        }
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests;

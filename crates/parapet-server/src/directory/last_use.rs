//! When keys were last used: held in memory, written down now and then.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use super::Directory;
use crate::store::access_keys::{self, LastUse};
use crate::store::{Micros, Store, StoreError};

/// Most uses that wait to be written down; further ones of other keys are not remembered.
const PENDING: usize = 4_096;
/// A use within so many microseconds of the last one that was noted is not noted.
const GRAIN_US: i64 = 1_000_000;

/// A use of a key.
#[derive(Debug, Clone, Copy)]
pub struct KeyUse<'a> {
    /// ID of the key.
    pub key: &'a str,
    /// Service that the signature names.
    pub service: &'a str,
    /// Region that the signature names.
    pub region: &'a str,
    /// When.
    pub at: Micros,
}

#[derive(Debug, Default)]
pub(super) struct LastUses(Mutex<HashMap<String, LastUse>>);

impl LastUses {
    fn note(&self, used: KeyUse<'_>) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = pending.get_mut(used.key) {
            if used.at.0 - last.at.0 < GRAIN_US {
                return;
            }
            last.at = used.at;
            used.service.clone_into(&mut last.service);
            used.region.clone_into(&mut last.region);
        } else if pending.len() < PENDING {
            pending.insert(
                used.key.to_owned(),
                LastUse {
                    at: used.at,
                    service: used.service.to_owned(),
                    region: used.region.to_owned(),
                },
            );
        }
    }

    fn get(&self, key: &str) -> Option<LastUse> {
        let pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.get(key).cloned()
    }

    /// Writes all down. What cannot be written waits for the next time.
    pub(super) async fn flush(&self, store: &Store) -> Result<(), StoreError> {
        let pending = {
            let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *pending)
        };
        if pending.is_empty() {
            return Ok(());
        }
        let uses = pending.clone();
        let written = store
            .write::<_, StoreError, _>(move |tx| {
                for (key, used) in &uses {
                    access_keys::record_use(tx, key, used)?;
                }
                Ok(())
            })
            .await;
        if written.is_err() {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, used) in pending {
                if let Entry::Vacant(entry) = waiting.entry(key) {
                    entry.insert(used);
                }
            }
        }
        written
    }
}

impl Directory {
    /// Notes that a signature of this key was verified.
    pub fn used(&self, used: KeyUse<'_>) {
        self.uses.note(used);
    }

    /// When a key was last used, if that is not written down yet.
    #[must_use]
    pub fn last_use(&self, key: &str) -> Option<LastUse> {
        self.uses.get(key)
    }

    /// Writes down when keys were last used.
    pub async fn flush_uses(&self) -> Result<(), StoreError> {
        self.uses.flush(&self.store).await
    }
}

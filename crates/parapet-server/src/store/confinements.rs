//! What operators decided that application instances may use and reach.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Micros, Scope, StoreError, Tx};

/// The decision about one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Counts the changes from 1.
    pub revision: u64,
    /// A [`crate::registry::confinement::Policy`].
    pub policy_json: String,
    /// Last change.
    pub updated: Micros,
}

/// What was decided about an instance; `None` when nothing ever was.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    instance: &str,
) -> Result<Option<Stored>, StoreError> {
    let stored = connection
        .prepare_cached(
            "SELECT revision, policy_json, updated_us FROM confinements
             WHERE account = ?1 AND region = ?2 AND instance = ?3",
        )?
        .query_row(params![scope.account, scope.region, instance], |row| {
            Ok(Stored {
                revision: row.get::<_, i64>(0)?.unsigned_abs(),
                policy_json: row.get(1)?,
                updated: row.get(2)?,
            })
        })
        .optional()?;
    Ok(stored)
}

/// Writes the decision in place of the one that the instance had, if any.
pub fn put(tx: &Tx<'_>, scope: &Scope, instance: &str, stored: &Stored) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO confinements (account, region, instance, revision, policy_json, updated_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (account, region, instance) DO UPDATE SET revision = excluded.revision,
            policy_json = excluded.policy_json, updated_us = excluded.updated_us",
    )?
    .execute(params![
        scope.account,
        scope.region,
        instance,
        i64::try_from(stored.revision).unwrap_or(i64::MAX),
        stored.policy_json,
        stored.updated,
    ])?;
    Ok(())
}

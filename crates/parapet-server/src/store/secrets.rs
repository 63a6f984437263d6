//! Wrapped secrets. Wrapping and unwrapping happen outside: this table sees bytes.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Micros, Scope, StoreError, Tx};

/// Adds a value of a secret.
pub fn insert(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &str,
    version: u64,
    wrapped: &[u8],
    now: Micros,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO secrets (account, region, id, version, wrapped, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        id,
        i64::try_from(version).unwrap_or(i64::MAX),
        wrapped,
        now
    ])?;
    Ok(())
}

/// One value of a secret.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    id: &str,
    version: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let wrapped = connection
        .prepare_cached(
            "SELECT wrapped FROM secrets
             WHERE account = ?1 AND region = ?2 AND id = ?3 AND version = ?4",
        )?
        .query_row(
            params![
                scope.account,
                scope.region,
                id,
                i64::try_from(version).unwrap_or(i64::MAX)
            ],
            |row| row.get(0),
        )
        .optional()?;
    Ok(wrapped)
}

/// Forgets the values of a secret before `version`: nothing refers to them any more.
pub fn forget_older(tx: &Tx<'_>, scope: &Scope, id: &str, version: u64) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM secrets WHERE account = ?1 AND region = ?2 AND id = ?3 AND version < ?4",
    )?
    .execute(params![
        scope.account,
        scope.region,
        id,
        i64::try_from(version).unwrap_or(i64::MAX)
    ])?;
    Ok(())
}

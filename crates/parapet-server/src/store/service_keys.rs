//! Keys that the server uses for itself, wrapped.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Micros, StoreError, Tx};

/// The key of this name.
pub fn get(
    connection: &Connection,
    account: &str,
    name: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    let wrapped = connection
        .query_row(
            "SELECT wrapped FROM service_keys WHERE account = ?1 AND name = ?2",
            [account, name],
            |row| row.get(0),
        )
        .optional()?;
    Ok(wrapped)
}

/// Adds a key.
pub fn insert(
    tx: &Tx<'_>,
    account: &str,
    name: &str,
    wrapped: &[u8],
    now: Micros,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO service_keys (account, name, wrapped, created_us) VALUES (?1, ?2, ?3, ?4)",
        params![account, name, wrapped, now],
    )?;
    Ok(())
}

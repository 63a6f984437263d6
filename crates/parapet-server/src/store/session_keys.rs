//! Keys that seal session tokens. They come and go wrapped.

use rusqlite::{Connection, params};

use super::{Micros, StoreError, Tx};

/// A key of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// Part of every token that it sealed.
    pub id: u32,
    /// The key, wrapped.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created: Micros,
}

/// All keys, the newest first.
pub fn all(connection: &Connection, account: &str) -> Result<Vec<SessionKey>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, wrapped, created_us FROM session_keys WHERE account = ?1 ORDER BY id DESC",
    )?;
    let rows = statement.query_map([account], |row| {
        Ok(SessionKey {
            id: row.get(0)?,
            wrapped: row.get(1)?,
            created: row.get(2)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds a key.
pub fn insert(tx: &Tx<'_>, account: &str, key: &SessionKey) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO session_keys (account, id, wrapped, created_us) VALUES (?1, ?2, ?3, ?4)",
        params![account, key.id, key.wrapped, key.created],
    )?;
    Ok(())
}

/// Forgets the keys made before `instant`, but never the newest: its ID says which comes next.
pub fn forget_before(tx: &Tx<'_>, account: &str, instant: Micros) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM session_keys WHERE account = ?1 AND created_us < ?2
         AND id < (SELECT max(id) FROM session_keys WHERE account = ?1)",
        params![account, instant],
    )?;
    Ok(())
}

//! Access keys of users. Secrets come and go wrapped.

use std::collections::HashSet;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, StoreError, Tx};

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// It may.
    Active,
    /// It may not, until somebody makes it active again.
    Inactive,
}

impl KeyStatus {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
        }
    }
}

impl ToSql for KeyStatus {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.as_str().to_sql()
    }
}

impl FromSql for KeyStatus {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "Active" => Ok(Self::Active),
            "Inactive" => Ok(Self::Inactive),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// When and for what a key was last used, up to the minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub at: Micros,
    /// For which service.
    pub service: String,
    /// In which region.
    pub region: String,
}

/// An access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Account that it belongs to.
    pub account: String,
    /// `AKIA…`.
    pub id: String,
    /// ID of its user.
    pub user: String,
    /// The secret, wrapped.
    pub wrapped: Vec<u8>,
    /// Whether it may be used.
    pub status: KeyStatus,
    /// When it was last used, if that was recorded.
    pub last_use: Option<LastUse>,
    /// When it was made.
    pub created: Micros,
}

const COLUMNS: &str = "account, id, user, wrapped, status, last_used_us, last_used_service, \
     last_used_region, created_us";

fn read(row: &Row<'_>) -> rusqlite::Result<AccessKey> {
    let at: Option<Micros> = row.get(5)?;
    let last_use = match at {
        Some(at) => Some(LastUse {
            at,
            service: row.get::<_, Option<_>>(6)?.unwrap_or_default(),
            region: row.get::<_, Option<_>>(7)?.unwrap_or_default(),
        }),
        None => None,
    };
    Ok(AccessKey {
        account: row.get(0)?,
        id: row.get(1)?,
        user: row.get(2)?,
        wrapped: row.get(3)?,
        status: row.get(4)?,
        last_use,
        created: row.get(8)?,
    })
}

/// Adds a key.
pub fn insert(tx: &Tx<'_>, key: &AccessKey) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO access_keys (account, id, user, wrapped, status, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            key.account,
            key.id,
            key.user,
            key.wrapped,
            key.status,
            key.created
        ],
    )?;
    Ok(())
}

/// The key with this ID, of whichever account.
pub fn get(connection: &Connection, id: &str) -> Result<Option<AccessKey>, StoreError> {
    let key = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM access_keys WHERE id = ?1"))?
        .query_row([id], read)
        .optional()?;
    Ok(key)
}

/// The IDs of all keys, so that a key that does not exist costs no look-up. Bounded by the number
/// of users.
pub fn ids(connection: &Connection) -> Result<HashSet<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT id FROM access_keys")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The keys of a user, the oldest first: there are two at most.
pub fn of_user(
    connection: &Connection,
    account: &str,
    user: &str,
) -> Result<Vec<AccessKey>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM access_keys WHERE account = ?1 AND user = ?2
         ORDER BY created_us, id"
    ))?;
    let rows = statement.query_map([account, user], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes a key active or inactive.
pub fn set_status(
    tx: &Tx<'_>,
    account: &str,
    id: &str,
    status: KeyStatus,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE access_keys SET status = ?3 WHERE account = ?1 AND id = ?2",
        params![account, id, status],
    )?;
    Ok(())
}

/// Removes a key.
pub fn delete(tx: &Tx<'_>, account: &str, id: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM access_keys WHERE account = ?1 AND id = ?2",
        [account, id],
    )?;
    Ok(())
}

/// Records when a key was last used, unless a later use is recorded or the key is gone.
pub fn record_use(tx: &Tx<'_>, id: &str, used: &LastUse) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE access_keys
         SET last_used_us = ?2, last_used_service = ?3, last_used_region = ?4
         WHERE id = ?1 AND coalesce(last_used_us, 0) < ?2",
    )?
    .execute(params![id, used.at, used.service, used.region])?;
    Ok(())
}

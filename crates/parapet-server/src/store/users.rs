//! IAM users.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::names::{NamePage, Names};
use super::{Micros, StoreError, Tx};

/// An IAM user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// `AIDA…`.
    pub id: String,
    /// Unique in the account, whatever the case of its letters.
    pub name: String,
    /// `/` or `/…/`.
    pub path: String,
    /// ARN of the policy that bounds what its own policies can allow.
    pub boundary: Option<String>,
    /// Its sessions issued before this instant are void.
    pub not_before: Option<Micros>,
    /// When it was made.
    pub created: Micros,
}

const COLUMNS: &str = "id, name, path, boundary, not_before_us, created_us";

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        name: row.get(1)?,
        path: row.get(2)?,
        boundary: row.get(3)?,
        not_before: row.get(4)?,
        created: row.get(5)?,
    })
}

/// Adds a user.
pub fn insert(tx: &Tx<'_>, account: &str, user: &User) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (account, id, name, path, boundary, not_before_us, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            account,
            user.id,
            user.name,
            user.path,
            user.boundary,
            user.not_before,
            user.created
        ],
    )?;
    Ok(())
}

/// Writes name, path, boundary and the beginning of valid sessions of the user with this ID.
pub fn update(tx: &Tx<'_>, account: &str, user: &User) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE users SET name = ?3, path = ?4, boundary = ?5, not_before_us = ?6
         WHERE account = ?1 AND id = ?2",
        params![
            account,
            user.id,
            user.name,
            user.path,
            user.boundary,
            user.not_before
        ],
    )?;
    Ok(())
}

/// Removes a user; its keys go with it.
pub fn delete(tx: &Tx<'_>, account: &str, id: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM users WHERE account = ?1 AND id = ?2",
        params![account, id],
    )?;
    Ok(())
}

/// The user of this name.
pub fn by_name(
    connection: &Connection,
    account: &str,
    name: &str,
) -> Result<Option<User>, StoreError> {
    let user = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM users WHERE account = ?1 AND name = ?2"
        ))?
        .query_row([account, name], read)
        .optional()?;
    Ok(user)
}

/// The user with this ID.
pub fn by_id(connection: &Connection, account: &str, id: &str) -> Result<Option<User>, StoreError> {
    let user = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM users WHERE account = ?1 AND id = ?2"
        ))?
        .query_row([account, id], read)
        .optional()?;
    Ok(user)
}

/// Whether a user has this name, letters of either case being the same.
pub fn is_taken(connection: &Connection, account: &str, name: &str) -> Result<bool, StoreError> {
    let taken = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM users WHERE account = ?1 AND name = ?2 COLLATE NOCASE)",
        )?
        .query_row([account, name], |row| row.get(0))?;
    Ok(taken)
}

/// Users in the order of their names.
pub fn list(
    connection: &Connection,
    account: &str,
    wanted: &Names,
) -> Result<NamePage<User>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM users
         WHERE account = ?1 AND substr(path, 1, length(?2)) = ?2 AND name > ?3
         ORDER BY name LIMIT ?4"
    ))?;
    let rows = statement.query_map(
        params![account, wanted.path_prefix, wanted.after, wanted.one_more()],
        read,
    )?;
    Ok(NamePage::cut(rows.collect::<Result<_, _>>()?, wanted.limit))
}

/// How many users there are.
pub fn count(connection: &Connection, account: &str) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM users WHERE account = ?1")?
        .query_row([account], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// The users that this policy bounds.
pub fn bounded_by(
    connection: &Connection,
    account: &str,
    arn: &str,
) -> Result<Vec<User>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM users WHERE account = ?1 AND boundary = ?2 ORDER BY name"
    ))?;
    let rows = statement.query_map([account, arn], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

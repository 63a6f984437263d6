//! IAM roles, those linked to a service among them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::names::{NamePage, Names};
use super::{Micros, StoreError, Tx};

/// An IAM role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// `AROA…`.
    pub id: String,
    /// Unique in the account, whatever the case of its letters.
    pub name: String,
    /// `/` or `/…/`.
    pub path: String,
    /// For people.
    pub description: Option<String>,
    /// Who may assume it: its trust policy.
    pub trust_json: String,
    /// Longest session, in seconds: 3,600 to 43,200.
    pub max_session_s: u32,
    /// ARN of the policy that bounds what its own policies can allow.
    pub boundary: Option<String>,
    /// Its sessions issued before this instant are void.
    pub not_before: Option<Micros>,
    /// The service that it is linked to (`panorama.amazonaws.com`).
    pub linked_service: Option<String>,
    /// When it was made.
    pub created: Micros,
}

const COLUMNS: &str = "id, name, path, description, trust_json, max_session_s, boundary, \
     not_before_us, linked_service, created_us";

fn read(row: &Row<'_>) -> rusqlite::Result<Role> {
    Ok(Role {
        id: row.get(0)?,
        name: row.get(1)?,
        path: row.get(2)?,
        description: row.get(3)?,
        trust_json: row.get(4)?,
        max_session_s: row.get(5)?,
        boundary: row.get(6)?,
        not_before: row.get(7)?,
        linked_service: row.get(8)?,
        created: row.get(9)?,
    })
}

/// Adds a role.
pub fn insert(tx: &Tx<'_>, account: &str, role: &Role) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO roles (account, id, name, path, description, trust_json, max_session_s,
                            boundary, not_before_us, linked_service, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            account,
            role.id,
            role.name,
            role.path,
            role.description,
            role.trust_json,
            role.max_session_s,
            role.boundary,
            role.not_before,
            role.linked_service,
            role.created
        ],
    )?;
    Ok(())
}

/// Writes all of the role with this ID but its name, its path and its service.
pub fn update(tx: &Tx<'_>, account: &str, role: &Role) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE roles SET description = ?3, trust_json = ?4, max_session_s = ?5, boundary = ?6,
                          not_before_us = ?7
         WHERE account = ?1 AND id = ?2",
        params![
            account,
            role.id,
            role.description,
            role.trust_json,
            role.max_session_s,
            role.boundary,
            role.not_before
        ],
    )?;
    Ok(())
}

/// Removes a role.
pub fn delete(tx: &Tx<'_>, account: &str, id: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM roles WHERE account = ?1 AND id = ?2",
        params![account, id],
    )?;
    Ok(())
}

/// The role of this name.
pub fn by_name(
    connection: &Connection,
    account: &str,
    name: &str,
) -> Result<Option<Role>, StoreError> {
    let role = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM roles WHERE account = ?1 AND name = ?2"
        ))?
        .query_row([account, name], read)
        .optional()?;
    Ok(role)
}

/// The role with this ID.
pub fn by_id(connection: &Connection, account: &str, id: &str) -> Result<Option<Role>, StoreError> {
    let role = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM roles WHERE account = ?1 AND id = ?2"
        ))?
        .query_row([account, id], read)
        .optional()?;
    Ok(role)
}

/// Whether a role has this name, letters of either case being the same.
pub fn is_taken(connection: &Connection, account: &str, name: &str) -> Result<bool, StoreError> {
    let taken = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM roles WHERE account = ?1 AND name = ?2 COLLATE NOCASE)",
        )?
        .query_row([account, name], |row| row.get(0))?;
    Ok(taken)
}

/// Roles in the order of their names.
pub fn list(
    connection: &Connection,
    account: &str,
    wanted: &Names,
) -> Result<NamePage<Role>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM roles
         WHERE account = ?1 AND substr(path, 1, length(?2)) = ?2 AND name > ?3
         ORDER BY name LIMIT ?4"
    ))?;
    let rows = statement.query_map(
        params![account, wanted.path_prefix, wanted.after, wanted.one_more()],
        read,
    )?;
    Ok(NamePage::cut(rows.collect::<Result<_, _>>()?, wanted.limit))
}

/// How many roles there are.
pub fn count(connection: &Connection, account: &str) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM roles WHERE account = ?1")?
        .query_row([account], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// The roles that this policy bounds.
pub fn bounded_by(
    connection: &Connection,
    account: &str,
    arn: &str,
) -> Result<Vec<Role>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM roles WHERE account = ?1 AND boundary = ?2 ORDER BY name"
    ))?;
    let rows = statement.query_map([account, arn], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

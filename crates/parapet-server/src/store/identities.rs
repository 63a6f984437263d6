//! Users, their access keys, and the certificate authorities. Secrets come and go wrapped.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Micros, Scope, StoreError, Tx};

/// An IAM user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// `AIDA…`.
    pub id: String,
    /// Free in the account.
    pub name: String,
    /// Its policy document.
    pub policy_json: String,
}

/// An access key with its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Account that it belongs to.
    pub account: String,
    /// `AKIA…`.
    pub id: String,
    /// The secret, wrapped.
    pub wrapped: Vec<u8>,
    /// Whose key.
    pub user: User,
}

/// A certificate authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate.
    pub certificate_pem: String,
    /// Its private key (PKCS#8), wrapped.
    pub wrapped: Vec<u8>,
}

/// The account of the first user; `None` in an empty database.
pub fn first_account(connection: &Connection) -> Result<Option<String>, StoreError> {
    let account = connection
        .query_row(
            "SELECT account FROM users ORDER BY created_us LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(account)
}

/// Adds a user.
pub fn insert_user(tx: &Tx<'_>, account: &str, user: &User, now: Micros) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO users (account, id, name, policy_json, created_us) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![account, user.id, user.name, user.policy_json, now],
    )?;
    Ok(())
}

/// Adds an access key to a user.
pub fn insert_key(tx: &Tx<'_>, key: &AccessKey, now: Micros) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO access_keys (account, id, user, wrapped, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![key.account, key.id, key.user.id, key.wrapped, now],
    )?;
    Ok(())
}

const KEYS: &str = "SELECT k.account, k.id, k.wrapped, u.id, u.name, u.policy_json
    FROM access_keys k JOIN users u ON u.account = k.account AND u.id = k.user";

fn read_key(row: &rusqlite::Row<'_>) -> rusqlite::Result<AccessKey> {
    Ok(AccessKey {
        account: row.get(0)?,
        id: row.get(1)?,
        wrapped: row.get(2)?,
        user: User {
            id: row.get(3)?,
            name: row.get(4)?,
            policy_json: row.get(5)?,
        },
    })
}

/// The access key with this ID.
pub fn key(connection: &Connection, id: &str) -> Result<Option<AccessKey>, StoreError> {
    let key = connection
        .prepare_cached(&format!("{KEYS} WHERE k.id = ?1"))?
        .query_row([id], read_key)
        .optional()?;
    Ok(key)
}

/// The oldest access key of the user of this name.
pub fn key_of_user(
    connection: &Connection,
    account: &str,
    name: &str,
) -> Result<Option<AccessKey>, StoreError> {
    let key = connection
        .prepare_cached(&format!(
            "{KEYS} WHERE k.account = ?1 AND u.name = ?2 ORDER BY k.created_us LIMIT 1"
        ))?
        .query_row([account, name], read_key)
        .optional()?;
    Ok(key)
}

/// The authority of this kind: `server`, `claim` or `device`.
pub fn authority(
    connection: &Connection,
    scope: &Scope,
    kind: &str,
) -> Result<Option<Authority>, StoreError> {
    let authority = connection
        .prepare_cached(
            "SELECT certificate_pem, wrapped FROM authorities
             WHERE account = ?1 AND region = ?2 AND kind = ?3",
        )?
        .query_row(params![scope.account, scope.region, kind], |row| {
            Ok(Authority {
                certificate_pem: row.get(0)?,
                wrapped: row.get(1)?,
            })
        })
        .optional()?;
    Ok(authority)
}

/// Adds an authority.
pub fn insert_authority(
    tx: &Tx<'_>,
    scope: &Scope,
    kind: &str,
    authority: &Authority,
    now: Micros,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO authorities (account, region, kind, certificate_pem, wrapped, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            scope.account,
            scope.region,
            kind,
            authority.certificate_pem,
            authority.wrapped,
            now
        ],
    )?;
    Ok(())
}

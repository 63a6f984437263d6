//! The account itself: whose it is, its alias, and the generation of its principals.

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreError, Tx};

/// The account of the first user; `None` in an empty database.
pub fn first(connection: &Connection) -> Result<Option<String>, StoreError> {
    let account = connection
        .query_row(
            "SELECT account FROM users ORDER BY created_us LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(account)
}

/// How often principals, keys, policies and tags have changed: triggers count.
pub fn generation(connection: &Connection) -> Result<i64, StoreError> {
    let generation = connection
        .prepare_cached("SELECT generation FROM principals_generation")?
        .query_row([], |row| row.get(0))?;
    Ok(generation)
}

/// The account's alias.
pub fn alias(connection: &Connection, account: &str) -> Result<Option<String>, StoreError> {
    let alias = connection
        .prepare_cached("SELECT alias FROM account_aliases WHERE account = ?1")?
        .query_row([account], |row| row.get(0))
        .optional()?;
    Ok(alias)
}

/// Gives the account an alias in place of the one it may have.
pub fn put_alias(tx: &Tx<'_>, account: &str, alias: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO account_aliases (account, alias) VALUES (?1, ?2)
         ON CONFLICT (account) DO UPDATE SET alias = excluded.alias",
        params![account, alias],
    )?;
    Ok(())
}

/// Takes this alias away; whether the account had it.
pub fn delete_alias(tx: &Tx<'_>, account: &str, alias: &str) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "DELETE FROM account_aliases WHERE account = ?1 AND alias = ?2",
        params![account, alias],
    )?;
    Ok(changed > 0)
}

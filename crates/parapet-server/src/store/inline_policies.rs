//! Policies that belong to one user, group or role.

use rusqlite::{Connection, OptionalExtension, params};

use super::holder::Holder;
use super::{StoreError, Tx};

/// Writes a policy of somebody, over the one of the same name.
pub fn put(
    tx: &Tx<'_>,
    account: &str,
    holder: &Holder,
    name: &str,
    document: &str,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO inline_policies (account, holder_kind, holder, name, document)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (account, holder_kind, holder, name) DO UPDATE SET document = excluded.document",
        params![account, holder.kind.as_str(), holder.id, name, document],
    )?;
    Ok(())
}

/// Removes a policy of somebody; whether there was one of this name.
pub fn delete(tx: &Tx<'_>, account: &str, holder: &Holder, name: &str) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "DELETE FROM inline_policies
         WHERE account = ?1 AND holder_kind = ?2 AND holder = ?3 AND name = ?4",
        params![account, holder.kind.as_str(), holder.id, name],
    )?;
    Ok(changed > 0)
}

/// The document of somebody's policy of this name.
pub fn get(
    connection: &Connection,
    account: &str,
    holder: &Holder,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let document = connection
        .prepare_cached(
            "SELECT document FROM inline_policies
             WHERE account = ?1 AND holder_kind = ?2 AND holder = ?3 AND name = ?4",
        )?
        .query_row(
            params![account, holder.kind.as_str(), holder.id, name],
            |row| row.get(0),
        )
        .optional()?;
    Ok(document)
}

/// All policies of somebody, name and document, in the order of their names.
pub fn of(
    connection: &Connection,
    account: &str,
    holder: &Holder,
) -> Result<Vec<(String, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT name, document FROM inline_policies
         WHERE account = ?1 AND holder_kind = ?2 AND holder = ?3 ORDER BY name",
    )?;
    let rows = statement.query_map(params![account, holder.kind.as_str(), holder.id], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

//! Tags of devices, packages and application instances.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{Scope, StoreError, Tx};

/// The tags of a resource (`device/<id>`, `package/<id>`, `applicationInstance/<id>`).
pub fn get(
    connection: &Connection,
    scope: &Scope,
    resource: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value FROM tags WHERE account = ?1 AND region = ?2 AND resource = ?3",
    )?;
    let rows = statement.query_map(params![scope.account, scope.region, resource], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds tags, or overwrites those with the same keys.
pub fn put(
    tx: &Tx<'_>,
    scope: &Scope,
    resource: &str,
    tags: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "INSERT INTO tags (account, region, resource, key, value) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (account, region, resource, key) DO UPDATE SET value = excluded.value",
    )?;
    for (key, value) in tags {
        statement.execute(params![scope.account, scope.region, resource, key, value])?;
    }
    Ok(())
}

/// Removes the tags with these keys; others and missing ones are left.
pub fn remove(
    tx: &Tx<'_>,
    scope: &Scope,
    resource: &str,
    keys: &[String],
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM tags WHERE account = ?1 AND region = ?2 AND resource = ?3 AND key = ?4",
    )?;
    for key in keys {
        statement.execute(params![scope.account, scope.region, resource, key])?;
    }
    Ok(())
}

/// Removes all tags of a resource that is going away.
pub fn forget(tx: &Tx<'_>, scope: &Scope, resource: &str) -> Result<(), StoreError> {
    tx.prepare_cached("DELETE FROM tags WHERE account = ?1 AND region = ?2 AND resource = ?3")?
        .execute(params![scope.account, scope.region, resource])?;
    Ok(())
}

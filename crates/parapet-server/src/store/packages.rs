//! Packages: a name and an ID; what is in them stands in [`super::versions`].

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, Page, Position, Scope, StoreError, Tx};

/// One package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// `package-…`.
    pub id: String,
    /// Free in the account and region.
    pub name: String,
    /// When it was made.
    pub created: Micros,
}

/// How a request names a package.
#[derive(Debug, Clone, Copy)]
pub enum PackageKey<'a> {
    /// By ID.
    Id(&'a str),
    /// By the alias `packageName/<name>`.
    Name(&'a str),
}

fn read(row: &Row<'_>) -> rusqlite::Result<Package> {
    Ok(Package {
        id: row.get(0)?,
        name: row.get(1)?,
        created: row.get(2)?,
    })
}

/// Adds a package. The caller has looked that ID and name are free.
pub fn insert(tx: &Tx<'_>, scope: &Scope, package: &Package) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO packages (account, region, id, name, created_us) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        package.id,
        package.name,
        package.created
    ])?;
    Ok(())
}

/// The package that `key` names.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    key: PackageKey<'_>,
) -> Result<Option<Package>, StoreError> {
    let (sql, value) = match key {
        PackageKey::Id(id) => (
            "SELECT id, name, created_us FROM packages
             WHERE account = ?1 AND region = ?2 AND id = ?3",
            id,
        ),
        PackageKey::Name(name) => (
            "SELECT id, name, created_us FROM packages
             WHERE account = ?1 AND region = ?2 AND name = ?3",
            name,
        ),
    };
    let package = connection
        .prepare_cached(sql)?
        .query_row(params![scope.account, scope.region, value], read)
        .optional()?;
    Ok(package)
}

/// Packages older than `after`, newest first.
pub fn list(
    connection: &Connection,
    scope: &Scope,
    after: &Position,
    limit: usize,
) -> Result<Page<Package>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, created_us FROM packages
         WHERE account = ?1 AND region = ?2 AND (created_us, id) < (?3, ?4)
         ORDER BY created_us DESC, id DESC LIMIT ?5",
    )?;
    let rows = statement
        .query_map(
            params![
                scope.account,
                scope.region,
                after.created_us,
                after.id,
                super::page::one_more(limit)
            ],
            read,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(rows, limit, |package| {
        Position::of(package.created, &package.id)
    }))
}

/// Removes a package with its versions and nodes; `false` when there is none.
pub fn delete(tx: &Tx<'_>, scope: &Scope, id: &str) -> Result<bool, StoreError> {
    let deleted = tx
        .prepare_cached("DELETE FROM packages WHERE account = ?1 AND region = ?2 AND id = ?3")?
        .execute(params![scope.account, scope.region, id])?;
    Ok(deleted == 1)
}

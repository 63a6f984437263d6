//! Nodes: the interfaces of registered package versions.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::versions::PatchKey;
use super::{Micros, Page, Position, Scope, StoreError, Tx};

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `<package>-<version>-<patch[0:8]>-<interface>`.
    pub id: String,
    /// The patch it belongs to.
    pub key: PatchKey,
    /// Name of that package.
    pub package_name: String,
    /// Name of the interface.
    pub name: String,
    /// `NodeCategory` of the API.
    pub category: String,
    /// Free text.
    pub description: String,
    /// The asset that implements it.
    pub asset: Option<String>,
    /// When its patch was registered.
    pub created: Micros,
}

/// Which nodes a list shows; `None` stands for all.
#[derive(Debug, Clone, Default)]
pub struct NodeFilter {
    /// Exactly this category.
    pub category: Option<String>,
    /// Exactly this package.
    pub package_name: Option<String>,
    /// Exactly this version.
    pub version: Option<String>,
    /// Exactly this patch; without it only the patch marked latest is shown.
    pub patch: Option<String>,
}

impl NodeFilter {
    /// Whether a node that is in no table passes; such a node has one patch only.
    #[must_use]
    pub fn admits(&self, category: &str, package_name: &str, version: &str, patch: &str) -> bool {
        let fits =
            |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is);
        fits(&self.category, category)
            && fits(&self.package_name, package_name)
            && fits(&self.version, version)
            && fits(&self.patch, patch)
    }
}

const COLUMNS: &str = "n.id, n.package, n.version, n.patch, n.package_name, n.name, n.category, \
                       n.description, n.asset, n.created_us";

fn read(row: &Row<'_>) -> rusqlite::Result<Node> {
    Ok(Node {
        id: row.get(0)?,
        key: PatchKey {
            package: row.get(1)?,
            version: row.get(2)?,
            patch: row.get(3)?,
        },
        package_name: row.get(4)?,
        name: row.get(5)?,
        category: row.get(6)?,
        description: row.get(7)?,
        asset: row.get(8)?,
        created: row.get(9)?,
    })
}

/// Adds a node of a patch that is there.
pub fn insert(tx: &Tx<'_>, scope: &Scope, node: &Node) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO nodes (account, region, id, package, version, patch, package_name, name,
            category, description, asset, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        node.id,
        node.key.package,
        node.key.version,
        node.key.patch,
        node.package_name,
        node.name,
        node.category,
        node.description,
        node.asset,
        node.created,
    ])?;
    Ok(())
}

/// The node with this ID; the youngest if two patches share their first eight digits.
pub fn get(connection: &Connection, scope: &Scope, id: &str) -> Result<Option<Node>, StoreError> {
    let node = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM nodes n WHERE account = ?1 AND region = ?2 AND id = ?3
             ORDER BY created_us DESC LIMIT 1"
        ))?
        .query_row(params![scope.account, scope.region, id], read)
        .optional()?;
    Ok(node)
}

/// Nodes older than `after`, newest first, that pass `filter`.
pub fn list(
    connection: &Connection,
    scope: &Scope,
    filter: &NodeFilter,
    after: &Position,
    limit: usize,
) -> Result<Page<Node>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM nodes n
         JOIN package_versions v USING (account, region, package, version, patch)
         WHERE n.account = ?1 AND n.region = ?2 AND (n.created_us, n.id) < (?3, ?4)
           AND (?5 IS NULL OR n.category = ?5)
           AND (?6 IS NULL OR n.package_name = ?6)
           AND (?7 IS NULL OR n.version = ?7)
           AND (n.patch = ?8 OR (?8 IS NULL AND v.is_latest = 1))
         ORDER BY n.created_us DESC, n.id DESC LIMIT ?9"
    ))?;
    let rows = statement
        .query_map(
            params![
                scope.account,
                scope.region,
                after.created_us,
                after.id,
                filter.category,
                filter.package_name,
                filter.version,
                filter.patch,
                super::page::one_more(limit),
            ],
            read,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(rows, limit, |node| {
        Position::of(node.created, &node.id)
    }))
}

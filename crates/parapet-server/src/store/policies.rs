//! Managed policies of the account and their versions. Those that AWS owns are not stored.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, StoreError, Tx};

/// A managed policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedPolicy {
    /// `ANPA…`.
    pub id: String,
    /// `arn:aws:iam::<account>:policy<path><name>`.
    pub arn: String,
    /// Unique in the account, whatever the case of its letters.
    pub name: String,
    /// `/` or `/…/`.
    pub path: String,
    /// For people.
    pub description: Option<String>,
    /// The version that speaks.
    pub default_version: u32,
    /// The highest number given so far.
    pub last_version: u32,
    /// When it was made.
    pub created: Micros,
    /// When a version was last made or chosen.
    pub updated: Micros,
}

/// A version of a managed policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVersion {
    /// From 1; the API writes `v1`.
    pub version: u32,
    /// The document, byte for byte.
    pub document: String,
    /// When it was made.
    pub created: Micros,
}

const COLUMNS: &str =
    "id, arn, name, path, description, default_version, last_version, created_us, updated_us";

fn read(row: &Row<'_>) -> rusqlite::Result<ManagedPolicy> {
    Ok(ManagedPolicy {
        id: row.get(0)?,
        arn: row.get(1)?,
        name: row.get(2)?,
        path: row.get(3)?,
        description: row.get(4)?,
        default_version: row.get(5)?,
        last_version: row.get(6)?,
        created: row.get(7)?,
        updated: row.get(8)?,
    })
}

fn read_version(row: &Row<'_>) -> rusqlite::Result<PolicyVersion> {
    Ok(PolicyVersion {
        version: row.get(0)?,
        document: row.get(1)?,
        created: row.get(2)?,
    })
}

/// Adds a policy without any version yet.
pub fn insert(tx: &Tx<'_>, account: &str, policy: &ManagedPolicy) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO policies (account, id, arn, name, path, description, default_version,
                               last_version, created_us, updated_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            account,
            policy.id,
            policy.arn,
            policy.name,
            policy.path,
            policy.description,
            policy.default_version,
            policy.last_version,
            policy.created,
            policy.updated
        ],
    )?;
    Ok(())
}

/// Writes which version speaks, which number was given last, and when.
pub fn update(tx: &Tx<'_>, account: &str, policy: &ManagedPolicy) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE policies SET default_version = ?3, last_version = ?4, updated_us = ?5
         WHERE account = ?1 AND id = ?2",
        params![
            account,
            policy.id,
            policy.default_version,
            policy.last_version,
            policy.updated
        ],
    )?;
    Ok(())
}

/// Removes a policy and its versions.
pub fn delete(tx: &Tx<'_>, account: &str, id: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM policies WHERE account = ?1 AND id = ?2",
        [account, id],
    )?;
    Ok(())
}

/// The policy with this ARN.
pub fn by_arn(
    connection: &Connection,
    account: &str,
    arn: &str,
) -> Result<Option<ManagedPolicy>, StoreError> {
    let policy = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM policies WHERE account = ?1 AND arn = ?2"
        ))?
        .query_row([account, arn], read)
        .optional()?;
    Ok(policy)
}

/// Whether a policy has this name, letters of either case being the same.
pub fn is_taken(connection: &Connection, account: &str, name: &str) -> Result<bool, StoreError> {
    let taken = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM policies WHERE account = ?1 AND name = ?2 COLLATE NOCASE)",
        )?
        .query_row([account, name], |row| row.get(0))?;
    Ok(taken)
}

/// All policies in the order of their names; their number is bounded by a quota.
pub fn all(connection: &Connection, account: &str) -> Result<Vec<ManagedPolicy>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM policies WHERE account = ?1 ORDER BY name"
    ))?;
    let rows = statement.query_map([account], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many policies there are.
pub fn count(connection: &Connection, account: &str) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM policies WHERE account = ?1")?
        .query_row([account], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Adds a version to a policy.
pub fn insert_version(
    tx: &Tx<'_>,
    account: &str,
    policy: &str,
    version: &PolicyVersion,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO policy_versions (account, policy, version, document, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            account,
            policy,
            version.version,
            version.document,
            version.created
        ],
    )?;
    Ok(())
}

/// One version of a policy.
pub fn version(
    connection: &Connection,
    account: &str,
    policy: &str,
    version: u32,
) -> Result<Option<PolicyVersion>, StoreError> {
    let version = connection
        .prepare_cached(
            "SELECT version, document, created_us FROM policy_versions
             WHERE account = ?1 AND policy = ?2 AND version = ?3",
        )?
        .query_row(params![account, policy, version], read_version)
        .optional()?;
    Ok(version)
}

/// All versions of a policy, the newest first: there are five at most.
pub fn versions(
    connection: &Connection,
    account: &str,
    policy: &str,
) -> Result<Vec<PolicyVersion>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT version, document, created_us FROM policy_versions
         WHERE account = ?1 AND policy = ?2 ORDER BY version DESC",
    )?;
    let rows = statement.query_map([account, policy], read_version)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes a version of a policy.
pub fn delete_version(
    tx: &Tx<'_>,
    account: &str,
    policy: &str,
    version: u32,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM policy_versions WHERE account = ?1 AND policy = ?2 AND version = ?3",
        params![account, policy, version],
    )?;
    Ok(())
}

/// The document that speaks for the policy with this ARN.
pub fn document(
    connection: &Connection,
    account: &str,
    arn: &str,
) -> Result<Option<String>, StoreError> {
    let document = connection
        .prepare_cached(
            "SELECT v.document FROM policies p JOIN policy_versions v
                ON v.account = p.account AND v.policy = p.id AND v.version = p.default_version
             WHERE p.account = ?1 AND p.arn = ?2",
        )?
        .query_row([account, arn], |row| row.get(0))
        .optional()?;
    Ok(document)
}

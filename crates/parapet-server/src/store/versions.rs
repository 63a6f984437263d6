//! Registered package versions (patches) with their pinned assets.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, Scope, StoreError, Tx};

/// Names one patch of one version of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchKey {
    /// `package-…`.
    pub package: String,
    /// `major.minor`.
    pub version: String,
    /// SHA-256 of package.json.
    pub patch: String,
}

/// One patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageVersion {
    /// Its name.
    pub key: PatchKey,
    /// How its registration went.
    pub status: VersionStatus,
    /// The same for a person.
    pub status_description: String,
    /// Whether graphs without a patch get this one.
    pub is_latest: bool,
    /// When registration was asked for.
    pub registered: Micros,
    /// package.json.
    pub manifest: String,
}

/// `PackageVersionStatus` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionStatus {
    /// Being checked.
    Pending,
    /// Usable.
    Completed,
    /// Not usable; the description says why.
    Failed,
}

impl VersionStatus {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "REGISTER_PENDING",
            Self::Completed => "REGISTER_COMPLETED",
            Self::Failed => "FAILED",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "REGISTER_PENDING" => Ok(Self::Pending),
            "REGISTER_COMPLETED" => Ok(Self::Completed),
            "FAILED" => Ok(Self::Failed),
            other => Err(StoreError::unknown("package version status", other)),
        }
    }
}

/// An asset as it was at registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedAsset {
    /// Name in package.json.
    pub asset: String,
    /// Content of the archive.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// descriptor.json, if the asset has one.
    pub descriptor: Option<String>,
}

const COLUMNS: &str = "package, version, patch, status, status_description, is_latest, \
                       registered_us, manifest";

fn read(row: &Row<'_>) -> Result<PackageVersion, StoreError> {
    Ok(PackageVersion {
        key: PatchKey {
            package: row.get(0)?,
            version: row.get(1)?,
            patch: row.get(2)?,
        },
        status: VersionStatus::parse(&row.get::<_, String>(3)?)?,
        status_description: row.get(4)?,
        is_latest: row.get(5)?,
        registered: row.get(6)?,
        manifest: row.get(7)?,
    })
}

/// Writes a patch, in place of what a failed registration left under the same name.
pub fn put(tx: &Tx<'_>, scope: &Scope, version: &PackageVersion) -> Result<(), StoreError> {
    delete(tx, scope, &version.key)?;
    if version.is_latest {
        clear_latest(tx, scope, &version.key.package, &version.key.version)?;
    }
    tx.prepare_cached(
        "INSERT INTO package_versions (account, region, package, version, patch, status,
            status_description, is_latest, registered_us, manifest)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        version.key.package,
        version.key.version,
        version.key.patch,
        version.status.as_str(),
        version.status_description,
        version.is_latest,
        version.registered,
        version.manifest,
    ])?;
    Ok(())
}

/// Pins an asset of a patch.
pub fn pin(
    tx: &Tx<'_>,
    scope: &Scope,
    key: &PatchKey,
    asset: &PinnedAsset,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO package_assets (account, region, package, version, patch, asset, sha256,
            bytes, descriptor)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        key.package,
        key.version,
        key.patch,
        asset.asset,
        asset.sha256,
        i64::try_from(asset.bytes).unwrap_or(i64::MAX),
        asset.descriptor,
    ])?;
    Ok(())
}

/// The pinned assets of a patch, by name.
pub fn pins(
    connection: &Connection,
    scope: &Scope,
    key: &PatchKey,
) -> Result<Vec<PinnedAsset>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT asset, sha256, bytes, descriptor FROM package_assets
         WHERE account = ?1 AND region = ?2 AND package = ?3 AND version = ?4 AND patch = ?5
         ORDER BY asset",
    )?;
    let rows = statement.query_map(
        params![
            scope.account,
            scope.region,
            key.package,
            key.version,
            key.patch
        ],
        |row| {
            Ok(PinnedAsset {
                asset: row.get(0)?,
                sha256: row.get(1)?,
                bytes: row.get::<_, i64>(2)?.unsigned_abs(),
                descriptor: row.get(3)?,
            })
        },
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One patch.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    key: &PatchKey,
) -> Result<Option<PackageVersion>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM package_versions
             WHERE account = ?1 AND region = ?2 AND package = ?3 AND version = ?4 AND patch = ?5"
        ))?
        .query_row(
            params![
                scope.account,
                scope.region,
                key.package,
                key.version,
                key.patch
            ],
            |row| Ok(read(row)),
        )
        .optional()?
        .transpose()
}

/// The patch of a version that is marked latest.
pub fn latest(
    connection: &Connection,
    scope: &Scope,
    package: &str,
    version: &str,
) -> Result<Option<PackageVersion>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM package_versions
             WHERE account = ?1 AND region = ?2 AND package = ?3 AND version = ?4 AND is_latest = 1"
        ))?
        .query_row(
            params![scope.account, scope.region, package, version],
            |row| Ok(read(row)),
        )
        .optional()?
        .transpose()
}

/// All patches of a package, the most recently registered first.
pub fn of_package(
    connection: &Connection,
    scope: &Scope,
    package: &str,
) -> Result<Vec<PackageVersion>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM package_versions
         WHERE account = ?1 AND region = ?2 AND package = ?3
         ORDER BY registered_us DESC, version DESC, patch DESC"
    ))?;
    statement
        .query_and_then(params![scope.account, scope.region, package], read)?
        .collect()
}

/// Marks a patch latest, in place of the one that was; `false` when there is no such patch.
pub fn mark_latest(tx: &Tx<'_>, scope: &Scope, key: &PatchKey) -> Result<bool, StoreError> {
    clear_latest(tx, scope, &key.package, &key.version)?;
    let changed = tx
        .prepare_cached(
            "UPDATE package_versions SET is_latest = 1
             WHERE account = ?1 AND region = ?2 AND package = ?3 AND version = ?4 AND patch = ?5",
        )?
        .execute(params![
            scope.account,
            scope.region,
            key.package,
            key.version,
            key.patch
        ])?;
    Ok(changed == 1)
}

fn clear_latest(
    tx: &Tx<'_>,
    scope: &Scope,
    package: &str,
    version: &str,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE package_versions SET is_latest = 0
         WHERE account = ?1 AND region = ?2 AND package = ?3 AND version = ?4 AND is_latest = 1",
    )?
    .execute(params![scope.account, scope.region, package, version])?;
    Ok(())
}

/// Removes a patch with its nodes and pins; `false` when there is none.
pub fn delete(tx: &Tx<'_>, scope: &Scope, key: &PatchKey) -> Result<bool, StoreError> {
    let deleted = tx
        .prepare_cached(
            "DELETE FROM package_versions
             WHERE account = ?1 AND region = ?2 AND package = ?3 AND version = ?4 AND patch = ?5",
        )?
        .execute(params![
            scope.account,
            scope.region,
            key.package,
            key.version,
            key.patch
        ])?;
    Ok(deleted == 1)
}

//! Cameras: where the stream of a camera package comes from, and which secret opens it.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, Scope, StoreError, Tx};

/// Settings of one camera package version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Camera {
    /// Name of the package: what applications see as `stream_id`.
    pub package_name: String,
    /// Version of the package.
    pub version: String,
    /// `rtsp://…` without credentials.
    pub url: String,
    /// The credentials, if it has any.
    pub secret: Option<SecretVersion>,
    /// Last change.
    pub updated: Micros,
}

/// Names one value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// `secret-…`.
    pub id: String,
    /// Counts its values from 1.
    pub version: u64,
}

const COLUMNS: &str = "package_name, version, url, secret, secret_version, updated_us";

fn read(row: &Row<'_>) -> rusqlite::Result<Camera> {
    let id: Option<String> = row.get(3)?;
    let version: Option<i64> = row.get(4)?;
    Ok(Camera {
        package_name: row.get(0)?,
        version: row.get(1)?,
        url: row.get(2)?,
        secret: id.zip(version).map(|(id, version)| SecretVersion {
            id,
            version: version.unsigned_abs(),
        }),
        updated: row.get(5)?,
    })
}

/// Writes a camera's settings, in place of those it had.
pub fn put(tx: &Tx<'_>, scope: &Scope, camera: &Camera) -> Result<(), StoreError> {
    let secret = camera.secret.as_ref();
    tx.prepare_cached(
        "INSERT INTO cameras (account, region, package_name, version, url, secret, secret_version,
            updated_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (account, region, package_name, version) DO UPDATE SET url = excluded.url,
            secret = excluded.secret, secret_version = excluded.secret_version,
            updated_us = excluded.updated_us",
    )?
    .execute(params![
        scope.account,
        scope.region,
        camera.package_name,
        camera.version,
        camera.url,
        secret.map(|s| s.id.as_str()),
        secret.map(|s| i64::try_from(s.version).unwrap_or(i64::MAX)),
        camera.updated,
    ])?;
    Ok(())
}

/// The camera of a package version.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    package_name: &str,
    version: &str,
) -> Result<Option<Camera>, StoreError> {
    let camera = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM cameras
             WHERE account = ?1 AND region = ?2 AND package_name = ?3 AND version = ?4"
        ))?
        .query_row(
            params![scope.account, scope.region, package_name, version],
            read,
        )
        .optional()?;
    Ok(camera)
}

/// All versions of a camera package.
pub fn of_package(
    connection: &Connection,
    scope: &Scope,
    package_name: &str,
) -> Result<Vec<Camera>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM cameras
         WHERE account = ?1 AND region = ?2 AND package_name = ?3 ORDER BY version"
    ))?;
    let rows = statement.query_map(params![scope.account, scope.region, package_name], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes the settings that no package and no instance on a device needs any more, and the
/// secrets that no camera and no waiting job names.
pub fn forget_unused(tx: &Tx<'_>, scope: &Scope) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM cameras AS c WHERE account = ?1 AND region = ?2
           AND NOT EXISTS (
             SELECT 1 FROM packages p
             JOIN package_versions v ON v.account = p.account AND v.region = p.region
                AND v.package = p.id
             WHERE p.account = c.account AND p.region = c.region AND p.name = c.package_name
               AND v.version = c.version)
           AND NOT EXISTS (
             SELECT 1 FROM instance_nodes n
             JOIN instances i ON i.account = n.account AND i.region = n.region
                AND i.id = n.instance
             WHERE n.account = c.account AND n.region = c.region
               AND n.package_name = c.package_name AND n.version = c.version
               AND i.removed_us IS NULL)",
    )?
    .execute(params![scope.account, scope.region])?;
    tx.prepare_cached(
        "DELETE FROM secrets AS s WHERE account = ?1 AND region = ?2
           AND NOT EXISTS (
             SELECT 1 FROM cameras c
             WHERE c.account = s.account AND c.region = s.region AND c.secret = s.id)
           AND NOT EXISTS (
             SELECT 1 FROM template_jobs j
             WHERE j.account = s.account AND j.region = s.region AND j.secret = s.id)",
    )?
    .execute(params![scope.account, scope.region])?;
    Ok(())
}

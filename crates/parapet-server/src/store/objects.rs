//! Objects of the S3 front: a key names a content; contents are blobs beside the database.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, Scope, StoreError, Tx};

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The key in its bucket.
    pub key: String,
    /// Name of the content, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Entity tag without quotes: MD5, or MD5 of MD5s and the number of parts.
    pub etag: String,
    /// As it was given.
    pub content_type: Option<String>,
    /// When it was put.
    pub modified: Micros,
}

const COLUMNS: &str = "key, sha256, bytes, etag, content_type, modified_us";

fn read(row: &Row<'_>) -> rusqlite::Result<Object> {
    Ok(Object {
        key: row.get(0)?,
        sha256: row.get(1)?,
        bytes: row.get::<_, i64>(2)?.unsigned_abs(),
        etag: row.get(3)?,
        content_type: row.get(4)?,
        modified: row.get(5)?,
    })
}

/// The object of this key.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    bucket: &str,
    key: &str,
) -> Result<Option<Object>, StoreError> {
    let object = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM objects
             WHERE account = ?1 AND region = ?2 AND bucket = ?3 AND key = ?4"
        ))?
        .query_row(params![scope.account, scope.region, bucket, key], read)
        .optional()?;
    Ok(object)
}

/// Puts an object; one that stood there is replaced.
pub fn put(tx: &Tx<'_>, scope: &Scope, bucket: &str, object: &Object) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO objects
            (account, region, bucket, key, sha256, bytes, etag, content_type, modified_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        bucket,
        object.key,
        object.sha256,
        i64::try_from(object.bytes).unwrap_or(i64::MAX),
        object.etag,
        object.content_type,
        object.modified,
    ])?;
    Ok(())
}

/// Removes a key; one that is not there is no error, as S3 has it.
pub fn delete(tx: &Tx<'_>, scope: &Scope, bucket: &str, key: &str) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM objects WHERE account = ?1 AND region = ?2 AND bucket = ?3 AND key = ?4",
    )?
    .execute(params![scope.account, scope.region, bucket, key])?;
    Ok(())
}

/// At most `limit` objects after `after` whose key begins with `prefix`, by key in byte order.
pub fn list(
    connection: &Connection,
    scope: &Scope,
    bucket: &str,
    prefix: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<Object>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM objects
         WHERE account = ?1 AND region = ?2 AND bucket = ?3 AND key > ?4
           AND substr(key, 1, length(?5)) = ?5
         ORDER BY key LIMIT ?6"
    ))?;
    let rows = statement
        .query_map(
            params![
                scope.account,
                scope.region,
                bucket,
                after,
                prefix,
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            read,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}

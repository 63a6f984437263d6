//! Multipart uploads that are not complete yet. The parts' bytes lie in files beside the database.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, Scope, StoreError, Tx};

/// An upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its ID.
    pub id: String,
    /// Bucket it goes to.
    pub bucket: String,
    /// Key it will have.
    pub key: String,
    /// As it was given.
    pub content_type: Option<String>,
    /// When it was begun.
    pub created: Micros,
}

/// A part that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// Name of its file.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its MD5, which is its entity tag.
    pub md5: String,
    /// When it came.
    pub modified: Micros,
}

/// Begins an upload.
pub fn begin(tx: &Tx<'_>, scope: &Scope, upload: &Upload) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO uploads (account, region, id, bucket, key, content_type, created_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        upload.id,
        upload.bucket,
        upload.key,
        upload.content_type,
        upload.created,
    ])?;
    Ok(())
}

/// The upload with this ID.
pub fn get(connection: &Connection, scope: &Scope, id: &str) -> Result<Option<Upload>, StoreError> {
    let upload = connection
        .prepare_cached(
            "SELECT id, bucket, key, content_type, created_us FROM uploads
             WHERE account = ?1 AND region = ?2 AND id = ?3",
        )?
        .query_row(params![scope.account, scope.region, id], |row| {
            Ok(Upload {
                id: row.get(0)?,
                bucket: row.get(1)?,
                key: row.get(2)?,
                content_type: row.get(3)?,
                created: row.get(4)?,
            })
        })
        .optional()?;
    Ok(upload)
}

/// How many uploads are open.
pub fn count(connection: &Connection, scope: &Scope) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM uploads WHERE account = ?1 AND region = ?2")?
        .query_row(params![scope.account, scope.region], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Keeps a part; the file of the part of this number before, if there was one.
pub fn put_part(
    tx: &Tx<'_>,
    scope: &Scope,
    upload: &str,
    part: &Part,
) -> Result<Option<String>, StoreError> {
    let before = tx
        .prepare_cached(
            "SELECT file FROM upload_parts
             WHERE account = ?1 AND region = ?2 AND upload = ?3 AND number = ?4",
        )?
        .query_row(
            params![scope.account, scope.region, upload, part.number],
            |row| row.get(0),
        )
        .optional()?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO upload_parts
            (account, region, upload, number, file, bytes, md5, modified_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        upload,
        part.number,
        part.file,
        i64::try_from(part.bytes).unwrap_or(i64::MAX),
        part.md5,
        part.modified,
    ])?;
    Ok(before)
}

/// All parts of an upload, by number.
pub fn parts(
    connection: &Connection,
    scope: &Scope,
    upload: &str,
) -> Result<Vec<Part>, StoreError> {
    let read = |row: &Row<'_>| {
        Ok(Part {
            number: row.get(0)?,
            file: row.get(1)?,
            bytes: row.get::<_, i64>(2)?.unsigned_abs(),
            md5: row.get(3)?,
            modified: row.get(4)?,
        })
    };
    let mut statement = connection.prepare_cached(
        "SELECT number, file, bytes, md5, modified_us FROM upload_parts
         WHERE account = ?1 AND region = ?2 AND upload = ?3 ORDER BY number",
    )?;
    let rows = statement
        .query_map(params![scope.account, scope.region, upload], read)?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}

/// Ends an upload with its parts; `false` when there is none.
pub fn end(tx: &Tx<'_>, scope: &Scope, id: &str) -> Result<bool, StoreError> {
    let ended = tx
        .prepare_cached("DELETE FROM uploads WHERE account = ?1 AND region = ?2 AND id = ?3")?
        .execute(params![scope.account, scope.region, id])?;
    Ok(ended == 1)
}

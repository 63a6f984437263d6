//! The audit trail's rows: texts and their hashes, only ever added.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{Micros, StoreError, Tx};
use crate::audit::chain::{ChainHash, Head};

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place, from 1, without gaps.
    pub sequence: i64,
    /// When the call or event began; for finding, and covered by `record`.
    pub time: Micros,
    /// The JSON text that was hashed.
    pub record: String,
    /// The chain's hash up to and with it.
    pub hash: ChainHash,
}

/// Opens a database to read its trail, with or without a server that runs on it.
pub fn open_read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(connection)
}

/// The last record's place and hash; `None` in an empty trail.
pub fn head(connection: &Connection) -> Result<Option<Head>, StoreError> {
    let head = connection
        .prepare_cached("SELECT sequence, hash FROM audit_records ORDER BY sequence DESC LIMIT 1")?
        .query_row([], |row| {
            Ok(Head {
                sequence: row.get(0)?,
                hash: ChainHash(row.get(1)?),
            })
        })
        .optional()?;
    Ok(head)
}

/// Adds a record after `head`, which must be the trail's own in this transaction.
pub fn append(tx: &Tx<'_>, head: &Head, time: Micros, record: &str) -> Result<Head, StoreError> {
    let next = head.append(record);
    tx.prepare_cached(
        "INSERT INTO audit_records (sequence, time_us, record, hash) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![next.sequence, time, record, next.hash.0])?;
    Ok(next)
}

/// Whether the record at this place is there and contains `text`.
pub fn holds(connection: &Connection, sequence: i64, text: &str) -> Result<bool, StoreError> {
    let held = connection
        .prepare_cached("SELECT instr(record, ?2) > 0 FROM audit_records WHERE sequence = ?1")?
        .query_row(params![sequence, text], |row| row.get(0))
        .optional()?;
    Ok(held.unwrap_or(false))
}

/// Records from a place on, in order.
pub fn from(connection: &Connection, sequence: i64, limit: usize) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, time_us, record, hash FROM audit_records
         WHERE sequence >= ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let rows = statement.query_map(params![sequence, count(limit)], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Records before a place, the newest first.
pub fn before(
    connection: &Connection,
    sequence: i64,
    limit: usize,
) -> Result<Vec<Row>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, time_us, record, hash FROM audit_records
         WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2",
    )?;
    let rows = statement.query_map(params![sequence, count(limit)], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The numbers of the first and the last record of a time; `None` if there is none.
pub fn span(
    connection: &Connection,
    times: &std::ops::Range<Micros>,
) -> Result<Option<(i64, i64)>, StoreError> {
    let span = connection
        .prepare_cached(
            "SELECT min(sequence), max(sequence) FROM audit_records
             WHERE time_us >= ?1 AND time_us < ?2",
        )?
        .query_row(params![times.start, times.end], |row| {
            Ok(Option::zip(row.get(0)?, row.get(1)?))
        })?;
    Ok(span)
}

/// Number of the last checkpoint; 0 without one.
pub fn last_checkpoint(connection: &Connection) -> Result<i64, StoreError> {
    let last = connection
        .prepare_cached("SELECT coalesce(max(sequence), 0) FROM audit_checkpoints")?
        .query_row([], |row| row.get(0))?;
    Ok(last)
}

/// Adds a checkpoint.
pub fn insert_checkpoint(tx: &Tx<'_>, sequence: i64, line: &str) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO audit_checkpoints (sequence, checkpoint) VALUES (?1, ?2)")?
        .execute(params![sequence, line])?;
    Ok(())
}

/// Checkpoints after a place, in order.
pub fn checkpoints(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<(i64, String)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, checkpoint FROM audit_checkpoints
         WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after, count(limit)], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        sequence: row.get(0)?,
        time: row.get(1)?,
        record: row.get(2)?,
        hash: ChainHash(row.get(3)?),
    })
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

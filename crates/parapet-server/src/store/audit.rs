//! The audit trail's rows: texts and their hashes, only ever added.

use rusqlite::{Connection, OptionalExtension, params};

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

//! Desired documents: for each device the newest one, replaced by compare-and-swap.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Micros, Scope, StoreError, Tx};

/// A stored document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its generation.
    pub generation: u64,
    /// `parapet_device::DesiredDocument` as JSON.
    pub document_json: String,
}

/// The newest document of a device; `None` before the first.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    device: &str,
) -> Result<Option<Stored>, StoreError> {
    let stored = connection
        .prepare_cached(
            "SELECT generation, document_json FROM desired
             WHERE account = ?1 AND region = ?2 AND device = ?3",
        )?
        .query_row(params![scope.account, scope.region, device], |row| {
            Ok(Stored {
                generation: row.get::<_, i64>(0)?.unsigned_abs(),
                document_json: row.get(1)?,
            })
        })
        .optional()?;
    Ok(stored)
}

/// Puts `document` in the place of the document with generation `expected` (0: of none). `false`
/// when another one stands there by now; then nothing is changed.
pub fn replace(
    tx: &Tx<'_>,
    scope: &Scope,
    device: &str,
    expected: u64,
    document: &Stored,
    now: Micros,
) -> Result<bool, StoreError> {
    let generation = i64::try_from(document.generation).unwrap_or(i64::MAX);
    let changed = if expected == 0 {
        tx.prepare_cached(
            "INSERT INTO desired (account, region, device, generation, document_json, updated_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            scope.account,
            scope.region,
            device,
            generation,
            document.document_json,
            now
        ])?
    } else {
        tx.prepare_cached(
            "UPDATE desired SET generation = ?4, document_json = ?5, updated_us = ?6
             WHERE account = ?1 AND region = ?2 AND device = ?3
               AND generation = ?7 AND ?4 > generation",
        )?
        .execute(params![
            scope.account,
            scope.region,
            device,
            generation,
            document.document_json,
            now,
            i64::try_from(expected).unwrap_or(i64::MAX),
        ])?
    };
    Ok(changed == 1)
}

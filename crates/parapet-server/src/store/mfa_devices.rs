//! Second factors of users. Seeds come and go wrapped.

use parapet_auth::Label;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, StoreError, Tx};

/// A virtual device that shows one-time codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MfaDevice {
    /// `arn:aws:iam::<account>:mfa/<name>`.
    pub serial: String,
    /// The seed, wrapped.
    pub wrapped: Vec<u8>,
    /// Whose factor it is, and since when.
    pub enabled: Option<(String, Micros)>,
    /// The newest time step of which a code was accepted.
    pub last_step: Option<u64>,
    /// When it was made.
    pub created: Micros,
}

/// Where the seed of a device is sealed; what is sealed are its bytes, not their base32.
#[must_use]
pub fn seed_label<'a>(account: &'a str, serial: &'a str) -> Label<'a> {
    Label {
        table: "mfa_devices",
        account,
        id: serial,
        column: "wrapped",
        version: 1,
    }
}

const COLUMNS: &str = "serial, wrapped, user_id, enabled_us, last_step, created_us";

fn read(row: &Row<'_>) -> rusqlite::Result<MfaDevice> {
    let user: Option<String> = row.get(2)?;
    let since: Option<Micros> = row.get(3)?;
    let last_step: Option<i64> = row.get(4)?;
    Ok(MfaDevice {
        serial: row.get(0)?,
        wrapped: row.get(1)?,
        enabled: user.zip(since),
        last_step: last_step.map(i64::unsigned_abs),
        created: row.get(5)?,
    })
}

/// Adds a device that is nobody's yet.
pub fn insert(tx: &Tx<'_>, account: &str, device: &MfaDevice) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO mfa_devices (account, serial, wrapped, created_us) VALUES (?1, ?2, ?3, ?4)",
        params![account, device.serial, device.wrapped, device.created],
    )?;
    Ok(())
}

/// The device with this serial number.
pub fn get(
    connection: &Connection,
    account: &str,
    serial: &str,
) -> Result<Option<MfaDevice>, StoreError> {
    let device = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM mfa_devices WHERE account = ?1 AND serial = ?2"
        ))?
        .query_row([account, serial], read)
        .optional()?;
    Ok(device)
}

/// All devices in the order of their serial numbers; their number is bounded by a quota.
pub fn all(connection: &Connection, account: &str) -> Result<Vec<MfaDevice>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM mfa_devices WHERE account = ?1 ORDER BY serial"
    ))?;
    let rows = statement.query_map([account], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The devices of a user in the order of their serial numbers.
pub fn of_user(
    connection: &Connection,
    account: &str,
    user: &str,
) -> Result<Vec<MfaDevice>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM mfa_devices WHERE account = ?1 AND user_id = ?2 ORDER BY serial"
    ))?;
    let rows = statement.query_map([account, user], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes a device the factor of a user.
pub fn enable(
    tx: &Tx<'_>,
    account: &str,
    serial: &str,
    user: &str,
    now: Micros,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE mfa_devices SET user_id = ?3, enabled_us = ?4 WHERE account = ?1 AND serial = ?2",
        params![account, serial, user, now],
    )?;
    Ok(())
}

/// Makes a device nobody's.
pub fn disable(tx: &Tx<'_>, account: &str, serial: &str) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE mfa_devices SET user_id = NULL, enabled_us = NULL
         WHERE account = ?1 AND serial = ?2",
        [account, serial],
    )?;
    Ok(())
}

/// Remembers that a code of time step `step` was accepted; `false` if one of this step or of a
/// later one was before, in which case the code must be refused (RFC 6238 section 5.2).
pub fn accept_step(
    tx: &Tx<'_>,
    account: &str,
    serial: &str,
    step: u64,
) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "UPDATE mfa_devices SET last_step = ?3
         WHERE account = ?1 AND serial = ?2 AND (last_step IS NULL OR last_step < ?3)",
        params![account, serial, i64::try_from(step).unwrap_or(i64::MAX)],
    )?;
    Ok(changed > 0)
}

/// Removes a device.
pub fn delete(tx: &Tx<'_>, account: &str, serial: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM mfa_devices WHERE account = ?1 AND serial = ?2",
        [account, serial],
    )?;
    Ok(())
}

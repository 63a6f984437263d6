//! Claims and device certificates: who may enrol, and which certificates are good.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Micros, Scope, StoreError, Tx};

/// How many of a device's newest certificates are good: the one in use, and the one before it,
/// because the answer to a renewal may get lost.
const GOOD: i64 = 2;

/// A claim certificate that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRecord {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// The device it is for.
    pub device: String,
    /// Not good from then on, by the server's clock.
    pub expires: Micros,
}

/// A certificate of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCertificate {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// SHA-256 of the public key (SPKI), hexadecimal.
    pub key_sha256: String,
    /// ID of the authority that signed it.
    pub authority: String,
    /// End of validity.
    pub expires: Micros,
}

/// Notes that a claim was handed out; call it in the transaction that makes the device.
pub fn insert_claim(tx: &Tx<'_>, scope: &Scope, claim: &ClaimRecord) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO claims (account, region, serial, device, expires_us, used_us)
         VALUES (?1, ?2, ?3, ?4, ?5, NULL)",
        params![
            scope.account,
            scope.region,
            claim.serial,
            claim.device,
            claim.expires
        ],
    )?;
    Ok(())
}

/// Uses a claim up; `false` when it is unknown, used, or expired. In one statement, so that of two
/// devices with the same archive one loses.
pub fn use_claim(
    tx: &Tx<'_>,
    scope: &Scope,
    serial: &str,
    device: &str,
    now: Micros,
) -> Result<bool, StoreError> {
    let used = tx.execute(
        "UPDATE claims SET used_us = ?5
         WHERE account = ?1 AND region = ?2 AND serial = ?3 AND device = ?4
           AND used_us IS NULL AND expires_us > ?5",
        params![scope.account, scope.region, serial, device, now],
    )?;
    Ok(used == 1)
}

/// Adds the next certificate of a device and gives its number; `None` when the key is known
/// already: keys are made anew for each certificate.
///
/// One that was signed already for the same new key, while the device still shows `shown`, is
/// replaced and keeps its number: its answer was lost, and the device asks again.
pub fn insert_certificate(
    tx: &Tx<'_>,
    scope: &Scope,
    device: &str,
    certificate: &DeviceCertificate,
    shown: Option<&str>,
    now: Micros,
) -> Result<Option<u64>, StoreError> {
    let number = tx
        .query_row(
            "INSERT INTO device_certificates
                (account, region, device, number, serial, key_sha256, authority, expires_us,
                 created_us)
             SELECT ?1, ?2, ?3, 1 + coalesce(max(number), 0), ?4, ?5, ?6, ?7, ?8
             FROM device_certificates WHERE account = ?1 AND region = ?2 AND device = ?3
             ON CONFLICT (account, region, key_sha256) DO UPDATE
             SET serial = excluded.serial, authority = excluded.authority,
                 expires_us = excluded.expires_us, created_us = excluded.created_us
             WHERE device = excluded.device AND number = excluded.number - 1
               AND serial <> ?9
             RETURNING number",
            params![
                scope.account,
                scope.region,
                device,
                certificate.serial,
                certificate.key_sha256,
                certificate.authority,
                certificate.expires,
                now,
                shown,
            ],
            |row| row.get::<_, i64>(0),
        )
        .optional()?;
    Ok(number.map(i64::unsigned_abs))
}

/// The certificate with this serial number, if it is one of the device's good ones.
pub fn good(
    connection: &Connection,
    scope: &Scope,
    device: &str,
    serial: &str,
    now: Micros,
) -> Result<Option<DeviceCertificate>, StoreError> {
    let certificate = connection
        .prepare_cached(
            "SELECT serial, key_sha256, authority, expires_us FROM device_certificates
             WHERE account = ?1 AND region = ?2 AND device = ?3 AND serial = ?4
               AND expires_us > ?5
               AND number > (SELECT max(number) FROM device_certificates
                             WHERE account = ?1 AND region = ?2 AND device = ?3) - ?6",
        )?
        .query_row(
            params![scope.account, scope.region, device, serial, now, GOOD],
            |row| {
                Ok(DeviceCertificate {
                    serial: row.get(0)?,
                    key_sha256: row.get(1)?,
                    authority: row.get(2)?,
                    expires: row.get(3)?,
                })
            },
        )
        .optional()?;
    Ok(certificate)
}

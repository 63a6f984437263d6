//! Devices: the record of each appliance and its newest report.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, Page, Position, Scope, StoreError, Tx};

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `device-…`.
    pub id: String,
    /// Free in the account and region.
    pub name: String,
    /// As given; `None` when it was not.
    pub description: Option<String>,
    /// `NetworkingConfiguration` as JSON, as given.
    pub networking_json: Option<String>,
    /// `panorama_<name>_Thing_<8 hex>`.
    pub iot_thing: String,
    /// `ProvisioningStatus`.
    pub provisioning: Provisioning,
    /// When `ProvisionDevice` was called.
    pub created: Micros,
    /// Last change of the record by a person or by enrolment.
    pub updated: Micros,
    /// The newest report that differed from the one before in more than its metrics.
    pub reported_json: Option<String>,
    /// When that report came.
    pub reported: Option<Micros>,
}

/// `DeviceStatus` of the API, as far as a device reaches it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provisioning {
    /// The archive is issued.
    AwaitingProvisioning,
    /// The claim is used, the device has not reported yet.
    Pending,
    /// Registered.
    Succeeded,
    /// Set-up failed.
    Failed,
}

impl Provisioning {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingProvisioning => "AWAITING_PROVISIONING",
            Self::Pending => "PENDING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "AWAITING_PROVISIONING" => Ok(Self::AwaitingProvisioning),
            "PENDING" => Ok(Self::Pending),
            "SUCCEEDED" => Ok(Self::Succeeded),
            "FAILED" => Ok(Self::Failed),
            other => Err(StoreError::unknown("provisioning status", other)),
        }
    }
}

const COLUMNS: &str = "id, name, description, networking_json, iot_thing, provisioning, created_us, \
                       updated_us, reported_json, reported_us";

fn read(row: &Row<'_>) -> Result<Device, StoreError> {
    Ok(Device {
        id: row.get(0)?,
        name: row.get(1)?,
        description: row.get(2)?,
        networking_json: row.get(3)?,
        iot_thing: row.get(4)?,
        provisioning: Provisioning::parse(&row.get::<_, String>(5)?)?,
        created: row.get(6)?,
        updated: row.get(7)?,
        reported_json: row.get(8)?,
        reported: row.get(9)?,
    })
}

/// Adds a device. The caller has looked that ID and name are free.
pub fn insert(tx: &Tx<'_>, scope: &Scope, device: &Device) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO devices (account, region, id, name, description, networking_json, iot_thing,
            provisioning, created_us, updated_us, reported_json, reported_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        device.id,
        device.name,
        device.description,
        device.networking_json,
        device.iot_thing,
        device.provisioning.as_str(),
        device.created,
        device.updated,
        device.reported_json,
        device.reported,
    ])?;
    Ok(())
}

/// The device with this ID.
pub fn get(connection: &Connection, scope: &Scope, id: &str) -> Result<Option<Device>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM devices WHERE account = ?1 AND region = ?2 AND id = ?3"
        ))?
        .query_row(params![scope.account, scope.region, id], |row| {
            Ok(read(row))
        })
        .optional()?
        .transpose()
}

/// ID of the device with this name.
pub fn id_of_name(
    connection: &Connection,
    scope: &Scope,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let id = connection
        .prepare_cached("SELECT id FROM devices WHERE account = ?1 AND region = ?2 AND name = ?3")?
        .query_row(params![scope.account, scope.region, name], |row| row.get(0))
        .optional()?;
    Ok(id)
}

/// How many devices there are.
pub fn count(connection: &Connection, scope: &Scope) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM devices WHERE account = ?1 AND region = ?2")?
        .query_row(params![scope.account, scope.region], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Devices older than `after`, newest first, whose name begins with `prefix`.
pub fn list(
    connection: &Connection,
    scope: &Scope,
    prefix: &str,
    after: &Position,
    limit: usize,
) -> Result<Page<Device>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM devices
         WHERE account = ?1 AND region = ?2 AND (created_us, id) < (?3, ?4)
           AND substr(name, 1, length(?5)) = ?5
         ORDER BY created_us DESC, id DESC LIMIT ?6"
    ))?;
    let rows = statement
        .query_and_then(
            params![
                scope.account,
                scope.region,
                after.created_us,
                after.id,
                prefix,
                super::page::one_more(limit),
            ],
            read,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(rows, limit, |device| {
        Position::of(device.created, &device.id)
    }))
}

/// Sets the description; `false` when there is no such device.
pub fn describe(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &str,
    description: Option<&str>,
    now: Micros,
) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE devices SET description = ?4, updated_us = ?5
             WHERE account = ?1 AND region = ?2 AND id = ?3",
        )?
        .execute(params![scope.account, scope.region, id, description, now])?;
    Ok(changed == 1)
}

/// Sets the provisioning status; `false` when there is no such device.
pub fn set_provisioning(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &str,
    provisioning: Provisioning,
    now: Micros,
) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE devices SET provisioning = ?4, updated_us = ?5
             WHERE account = ?1 AND region = ?2 AND id = ?3",
        )?
        .execute(params![
            scope.account,
            scope.region,
            id,
            provisioning.as_str(),
            now
        ])?;
    Ok(changed == 1)
}

/// Keeps a report; `false` when there is no such device.
pub fn set_reported(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &str,
    reported_json: &str,
    now: Micros,
) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE devices SET reported_json = ?4, reported_us = ?5
             WHERE account = ?1 AND region = ?2 AND id = ?3",
        )?
        .execute(params![scope.account, scope.region, id, reported_json, now])?;
    Ok(changed == 1)
}

/// Removes a device with its desired document; `false` when there is no such device.
pub fn delete(tx: &Tx<'_>, scope: &Scope, id: &str) -> Result<bool, StoreError> {
    let deleted = tx
        .prepare_cached("DELETE FROM devices WHERE account = ?1 AND region = ?2 AND id = ?3")?
        .execute(params![scope.account, scope.region, id])?;
    Ok(deleted == 1)
}

/// All devices whose name begins with `prefix`, newest first: for orders that no index holds.
pub fn all(
    connection: &Connection,
    scope: &Scope,
    prefix: &str,
) -> Result<Vec<Device>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM devices
         WHERE account = ?1 AND region = ?2 AND substr(name, 1, length(?3)) = ?3
         ORDER BY created_us DESC, id DESC"
    ))?;
    statement
        .query_and_then(params![scope.account, scope.region, prefix], read)?
        .collect()
}

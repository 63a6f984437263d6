//! Application instances: what was asked for, and the effective graph it came to.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Micros, Page, Position, Scope, StoreError, Tx};

/// One application instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `applicationInstance-…`.
    pub id: String,
    /// As given; not unique.
    pub name: Option<String>,
    /// As given.
    pub description: Option<String>,
    /// The device that hosts it.
    pub device: String,
    /// That device's name at creation.
    pub device_name: String,
    /// As given.
    pub role_arn: Option<String>,
    /// `ApplicationInstanceIdToReplace`, as given.
    pub replaces: Option<String>,
    /// graph.json, byte for byte.
    pub manifest: String,
    /// The overrides, byte for byte.
    pub overrides: Option<String>,
    /// What the planner reads, as JSON.
    pub deployment_json: String,
    /// What is wanted.
    pub desired_state: DesiredState,
    /// Generation of the device's document in which this desired state first stood.
    pub generation: u64,
    /// First report that said it runs.
    pub deployed: Option<Micros>,
    /// First report without it after its removal was asked for.
    pub removed: Option<Micros>,
    /// When it was asked for.
    pub created: Micros,
    /// Last change.
    pub updated: Micros,
}

/// `DesiredState` of the API, as far as it can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DesiredState {
    /// It shall run.
    Running,
    /// It shall go.
    Removed,
}

impl DesiredState {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Removed => "REMOVED",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "RUNNING" => Ok(Self::Running),
            "REMOVED" => Ok(Self::Removed),
            other => Err(StoreError::unknown("desired state", other)),
        }
    }
}

/// A packaged node of an instance's effective graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceNode {
    /// Its name in the effective graph: `NodeInstanceId`.
    pub node: String,
    /// `NodeId`.
    pub node_id: String,
    /// Account of the package, or `panorama`.
    pub owner: String,
    /// Name of the package.
    pub package_name: String,
    /// Its version.
    pub version: String,
    /// Its pinned patch.
    pub patch: String,
    /// The interface.
    pub interface: String,
    /// `NodeCategory` of the API.
    pub category: String,
    /// Held back by a signal or by `launch: onSignal`.
    pub paused: bool,
}

/// A package version that an instance depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePackage {
    /// Account of the package, or `panorama`.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its pinned patch.
    pub patch: String,
}

const COLUMNS: &str = "id, name, description, device, device_name, role_arn, replaces, manifest, \
                       overrides, deployment_json, desired_state, generation, deployed_us, \
                       removed_us, created_us, updated_us";

fn read(row: &Row<'_>) -> Result<Instance, StoreError> {
    Ok(Instance {
        id: row.get(0)?,
        name: row.get(1)?,
        description: row.get(2)?,
        device: row.get(3)?,
        device_name: row.get(4)?,
        role_arn: row.get(5)?,
        replaces: row.get(6)?,
        manifest: row.get(7)?,
        overrides: row.get(8)?,
        deployment_json: row.get(9)?,
        desired_state: DesiredState::parse(&row.get::<_, String>(10)?)?,
        generation: row.get::<_, i64>(11)?.unsigned_abs(),
        deployed: row.get(12)?,
        removed: row.get(13)?,
        created: row.get(14)?,
        updated: row.get(15)?,
    })
}

/// Adds an instance with its nodes and packages, both in the order given.
pub fn insert(
    tx: &Tx<'_>,
    scope: &Scope,
    instance: &Instance,
    nodes: &[InstanceNode],
    packages: &[InstancePackage],
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO instances (account, region, id, name, description, device, device_name,
            role_arn, replaces, manifest, overrides, deployment_json, desired_state, generation,
            deployed_us, removed_us, created_us, updated_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?
    .execute(params![
        scope.account,
        scope.region,
        instance.id,
        instance.name,
        instance.description,
        instance.device,
        instance.device_name,
        instance.role_arn,
        instance.replaces,
        instance.manifest,
        instance.overrides,
        instance.deployment_json,
        instance.desired_state.as_str(),
        i64::try_from(instance.generation).unwrap_or(i64::MAX),
        instance.deployed,
        instance.removed,
        instance.created,
        instance.updated,
    ])?;
    let mut statement = tx.prepare_cached(
        "INSERT INTO instance_nodes (account, region, instance, position, node, node_id, owner,
            package_name, version, patch, interface, category, paused)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    for (position, node) in (0_i64..).zip(nodes) {
        statement.execute(params![
            scope.account,
            scope.region,
            instance.id,
            position,
            node.node,
            node.node_id,
            node.owner,
            node.package_name,
            node.version,
            node.patch,
            node.interface,
            node.category,
            node.paused,
        ])?;
    }
    let mut statement = tx.prepare_cached(
        "INSERT INTO instance_packages (account, region, instance, position, owner, name, version,
            patch)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for (position, package) in (0_i64..).zip(packages) {
        statement.execute(params![
            scope.account,
            scope.region,
            instance.id,
            position,
            package.owner,
            package.name,
            package.version,
            package.patch,
        ])?;
    }
    Ok(())
}

/// The instance with this ID, removed or not.
pub fn get(
    connection: &Connection,
    scope: &Scope,
    id: &str,
) -> Result<Option<Instance>, StoreError> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM instances WHERE account = ?1 AND region = ?2 AND id = ?3"
        ))?
        .query_row(params![scope.account, scope.region, id], |row| {
            Ok(read(row))
        })
        .optional()?
        .transpose()
}

/// Instances older than `after`, newest first, of one device or of all.
pub fn list(
    connection: &Connection,
    scope: &Scope,
    device: Option<&str>,
    after: &Position,
    limit: usize,
) -> Result<Page<Instance>, StoreError> {
    // Two statements, so that each is answered from its own index.
    let of_device = if device.is_some() {
        "AND device = ?6"
    } else {
        "AND ?6 IS NULL"
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM instances
         WHERE account = ?1 AND region = ?2 AND (created_us, id) < (?3, ?4) {of_device}
         ORDER BY created_us DESC, id DESC LIMIT ?5"
    ))?;
    let rows = statement
        .query_and_then(
            params![
                scope.account,
                scope.region,
                after.created_us,
                after.id,
                super::page::one_more(limit),
                device,
            ],
            read,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(rows, limit, |instance| {
        Position::of(instance.created, &instance.id)
    }))
}

/// The instances that a device holds or shall hold, oldest first.
pub fn held_by(
    connection: &Connection,
    scope: &Scope,
    device: &str,
) -> Result<Vec<Instance>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM instances
         WHERE account = ?1 AND region = ?2 AND device = ?3 AND removed_us IS NULL
         ORDER BY created_us, id"
    ))?;
    statement
        .query_and_then(params![scope.account, scope.region, device], read)?
        .collect()
}

/// How many instances any device holds or shall hold.
pub fn count_held(connection: &Connection, scope: &Scope) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM instances
             WHERE account = ?1 AND region = ?2 AND removed_us IS NULL",
        )?
        .query_row(params![scope.account, scope.region], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// How many instances were asked for on a device since `since`.
pub fn created_since(
    connection: &Connection,
    scope: &Scope,
    device: &str,
    since: Micros,
) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM instances
             WHERE account = ?1 AND region = ?2 AND device = ?3 AND created_us >= ?4",
        )?
        .query_row(params![scope.account, scope.region, device, since], |row| {
            row.get(0)
        })?;
    Ok(count.unsigned_abs())
}

/// The packaged nodes of an instance, in the order of its effective graph.
pub fn nodes(
    connection: &Connection,
    scope: &Scope,
    instance: &str,
) -> Result<Vec<InstanceNode>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT node, node_id, owner, package_name, version, patch, interface, category, paused
         FROM instance_nodes WHERE account = ?1 AND region = ?2 AND instance = ?3
         ORDER BY position",
    )?;
    let rows = statement.query_map(params![scope.account, scope.region, instance], |row| {
        Ok(InstanceNode {
            node: row.get(0)?,
            node_id: row.get(1)?,
            owner: row.get(2)?,
            package_name: row.get(3)?,
            version: row.get(4)?,
            patch: row.get(5)?,
            interface: row.get(6)?,
            category: row.get(7)?,
            paused: row.get(8)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The package versions of an instance, in the order of its documents.
pub fn packages(
    connection: &Connection,
    scope: &Scope,
    instance: &str,
) -> Result<Vec<InstancePackage>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT owner, name, version, patch FROM instance_packages
         WHERE account = ?1 AND region = ?2 AND instance = ?3 ORDER BY position",
    )?;
    let rows = statement.query_map(params![scope.account, scope.region, instance], |row| {
        Ok(InstancePackage {
            owner: row.get(0)?,
            name: row.get(1)?,
            version: row.get(2)?,
            patch: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Devices with an instance, not yet removed, that has a node of this package.
pub fn devices_with_package(
    connection: &Connection,
    scope: &Scope,
    package_name: &str,
) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT i.device FROM instance_nodes n
         JOIN instances i ON i.account = n.account AND i.region = n.region AND i.id = n.instance
         WHERE n.account = ?1 AND n.region = ?2 AND n.package_name = ?3 AND n.owner = ?1
           AND i.removed_us IS NULL
         ORDER BY i.device",
    )?;
    let rows = statement.query_map(params![scope.account, scope.region, package_name], |row| {
        row.get(0)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Holds a node back or lets it go; `false` when the instance has no such node.
pub fn set_paused(
    tx: &Tx<'_>,
    scope: &Scope,
    instance: &str,
    node: &str,
    paused: bool,
) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE instance_nodes SET paused = ?5
             WHERE account = ?1 AND region = ?2 AND instance = ?3 AND node = ?4",
        )?
        .execute(params![scope.account, scope.region, instance, node, paused])?;
    Ok(changed == 1)
}

/// Wants an instance removed; `false` when that is wanted already or there is none.
pub fn want_removed(tx: &Tx<'_>, scope: &Scope, id: &str, now: Micros) -> Result<bool, StoreError> {
    let changed = tx
        .prepare_cached(
            "UPDATE instances SET desired_state = 'REMOVED', updated_us = ?4
             WHERE account = ?1 AND region = ?2 AND id = ?3 AND desired_state = 'RUNNING'",
        )?
        .execute(params![scope.account, scope.region, id, now])?;
    Ok(changed == 1)
}

/// Notes the generation of the document that first says what is wanted of an instance.
pub fn set_generation(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &str,
    generation: u64,
) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE instances SET generation = ?4 WHERE account = ?1 AND region = ?2 AND id = ?3",
    )?
    .execute(params![
        scope.account,
        scope.region,
        id,
        i64::try_from(generation).unwrap_or(i64::MAX)
    ])?;
    Ok(())
}

/// Notes that an instance was seen running for the first time.
pub fn set_deployed(tx: &Tx<'_>, scope: &Scope, id: &str, now: Micros) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE instances SET deployed_us = ?4, updated_us = ?4
         WHERE account = ?1 AND region = ?2 AND id = ?3 AND deployed_us IS NULL",
    )?
    .execute(params![scope.account, scope.region, id, now])?;
    Ok(())
}

/// Notes that the device no longer holds an instance.
pub fn set_removed(tx: &Tx<'_>, scope: &Scope, id: &str, now: Micros) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE instances SET removed_us = ?4, updated_us = ?4
         WHERE account = ?1 AND region = ?2 AND id = ?3 AND removed_us IS NULL",
    )?
    .execute(params![scope.account, scope.region, id, now])?;
    Ok(())
}

//! From the registry's state to a device's next desired document, within one transaction.
//!
//! `parapet-plan` decides what stands in it; here its inputs are read and its result is stored.

use std::collections::{BTreeMap, BTreeSet};

use parapet_device::desired::SecretRef;
use parapet_device::{BadId, DesiredDocument};
use parapet_manifest::{Deployment, NodeKind, Route};
use parapet_plan::{CameraSettings, DesiredError, InstanceSpec, NodeAsset, desired};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::registry::confinement::Policy;
use crate::store::desired::Stored;
use crate::store::instances::{DesiredState, Instance};
use crate::store::{self, Micros, Scope, StoreError, Tx};

/// Version of [`StoredDeployment`].
const VERSION: u32 = 1;

/// What `instances.deployment_json` holds: the effective graph and the pinned assets of its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredDeployment {
    version: u32,
    deployment: Deployment,
    assets: BTreeMap<String, NodeAsset>,
}

/// Why a device has no new document.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The planner.
    #[error(transparent)]
    Desired(#[from] DesiredError),
    /// A stored ID is none.
    #[error("plan the document of a device")]
    Id(#[from] BadId),
    /// A document cannot be written as JSON.
    #[error("write the document of a device")]
    Json(#[source] serde_json::Error),
    /// Another document was stored in between; with one writer that is a defect.
    #[error("store the document of {0}: its generation changed meanwhile")]
    Raced(String),
}

impl StoredDeployment {
    /// With what was resolved at creation.
    #[must_use]
    pub fn new(deployment: Deployment, assets: BTreeMap<String, NodeAsset>) -> Self {
        Self {
            version: VERSION,
            deployment,
            assets,
        }
    }

    /// That of an instance.
    pub fn read(instance: &Instance) -> Result<Self, StoreError> {
        let stored: Self = serde_json::from_str(&instance.deployment_json).map_err(|source| {
            StoreError::Document {
                what: "deployment",
                source,
            }
        })?;
        if stored.version == VERSION {
            Ok(stored)
        } else {
            Err(StoreError::Value {
                what: "version of a deployment",
                value: stored.version.to_string(),
            })
        }
    }

    /// The ports that its overrides open on the appliance.
    pub fn open_ports(&self) -> impl Iterator<Item = &Route> {
        self.deployment.routing.iter()
    }

    /// As it is stored.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// Stores the device's next document, if it differs from the one before, and gives the generation
/// of the newest one. Announce it after the commit.
pub fn replan(tx: &Tx<'_>, scope: &Scope, device: &str, now: Micros) -> Result<u64, PlanError> {
    let stored = store::desired::get(tx, scope, device)?;
    let previous: Option<DesiredDocument> = stored
        .map(|stored| serde_json::from_str(&stored.document_json))
        .transpose()
        .map_err(|source| StoreError::Document {
            what: "desired document",
            source,
        })?;
    let specs = store::instances::held_by(tx, scope, device)?
        .into_iter()
        .filter(|instance| instance.desired_state == DesiredState::Running)
        .map(|instance| spec(tx, scope, &instance))
        .collect::<Result<Vec<_>, _>>()?;
    let generation = previous
        .as_ref()
        .map_or(0, |document| document.generation.0);
    let Some(next) = desired(&device.parse()?, previous.as_ref(), &specs)? else {
        return Ok(generation);
    };
    let document = Stored {
        generation: next.generation.0,
        document_json: serde_json::to_string(&next).map_err(PlanError::Json)?,
    };
    if !store::desired::replace(tx, scope, device, generation, &document, now)? {
        return Err(PlanError::Raced(device.to_owned()));
    }
    Ok(document.generation)
}

/// One instance as the planner takes it, with the settings its cameras have now.
fn spec(
    connection: &Connection,
    scope: &Scope,
    instance: &Instance,
) -> Result<InstanceSpec, PlanError> {
    let stored = StoredDeployment::read(instance)?;
    let mut cameras = BTreeMap::new();
    for node in stored
        .deployment
        .nodes
        .iter()
        .filter(|node| node.kind == NodeKind::Camera)
    {
        let (package, version) = (&node.package.name, &node.package.version);
        // Without settings the planner names the camera that lacks them.
        if let Some(camera) = store::cameras::get(connection, scope, package, version)? {
            let secret = match camera.secret {
                Some(named) => Some(SecretRef {
                    id: named.id.parse()?,
                    version: named.version,
                }),
                None => None,
            };
            let settings = CameraSettings {
                stream: camera.package_name,
                url: camera.url,
                secret,
            };
            cameras.insert(node.name.clone(), settings);
        }
    }
    let policy = match store::confinements::get(connection, scope, &instance.id)? {
        Some(stored) => Policy::from_json(&stored.policy_json)?,
        None => Policy::default(),
    };
    let paused: BTreeSet<String> = store::instances::nodes(connection, scope, &instance.id)?
        .into_iter()
        .filter(|node| node.paused)
        .map(|node| node.node)
        .collect();
    Ok(InstanceSpec {
        id: instance.id.parse()?,
        name: instance.name.clone().unwrap_or_else(|| instance.id.clone()),
        deployment: stored.deployment,
        assets: stored.assets,
        cameras,
        paused,
        confinement: policy.confinement(instance.role_arn.is_some()),
    })
}

//! The registry's state to a device's one document.
//!
//! The document holds everything a device needs and no secret; it is written anew as a whole, and
//! only counts as new when it differs from the one before.

use std::collections::{BTreeMap, BTreeSet};

use parapet_device::confinement::{Confinement, InboundPort};
use parapet_device::desired::{
    Application, Blob, Camera, DesiredDocument, Input, InputSource, Instance, Model, Output,
    SecretRef, Tensor,
};
use parapet_device::{BadId, DeviceId, Generation, InstanceId, NodeName, PROTOCOL_VERSION};
use parapet_manifest::{
    DeployedNode, Deployment, Launch, Literal, ModelDescriptor, NodeKind, RuntimeDescriptor,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One instance as the registry knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSpec {
    /// Its ID.
    pub id: InstanceId,
    /// The name the operator gave, or the ID.
    pub name: String,
    /// Its effective graph.
    pub deployment: Deployment,
    /// Assets of code and model nodes, by node name.
    pub assets: BTreeMap<String, NodeAsset>,
    /// Settings of camera nodes, by node name.
    pub cameras: BTreeMap<String, CameraSettings>,
    /// Camera nodes that are held back; at first [`paused_at_start`], then as signals say.
    pub paused: BTreeSet<String>,
    /// What its operator lets it use and reach; the ports are those with settings of their own,
    /// and whether there is an accelerator is said by the package.
    pub confinement: Confinement,
}

/// The pinned asset of a node and what its descriptor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NodeAsset {
    /// Of a code node.
    Code {
        /// The root file system.
        asset: Blob,
        /// Program and arguments.
        command: Vec<String>,
        /// Further environment variables.
        environment: Vec<(String, String)>,
    },
    /// Of a model node.
    Model {
        /// The archive.
        asset: Blob,
        /// What the descriptor promises.
        inputs: Vec<Tensor>,
    },
}

impl NodeAsset {
    /// A code node's; `None` when the descriptor names no command, which registration refuses.
    #[must_use]
    pub fn code(asset: Blob, descriptor: &RuntimeDescriptor) -> Option<Self> {
        let command = descriptor.command()?;
        Some(Self::Code {
            asset,
            command,
            environment: descriptor.environment().to_vec(),
        })
    }

    /// A model node's.
    #[must_use]
    pub fn model(asset: Blob, descriptor: &ModelDescriptor) -> Self {
        let inputs = descriptor
            .inputs
            .iter()
            .map(|input| Tensor {
                name: input.name.clone(),
                shape: input.shape.clone(),
            })
            .collect();
        Self::Model { asset, inputs }
    }
}

/// How a camera is reached at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraSettings {
    /// Name under which it was registered.
    pub stream: String,
    /// `rtsp://…` without credentials.
    pub url: String,
    /// Its credentials' name and version.
    pub secret: Option<SecretRef>,
}

/// Why a document cannot be written. The registry holds what was checked at creation, so each of
/// these is a fault of ours or of its contents.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DesiredError {
    /// A node name that no document can hold.
    #[error("write the document of {instance}: {source}")]
    NodeName {
        /// The instance.
        instance: InstanceId,
        /// What is wrong with it.
        source: BadId,
    },
    /// A code or model node without its asset.
    #[error("write the document of {instance}: node {node} has no {needed} asset")]
    NoAsset {
        /// The instance.
        instance: InstanceId,
        /// The node.
        node: String,
        /// `code` or `model`.
        needed: &'static str,
    },
    /// A camera node without settings.
    #[error("write the document of {instance}: camera {node} has no settings")]
    NoCamera {
        /// The instance.
        instance: InstanceId,
        /// The node.
        node: String,
    },
}

/// Camera nodes that wait for a signal before they start.
#[must_use]
pub fn paused_at_start(deployment: &Deployment) -> BTreeSet<String> {
    let waits =
        |node: &&DeployedNode| node.kind == NodeKind::Camera && node.launch == Launch::OnSignal;
    deployment
        .nodes
        .iter()
        .filter(waits)
        .map(|node| node.name.clone())
        .collect()
}

/// The device's next document, or `None` when it would say the same as the previous one. A device
/// without a document gets its first one with its first instance.
///
/// # Errors
/// The first instance that cannot be written.
pub fn desired(
    device: &DeviceId,
    previous: Option<&DesiredDocument>,
    instances: &[InstanceSpec],
) -> Result<Option<DesiredDocument>, DesiredError> {
    let instances = instances
        .iter()
        .map(instance)
        .collect::<Result<Vec<_>, _>>()?;
    let unchanged = previous.map_or(instances.is_empty(), |document| {
        document.version == PROTOCOL_VERSION
            && document.device == *device
            && document.instances == instances
    });
    if unchanged {
        return Ok(None);
    }
    let before = previous.map_or_else(Generation::default, |document| document.generation);
    Ok(Some(DesiredDocument {
        version: PROTOCOL_VERSION,
        device: device.clone(),
        generation: before.next(),
        instances,
    }))
}

fn instance(spec: &InstanceSpec) -> Result<Instance, DesiredError> {
    let mut instance = Instance {
        id: spec.id.clone(),
        name: spec.name.clone(),
        cameras: Vec::new(),
        models: Vec::new(),
        applications: Vec::new(),
        displays: Vec::new(),
    };
    for node in &spec.deployment.nodes {
        let name = spec.node_name(&node.name)?;
        match node.kind {
            NodeKind::Camera => instance.cameras.push(spec.camera(node, name)?),
            NodeKind::Model => instance.models.push(spec.model(node, name)?),
            NodeKind::Code => instance.applications.push(spec.application(node, name)?),
            NodeKind::Display => instance.displays.push(name),
        }
    }
    Ok(instance)
}

impl InstanceSpec {
    fn node_name(&self, name: &str) -> Result<NodeName, DesiredError> {
        name.parse().map_err(|source| DesiredError::NodeName {
            instance: self.id.clone(),
            source,
        })
    }

    fn no_asset(&self, node: &DeployedNode, needed: &'static str) -> DesiredError {
        DesiredError::NoAsset {
            instance: self.id.clone(),
            node: node.name.clone(),
            needed,
        }
    }

    fn camera(&self, node: &DeployedNode, name: NodeName) -> Result<Camera, DesiredError> {
        let Some(settings) = self.cameras.get(&node.name) else {
            let (instance, node) = (self.id.clone(), node.name.clone());
            return Err(DesiredError::NoCamera { instance, node });
        };
        Ok(Camera {
            node: name,
            stream: settings.stream.clone(),
            url: settings.url.clone(),
            secret: settings.secret.clone(),
            paused: self.paused.contains(&node.name),
        })
    }

    fn model(&self, node: &DeployedNode, name: NodeName) -> Result<Model, DesiredError> {
        match self.assets.get(&node.name) {
            Some(NodeAsset::Model { asset, inputs }) => Ok(Model {
                node: name,
                asset: asset.clone(),
                inputs: inputs.clone(),
            }),
            _ => Err(self.no_asset(node, "model")),
        }
    }

    fn application(
        &self,
        node: &DeployedNode,
        name: NodeName,
    ) -> Result<Application, DesiredError> {
        let Some(NodeAsset::Code {
            asset,
            command,
            environment,
        }) = self.assets.get(&node.name)
        else {
            return Err(self.no_asset(node, "code"));
        };
        let inputs = node.inputs.iter().map(|input| {
            let source = self.source(&input.source)?;
            Ok(Input {
                name: input.name.clone(),
                source,
            })
        });
        let outputs = node.outputs.iter().map(|output| {
            let behind = output
                .consumers
                .iter()
                .map(|consumer| consumer.node.as_str());
            let displays = self.nodes_of(behind, NodeKind::Display)?;
            Ok(Output {
                name: output.name.clone(),
                displays,
            })
        });
        Ok(Application {
            node: name,
            asset: asset.clone(),
            command: command.clone(),
            environment: environment.clone(),
            inputs: inputs.collect::<Result<_, DesiredError>>()?,
            outputs: outputs.collect::<Result<_, DesiredError>>()?,
            confinement: self.confinement(node),
        })
    }

    /// What its operator decided, with the ports that the overrides open.
    fn confinement(&self, node: &DeployedNode) -> Confinement {
        let mut confinement = self.confinement.clone();
        confinement.gpu = node.asset.as_ref().is_some_and(|asset| asset.accelerator);
        for route in &self.deployment.routing {
            if route.node != node.name {
                continue;
            }
            let decided = confinement
                .ports
                .iter_mut()
                .find(|p| p.host == route.host_port);
            match decided {
                Some(port) => port.container = route.container_port,
                None => confinement.ports.push(InboundPort {
                    host: route.host_port,
                    container: route.container_port,
                    sources: Vec::new(),
                    tls: None,
                }),
            }
        }
        // Settings of a port whose rule is gone open nothing.
        confinement.ports.retain(|port| {
            self.deployment
                .routing
                .iter()
                .any(|route| route.node == node.name && route.host_port == port.host)
        });
        confinement
    }

    fn source(&self, source: &parapet_manifest::InputSource) -> Result<InputSource, DesiredError> {
        Ok(match source {
            parapet_manifest::InputSource::Media { producers } => {
                let before = producers.iter().map(|producer| producer.node.as_str());
                InputSource::Media {
                    cameras: self.nodes_of(before, NodeKind::Camera)?,
                }
            }
            parapet_manifest::InputSource::Value { value } => match value {
                Literal::Boolean(value) => InputSource::Boolean { value: *value },
                Literal::Int32(value) => InputSource::Int32 { value: *value },
                Literal::Float32(value) => InputSource::Float32 { value: *value },
                Literal::String(value) => InputSource::String {
                    value: value.clone(),
                },
            },
        })
    }

    /// Those of the named nodes that are of a kind, each once: a model's ports carry nothing.
    fn nodes_of<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        kind: NodeKind,
    ) -> Result<Vec<NodeName>, DesiredError> {
        let mut seen = BTreeSet::new();
        let of_kind = |name: &str| {
            self.deployment
                .nodes
                .iter()
                .any(|node| node.name == name && node.kind == kind)
        };
        names
            .filter(|name| of_kind(name) && seen.insert(*name))
            .map(|name| self.node_name(name))
            .collect()
    }
}

//! The effective graph of a deployment: overrides applied, packages pinned, every rule held.

use serde::{Deserialize, Serialize};

use crate::graph::Launch;
use crate::package::{AssetType, Category, Literal, PortType};

/// What an instance consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Every package that the graph and its overrides list, pinned.
    pub packages: Vec<PackagePin>,
    /// The packaged nodes, replacements in the place of what they replace.
    pub nodes: Vec<DeployedNode>,
    /// The parameter nodes.
    pub parameters: Vec<DeployedParameter>,
    /// The connections, multiplied where a node has several replacements.
    pub edges: Vec<DeployedEdge>,
    /// Ports to open.
    pub routing: Vec<Route>,
}

/// A package in one patch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackagePin {
    /// 12-digit account, or `panorama`.
    pub owner: String,
    /// Name of the package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its `package.json`.
    pub patch: String,
}

/// A packaged node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployedNode {
    /// `NodeInstanceId` of the API, name in logs.
    pub name: String,
    /// Where it comes from.
    pub package: PackagePin,
    /// The interface in that package.
    pub interface: String,
    /// What the interface is for.
    pub category: Category,
    /// What the device makes of it.
    pub kind: NodeKind,
    /// When it starts.
    pub launch: Launch,
    /// The asset behind it, where it is one of the package.
    pub asset: Option<DeployedAsset>,
    /// Its inputs, all of them, connected or not.
    pub inputs: Vec<DeployedInput>,
    /// Its outputs, all of them.
    pub outputs: Vec<DeployedOutput>,
}

/// What the device makes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// An RTSP stream.
    Camera,
    /// A process.
    Code,
    /// A model worker.
    Model,
    /// A screen.
    Display,
}

/// A file of the package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedAsset {
    /// Name of the asset.
    pub name: String,
    /// What it is.
    pub kind: AssetType,
    /// File name below the binary prefix, or the name of a driver.
    pub uri: String,
    /// File name of its descriptor below the binary prefix.
    pub descriptor_uri: Option<String>,
    /// Whether it asks for an accelerator (`hardware_access`).
    #[serde(default)]
    pub accelerator: bool,
}

/// An input and what it gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployedInput {
    /// Name of the port.
    pub name: String,
    /// What it gives.
    pub source: InputSource,
}

/// What an input gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum InputSource {
    /// Frames of these outputs, in this order; none never delivers.
    Media {
        /// Where they come from.
        producers: Vec<NodePort>,
    },
    /// A fixed value: of the connected parameter, the port's default, or zero.
    Value {
        /// The value.
        value: Literal,
    },
}

/// An output and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedOutput {
    /// Name of the port.
    pub name: String,
    /// What it gives.
    pub kind: PortType,
    /// Where it leads, in the order of the edges.
    pub consumers: Vec<NodePort>,
}

/// A port of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodePort {
    /// The node.
    pub node: String,
    /// The port.
    pub port: String,
}

/// A parameter node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployedParameter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Literal,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedEdge {
    /// The node it comes from.
    pub producer: String,
    /// The output; a parameter has none.
    pub producer_port: Option<String>,
    /// Where it leads.
    pub consumer: NodePort,
}

/// A port that is open on the appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// A code node.
    pub node: String,
    /// Where it listens.
    pub container_port: u16,
    /// Where the appliance listens, 8000 to 9000.
    pub host_port: u16,
}

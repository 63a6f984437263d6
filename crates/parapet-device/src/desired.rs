//! What a device shall run: one complete document, so specific that the agent has no choices left.
//!
//! The control plane's planner writes it with the next [`Generation`]; a device applies the newest
//! and refuses older ones. It never holds a secret: a camera's credentials are named by
//! [`SecretRef`] and fetched apart.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::confinement::Confinement;
use crate::id::{BlobDigest, DeviceId, Generation, InstanceId, NodeName, SecretId};

/// The desired document of one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredDocument {
    /// [`crate::PROTOCOL_VERSION`] of the writer.
    pub version: u32,
    /// Whose document it is.
    pub device: DeviceId,
    /// Grows by one with every change.
    pub generation: Generation,
    /// All instances the device shall hold. One that is missing here is to be removed.
    pub instances: Vec<Instance>,
}

/// One application instance with all its nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its ID.
    pub id: InstanceId,
    /// The name the operator gave, or the ID.
    pub name: String,
    /// Media sources, in the order of the effective graph.
    pub cameras: Vec<Camera>,
    /// Models, called by node name.
    pub models: Vec<Model>,
    /// Code nodes; Panorama allows one.
    pub applications: Vec<Application>,
    /// Screens.
    pub displays: Vec<NodeName>,
}

/// A camera node: one RTSP stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// Node name in the effective graph.
    pub node: NodeName,
    /// Name under which the camera was registered: `media.stream_id`.
    pub stream: String,
    /// `rtsp://host[:port]/path`, without credentials: `media.stream_uri`.
    pub url: String,
    /// The credentials to fetch, if the camera has any.
    pub secret: Option<SecretRef>,
    /// Whether a signal (or `launch: onSignal`) holds the camera back.
    pub paused: bool,
}

/// Names one version of a secret; a new version is a new value to fetch and try at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Which secret.
    pub id: SecretId,
    /// Counts its values from 1.
    pub version: u64,
}

/// Answer of `GET /v1/device/secrets/<id>`: a camera's credentials. Never stored in the clear,
/// never logged: no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraSecret {
    /// The version these values belong to.
    pub version: u64,
    /// RTSP user name.
    pub username: String,
    /// RTSP password.
    pub password: String,
}

/// A file of the control plane, named by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// SHA-256 of the bytes.
    pub sha256: BlobDigest,
    /// Length in bytes.
    pub bytes: u64,
}

/// A model node: a `tar.gz` with exactly one `.onnx`, and what its descriptor promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Node name in the effective graph: the name that `call` uses.
    pub node: NodeName,
    /// The asset.
    pub asset: Blob,
    /// Inputs of `mlModelDescriptor`.
    pub inputs: Vec<Tensor>,
}

/// One tensor of a model's descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// The key in the dictionary given to `call`.
    pub name: String,
    /// Its shape, batch first.
    pub shape: Vec<u64>,
}

/// A code node: a flat root file system (`tar.gz`) and the command to start in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// Node name in the effective graph; names the log stream.
    pub node: NodeName,
    /// The asset.
    pub asset: Blob,
    /// Program and arguments: `entry.path`, `entry.name`, `entry.arguments` of the descriptor.
    pub command: Vec<String>,
    /// `entry.environment` of the descriptor.
    pub environment: Vec<(String, String)>,
    /// Input ports of the interface, all of them, connected or not.
    pub inputs: Vec<Input>,
    /// Output ports of the interface.
    pub outputs: Vec<Output>,
    /// What it may use and reach.
    #[serde(default)]
    pub confinement: Confinement,
}

/// An input port and what feeds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Port name, a Python identifier.
    pub name: String,
    /// What `get()` gives.
    pub source: InputSource,
}

/// What an input port delivers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum InputSource {
    /// Frames of these camera nodes, in this order.
    Media {
        /// Camera nodes of the same instance.
        cameras: Vec<NodeName>,
    },
    /// A fixed text.
    String {
        /// The value.
        value: String,
    },
    /// A fixed 32-bit integer.
    Int32 {
        /// The value.
        value: i32,
    },
    /// A fixed single-precision number.
    Float32 {
        /// The value; infinity, which JSON could not say again, is refused.
        #[serde(deserialize_with = "finite")]
        value: f32,
    },
    /// A fixed truth value.
    Boolean {
        /// The value.
        value: bool,
    },
}

fn finite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let value = f32::deserialize(deserializer)?;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(D::Error::custom("a number beyond single precision"))
    }
}

/// An output port and the screens behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Port name, a Python identifier.
    pub name: String,
    /// Display nodes it is connected to; empty makes `put` do nothing.
    pub displays: Vec<NodeName>,
}

//! What a device says of itself: written by the agent alone, never merged with what is desired.

use serde::{Deserialize, Serialize};

use crate::id::{Generation, InstanceId, NodeName};

/// Body of `PUT /v1/device/reported`: complete each time, the newest wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// [`crate::PROTOCOL_VERSION`] of the writer.
    pub version: u32,
    /// Changes with every start of the agent.
    pub boot_id: String,
    /// Grows within a boot, so that a late report does not overwrite a newer one.
    pub seq: u64,
    /// Version of the agent, three dotted integers.
    pub software: String,
    /// Newest document that the device has stored.
    pub observed_generation: Generation,
    /// Newest document whose changes have all been carried out or have failed for good.
    pub applied_generation: Generation,
    /// Every instance the device holds, those being removed too.
    pub instances: Vec<InstanceReport>,
    /// How the networks of cameras, uplink and applications are kept apart; `None` until known.
    #[serde(default)]
    pub network: Option<NetworkReport>,
}

/// How well the networks are kept apart, and what the host lacks for more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkReport {
    /// The level reached.
    pub separation: Separation,
    /// Interfaces towards the control plane.
    pub uplink: Vec<String>,
    /// Interfaces towards the cameras.
    pub cameras: Vec<String>,
    /// What the host does not give, a sentence with the remedy each, in no certain order.
    pub missing: Vec<String>,
}

/// How the networks of cameras, uplink and applications are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Separation {
    /// Cameras have ports and a namespace of their own: no packet can cross.
    Separated,
    /// One port for both; rules of the kernel let each process reach its own addresses only.
    Filtered,
    /// Nothing but each process's own restraint: the host allows no more.
    Flat,
}

impl std::fmt::Display for Separation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Separated => "separated",
            Self::Filtered => "filtered",
            Self::Flat => "flat",
        })
    }
}

/// Somebody whom an application asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Which code node.
    pub node: NodeName,
    /// Name as asked, or address.
    pub host: String,
    /// TCP port; 0 for a name that was only looked up.
    pub port: u16,
    /// Whether it was allowed.
    pub allowed: bool,
    /// How often since the agent's start.
    pub count: u64,
}

/// State of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceReport {
    /// Which instance.
    pub id: InstanceId,
    /// How far it is.
    pub state: InstanceState,
    /// Why it could not be installed or started; only with the `*_ERROR` states.
    pub reason: Option<Reason>,
    /// Its packaged nodes.
    pub nodes: Vec<NodeReport>,
    /// Whom its applications asked for, those allowed and, while the instance learns, those
    /// refused; at most 64.
    #[serde(default)]
    pub asked: Vec<Asked>,
}

/// `DeviceReportedStatus` of the API (`spec/api.md` section 8), as far as an agent reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InstanceState {
    /// Fetching and unpacking assets, checking memory.
    InstallInProgress,
    /// An asset is missing, damaged or too large: final for this generation.
    InstallError,
    /// Processes are being started.
    Starting,
    /// Started; the nodes tell how well.
    Running,
    /// A node can never start as deployed: final for this generation.
    LaunchError,
    /// Being stopped and deleted.
    RemovalInProgress,
}

/// State of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeReport {
    /// Node name in the effective graph.
    pub node: NodeName,
    /// As in `ListApplicationInstanceNodeInstances`.
    pub status: NodeStatus,
    /// Why it is `ERROR`.
    pub reason: Option<Reason>,
    /// Frames and latency, for cameras that an application reads.
    pub stream: Option<StreamMetrics>,
}

/// `NodeInstanceStatus` of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NodeStatus {
    /// Works.
    Running,
    /// Does not; see the reason.
    Error,
    /// Nothing known yet.
    NotAvailable,
    /// Held back by a signal.
    Paused,
}

/// Why something does not work, and what to do about it. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// One word to switch on: a camera code (`refused unreachable unauthorized timeout bad_sdp
    /// certificate file protocol unsupported_codec decode stall`) or `asset`, `memory`, `model_load`,
    /// `model_descriptor`, `exited`, `launch`.
    pub code: String,
    /// What happened and the remedy, at most 200 characters.
    pub message: String,
}

/// What an application received of one camera, counted since the agent's start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamMetrics {
    /// Non-cached frames that `get()` returned.
    pub frames: u64,
    /// The same per second, over the last 10 s.
    pub fps: f64,
    /// Median of capture to return of `get()`, over the last 10 s, in milliseconds.
    pub latency_p50_ms: f64,
    /// 99th percentile of the same.
    pub latency_p99_ms: f64,
    /// Width of the picture handed to applications.
    pub width: u32,
    /// Height of the picture handed to applications.
    pub height: u32,
}

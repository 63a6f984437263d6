//! The conversation between the agent and the launcher.
//!
//! The agent says *what* shall run; the launcher alone knows *how*: paths, users, namespaces.
//! No request carries a path, so that a taken-over agent can start nothing but these programs
//! in these places. Headers of a [`crate::channel::Channel`]; descriptors are listed per variant.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::zones::{Port, PortAddress};

/// Agent to launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum LaunchRequest {
    /// Starts a worker. Descriptors: its channel, its standard error (a pipe).
    Worker {
        /// Chosen by the agent, never used again while it lives.
        id: u64,
        /// Which one.
        worker: Worker,
    },
    /// Starts an application. Descriptors: its standard output and error (one pipe).
    Application {
        /// Chosen by the agent, never used again while it lives.
        id: u64,
        /// Letters, digits, `-`, `_`: names `instances/<instance>` below the state directory.
        instance: String,
        /// Likewise: names `logs/<node>` and `run/<node>` in there.
        node: String,
        /// 64 hexadecimal digits: names `images/<image>/rootfs` below the state directory.
        image: String,
        /// Program (looked up in the standard `PATH` of the image) and arguments.
        command: Vec<String>,
        /// Variables beside those that the launcher sets.
        environment: Vec<(String, String)>,
        /// What it may use.
        resources: Resources,
        /// Whether it gets a gateway: sockets of the agent inside its network namespace that all
        /// its calls end at. Without one it has its loopback interface alone.
        gateway: bool,
        /// Whether it gets the host's accelerators.
        gpu: bool,
    },
    /// Lets an ingest reach these addresses in the camera zone, and no others from now on.
    /// Answered by [`LaunchEvent::Reached`].
    Reach {
        /// Which ingest.
        id: u64,
        /// Addresses and ports of its camera, resolved by the agent; empty for none.
        addresses: Vec<SocketAddr>,
    },
    /// Makes a TCP socket inside the network namespace of an application, for an inbound port.
    /// Answered by [`LaunchEvent::Socket`].
    Socket {
        /// Which application.
        id: u64,
    },
    /// Sends a signal to a process and all its children.
    Signal {
        /// Which process.
        id: u64,
        /// Which signal.
        signal: Signal,
    },
    /// Measures the storage and the logs of `instances/<instance>`. Answered by
    /// [`LaunchEvent::Measured`].
    Measure {
        /// Which instance.
        instance: String,
    },
    /// Deletes `instances/<instance>`, whose files belong to the application's user. Answered by
    /// [`LaunchEvent::Removed`].
    Remove {
        /// Which instance.
        instance: String,
    },
}

/// What one application may use, all decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Processor time in thousandths of one core.
    pub cpu_millis: u32,
    /// Processes and threads.
    pub processes: u32,
    /// Bytes per second read from and written to disk, each; `None` for no limit.
    pub io_bytes_per_second: Option<u64>,
}

/// How the networks of cameras, uplink and applications are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Separation {
    /// Cameras have ports and a namespace of their own.
    Separated,
    /// Rules let each process reach its own addresses only.
    Filtered,
    /// Nothing but each process's own restraint.
    Flat,
}

/// What has become of the networks' separation at the launcher's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkFound {
    /// The level reached.
    pub separation: Separation,
    /// Ports towards the control plane, as named.
    pub uplink: Vec<Port>,
    /// Ports in the camera zone; the uplink's where cameras share them.
    pub cameras: Vec<Port>,
    /// Networks that the camera zone has an address in.
    pub camera_networks: Vec<PortAddress>,
    /// What is not as it was asked for, a sentence with the remedy each.
    pub missing: Vec<String>,
}

impl NetworkFound {
    /// Nothing is kept apart, for this reason.
    #[must_use]
    pub fn flat(missing: Vec<String>) -> Self {
        Self {
            separation: Separation::Flat,
            uplink: Vec::new(),
            cameras: Vec::new(),
            camera_networks: Vec::new(),
            missing,
        }
    }
}

/// The kinds of worker: an executable each, beside `parapet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worker {
    /// `parapet-ingest`: RTSP dialogue of one camera. The only one with a network.
    Ingest,
    /// `parapet-codec`: access units to pictures.
    Codec,
    /// `parapet-infer`: one model.
    Infer,
}

/// What may be sent to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Ask to end.
    Terminate,
    /// End.
    Kill,
}

/// Launcher to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum LaunchEvent {
    /// First event: what this host allows.
    Ready {
        /// Version of the launcher; must equal the agent's.
        version: String,
        /// Whether the launcher is root: own users for every process.
        privileged: bool,
        /// How the networks are kept apart.
        network: NetworkFound,
        /// What starts applications: `own`, a runtime with its version and path, or `none`, for a
        /// reason that is among what is missing.
        applications: String,
        /// What the host does not give, a sentence each, for the operator.
        missing: Vec<String>,
    },
    /// The process runs. Descriptors, for an application with a gateway: the socket that its names
    /// are asked at (UDP), the one that its calls arrive at (TCP, listening).
    Started {
        /// Which one.
        id: u64,
        /// Its process ID in the launcher's namespace.
        pid: u32,
        /// Why an application that was to have a gateway has none; there are no descriptors then,
        /// and it reaches nobody.
        no_gateway: Option<String>,
    },
    /// The process could not be started.
    Failed {
        /// Which one.
        id: u64,
        /// What went wrong, naming the step.
        message: String,
    },
    /// An ingest's addresses are as requested, or none can be reached.
    Reached {
        /// Which one.
        id: u64,
        /// Why none can be reached.
        error: Option<String>,
    },
    /// A socket inside an application's namespace. Descriptors: the socket, unless there is an
    /// error.
    Socket {
        /// Of which one.
        id: u64,
        /// Why there is none.
        error: Option<String>,
    },
    /// The process and all its children are gone.
    Exited {
        /// Which one.
        id: u64,
        /// Exit code, or 128 + signal.
        code: i32,
        /// Whether the kernel ended it, or a process of it, for want of memory.
        #[serde(default)]
        out_of_memory: bool,
    },
    /// How much disk an instance holds, or why that is not known.
    Measured {
        /// Which instance.
        instance: String,
        /// Storage, logs, and files without a name that its processes hold.
        bytes: u64,
        /// Why `bytes` says nothing.
        error: Option<String>,
    },
    /// An instance's directory is gone, or could not be deleted.
    Removed {
        /// Which instance.
        instance: String,
        /// Why it is still there.
        error: Option<String>,
    },
}

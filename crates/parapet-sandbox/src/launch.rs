//! The conversation between the agent and the launcher.
//!
//! The agent says *what* shall run; the launcher alone knows *how*: paths, users, namespaces.
//! No request carries a path, so that a taken-over agent can start nothing but these programs
//! in these places. Headers of a [`crate::channel::Channel`]; descriptors are listed per variant.

use serde::{Deserialize, Serialize};

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
    },
    /// Sends a signal to a process and all its children.
    Signal {
        /// Which process.
        id: u64,
        /// Which signal.
        signal: Signal,
    },
    /// Deletes `instances/<instance>`, whose files belong to the application's user. Answered by
    /// [`LaunchEvent::Removed`].
    Remove {
        /// Which instance.
        instance: String,
    },
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
        /// What the host does not give, a sentence each, for the operator.
        missing: Vec<String>,
    },
    /// The process runs.
    Started {
        /// Which one.
        id: u64,
        /// Its process ID in the launcher's namespace.
        pid: u32,
    },
    /// The process could not be started.
    Failed {
        /// Which one.
        id: u64,
        /// What went wrong, naming the step.
        message: String,
    },
    /// The process and all its children are gone.
    Exited {
        /// Which one.
        id: u64,
        /// Exit code, or 128 + signal.
        code: i32,
    },
    /// An instance's directory is gone, or could not be deleted.
    Removed {
        /// Which instance.
        instance: String,
        /// Why it is still there.
        error: Option<String>,
    },
}

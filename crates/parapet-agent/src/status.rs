//! What the device says of itself: the report to the control plane and `status.json`.
//!
//! Reads the board and the generations; writes `status.json` each second and at each change, whole
//! or not at all. It is a picture of the moment and is not synced: after a crash the next start
//! writes it anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parapet_device::{DeviceId, Generation, PROTOCOL_VERSION, Reported};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::at_rest::HeldBy;
use crate::board::Board;
use crate::launcher::{Host, VERSION};

/// `status.json` in the state directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Who the device is, once it is enrolled or has a document.
    pub device: Option<DeviceId>,
    /// Whether the last request to the control plane was answered.
    pub connected: bool,
    /// Whether every process has a user of its own.
    pub privileged: bool,
    /// What the host does not give, a sentence each.
    pub missing: Vec<String>,
    /// What keeps the key that seals everything secret; `None` while that is not known.
    #[serde(default)]
    pub keys: Option<HeldBy>,
    /// Whether the file system encrypts the state directory.
    #[serde(default)]
    pub encrypted: bool,
    /// What starts applications: `own` for the launcher's own set-up, an OCI runtime with its
    /// version and path, or `none`, for a reason that is among what is missing. Empty where an
    /// older agent wrote this.
    #[serde(default)]
    pub applications: String,
    /// The process that writes this.
    pub pid: u32,
    /// The report, as the control plane gets it.
    pub reported: Reported,
}

/// Reads `status.json` of a state directory; `None` while there is none.
pub fn read_status(data: &Path) -> io::Result<Option<Status>> {
    match crate::durable::read_if_there(&data.join("status.json"))? {
        None => Ok(None),
        Some(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
    }
}

/// What reports are made from; shared by `status.json` and the link.
pub(crate) struct Reporter {
    pub(crate) board: Board,
    pub(crate) boot_id: String,
    pub(crate) observed: watch::Receiver<Generation>,
    pub(crate) applied: watch::Receiver<Generation>,
    pub(crate) device: watch::Receiver<Option<DeviceId>>,
    pub(crate) host: Host,
    pub(crate) keys: HeldBy,
    pub(crate) encrypted: bool,
    pub(crate) connected: AtomicBool,
    pub(crate) seq: AtomicU64,
}

impl Reporter {
    /// The report of this moment, with a number of its own.
    pub(crate) fn report(&self) -> Reported {
        Reported {
            version: PROTOCOL_VERSION,
            boot_id: self.boot_id.clone(),
            seq: self.seq.fetch_add(1, Ordering::Relaxed) + 1,
            software: VERSION.to_owned(),
            observed_generation: *self.observed.borrow(),
            applied_generation: *self.applied.borrow(),
            instances: self.board.report(),
            network: Some(self.host.network.clone()),
        }
    }

    /// Waits until something is to be reported, at most so long.
    pub(crate) async fn change(&self, changes: &mut Changes, at_most: Duration) {
        let change = async {
            tokio::select! {
                _ = changes.board.changed() => {}
                _ = changes.observed.changed() => {}
                _ = changes.applied.changed() => {}
            }
        };
        let _ = timeout(at_most, change).await;
    }

    /// For [`Reporter::change`].
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            board: self.board.changes(),
            observed: self.observed.clone(),
            applied: self.applied.clone(),
        }
    }
}

/// What a reader of reports has seen.
pub(crate) struct Changes {
    board: watch::Receiver<u64>,
    observed: watch::Receiver<Generation>,
    applied: watch::Receiver<Generation>,
}

/// Writes `status.json` until it is dropped.
pub(crate) async fn keep(reporter: &Reporter, root: &Path) {
    let mut changes = reporter.changes();
    let mut told = false;
    loop {
        let status = Status {
            device: reporter.device.borrow().clone(),
            connected: reporter.connected.load(Ordering::Relaxed),
            privileged: reporter.host.privileged,
            missing: reporter.host.missing.clone(),
            keys: Some(reporter.keys),
            encrypted: reporter.encrypted,
            applications: reporter.host.applications.clone(),
            pid: std::process::id(),
            reported: reporter.report(),
        };
        match write(root, &status) {
            Ok(()) => told = false,
            Err(error) if !told => {
                told = true;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "status.json cannot be written"
                );
            }
            Err(_) => {}
        }
        reporter.change(&mut changes, Duration::from_secs(1)).await;
        // A burst of changes is one.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn write(root: &Path, status: &Status) -> io::Result<()> {
    let (path, temporary) = (root.join("status.json"), root.join("status.json.new"));
    fs::write(&temporary, serde_json::to_vec(status)?)?;
    fs::rename(temporary, path)
}

/// The path of a file in the state directory, seen from inside it where it lies in there.
pub(crate) fn seen_from(root: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap_or(path).to_owned()
}

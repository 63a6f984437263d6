//! What the appliance holds and runs, as the agent sees it. Only the agent fills it; nothing here
//! says what should be.
//!
//! A part counts as running from the moment its supervisor exists until it is stopped: a worker
//! that died and is being restarted is still running here, because restarting is its supervisor's
//! business and no reason for a new step.

use std::collections::{BTreeMap, BTreeSet};

use parapet_device::desired::{Application, Camera, Model};
use parapet_device::reported::Reason;
use parapet_device::{BlobDigest, InstanceId, NodeName};

/// Everything the decision needs to know of an appliance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Assets on disk or on their way; one that is missing here is not on the device at all.
    pub assets: BTreeMap<Asset, AssetState>,
    /// Instances that hold anything: a directory, a process, a camera. After a start of the agent
    /// these are the directories found on disk, each without parts.
    pub instances: BTreeMap<InstanceId, ObservedInstance>,
    /// What there is to give away.
    pub capacity: Capacity,
}

/// An unpacked form of a blob. The same blob as image and as model is two assets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asset {
    /// What it is unpacked to.
    pub kind: AssetKind,
    /// The blob's name.
    pub sha256: BlobDigest,
}

/// What a blob is unpacked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AssetKind {
    /// The root file system of a code node.
    Image,
    /// One `.onnx` file.
    Model,
}

/// How far an asset is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssetState {
    /// Being downloaded, or waiting for the next try: a network fault never ends here.
    Fetching,
    /// The blob is on disk, complete and with the right hash.
    Fetched,
    /// Being unpacked.
    Unpacking,
    /// Unpacked and durable.
    Ready,
    /// Damaged or refused: the same bytes would fail again.
    Failed(Reason),
}

/// The parts of one instance that exist. The values are what each part was started with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ObservedInstance {
    /// Cameras with a pipeline or paused.
    pub cameras: BTreeMap<NodeName, Camera>,
    /// Models with a worker.
    pub models: BTreeMap<NodeName, (Model, PartState)>,
    /// Code nodes with a process.
    pub applications: BTreeMap<NodeName, (Application, PartState)>,
    /// Screens that take pictures.
    pub displays: BTreeSet<NodeName>,
}

impl ObservedInstance {
    /// Whether nothing runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cameras.is_empty()
            && self.models.is_empty()
            && self.applications.is_empty()
            && self.displays.is_empty()
    }
}

/// How far a model or a code node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartState {
    /// Not yet: a model that is being loaded, a process that is being started.
    Starting,
    /// A model that has been loaded, a process that has been started, at least once.
    Started,
    /// Can never start as deployed (`model_load`, `model_descriptor`, `launch`).
    Failed(Reason),
}

/// Memory for frames, checked before anything of an instance is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// For the frame rings of all cameras together.
    pub ring_bytes: u64,
    /// Frames of one camera that one application may lease at a time (`docs/sdk-protocol.md`).
    pub hold: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            ring_bytes: 2 << 30,
            hold: 4,
        }
    }
}

impl Capacity {
    /// Slots of the ring of a camera that so many applications read: one being written, the
    /// newest, one on its way, and all that may be held.
    #[must_use]
    pub fn slots(&self, consumers: u32) -> u32 {
        self.hold.saturating_mul(consumers).saturating_add(3)
    }
}

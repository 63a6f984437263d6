//! What the agent is to do next. A step leaves nothing to decide.

use parapet_device::confinement::Egress;
use parapet_device::desired::{Application, Blob, Camera, Model};
use parapet_device::{InstanceId, NodeName};

use crate::observed::Asset;

/// One step. Steps are carried out in their order.
///
/// [`Fetch`](Step::Fetch) and [`Unpack`](Step::Unpack) only begin their work: it shows in the
/// observed asset, and its end is a reason to plan again. All others have had their effect on
/// [`crate::Observed`] when the next one begins; a process that then fails to come up is its
/// supervisor's business.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Begin to download a blob. Afterwards the asset is `Fetching`.
    Fetch {
        /// What it will become.
        asset: Asset,
        /// What to ask for.
        blob: Blob,
    },
    /// Begin to unpack a fetched blob. Afterwards the asset is `Unpacking`.
    Unpack {
        /// What to unpack.
        asset: Asset,
    },
    /// Make the instance's directories.
    Prepare {
        /// Which.
        instance: InstanceId,
    },
    /// Take pictures for a screen.
    ShowDisplay {
        /// Which instance.
        instance: InstanceId,
        /// Which screen.
        node: NodeName,
    },
    /// Take no more pictures for a screen.
    HideDisplay {
        /// Which instance.
        instance: InstanceId,
        /// Which screen.
        node: NodeName,
    },
    /// Start a camera's pipeline, or, when `camera.paused`, only make it known.
    OpenCamera {
        /// Which instance.
        instance: InstanceId,
        /// Its settings.
        camera: Camera,
    },
    /// Go on with other settings of the same camera; frames already leased stay as they are.
    ReopenCamera {
        /// Which instance.
        instance: InstanceId,
        /// The new settings, `paused` among them.
        camera: Camera,
    },
    /// Stop reading a camera, and keep it known.
    PauseCamera {
        /// Which instance.
        instance: InstanceId,
        /// Which camera.
        node: NodeName,
    },
    /// Read a paused camera again.
    ResumeCamera {
        /// Which instance.
        instance: InstanceId,
        /// Which camera.
        node: NodeName,
    },
    /// End a camera's pipeline and forget it.
    CloseCamera {
        /// Which instance.
        instance: InstanceId,
        /// Which camera.
        node: NodeName,
    },
    /// Start a model's worker and load the model; the asset is there.
    StartModel {
        /// Which instance.
        instance: InstanceId,
        /// The model.
        model: Model,
    },
    /// End a model's worker and forget it.
    StopModel {
        /// Which instance.
        instance: InstanceId,
        /// Which model.
        node: NodeName,
    },
    /// Start a code node; the image is there.
    StartApplication {
        /// Which instance.
        instance: InstanceId,
        /// The code node.
        application: Application,
    },
    /// Let a running code node call others than before; calls that are no longer allowed end.
    ChangeEgress {
        /// Which instance.
        instance: InstanceId,
        /// Which code node.
        node: NodeName,
        /// Whom it may call.
        egress: Egress,
    },
    /// End a code node and forget it.
    StopApplication {
        /// Which instance.
        instance: InstanceId,
        /// Which code node.
        node: NodeName,
    },
    /// Delete the instance's directories; nothing of it runs any more.
    RemoveInstance {
        /// Which.
        instance: InstanceId,
    },
    /// Delete an asset that nothing uses, or stop fetching it.
    Discard {
        /// Which.
        asset: Asset,
    },
}

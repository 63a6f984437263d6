//! The parts of one instance that exist, and how each is started.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use parapet_device::confinement::Egress;
use parapet_device::desired::{self, InputSource};
use parapet_device::{InstanceId, NodeName};
use parapet_plan::{Asset, AssetKind, Capacity, ObservedInstance, PartState};
use tokio::sync::{Notify, watch};

use super::Context;
use crate::application::{self, Application, ApplicationSpec, ApplicationState};
use crate::camera::{Camera, Source};
use crate::display::{self, Screen};
use crate::gateway::Gateway;
use crate::logs::Task;
use crate::model::{Model, ModelState};
use crate::sdk::Node;

struct HeldCamera {
    spec: desired::Camera,
    camera: Camera,
    _view: Task,
}

struct HeldModel {
    spec: desired::Model,
    model: Model,
    _wakes: Task,
}

struct HeldApplication {
    spec: desired::Application,
    application: Application,
    _wakes: Task,
}

/// All parts of an instance.
pub(super) struct Instance {
    cameras: BTreeMap<NodeName, HeldCamera>,
    models: BTreeMap<NodeName, HeldModel>,
    applications: BTreeMap<NodeName, HeldApplication>,
    screens: BTreeMap<NodeName, Arc<Screen>>,
    /// Wakes the instance's sessions.
    frames: watch::Sender<u64>,
}

/// Instances whose files an earlier agent has left.
pub(super) fn found_on_disk(root: &Path) -> BTreeMap<InstanceId, Instance> {
    let Ok(entries) = std::fs::read_dir(root.join("instances")) else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(|id| (id, Instance::new()))
        .collect()
}

/// Slots of a camera's ring.
pub(super) fn slots(
    capacity: Capacity,
    instance: Option<&desired::Instance>,
    camera: &NodeName,
) -> u32 {
    let reads = |application: &&desired::Application| {
        application.inputs.iter().any(|input| match &input.source {
            InputSource::Media { cameras } => cameras.contains(camera),
            _ => false,
        })
    };
    let consumers = instance.map_or(0, |i| i.applications.iter().filter(reads).count());
    capacity.slots(consumers as u32)
}

impl Instance {
    pub(super) fn new() -> Self {
        Self {
            cameras: BTreeMap::new(),
            models: BTreeMap::new(),
            applications: BTreeMap::new(),
            screens: BTreeMap::new(),
            frames: watch::Sender::new(0),
        }
    }

    /// As the plan sees it.
    pub(super) fn observed(&self) -> ObservedInstance {
        ObservedInstance {
            cameras: self
                .cameras
                .iter()
                .map(|(n, c)| (n.clone(), c.spec.clone()))
                .collect(),
            models: self
                .models
                .iter()
                .map(|(name, held)| {
                    let state = match &*held.model.state.borrow() {
                        ModelState::Loading => PartState::Starting,
                        ModelState::Ready => PartState::Started,
                        ModelState::Failed(reason) => PartState::Failed(reason.clone()),
                    };
                    (name.clone(), (held.spec.clone(), state))
                })
                .collect(),
            applications: self
                .applications
                .iter()
                .map(|(name, held)| {
                    let state = match &*held.application.state.borrow() {
                        ApplicationState::Starting => PartState::Starting,
                        ApplicationState::Started => PartState::Started,
                        ApplicationState::Failed(reason) => PartState::Failed(reason.clone()),
                    };
                    (name.clone(), (held.spec.clone(), state))
                })
                .collect(),
            displays: self.screens.keys().cloned().collect(),
        }
    }

    pub(super) fn show_display(&mut self, context: &Context, id: &InstanceId, node: NodeName) {
        let line = context.board.line(id, &node, None);
        self.screens
            .insert(node, Arc::new(Screen::start(&context.views, &line)));
    }

    pub(super) fn hide_display(&mut self, context: &Context, id: &InstanceId, node: &NodeName) {
        self.screens.remove(node);
        context.board.stopped(id, node);
    }

    pub(super) fn open_camera(
        &mut self,
        context: &Context,
        id: &InstanceId,
        spec: desired::Camera,
        slots: u32,
    ) {
        let camera = Camera::start(
            &context.camera(),
            id,
            &spec.node,
            spec.stream.clone(),
            source(&spec),
            slots,
            self.frames.clone(),
        );
        let view = display::show_camera(&context.views, id, &spec.node, &camera.frames);
        self.cameras.insert(
            spec.node.clone(),
            HeldCamera {
                spec,
                camera,
                _view: view,
            },
        );
    }

    pub(super) fn change_camera(
        &mut self,
        node: &NodeName,
        change: impl FnOnce(&mut desired::Camera),
    ) {
        if let Some(held) = self.cameras.get_mut(node) {
            change(&mut held.spec);
            held.camera.set_source(source(&held.spec));
        }
    }

    pub(super) fn close_camera(&mut self, context: &Context, id: &InstanceId, node: &NodeName) {
        self.cameras.remove(node);
        context.board.stopped(id, node);
    }

    pub(super) fn start_model(
        &mut self,
        context: &Context,
        id: &InstanceId,
        spec: desired::Model,
        wake: &Arc<Notify>,
    ) {
        let line = context.board.line(id, &spec.node, None);
        let asset = Asset {
            kind: AssetKind::Model,
            sha256: spec.asset.sha256,
        };
        let file = context.store.path(asset);
        // Half of the cores: cameras and the application need the others.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.div_ceil(2).min(4) as u32;
        let model = Model::start(context.launcher.clone(), line, file, &spec.inputs, threads);
        let wakes = wakes(model.state.clone(), wake);
        self.models.insert(
            spec.node.clone(),
            HeldModel {
                spec,
                model,
                _wakes: wakes,
            },
        );
    }

    pub(super) fn stop_model(&mut self, context: &Context, id: &InstanceId, node: &NodeName) {
        self.models.remove(node);
        context.board.stopped(id, node);
    }

    pub(super) fn start_application(
        &mut self,
        context: &Context,
        id: &InstanceId,
        name: &str,
        spec: desired::Application,
        wake: &Arc<Notify>,
    ) {
        let line = context.board.line(id, &spec.node, None);
        let gateway = Gateway::new(
            Arc::clone(&context.outside),
            line.clone(),
            name.to_owned(),
            spec.confinement.egress.clone(),
        );
        let node = Arc::new(Node {
            line,
            inputs: spec.inputs.clone(),
            outputs: spec.outputs.clone(),
            cameras: self
                .cameras
                .iter()
                .map(|(name, held)| (name.clone(), Arc::clone(&held.camera.frames)))
                .collect(),
            models: self
                .models
                .iter()
                .map(|(name, held)| (name.clone(), held.model.handle.clone()))
                .collect(),
            screens: self.screens.clone(),
            wake: self.frames.clone(),
            connected: AtomicU32::new(0),
            said: std::sync::Mutex::default(),
        });
        let environment = vec![
            ("AppGraph_Uid".to_owned(), id.to_string()),
            ("Node_Uid".to_owned(), spec.node.to_string()),
            ("AWS_REGION".to_owned(), context.region.clone()),
            ("AWS_DEFAULT_REGION".to_owned(), context.region.clone()),
        ];
        let directory = application::directory(&context.root, id.as_str());
        let start = ApplicationSpec {
            application: spec.clone(),
            environment,
            directory,
            limits: context.limits.merge(spec.confinement.limits),
            gateway,
            inbound: Arc::clone(&context.inbound),
            image: context.store.path(Asset {
                kind: AssetKind::Image,
                sha256: spec.asset.sha256,
            }),
            storage: context.storage.clone(),
        };
        let application = Application::start(context.launcher.clone(), node, start);
        let wakes = wakes(application.state.clone(), wake);
        let held = HeldApplication {
            spec,
            application,
            _wakes: wakes,
        };
        self.applications.insert(held.spec.node.clone(), held);
    }

    pub(super) fn change_egress(&mut self, node: &NodeName, egress: Egress) {
        if let Some(held) = self.applications.get_mut(node) {
            held.spec.confinement.egress.clone_from(&egress);
            held.application.set_egress(egress);
        }
    }

    pub(super) async fn stop_application(
        &mut self,
        context: &Context,
        id: &InstanceId,
        node: &NodeName,
    ) {
        if let Some(held) = self.applications.remove(node) {
            held.application.stop().await;
        }
        context.board.stopped(id, node);
    }

    /// Ends everything, applications in order.
    pub(super) async fn end(&mut self) {
        let applications = std::mem::take(&mut self.applications);
        let ends = applications
            .into_values()
            .map(|held| held.application.stop());
        futures_util::future::join_all(ends).await;
        self.models.clear();
        self.cameras.clear();
        self.screens.clear();
    }
}

fn source(spec: &desired::Camera) -> Source {
    Source {
        url: spec.url.clone(),
        secret: spec.secret.clone(),
        paused: spec.paused,
    }
}

/// A part that has come up or failed is a reason to plan again.
fn wakes<T: Send + Sync + 'static>(mut state: watch::Receiver<T>, wake: &Arc<Notify>) -> Task {
    let wake = Arc::clone(wake);
    tokio::spawn(async move {
        while state.changed().await.is_ok() {
            wake.notify_one();
        }
    })
    .into()
}

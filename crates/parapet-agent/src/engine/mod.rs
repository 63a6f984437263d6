//! Carries out what the pure plan decides (`parapet-plan`).
//!
//! One task owns all instances. It is woken by a new document, by a part that has come up or
//! failed, by an asset that has arrived, and by a timer; each time it fills in what is observed,
//! asks for the plan, and carries out the steps in their order. It decides nothing itself.
//! The parts (cameras, models, applications, screens) are tasks of their own, owned here: dropping
//! one ends its processes.

mod assets;
mod instance;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parapet_device::reported::{InstanceState, Reason};
use parapet_device::{DesiredDocument, Generation, InstanceId};
use parapet_plan::{Capacity, Observed, Step, plan};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::board::Board;
use crate::camera::CameraContext;
use crate::camera::certificates::CameraCertificates;
use crate::camera::local::Files;
use crate::camera::place::Places;
use crate::gateway::Outside;
use crate::inbound::Inbound;
use crate::launcher::Launcher;
use crate::limits::Defaults;
use crate::logs::Task;
use crate::secrets::Secrets;
use crate::storage::Storage;
use crate::store::Store;
use crate::views::Views;
use assets::Assets;
use instance::Instance;

/// Something may have changed that wakes nobody, such as a full disk that was emptied.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// A plan converges within a few rounds; one that does not is a defect, and must not spin.
const MOST_ROUNDS: usize = 32;

/// What the engine works with.
pub(crate) struct Context {
    pub(crate) root: PathBuf,
    pub(crate) launcher: Launcher,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) store: Arc<Store>,
    pub(crate) board: Board,
    pub(crate) views: Views,
    pub(crate) capacity: Capacity,
    /// Limits of applications without any of their own.
    pub(crate) limits: Defaults,
    /// Watches what instances hold.
    pub(crate) storage: Storage,
    /// What applications reach.
    pub(crate) outside: Arc<Outside>,
    /// What reaches applications.
    pub(crate) inbound: Arc<Inbound>,
    /// `AWS_REGION` of the applications.
    pub(crate) region: String,
    /// Which addresses may be a camera's.
    pub(crate) places: Arc<Places>,
    /// Which certificates cameras have shown.
    pub(crate) certificates: Arc<CameraCertificates>,
    /// Which files may play a camera.
    pub(crate) files: Files,
}

impl Context {
    fn camera(&self) -> CameraContext {
        CameraContext {
            launcher: self.launcher.clone(),
            secrets: Arc::clone(&self.secrets),
            board: self.board.clone(),
            places: Arc::clone(&self.places),
            certificates: Arc::clone(&self.certificates),
            files: self.files.clone(),
        }
    }
}

/// The engine's task. Ends when the document's sender does, after all applications have ended.
pub(crate) async fn run(
    context: Context,
    mut desired: watch::Receiver<Option<DesiredDocument>>,
    applied: watch::Sender<Generation>,
) {
    let wake = Arc::new(Notify::new());
    let outside = Arc::clone(&context.outside);
    let _names: Task = tokio::spawn(async move { outside.off_limits.keep().await }).into();
    let mut engine = Engine {
        assets: Assets::new(Arc::clone(&context.store), Arc::clone(&wake)),
        instances: instance::found_on_disk(&context.root),
        shown: BTreeMap::new(),
        context,
        wake,
    };
    loop {
        let document = desired.borrow_and_update().clone();
        if let Some(document) = document {
            // Before any application of the document runs.
            let cameras = document.instances.iter().flat_map(|i| &i.cameras);
            let urls = cameras.map(|camera| camera.url.as_str());
            engine.context.outside.off_limits.set_cameras(urls);
            engine.converge(&document, &applied).await;
        }
        let wake = Arc::clone(&engine.wake);
        tokio::select! {
            changed = desired.changed() => if changed.is_err() { break },
            _ = timeout(LONGEST_REST, wake.notified()) => {}
        }
    }
    engine.end().await;
}

struct Engine {
    context: Context,
    assets: Assets,
    instances: BTreeMap<InstanceId, Instance>,
    /// State and reason last put on the board.
    shown: BTreeMap<InstanceId, (InstanceState, Option<Reason>)>,
    wake: Arc<Notify>,
}

impl Engine {
    fn observed(&self) -> Observed {
        Observed {
            assets: self.assets.observed(),
            instances: self
                .instances
                .iter()
                .map(|(id, i)| (id.clone(), i.observed()))
                .collect(),
            capacity: self.context.capacity,
        }
    }

    async fn converge(&mut self, document: &DesiredDocument, applied: &watch::Sender<Generation>) {
        for _ in 0..MOST_ROUNDS {
            let (steps, report) = plan(document, &self.observed());
            for (id, instance) in &report.instances {
                let now = (instance.state, instance.reason.clone());
                if self.shown.get(id) != Some(&now) {
                    tracing::info!(
                        instance = %id, state = ?now.0,
                        message = now.1.as_ref().map(|r| r.message.as_str()),
                        "instance state"
                    );
                    self.context.board.set_instance(id, now.0, now.1.clone());
                    self.shown.insert(id.clone(), now);
                }
            }
            self.forget_gone(document);
            if report.applied {
                applied.send_if_modified(|generation| {
                    std::mem::replace(generation, document.generation) != document.generation
                });
                self.forget_secrets(document);
            }
            if steps.is_empty() {
                return;
            }
            for step in steps {
                tracing::debug!(step = ?kind(&step), "step");
                if !self.carry_out(step, document).await {
                    // What failed is tried again after a rest.
                    return;
                }
            }
        }
        tracing::error!("the plan does not converge; the document is applied in part");
    }

    /// `false`: the step could not be carried out now.
    async fn carry_out(&mut self, step: Step, document: &DesiredDocument) -> bool {
        match step {
            Step::Fetch { asset, blob } => self.assets.fetch(asset, blob),
            Step::Unpack { asset } => self.assets.unpack(asset),
            Step::Discard { asset } => self.assets.discard(asset).await,
            Step::Prepare { instance } => {
                self.instances.insert(instance, Instance::new());
            }
            Step::RemoveInstance { instance } => return self.remove(&instance).await,
            Step::ShowDisplay { instance, node } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts.show_display(&self.context, &instance, node);
                }
            }
            Step::HideDisplay { instance, node } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts.hide_display(&self.context, &instance, &node);
                }
            }
            Step::OpenCamera { instance, camera } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    let wanted = document.instances.iter().find(|i| i.id == instance);
                    let slots = instance::slots(self.context.capacity, wanted, &camera.node);
                    parts.open_camera(&self.context, &instance, camera, slots);
                }
            }
            Step::ReopenCamera { instance, camera } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts.change_camera(&camera.node.clone(), |held| *held = camera);
                }
            }
            Step::PauseCamera { instance, node } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts.change_camera(&node, |held| held.paused = true);
                }
            }
            Step::ResumeCamera { instance, node } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts.change_camera(&node, |held| held.paused = false);
                }
            }
            Step::CloseCamera { instance, node } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts.close_camera(&self.context, &instance, &node);
                }
            }
            Step::StartModel { instance, model } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts.start_model(&self.context, &instance, model, &self.wake);
                }
            }
            Step::StopModel { instance, node } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts.stop_model(&self.context, &instance, &node);
                }
            }
            Step::StartApplication {
                instance,
                application,
            } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    let wanted = document.instances.iter().find(|i| i.id == instance);
                    let name = wanted.map_or("", |wanted| wanted.name.as_str());
                    parts.start_application(
                        &self.context,
                        &instance,
                        name,
                        application,
                        &self.wake,
                    );
                }
            }
            Step::ChangeEgress {
                instance,
                node,
                egress,
            } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts.change_egress(&node, egress);
                }
            }
            Step::StopApplication { instance, node } => {
                if let Some(parts) = self.instances.get_mut(&instance) {
                    parts
                        .stop_application(&self.context, &instance, &node)
                        .await;
                }
            }
        }
        true
    }

    async fn remove(&mut self, instance: &InstanceId) -> bool {
        if let Err(error) = self.context.launcher.remove(instance.as_str()).await {
            tracing::warn!(
                %instance, error = &error as &dyn std::error::Error,
                "files of a removed instance are still there"
            );
            return false;
        }
        self.instances.remove(instance);
        true
    }

    /// An instance that is neither desired nor held is reported no more.
    fn forget_gone(&mut self, document: &DesiredDocument) {
        let Self {
            shown,
            instances,
            context,
            ..
        } = self;
        shown.retain(|id, _| {
            let known =
                instances.contains_key(id) || document.instances.iter().any(|i| i.id == *id);
            if !known {
                context.board.remove_instance(id);
            }
            known
        });
    }

    fn forget_secrets(&self, document: &DesiredDocument) {
        let wanted: BTreeSet<&str> = document
            .instances
            .iter()
            .flat_map(|instance| &instance.cameras)
            .filter_map(|camera| camera.secret.as_ref())
            .map(|secret| secret.id.as_str())
            .collect();
        if let Err(error) = self.context.secrets.retain(|id| wanted.contains(id)) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "unused secrets are still there"
            );
        }
    }

    async fn end(mut self) {
        let ends = self.instances.values_mut().map(Instance::end);
        futures_util::future::join_all(ends).await;
    }
}

/// A step without its contents, which would fill the log.
fn kind(step: &Step) -> String {
    let text = format!("{step:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

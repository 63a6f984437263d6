//! Desired and observed to steps: the appliance's only decision.
//!
//! [`plan`] is deterministic and minimal: it names what differs and touches nothing else. Only
//! steps that can be carried out now are named; what waits for a download or for a model to load
//! is in the report. Calling it again after each step or event converges: the steps run out.
//!
//! An instance is installed as a whole (all assets unpacked, memory granted) before any part of it
//! starts. One whose asset is refused or that cannot have its memory ends in `INSTALL_ERROR`, one
//! whose model or process can never start in `LAUNCH_ERROR`; either way nothing of it runs, and
//! the other instances go on.

use std::collections::{BTreeMap, BTreeSet};

use parapet_device::desired::{Application, Blob, Camera, InputSource, Instance, Model};
use parapet_device::reported::{InstanceState, Reason};
use parapet_device::{DesiredDocument, InstanceId, NodeName};

use crate::observed::{
    Asset, AssetKind, AssetState, Capacity, Observed, ObservedInstance, PartState,
};
use crate::step::Step;

/// A frame of 2 megapixels in BGR with its row padding: pictures are scaled down to that
/// (`design.md` section 5, rule 6), so that a ring can be budgeted before the first frame.
pub const FRAME_BYTES: u64 = 6_300_000;

/// What the steps leave open.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanReport {
    /// Each instance that is desired or still there.
    pub instances: BTreeMap<InstanceId, InstancePlan>,
    /// Whether all changes of the document have been carried out or have failed for good: the
    /// document's generation is the applied one.
    pub applied: bool,
}

/// Where one instance stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePlan {
    /// What to report.
    pub state: InstanceState,
    /// Why it is one of the `*_ERROR` states.
    pub reason: Option<Reason>,
    /// What it waits for, for people: `model net: loading`.
    pub awaited: Vec<String>,
}

/// What to do next, and what is awaited. See the module.
#[must_use]
pub fn plan(desired: &DesiredDocument, observed: &Observed) -> (Vec<Step>, PlanReport) {
    let mut steps = Vec::new();
    let mut instances = BTreeMap::new();
    let nothing = ObservedInstance::default();

    // Removal first: it frees memory and names for what comes.
    let wanted: BTreeSet<&InstanceId> = desired.instances.iter().map(|i| &i.id).collect();
    for (id, held) in observed
        .instances
        .iter()
        .filter(|(id, _)| !wanted.contains(id))
    {
        stop_all(id, held, &mut steps);
        steps.push(Step::RemoveInstance {
            instance: id.clone(),
        });
        let state = InstanceState::RemovalInProgress;
        instances.insert(
            id.clone(),
            InstancePlan {
                state,
                reason: None,
                awaited: Vec::new(),
            },
        );
    }

    let refused = admission(desired, observed);
    let mut asked = BTreeSet::new();
    for instance in &desired.instances {
        let held = observed.instances.get(&instance.id);
        if held.is_none() {
            steps.push(Step::Prepare {
                instance: instance.id.clone(),
            });
        }
        let outcome = one_instance(
            instance,
            held.unwrap_or(&nothing),
            observed,
            refused.get(&instance.id),
            &mut asked,
            &mut steps,
        );
        instances.insert(instance.id.clone(), outcome);
    }

    let used: BTreeSet<Asset> = desired
        .instances
        .iter()
        .flat_map(assets)
        .map(|(asset, _, _)| asset)
        .collect();
    for asset in observed.assets.keys().filter(|asset| !used.contains(asset)) {
        steps.push(Step::Discard { asset: *asset });
    }

    let open = |plan: &InstancePlan| {
        matches!(
            plan.state,
            InstanceState::InstallInProgress
                | InstanceState::Starting
                | InstanceState::RemovalInProgress
        )
    };
    let applied = steps.is_empty() && !instances.values().any(open);
    (steps, PlanReport { instances, applied })
}

/// Decides on one instance of the document.
fn one_instance(
    instance: &Instance,
    held: &ObservedInstance,
    observed: &Observed,
    refused: Option<&Reason>,
    asked: &mut BTreeSet<Asset>,
    steps: &mut Vec<Step>,
) -> InstancePlan {
    if let Some(reason) = refused {
        stop_all(&instance.id, held, steps);
        return failed(InstanceState::InstallError, reason);
    }
    let mut awaited = Vec::new();
    for (asset, blob, node) in assets(instance) {
        let verb = match observed.assets.get(&asset) {
            Some(AssetState::Ready) => continue,
            Some(AssetState::Failed(reason)) => {
                stop_all(&instance.id, held, steps);
                return failed(InstanceState::InstallError, &of_node(node, reason));
            }
            None => {
                // Two nodes, of one instance or of two, may share an asset.
                if asked.insert(asset) {
                    steps.push(Step::Fetch {
                        asset,
                        blob: blob.clone(),
                    });
                }
                "fetching"
            }
            Some(AssetState::Fetching) => "fetching",
            Some(AssetState::Fetched) => {
                if asked.insert(asset) {
                    steps.push(Step::Unpack { asset });
                }
                "unpacking"
            }
            Some(AssetState::Unpacking) => "unpacking",
        };
        awaited.push(format!("{node}: {verb} {}", blob.sha256));
    }
    if !awaited.is_empty() {
        // What runs goes on while a part that is new is being installed.
        return InstancePlan {
            state: InstanceState::InstallInProgress,
            reason: None,
            awaited,
        };
    }
    if let Some(reason) = launch_failure(instance, held) {
        stop_all_but_failed(instance, held, steps);
        return failed(InstanceState::LaunchError, &reason);
    }

    let before = steps.len();
    differences(instance, held, steps);
    for model in &instance.models {
        if !matches!(held.models.get(&model.node), Some((_, PartState::Started))) {
            awaited.push(format!("{}: loading", model.node));
        }
    }
    for application in &instance.applications {
        if !matches!(
            held.applications.get(&application.node),
            Some((_, PartState::Started))
        ) {
            awaited.push(format!("{}: starting", application.node));
        }
    }
    let state = if steps.len() == before && awaited.is_empty() {
        InstanceState::Running
    } else {
        InstanceState::Starting
    };
    InstancePlan {
        state,
        reason: None,
        awaited,
    }
}

/// The parts that are missing, superfluous or different. Stops come before starts, and what feeds
/// comes before what is fed.
fn differences(instance: &Instance, held: &ObservedInstance, steps: &mut Vec<Step>) {
    let id = &instance.id;
    for (node, (running, state)) in &held.applications {
        let goes_on =
            |wanted: &Application| wanted == running || changes_egress(running, state, wanted);
        if !instance.applications.iter().any(goes_on) {
            steps.push(Step::StopApplication {
                instance: id.clone(),
                node: node.clone(),
            });
        }
    }
    for (node, (running, _)) in &held.models {
        if !instance.models.iter().any(|wanted| wanted == running) {
            steps.push(Step::StopModel {
                instance: id.clone(),
                node: node.clone(),
            });
        }
    }
    for node in held.cameras.keys() {
        if !instance.cameras.iter().any(|wanted| wanted.node == *node) {
            steps.push(Step::CloseCamera {
                instance: id.clone(),
                node: node.clone(),
            });
        }
    }
    for node in &held.displays {
        if !instance.displays.contains(node) {
            steps.push(Step::HideDisplay {
                instance: id.clone(),
                node: node.clone(),
            });
        }
    }
    for node in &instance.displays {
        if !held.displays.contains(node) {
            steps.push(Step::ShowDisplay {
                instance: id.clone(),
                node: node.clone(),
            });
        }
    }
    for camera in &instance.cameras {
        steps.extend(camera_step(id, camera, held.cameras.get(&camera.node)));
    }
    for model in &instance.models {
        if held
            .models
            .get(&model.node)
            .is_none_or(|(running, _)| running != model)
        {
            steps.push(Step::StartModel {
                instance: id.clone(),
                model: model.clone(),
            });
        }
    }
    for application in &instance.applications {
        let instance = id.clone();
        match held.applications.get(&application.node) {
            Some((running, _)) if running == application => {}
            Some((running, state)) if changes_egress(running, state, application) => {
                steps.push(Step::ChangeEgress {
                    instance,
                    node: application.node.clone(),
                    egress: application.confinement.egress.clone(),
                });
            }
            _ => steps.push(Step::StartApplication {
                instance,
                application: application.clone(),
            }),
        }
    }
}

/// Whether `wanted` is the same application but for whom it may call, which its gateway can learn
/// while it runs. One without a gateway has to start anew to get one, and one that has failed to
/// have another try.
fn changes_egress(running: &Application, state: &PartState, wanted: &Application) -> bool {
    let egress = &running.confinement.egress;
    if is_final(state) || !egress.is_wanted() || *egress == wanted.confinement.egress {
        return false;
    }
    let mut same = wanted.clone();
    same.confinement.egress.clone_from(egress);
    same == *running
}

fn camera_step(id: &InstanceId, wanted: &Camera, held: Option<&Camera>) -> Option<Step> {
    let instance = id.clone();
    let Some(held) = held else {
        return Some(Step::OpenCamera {
            instance,
            camera: wanted.clone(),
        });
    };
    if held == wanted {
        return None;
    }
    let only_paused = Camera {
        paused: wanted.paused,
        ..held.clone()
    } == *wanted;
    Some(match (only_paused, wanted.paused) {
        (false, _) => Step::ReopenCamera {
            instance,
            camera: wanted.clone(),
        },
        (true, true) => Step::PauseCamera {
            instance,
            node: wanted.node.clone(),
        },
        (true, false) => Step::ResumeCamera {
            instance,
            node: wanted.node.clone(),
        },
    })
}

fn stop_all(id: &InstanceId, held: &ObservedInstance, steps: &mut Vec<Step>) {
    for node in held.applications.keys() {
        steps.push(Step::StopApplication {
            instance: id.clone(),
            node: node.clone(),
        });
    }
    for node in held.models.keys() {
        steps.push(Step::StopModel {
            instance: id.clone(),
            node: node.clone(),
        });
    }
    for node in held.cameras.keys() {
        steps.push(Step::CloseCamera {
            instance: id.clone(),
            node: node.clone(),
        });
    }
    for node in &held.displays {
        steps.push(Step::HideDisplay {
            instance: id.clone(),
            node: node.clone(),
        });
    }
}

/// Stops what runs of a failed instance. The failed part stays known as it is: it remembers the
/// failure, so that the same start is not tried again.
fn stop_all_but_failed(instance: &Instance, held: &ObservedInstance, steps: &mut Vec<Step>) {
    let mut rest = held.clone();
    rest.models
        .retain(|_, (model, state)| !is_final(state) || !instance.models.contains(model));
    rest.applications.retain(|_, (application, state)| {
        !is_final(state) || !instance.applications.contains(application)
    });
    stop_all(&instance.id, &rest, steps);
}

fn is_final(state: &PartState) -> bool {
    matches!(state, PartState::Failed(_))
}

/// The first part, in the order of the document, that can never start as the document wants it.
fn launch_failure(instance: &Instance, held: &ObservedInstance) -> Option<Reason> {
    let models =
        instance
            .models
            .iter()
            .filter_map(|wanted: &Model| match held.models.get(&wanted.node) {
                Some((running, PartState::Failed(reason))) if running == wanted => {
                    Some(of_node(&wanted.node, reason))
                }
                _ => None,
            });
    let applications = instance
        .applications
        .iter()
        .filter_map(
            |wanted: &Application| match held.applications.get(&wanted.node) {
                Some((running, PartState::Failed(reason))) if running == wanted => {
                    Some(of_node(&wanted.node, reason))
                }
                _ => None,
            },
        );
    models.chain(applications).next()
}

/// Instances whose rings do not fit any more. Those that already hold cameras come first, so that
/// a new one never drives out an old one; then in the order of the document.
fn admission(desired: &DesiredDocument, observed: &Observed) -> BTreeMap<InstanceId, Reason> {
    let running = |instance: &&Instance| {
        observed
            .instances
            .get(&instance.id)
            .is_some_and(|held| !held.cameras.is_empty())
    };
    let (old, new): (Vec<&Instance>, Vec<&Instance>) = desired.instances.iter().partition(running);
    let mut left = observed.capacity.ring_bytes;
    let mut refused = BTreeMap::new();
    for instance in old.into_iter().chain(new) {
        let needed = ring_bytes(instance, &observed.capacity);
        if let Some(rest) = left.checked_sub(needed) {
            left = rest;
            continue;
        }
        let message = format!(
            "{} cameras need {} MB for frames and {} MB are left: remove an application, use \
             fewer cameras or raise the agent's ring budget",
            instance.cameras.len(),
            needed.div_ceil(1_000_000),
            left / 1_000_000,
        );
        refused.insert(
            instance.id.clone(),
            Reason {
                code: "memory".to_owned(),
                message,
            },
        );
    }
    refused
}

/// Bytes that the frame rings of an instance may take. A paused camera counts: it may be resumed.
#[must_use]
pub fn ring_bytes(instance: &Instance, capacity: &Capacity) -> u64 {
    let reads = |application: &&Application, node: &NodeName| {
        application.inputs.iter().any(|input| match &input.source {
            InputSource::Media { cameras } => cameras.contains(node),
            _ => false,
        })
    };
    instance
        .cameras
        .iter()
        .map(|camera| {
            let consumers = instance
                .applications
                .iter()
                .filter(|a| reads(a, &camera.node))
                .count();
            let slots = capacity.slots(u32::try_from(consumers).unwrap_or(u32::MAX));
            u64::from(slots).saturating_mul(FRAME_BYTES)
        })
        .fold(0, u64::saturating_add)
}

/// The assets an instance needs, with the node that needs each.
fn assets(instance: &Instance) -> impl Iterator<Item = (Asset, &Blob, &NodeName)> {
    let models = instance
        .models
        .iter()
        .map(|m| (AssetKind::Model, &m.asset, &m.node));
    let images = instance
        .applications
        .iter()
        .map(|a| (AssetKind::Image, &a.asset, &a.node));
    models.chain(images).map(|(kind, blob, node)| {
        (
            Asset {
                kind,
                sha256: blob.sha256,
            },
            blob,
            node,
        )
    })
}

fn failed(state: InstanceState, reason: &Reason) -> InstancePlan {
    InstancePlan {
        state,
        reason: Some(reason.clone()),
        awaited: Vec::new(),
    }
}

/// A node's reason as the instance's: the node's name goes in front, and the message keeps its
/// limit.
fn of_node(node: &NodeName, reason: &Reason) -> Reason {
    Reason {
        code: reason.code.clone(),
        message: format!("{node}: {}", reason.message)
            .chars()
            .take(200)
            .collect(),
    }
}

//! Whatever an appliance holds, carrying out the planned steps brings it to the document, and
//! touches nothing else on the way.

#![expect(clippy::expect_used, reason = "a test ends at its first surprise")]

use std::collections::BTreeMap;

use parapet_device::confinement::{Confinement, Egress, InboundPort};
use parapet_device::desired::{
    Application, Blob, Camera, DesiredDocument, Input, InputSource, Instance, Model, Output,
    SecretRef, Tensor,
};
use parapet_device::reported::{InstanceState, Reason};
use parapet_device::{BlobDigest, Generation, InstanceId, NodeName, PROTOCOL_VERSION};
use parapet_plan::{
    Asset, AssetKind, AssetState, Capacity, Observed, ObservedInstance, PartState, Step, plan,
};
use proptest::prelude::*;

fn name(text: &str) -> NodeName {
    text.parse().expect("a node name")
}

fn id(number: u8) -> InstanceId {
    format!("applicationInstance-{number}")
        .parse()
        .expect("an instance ID")
}

fn digest(number: u8) -> BlobDigest {
    BlobDigest::from_bytes([number; 32])
}

fn blob(number: u8) -> Blob {
    Blob {
        sha256: digest(number),
        bytes: 1000,
    }
}

fn camera(node: &str, url: u8, version: u64, paused: bool) -> Camera {
    Camera {
        node: name(node),
        stream: node.to_owned(),
        url: format!("rtsp://10.0.0.{url}/"),
        secret: Some(SecretRef {
            id: "secret-x".parse().expect("a secret ID"),
            version,
        }),
        paused,
    }
}

fn model(node: &str, asset: u8) -> Model {
    let inputs = vec![Tensor {
        name: "data".to_owned(),
        shape: vec![1, 3, 8, 8],
    }];
    Model {
        node: name(node),
        asset: blob(asset),
        inputs,
    }
}

fn application(node: &str, asset: u8, cameras: &[Camera]) -> Application {
    let cameras = cameras.iter().map(|camera| camera.node.clone()).collect();
    Application {
        node: name(node),
        asset: blob(asset),
        command: vec!["python3".to_owned(), "/app.py".to_owned()],
        environment: Vec::new(),
        inputs: vec![Input {
            name: "video_in".to_owned(),
            source: InputSource::Media { cameras },
        }],
        outputs: vec![Output {
            name: "video_out".to_owned(),
            displays: vec![name("screen")],
        }],
        confinement: Confinement::default(),
    }
}

fn instance(number: u8, cameras: Vec<Camera>, model_asset: u8, code_asset: u8) -> Instance {
    Instance {
        id: id(number),
        name: "gate".to_owned(),
        models: vec![model("net", model_asset)],
        applications: vec![application("logic", code_asset, &cameras)],
        displays: vec![name("screen")],
        cameras,
    }
}

fn document(instances: Vec<Instance>) -> DesiredDocument {
    DesiredDocument {
        version: PROTOCOL_VERSION,
        device: "device-x".parse().expect("a device ID"),
        generation: Generation(7),
        instances,
    }
}

/// Carries a step out as the agent would, and checks what must hold at that moment.
fn apply(step: &Step, observed: &mut Observed) {
    fn held<'a>(observed: &'a mut Observed, id: &InstanceId) -> &'a mut ObservedInstance {
        observed
            .instances
            .get_mut(id)
            .expect("an instance is prepared before its parts")
    }
    fn ready(observed: &Observed, kind: AssetKind, blob: &Blob) {
        let asset = Asset {
            kind,
            sha256: blob.sha256,
        };
        let state = observed.assets.get(&asset);
        assert_eq!(state, Some(&AssetState::Ready), "started without its asset");
    }
    match step {
        Step::Fetch { asset, blob } => {
            assert_eq!(asset.sha256, blob.sha256);
            assert_eq!(observed.assets.insert(*asset, AssetState::Fetching), None);
        }
        Step::Unpack { asset } => {
            let before = observed.assets.insert(*asset, AssetState::Unpacking);
            assert_eq!(before, Some(AssetState::Fetched));
        }
        Step::Prepare { instance } => {
            let before = observed
                .instances
                .insert(instance.clone(), ObservedInstance::default());
            assert_eq!(before, None);
        }
        Step::ShowDisplay { instance, node } => {
            assert!(held(observed, instance).displays.insert(node.clone()));
        }
        Step::HideDisplay { instance, node } => {
            assert!(held(observed, instance).displays.remove(node));
        }
        Step::OpenCamera { instance, camera } => {
            let cameras = &mut held(observed, instance).cameras;
            assert_eq!(cameras.insert(camera.node.clone(), camera.clone()), None);
        }
        Step::ReopenCamera { instance, camera } => {
            let cameras = &mut held(observed, instance).cameras;
            assert!(
                cameras
                    .insert(camera.node.clone(), camera.clone())
                    .is_some()
            );
        }
        Step::PauseCamera { instance, node } | Step::ResumeCamera { instance, node } => {
            let camera = held(observed, instance)
                .cameras
                .get_mut(node)
                .expect("a camera");
            let paused = matches!(step, Step::PauseCamera { .. });
            assert_ne!(camera.paused, paused, "a step without effect");
            camera.paused = paused;
        }
        Step::CloseCamera { instance, node } => {
            assert!(held(observed, instance).cameras.remove(node).is_some());
        }
        Step::StartModel { instance, model } => {
            ready(observed, AssetKind::Model, &model.asset);
            let value = (model.clone(), PartState::Starting);
            assert!(
                held(observed, instance)
                    .models
                    .insert(model.node.clone(), value)
                    .is_none()
            );
        }
        Step::StopModel { instance, node } => {
            assert!(held(observed, instance).models.remove(node).is_some());
        }
        Step::StartApplication {
            instance,
            application,
        } => {
            ready(observed, AssetKind::Image, &application.asset);
            let value = (application.clone(), PartState::Starting);
            let applications = &mut held(observed, instance).applications;
            assert!(
                applications
                    .insert(application.node.clone(), value)
                    .is_none()
            );
        }
        Step::ChangeEgress {
            instance,
            node,
            egress,
        } => {
            let (application, state) = held(observed, instance)
                .applications
                .get_mut(node)
                .expect("an application");
            assert!(!matches!(state, PartState::Failed(_)), "a failed one");
            let before = std::mem::replace(&mut application.confinement.egress, egress.clone());
            assert_ne!(&before, egress, "a step without effect");
            assert!(before.is_wanted(), "there is no gateway that could change");
        }
        Step::StopApplication { instance, node } => {
            assert!(held(observed, instance).applications.remove(node).is_some());
        }
        Step::RemoveInstance { instance } => {
            let gone = observed.instances.remove(instance).expect("an instance");
            assert!(gone.is_empty(), "removed while something runs: {gone:?}");
        }
        Step::Discard { asset } => {
            assert!(observed.assets.remove(asset).is_some());
        }
    }
}

/// What the world does by itself: downloads end, models load.
fn time_passes(observed: &mut Observed) {
    for state in observed.assets.values_mut() {
        match state {
            AssetState::Fetching => *state = AssetState::Fetched,
            AssetState::Unpacking => *state = AssetState::Ready,
            _ => {}
        }
    }
    for instance in observed.instances.values_mut() {
        let models = instance.models.values_mut().map(|(_, state)| state);
        let applications = instance.applications.values_mut().map(|(_, state)| state);
        for state in models
            .chain(applications)
            .filter(|state| **state == PartState::Starting)
        {
            *state = PartState::Started;
        }
    }
}

/// Plans and carries out until nothing is left, and returns all steps.
fn settle(desired: &DesiredDocument, observed: &mut Observed) -> Vec<Step> {
    let mut all = Vec::new();
    for _ in 0..12 {
        let (steps, report) = plan(desired, observed);
        for step in &steps {
            apply(step, observed);
        }
        if report.applied {
            return all;
        }
        all.extend(steps);
        time_passes(observed);
    }
    panic!("no end after 12 rounds: {:?}", plan(desired, observed));
}

fn settled(desired: &DesiredDocument) -> Observed {
    let mut observed = Observed::default();
    settle(desired, &mut observed);
    observed
}

#[test]
fn an_empty_appliance_fetches_unpacks_and_starts() {
    let cameras = vec![camera("east", 1, 1, false), camera("west", 2, 1, true)];
    let desired = document(vec![instance(1, cameras, 1, 2)]);
    let (steps, report) = plan(&desired, &Observed::default());
    let fetches = steps
        .iter()
        .filter(|step| matches!(step, Step::Fetch { .. }))
        .count();
    assert_eq!((steps.len(), fetches), (3, 2), "{steps:?}");
    assert_eq!(
        report.instances[&id(1)].state,
        InstanceState::InstallInProgress
    );
    assert_eq!(report.instances[&id(1)].awaited.len(), 2);

    let mut observed = Observed::default();
    let all = settle(&desired, &mut observed);
    let starts = all
        .iter()
        .position(|step| matches!(step, Step::StartApplication { .. }))
        .expect("a start");
    let opens = all
        .iter()
        .position(|step| matches!(step, Step::OpenCamera { .. }));
    assert!(opens.is_some_and(|opens| opens < starts), "{all:?}");
    let (_, report) = plan(&desired, &observed);
    assert_eq!(report.instances[&id(1)].state, InstanceState::Running);
}

#[test]
fn one_changed_camera_is_one_step() {
    let before = vec![camera("east", 1, 1, false), camera("west", 2, 1, false)];
    let observed = settled(&document(vec![instance(1, before, 1, 2)]));
    let step_for = |west: Camera| {
        let cameras = vec![camera("east", 1, 1, false), west];
        plan(&document(vec![instance(1, cameras, 1, 2)]), &observed).0
    };
    let reopen = |west: &Camera| {
        vec![Step::ReopenCamera {
            instance: id(1),
            camera: west.clone(),
        }]
    };
    for west in [
        camera("west", 9, 1, false),
        camera("west", 2, 2, false),
        camera("west", 2, 2, true),
    ] {
        assert_eq!(step_for(west.clone()), reopen(&west));
    }
    let pause = vec![Step::PauseCamera {
        instance: id(1),
        node: name("west"),
    }];
    assert_eq!(step_for(camera("west", 2, 1, true)), pause);
}

fn with_egress(hosts: &[&str], learn: bool, role: bool) -> Confinement {
    let read = |text: &&str| text.parse().expect("a host");
    let egress = Egress {
        learn,
        role,
        hosts: hosts.iter().map(read).collect(),
    };
    Confinement {
        egress,
        ..Confinement::default()
    }
}

#[test]
fn whom_an_application_may_call_changes_while_it_runs() {
    let confined = |confinement: Confinement| {
        let mut one = instance(1, vec![camera("east", 1, 1, false)], 1, 2);
        one.applications[0].confinement = confinement;
        document(vec![one])
    };
    let steps = |before: Confinement, after: Confinement| {
        let observed = settled(&confined(before));
        plan(&confined(after), &observed).0
    };
    let starts = |steps: &[Step]| {
        matches!(
            steps,
            [Step::StopApplication { .. }, Step::StartApplication { .. }]
        )
    };
    let one = || with_egress(&["a.example:443"], false, false);
    for after in [
        with_egress(&["a.example:443", "b.example:443"], false, false),
        with_egress(&[], true, false),
        with_egress(&["a.example:443"], false, true),
        Confinement::default(),
    ] {
        let change = Step::ChangeEgress {
            instance: id(1),
            node: name("logic"),
            egress: after.egress.clone(),
        };
        assert_eq!(steps(one(), after), vec![change]);
    }
    // The first of all needs a gateway.
    let first = steps(Confinement::default(), one());
    assert!(starts(&first), "{first:?}");
    // Limits and ports are no business of the gateway.
    let mut port = one();
    port.ports.push(InboundPort {
        host: 8000,
        container: 80,
        sources: Vec::new(),
        tls: None,
    });
    let mut limited = one();
    limited.limits.processes = Some(7);
    for after in [port, limited] {
        let steps = steps(one(), after);
        assert!(starts(&steps), "{steps:?}");
    }
}

#[test]
fn removal_leaves_nothing() {
    let desired = document(vec![instance(1, vec![camera("east", 1, 1, false)], 1, 2)]);
    let mut observed = settled(&desired);
    let (_, report) = plan(&document(Vec::new()), &observed);
    assert_eq!(
        report.instances[&id(1)].state,
        InstanceState::RemovalInProgress
    );
    settle(&document(Vec::new()), &mut observed);
    assert_eq!(observed, Observed::default());
}

#[test]
fn a_refused_asset_fails_its_instance_alone() {
    let east = || vec![camera("east", 1, 1, false)];
    let desired = document(vec![instance(1, east(), 1, 2), instance(2, east(), 3, 4)]);
    let mut observed = Observed::default();
    let reason = Reason {
        code: "asset".to_owned(),
        message: "damaged; upload it again".to_owned(),
    };
    let bad = Asset {
        kind: AssetKind::Model,
        sha256: digest(3),
    };
    observed.assets.insert(bad, AssetState::Failed(reason));
    settle(&desired, &mut observed);
    let (_, report) = plan(&desired, &observed);
    assert_eq!(report.instances[&id(1)].state, InstanceState::Running);
    let failed = &report.instances[&id(2)];
    assert_eq!(failed.state, InstanceState::InstallError);
    let message = failed.reason.as_ref().map(|reason| reason.message.as_str());
    assert_eq!(message, Some("net: damaged; upload it again"));
    assert!(observed.instances[&id(2)].is_empty());
}

#[test]
fn a_model_that_cannot_load_fails_its_instance_and_is_not_tried_again() {
    let desired = document(vec![instance(1, vec![camera("east", 1, 1, false)], 1, 2)]);
    let mut observed = settled(&desired);
    let reason = Reason {
        code: "model_load".to_owned(),
        message: "convert it".to_owned(),
    };
    let held = observed.instances.get_mut(&id(1)).expect("an instance");
    let (_, state) = held.models.get_mut(&name("net")).expect("a model");
    *state = PartState::Failed(reason);
    settle(&desired, &mut observed);
    let (steps, report) = plan(&desired, &observed);
    assert_eq!((steps, report.applied), (Vec::new(), true));
    assert_eq!(report.instances[&id(1)].state, InstanceState::LaunchError);
    let held = &observed.instances[&id(1)];
    assert!(
        held.cameras.is_empty() && held.applications.is_empty(),
        "{held:?}"
    );

    // Another model in its place is another try.
    let repaired = document(vec![instance(1, vec![camera("east", 1, 1, false)], 5, 2)]);
    settle(&repaired, &mut observed);
    let (_, report) = plan(&repaired, &observed);
    assert_eq!(report.instances[&id(1)].state, InstanceState::Running);
}

#[test]
fn an_instance_too_large_for_the_memory_does_not_drive_out_one_that_runs() {
    let one = || instance(1, vec![camera("east", 1, 1, false)], 1, 2);
    let two = || instance(2, vec![camera("west", 2, 1, false)], 1, 2);
    let mut observed = settled(&document(vec![one()]));
    // One camera with one consumer: 3 + 4 slots.
    observed.capacity = Capacity {
        ring_bytes: 7 * plan::FRAME_BYTES,
        hold: 4,
    };
    let desired = document(vec![two(), one()]);
    settle(&desired, &mut observed);
    let (_, report) = plan(&desired, &observed);
    assert_eq!(report.instances[&id(1)].state, InstanceState::Running);
    assert_eq!(report.instances[&id(2)].state, InstanceState::InstallError);
    let code = report.instances[&id(2)]
        .reason
        .as_ref()
        .map(|reason| reason.code.as_str());
    assert_eq!(code, Some("memory"));
}

fn cameras() -> impl Strategy<Value = Vec<Camera>> {
    let one = (0_usize..3, 0_u8..3, 1_u64..3, any::<bool>());
    prop::collection::vec(one, 0..4).prop_map(|cameras| {
        let by_node: BTreeMap<usize, Camera> = cameras
            .into_iter()
            .map(|(node, url, version, paused)| {
                (node, camera(["a", "b", "c"][node], url, version, paused))
            })
            .collect();
        by_node.into_values().collect()
    })
}

fn instances() -> impl Strategy<Value = Vec<Instance>> {
    let egress = (0_usize..3, any::<bool>(), any::<bool>(), 0_u32..2).prop_map(
        |(hosts, learn, role, processes)| {
            let mut confinement =
                with_egress(&["a.example:443", "b.example:443"][..hosts], learn, role);
            confinement.limits.processes = Some(processes);
            confinement
        },
    );
    let parts = (any::<bool>(), any::<bool>());
    let one = (cameras(), 0_u8..4, 0_u8..4, parts, egress).prop_map(
        |(cameras, model, code, (has_model, has_code), confinement)| {
            let mut instance = instance(0, cameras, model, code);
            instance.applications[0].confinement = confinement;
            if !has_model {
                instance.models.clear();
            }
            if !has_code {
                instance.applications.clear();
                instance.displays.clear();
            }
            instance
        },
    );
    prop::collection::btree_map(0_u8..4, one, 0..4).prop_map(|instances| {
        let numbered = instances.into_iter();
        numbered
            .map(|(number, instance)| Instance {
                id: id(number),
                ..instance
            })
            .collect()
    })
}

fn asset_state() -> impl Strategy<Value = AssetState> {
    let reason = Reason {
        code: "asset".to_owned(),
        message: "damaged".to_owned(),
    };
    prop_oneof![
        Just(AssetState::Fetching),
        Just(AssetState::Fetched),
        Just(AssetState::Unpacking),
        Just(AssetState::Ready),
        Just(AssetState::Failed(reason)),
    ]
}

fn part_state() -> impl Strategy<Value = PartState> {
    let reason = Reason {
        code: "model_load".to_owned(),
        message: "convert it".to_owned(),
    };
    prop_oneof![
        4 => Just(PartState::Started),
        2 => Just(PartState::Starting),
        1 => Just(PartState::Failed(reason)),
    ]
}

/// Anything an appliance may hold: parts of other documents, half of it missing.
fn observed() -> impl Strategy<Value = Observed> {
    let keys = (any::<bool>(), 0_u8..4).prop_map(|(image, number)| Asset {
        kind: if image {
            AssetKind::Image
        } else {
            AssetKind::Model
        },
        sha256: digest(number),
    });
    let assets = prop::collection::btree_map(keys, asset_state(), 0..8);
    let capacity = (5_u64..60).prop_map(|slots| Capacity {
        ring_bytes: slots * plan::FRAME_BYTES,
        hold: 4,
    });
    let states = prop::collection::vec(part_state(), 8);
    (assets, instances(), states, any::<u32>(), capacity).prop_map(
        |(assets, instances, states, keep, capacity)| {
            let mut bit = 0;
            let mut kept = || {
                bit += 1;
                keep >> (bit % 32) & 1 == 1
            };
            let mut states = states.into_iter().cycle();
            let mut next = || states.next().unwrap_or(PartState::Started);
            let instances = instances
                .into_iter()
                .map(|instance| {
                    let cameras = instance.cameras.into_iter().filter(|_| kept());
                    let cameras = cameras.map(|c| (c.node.clone(), c)).collect();
                    let models = instance.models.into_iter().filter(|_| kept());
                    let models = models.map(|m| (m.node.clone(), (m, next()))).collect();
                    let applications = instance.applications.into_iter().filter(|_| kept());
                    let applications = applications
                        .map(|a| (a.node.clone(), (a, next())))
                        .collect();
                    let displays = instance.displays.into_iter().filter(|_| kept()).collect();
                    let held = ObservedInstance {
                        cameras,
                        models,
                        applications,
                        displays,
                    };
                    (instance.id, held)
                })
                .collect();
            Observed {
                assets,
                instances,
                capacity,
            }
        },
    )
}

proptest! {
    #[test]
    fn any_appliance_converges_to_any_document(wanted in instances(), mut observed in observed()) {
        let desired = document(wanted);
        settle(&desired, &mut observed);
        let (steps, report) = plan(&desired, &observed);
        prop_assert_eq!(steps, Vec::new());
        prop_assert!(report.applied);
        prop_assert_eq!(observed.instances.len(), desired.instances.len());
        for instance in &desired.instances {
            let held = &observed.instances[&instance.id];
            match report.instances[&instance.id].state {
                InstanceState::Running => {
                    let cameras: Vec<&Camera> = held.cameras.values().collect();
                    prop_assert_eq!(cameras, instance.cameras.iter().collect::<Vec<_>>());
                    let models: Vec<&Model> = held.models.values().map(|(m, _)| m).collect();
                    prop_assert_eq!(models, instance.models.iter().collect::<Vec<_>>());
                    let code: Vec<&Application> =
                        held.applications.values().map(|(a, _)| a).collect();
                    prop_assert_eq!(code, instance.applications.iter().collect::<Vec<_>>());
                }
                InstanceState::InstallError => prop_assert!(held.is_empty()),
                InstanceState::LaunchError => {
                    prop_assert!(held.cameras.is_empty() && held.displays.is_empty());
                }
                other => prop_assert!(false, "ended in {other:?}"),
            }
        }
    }

    #[test]
    fn the_same_state_gives_the_same_plan(wanted in instances(), observed in observed()) {
        let desired = document(wanted);
        prop_assert_eq!(plan(&desired, &observed), plan(&desired, &observed));
    }

    #[test]
    fn instances_that_do_not_change_are_not_touched(
        before in instances(), after in instances(), changed in 0_u8..4,
    ) {
        let mut observed = settled(&document(before.clone()));
        let mut wanted: Vec<Instance> =
            before.iter().filter(|instance| instance.id != id(changed)).cloned().collect();
        wanted.extend(after.into_iter().filter(|instance| instance.id == id(changed)));
        let steps = settle(&document(wanted), &mut observed);
        for step in steps {
            let text = format!("{step:?}");
            for other in before.iter().filter(|instance| instance.id != id(changed)) {
                prop_assert!(!text.contains(other.id.as_str()), "{text}");
            }
        }
    }
}

//! From the registry's state to a document, and from a report to what the API says.

#![expect(clippy::expect_used, reason = "a test ends at its first surprise")]

use std::collections::{BTreeMap, BTreeSet};

use parapet_device::confinement::Confinement;
use parapet_device::desired::{Blob, DesiredDocument, InputSource, SecretRef};
use parapet_device::reported::{InstanceReport, InstanceState, NodeReport, NodeStatus, Reason};
use parapet_device::{BlobDigest, DeviceId, Generation, InstanceId, PROTOCOL_VERSION, Reported};
use parapet_manifest::{
    Deployment, Descriptor, Graph, Overrides, PackageInclude, PackageManifest, RegisteredPackage,
    resolve,
};
use parapet_plan::{
    CameraSettings, DesiredError, Health, InstanceSpec, NodeAsset, Situation, Status, Wanted,
    desired, paused_at_start, status,
};

const GRAPH: &str = r#"{"nodeGraph": {"envelopeVersion": "2021-01-01",
    "packages": [{"name": "123456789012::CODE", "version": "1.0"},
                 {"name": "panorama::abstract_rtsp_media_source", "version": "1.0"},
                 {"name": "panorama::hdmi_data_sink", "version": "1.0"}],
    "nodes": [{"name": "logic", "interface": "123456789012::CODE.main"},
              {"name": "net", "interface": "123456789012::CODE.net"},
              {"name": "eye", "interface": "panorama::abstract_rtsp_media_source.rtsp_v1_interface"},
              {"name": "screen", "interface": "panorama::hdmi_data_sink.hdmi0"},
              {"name": "score", "interface": "float32", "value": 0.25}],
    "edges": [{"producer": "eye.video_out", "consumer": "logic.video_in"},
              {"producer": "score", "consumer": "logic.score"},
              {"producer": "logic.video_out", "consumer": "screen.video_in"}]}}"#;

const OVERRIDES: &str = r#"{"nodeGraphOverrides": {"envelopeVersion": "2021-01-01",
    "packages": [{"name": "123456789012::cam", "version": "1.0"}],
    "nodes": [{"name": "east", "interface": "123456789012::cam.cam"},
              {"name": "west", "interface": "123456789012::cam.cam", "launch": "onSignal"}],
    "nodeOverrides": [{"replace": "eye", "with": [{"name": "east"}, {"name": "west"}]}]}}"#;

const CODE: &str = r#"{"nodePackage": {"envelopeVersion": "2021-01-01",
    "assets": [{"name": "code", "implementations": [
                   {"type": "container", "assetUri": "a.tar.gz", "descriptorUri": "a.json"}]},
               {"name": "net", "implementations": [
                   {"type": "model", "assetUri": "b.tar.gz", "descriptorUri": "b.json"}]}],
    "interfaces": [{"name": "main", "category": "business_logic", "asset": "code",
                    "inputs": [{"name": "video_in", "type": "media"},
                               {"name": "score", "type": "float32"},
                               {"name": "text", "type": "string", "default": "hi"}],
                    "outputs": [{"name": "video_out", "type": "media"}]},
                   {"name": "net", "category": "ml_model", "asset": "net"}]}}"#;

const CAMERA: &str = r#"{"nodePackage": {"envelopeVersion": "2021-01-01", "assets": [],
    "interfaces": [{"name": "cam", "category": "media_source", "asset": "rtsp_camera",
                    "outputs": [{"name": "video_out", "type": "media"}]}]}}"#;

fn deployment() -> Deployment {
    let lookup = |include: &PackageInclude| {
        let text = if include.name.package == "CODE" {
            CODE
        } else {
            CAMERA
        };
        let manifest = PackageManifest::parse(text).expect("a package");
        Some(RegisteredPackage {
            patch: "ab".repeat(32),
            manifest,
        })
    };
    let graph = Graph::parse(GRAPH).expect("a graph");
    let overrides = Overrides::parse(OVERRIDES).expect("overrides");
    resolve(&graph, Some(&overrides), &lookup).expect("a deployment")
}

fn device() -> DeviceId {
    "device-x".parse().expect("a device ID")
}

fn instance_id() -> InstanceId {
    "applicationInstance-x".parse().expect("an instance ID")
}

fn blob(number: u8) -> Blob {
    Blob {
        sha256: BlobDigest::from_bytes([number; 32]),
        bytes: 10,
    }
}

fn spec() -> InstanceSpec {
    let runtime = r#"{"runtimeDescriptor": {"envelopeVersion": "2021-01-01",
        "entry": {"path": "python3", "name": "/app.py",
                  "environment": [{"name": "A", "value": "1"}]}}}"#;
    let model = r#"{"mlModelDescriptor": {"envelopeVersion": "2021-01-01", "framework": "ONNX",
        "inputs": [{"name": "data", "shape": [1, 3, 64, 64]}]}}"#;
    let (Ok(Descriptor::Runtime(runtime)), Ok(Descriptor::Model(model))) =
        (Descriptor::parse(runtime), Descriptor::parse(model))
    else {
        panic!("good descriptors are refused");
    };
    let code = NodeAsset::code(blob(1), &runtime).expect("a command");
    let camera = |number: u64| CameraSettings {
        stream: format!("cam{number}"),
        url: format!("rtsp://10.0.0.{number}/"),
        secret: Some(SecretRef {
            id: "secret-x".parse().expect("an ID"),
            version: number,
        }),
    };
    let deployment = deployment();
    InstanceSpec {
        id: instance_id(),
        name: "gate".to_owned(),
        paused: paused_at_start(&deployment),
        deployment,
        assets: BTreeMap::from([
            ("logic".to_owned(), code),
            ("net".to_owned(), NodeAsset::model(blob(2), &model)),
        ]),
        cameras: BTreeMap::from([
            ("east".to_owned(), camera(1)),
            ("west".to_owned(), camera(2)),
        ]),
        confinement: Confinement::default(),
    }
}

fn next(previous: Option<&DesiredDocument>, specs: &[InstanceSpec]) -> Option<DesiredDocument> {
    desired(&device(), previous, specs).expect("a document")
}

#[test]
fn a_document_holds_all_that_the_device_needs() {
    let document = next(None, &[spec()]).expect("a first document");
    assert_eq!(document.generation, Generation(1));
    let instance = &document.instances[0];
    let cameras: Vec<(&str, bool)> = instance
        .cameras
        .iter()
        .map(|camera| (camera.node.as_str(), camera.paused))
        .collect();
    assert_eq!(cameras, [("east", false), ("west", true)]);
    assert_eq!(instance.models[0].inputs[0].shape, [1, 3, 64, 64]);
    let application = &instance.applications[0];
    assert_eq!(application.command, ["python3", "/app.py"]);
    assert_eq!(application.environment, [("A".to_owned(), "1".to_owned())]);
    let sources: Vec<&InputSource> = application.inputs.iter().map(|i| &i.source).collect();
    let both = ["east", "west"].map(|node| node.parse().expect("a node name"));
    assert_eq!(
        sources,
        [
            &InputSource::Media {
                cameras: both.to_vec()
            },
            &InputSource::Float32 { value: 0.25 },
            &InputSource::String {
                value: "hi".to_owned()
            },
        ]
    );
    assert_eq!(application.outputs[0].displays[0].as_str(), "screen");
}

#[test]
fn the_same_state_is_no_new_document() {
    let first = next(None, &[spec()]).expect("a first document");
    assert_eq!(next(Some(&first), &[spec()]), None);
    assert_eq!(next(None, &[]), None);
    let mut resumed = spec();
    resumed.paused = BTreeSet::new();
    let second = next(Some(&first), &[resumed]).expect("a change");
    assert_eq!(second.generation, Generation(2));
    let third = next(Some(&second), &[]).expect("a removal");
    assert_eq!(
        (third.generation, third.instances.len()),
        (Generation(3), 0)
    );
}

#[test]
fn a_camera_or_an_asset_that_is_missing_is_named() {
    let mut without_camera = spec();
    without_camera.cameras.remove("west");
    let error = desired(&device(), None, &[without_camera]).expect_err("no settings");
    assert!(
        matches!(&error, DesiredError::NoCamera { node, .. } if node == "west"),
        "{error}"
    );
    let mut without_asset = spec();
    without_asset.assets.remove("net");
    let error = desired(&device(), None, &[without_asset]).expect_err("no asset");
    assert!(
        matches!(&error, DesiredError::NoAsset { node, .. } if node == "net"),
        "{error}"
    );
}

fn node(name: &str, status: NodeStatus, reason: Option<(&str, &str)>) -> NodeReport {
    let reason = reason.map(|(code, message)| Reason {
        code: code.to_owned(),
        message: message.to_owned(),
    });
    NodeReport {
        node: name.parse().expect("a node name"),
        status,
        reason,
        stream: None,
    }
}

fn reported(generation: u64, instance: Option<InstanceReport>) -> Reported {
    Reported {
        version: PROTOCOL_VERSION,
        boot_id: "boot".to_owned(),
        seq: 1,
        software: "0.1.0".to_owned(),
        observed_generation: Generation(generation),
        applied_generation: Generation(generation),
        instances: instance.into_iter().collect(),
        network: None,
    }
}

fn report(state: InstanceState, reason: Option<Reason>, nodes: Vec<NodeReport>) -> InstanceReport {
    InstanceReport {
        id: instance_id(),
        state,
        reason,
        nodes,
        asked: Vec::new(),
    }
}

/// Status, health and the remembered facts.
struct Row {
    wanted: Wanted,
    observed: Option<u64>,
    state: Option<InstanceState>,
    deployed: bool,
    removed: bool,
    status: Status,
    health: Health,
}

fn rows() -> Vec<Row> {
    let running = Wanted::Running(Some(Generation(5)));
    let gone = Wanted::Removed(Some(Generation(6)));
    let row = |wanted, observed, state, status, health| Row {
        wanted,
        observed,
        state,
        deployed: false,
        removed: false,
        status,
        health,
    };
    let deployed = |state, health| Row {
        deployed: true,
        ..row(running, Some(5), state, Status::DeploymentSucceeded, health)
    };
    let nothing = Health::NotAvailable;
    vec![
        row(
            Wanted::Running(None),
            None,
            None,
            Status::DeploymentPending,
            nothing,
        ),
        row(running, None, None, Status::DeploymentRequested, nothing),
        row(running, Some(4), None, Status::DeploymentRequested, nothing),
        row(
            running,
            Some(5),
            None,
            Status::DeploymentInProgress,
            nothing,
        ),
        row(
            running,
            Some(5),
            Some(InstanceState::InstallInProgress),
            Status::DeploymentInProgress,
            nothing,
        ),
        row(
            running,
            Some(5),
            Some(InstanceState::Starting),
            Status::DeploymentInProgress,
            nothing,
        ),
        row(
            running,
            Some(5),
            Some(InstanceState::Running),
            Status::DeploymentSucceeded,
            Health::Running,
        ),
        row(
            running,
            Some(9),
            Some(InstanceState::Running),
            Status::DeploymentSucceeded,
            Health::Running,
        ),
        row(
            running,
            Some(5),
            Some(InstanceState::InstallError),
            Status::DeploymentFailed,
            Health::Error,
        ),
        row(
            running,
            Some(5),
            Some(InstanceState::LaunchError),
            Status::DeploymentFailed,
            Health::Error,
        ),
        // What has run stays deployed, whatever a restart or a fault brings.
        deployed(None, nothing),
        deployed(Some(InstanceState::InstallInProgress), nothing),
        deployed(Some(InstanceState::Starting), nothing),
        deployed(Some(InstanceState::Running), Health::Running),
        deployed(Some(InstanceState::LaunchError), Health::Error),
        row(
            Wanted::Removed(None),
            Some(5),
            Some(InstanceState::Running),
            Status::RemovalPending,
            nothing,
        ),
        row(
            gone,
            Some(5),
            Some(InstanceState::Running),
            Status::RemovalRequested,
            nothing,
        ),
        row(gone, None, None, Status::RemovalRequested, nothing),
        row(gone, Some(5), None, Status::RemovalRequested, nothing),
        row(
            gone,
            Some(6),
            Some(InstanceState::Running),
            Status::RemovalInProgress,
            nothing,
        ),
        row(
            gone,
            Some(6),
            Some(InstanceState::RemovalInProgress),
            Status::RemovalInProgress,
            nothing,
        ),
        row(gone, Some(6), None, Status::RemovalSucceeded, nothing),
        Row {
            removed: true,
            ..row(gone, None, None, Status::RemovalSucceeded, nothing)
        },
    ]
}

#[test]
fn the_status_follows_the_table() {
    for (at, row) in rows().into_iter().enumerate() {
        let reported = row.observed.map(|generation| {
            let nodes = vec![node("logic", NodeStatus::Running, None)];
            reported(
                generation,
                row.state.map(|state| report(state, None, nodes)),
            )
        });
        let got = status(&Situation {
            instance: &instance_id(),
            wanted: row.wanted,
            reported: reported.as_ref(),
            deployed: row.deployed,
            removed: row.removed,
            stale: false,
        });
        assert_eq!(
            (got.status, got.health),
            (row.status, row.health),
            "row {at}"
        );
        assert!(!got.description.is_empty(), "row {at}");
    }
}

fn running_with(nodes: Vec<NodeReport>, stale: bool) -> (Status, Health, String) {
    let reported = reported(5, Some(report(InstanceState::Running, None, nodes)));
    let got = status(&Situation {
        instance: &instance_id(),
        wanted: Wanted::Running(Some(Generation(5))),
        reported: Some(&reported),
        deployed: true,
        removed: false,
        stale,
    });
    (got.status, got.health, got.description)
}

#[test]
fn a_fault_at_run_time_shows_in_health_and_description_alone() {
    let nodes = vec![
        node("logic", NodeStatus::Running, None),
        node(
            "east",
            NodeStatus::Error,
            Some(("unauthorized", "set the camera's password")),
        ),
        node("west", NodeStatus::Paused, None),
    ];
    let expected = "east: unauthorized: set the camera's password".to_owned();
    let got = running_with(nodes, false);
    assert_eq!(got, (Status::DeploymentSucceeded, Health::Error, expected));
}

#[test]
fn health_is_running_when_every_node_runs_or_is_paused() {
    let nodes = |status| {
        vec![
            node("logic", status, None),
            node("w", NodeStatus::Paused, None),
        ]
    };
    assert_eq!(
        running_with(nodes(NodeStatus::Running), false).1,
        Health::Running
    );
    assert_eq!(
        running_with(nodes(NodeStatus::NotAvailable), false).1,
        Health::NotAvailable
    );
    assert_eq!(
        running_with(nodes(NodeStatus::Running), true).1,
        Health::NotAvailable
    );
}

#[test]
fn a_failed_deployment_names_node_code_and_remedy() {
    let described = |code: &str, message: &str| {
        let reason = Reason {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        let reported = reported(
            5,
            Some(report(InstanceState::LaunchError, Some(reason), Vec::new())),
        );
        let got = status(&Situation {
            instance: &instance_id(),
            wanted: Wanted::Running(Some(Generation(5))),
            reported: Some(&reported),
            deployed: false,
            removed: false,
            stale: false,
        });
        assert_eq!(got.status, Status::DeploymentFailed);
        got.description
    };
    assert_eq!(
        described("model_load", "net: convert it"),
        "net: model_load: convert it"
    );
    let whole = "net: model_load: convert it";
    assert_eq!(described("model_load", whole), whole);
    let memory = "2 cameras need 90 MB: use fewer";
    assert_eq!(described("memory", memory), format!("memory: {memory}"));
    assert_eq!(described("asset", &"ä".repeat(400)).chars().count(), 255);
}

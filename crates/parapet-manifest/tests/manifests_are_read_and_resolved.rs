//! The examples and deviations of `spec/manifests.md` (sections 8 and 9), valid and invalid, and
//! every rule of resolution.

#![expect(clippy::expect_used, reason = "a test ends at its first surprise")]

use std::fs;
use std::path::Path;

use parapet_manifest::{
    Deployment, Descriptor, Graph, InputSource, Launch, Literal, ManifestError, NodeKind, NodePort,
    Overrides, PackageInclude, PackageManifest, RegisteredPackage, Requirement, includes, resolve,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const ACCOUNT: &str = "210987654321";

fn graph() -> Value {
    json!({ "nodeGraph": {
        "envelopeVersion": "2021-01-01",
        "packages": [
            { "name": "210987654321::GATE_CODE", "version": "2.3" },
            { "name": "210987654321::VEHICLE_NET", "version": "1.0" },
            { "name": "panorama::abstract_rtsp_media_source", "version": "1.0" },
            { "name": "panorama::hdmi_data_sink", "version": "1.0" },
        ],
        "nodes": [
            { "name": "logic", "interface": "210987654321::GATE_CODE.main" },
            { "name": "net", "interface": "210987654321::VEHICLE_NET.net_interface" },
            { "name": "eye", "interface": "panorama::abstract_rtsp_media_source.rtsp_v1_interface",
              "overridable": true, "overrideMandatory": true,
              "decorator": { "title": "Camera", "description": "Which gate to watch" } },
            { "name": "screen", "interface": "panorama::hdmi_data_sink.hdmi0" },
            { "name": "min_score", "interface": "float32", "value": 0.4, "overridable": true },
        ],
        "edges": [
            { "producer": "eye.video_out", "consumer": "logic.video_in" },
            { "producer": "min_score", "consumer": "logic.min_score" },
            { "producer": "logic.video_out", "consumer": "screen.video_in" },
        ],
        "networkRoutingRules": [
            { "node": "logic", "containerPort": 80, "hostPort": 8100,
              "decorator": { "title": "Status page", "description": "Local status" } },
        ],
    }})
}

fn overrides() -> Value {
    json!({ "nodeGraphOverrides": {
        "envelopeVersion": "2021-01-01",
        "packages": [
            { "name": "210987654321::gate-east", "version": "1.0" },
            { "name": "210987654321::gate-west", "version": "1.0" },
        ],
        "nodes": [
            { "name": "east", "interface": "210987654321::gate-east.gate-east" },
            { "name": "west", "interface": "210987654321::gate-west.gate-west",
              "launch": "onSignal" },
            { "name": "score_here", "interface": "float32", "value": 0.55 },
        ],
        "nodeOverrides": [
            { "replace": "eye", "with": [ { "name": "east" }, { "name": "west" } ] },
            { "replace": "min_score", "with": [ { "name": "score_here" } ] },
        ],
        "networkRoutingRules": [ { "node": "logic", "containerPort": 80, "hostPort": 8105 } ],
    }})
}

fn code_package() -> Value {
    json!({ "nodePackage": {
        "envelopeVersion": "2021-01-01", "name": "GATE_CODE", "version": "2.3",
        "assets": [ { "name": "code", "implementations": [
            { "type": "container", "assetUri": "0c1f.tar.gz", "descriptorUri": "77ab.json",
              "requirements": [ { "type": "hardware_access", "inferenceAccelerators": [
                  { "deviceType": "nvhost_gpu",
                    "sharedResourcePolicy": { "policy": "allow_all", "more": 1 } } ] } ] } ] } ],
        "interfaces": [
            { "name": "main", "category": "business_logic", "asset": "code",
              "inputs": [
                  { "name": "video_in", "type": "media" },
                  { "name": "min_score", "type": "float32", "default": 0.5 },
                  { "name": "count", "type": "int32" } ],
              "outputs": [ { "name": "video_out", "type": "media" } ],
              "network": { "inboundPorts": [ { "port": 80, "description": "http" } ] } } ],
    }})
}

fn model_package() -> Value {
    json!({ "nodePackage": {
        "envelopeVersion": "2021-01-01", "name": "VEHICLE_NET", "version": "1.0",
        "assets": [ { "name": "net", "implementations": [
            { "type": "model", "assetUri": "aa.tar.gz", "descriptorUri": "bb.json" } ] } ],
        "interfaces": [ { "name": "net_interface", "category": "ml_model", "asset": "net",
            "inputs": [ { "name": "video_in", "type": "media" } ],
            "outputs": [ { "name": "video_out", "type": "media" } ] } ],
    }})
}

fn camera_package(name: &str) -> Value {
    json!({ "nodePackage": {
        "envelopeVersion": "2021-01-01", "name": name, "version": "1.0",
        "assets": [ { "name": "rtsp_camera", "implementations": [
            { "type": "system", "assetUri": "source/video/camera/rtsp/source_rtsp" } ] } ],
        "interfaces": [ { "name": name, "category": "media_source", "asset": "rtsp_camera",
            "inputs": [ { "name": "streamUrl", "type": "string", "default": "rtsp://h/1" } ],
            "outputs": [ { "name": "video_out", "type": "media" } ] } ],
    }})
}

fn registered(include: &PackageInclude) -> Option<RegisteredPackage> {
    let package = match (include.name.package.as_str(), include.version.as_str()) {
        ("GATE_CODE", "2.3") => code_package(),
        ("VEHICLE_NET", "1.0") => model_package(),
        (name, "1.0") if name.starts_with("gate-") => camera_package(name),
        ("FILE", "1.0") => {
            let mut package = camera_package("FILE");
            package["nodePackage"]["assets"][0]["implementations"][0]["assetUri"] =
                json!("source/video/file");
            package
        }
        _ => return None,
    };
    let patch = include.patch.clone().unwrap_or_else(|| "ab".repeat(32));
    let manifest = PackageManifest::parse(&package.to_string()).expect("a good package");
    (include.name.owner == ACCOUNT).then_some(RegisteredPackage { patch, manifest })
}

fn deploy(graph: &Value, overrides: &Value) -> Result<Deployment, ManifestError> {
    let graph = Graph::parse(&graph.to_string())?;
    let overrides = Overrides::parse(&overrides.to_string())?;
    resolve(&graph, Some(&overrides), &registered)
}

/// The graph and overrides of section 9, changed.
fn changed(change: impl FnOnce(&mut Value, &mut Value)) -> Result<Deployment, ManifestError> {
    let (mut graph, mut overrides) = (graph(), overrides());
    change(
        &mut graph["nodeGraph"],
        &mut overrides["nodeGraphOverrides"],
    );
    deploy(&graph, &overrides)
}

#[test]
fn the_example_of_the_specification_comes_out_as_it_says() {
    let deployment = deploy(&graph(), &overrides()).expect("a good graph");
    let names: Vec<&str> = deployment
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(names, ["logic", "net", "east", "west", "screen"]);
    let edges: Vec<String> = deployment
        .edges
        .iter()
        .map(|edge| {
            let port = edge.producer_port.as_deref().map(|port| format!(".{port}"));
            let (consumer, producer) = (&edge.consumer, &edge.producer);
            format!(
                "{producer}{} > {}.{}",
                port.unwrap_or_default(),
                consumer.node,
                consumer.port
            )
        })
        .collect();
    assert_eq!(
        edges,
        [
            "east.video_out > logic.video_in",
            "west.video_out > logic.video_in",
            "score_here > logic.min_score",
            "logic.video_out > screen.video_in",
        ]
    );
    let logic = &deployment.nodes[0];
    assert_eq!(logic.kind, NodeKind::Code);
    assert_eq!(logic.package.patch, "ab".repeat(32));
    let port = |node: &str| NodePort {
        node: node.to_owned(),
        port: "video_out".to_owned(),
    };
    let frames = InputSource::Media {
        producers: vec![port("east"), port("west")],
    };
    assert_eq!(logic.inputs[0].source, frames);
    let value = |value| InputSource::Value { value };
    assert_eq!(logic.inputs[1].source, value(Literal::Float32(0.55)));
    assert_eq!(logic.inputs[2].source, value(Literal::Int32(0)));
    assert_eq!(logic.outputs[0].consumers[0].node, "screen");
    assert_eq!(deployment.nodes[3].launch, Launch::OnSignal);
    assert_eq!(deployment.routing[0].host_port, 8105);
    assert_eq!(deployment.packages.len(), 6);
}

#[test]
fn a_deployment_survives_storage() {
    let deployment = deploy(&graph(), &overrides()).expect("a good graph");
    let text = serde_json::to_string(&deployment).expect("json");
    assert_eq!(
        serde_json::from_str::<Deployment>(&text).expect("json"),
        deployment
    );
}

#[test]
fn a_graph_of_cameras_alone_or_code_alone_is_accepted() {
    for keep in [&["eye"][..], &["logic"][..]] {
        let outcome = changed(|graph, overrides| {
            let nodes = graph["nodes"].as_array_mut().expect("nodes");
            nodes.retain(|node| keep.contains(&node["name"].as_str().expect("a name")));
            graph.as_object_mut().expect("a graph").remove("edges");
            overrides["networkRoutingRules"] = json!([]);
            overrides["nodeOverrides"]
                .as_array_mut()
                .expect("a table")
                .truncate(1);
            if keep == ["logic"] {
                overrides["nodeOverrides"] = json!([]);
                overrides["nodes"] = json!([]);
            } else {
                overrides["nodes"]
                    .as_array_mut()
                    .expect("nodes")
                    .truncate(2);
            }
        });
        assert_eq!(
            outcome.map(|d| d.nodes.len()),
            Ok(if keep == ["eye"] { 2 } else { 1 })
        );
    }
}

#[test]
fn a_pinned_patch_is_kept_and_the_word_package_pins_nothing() {
    let pins = |patch: &str| {
        let deployment = changed(|graph, _| graph["packages"][0]["patchVersion"] = json!(patch));
        deployment.expect("a good graph").nodes[0]
            .package
            .patch
            .clone()
    };
    assert_eq!(pins(&"cd".repeat(32)), "cd".repeat(32));
    assert_eq!(pins("package"), "ab".repeat(32));
}

#[test]
fn packages_to_look_up_leave_out_those_of_the_system() {
    let graph = Graph::parse(&graph().to_string()).expect("a graph");
    let overrides = Overrides::parse(&overrides().to_string()).expect("overrides");
    let names: Vec<&str> = includes(&graph, Some(&overrides))
        .map(|include| include.name.package.as_str())
        .collect();
    assert_eq!(
        names,
        ["GATE_CODE", "VEHICLE_NET", "gate-east", "gate-west"]
    );
}

type Change = fn(&mut Value, &mut Value);
type PackageChange = fn(&mut Value);

/// Changes that break one rule each, and where the error has to be.
const BROKEN: &[(&str, Change, &str)] = &[
    (
        "unknown envelope",
        |g, _| g["envelopeVersion"] = json!("2022-01-01"),
        "nodeGraph.envelopeVersion",
    ),
    (
        "no packages",
        |g, _| g["packages"] = json!([]),
        "nodeGraph.packages",
    ),
    ("no nodes", |g, _| g["nodes"] = json!([]), "nodeGraph.nodes"),
    (
        "unknown member",
        |g, _| g["nodes"][0]["color"] = json!(1),
        "nodeGraph.nodes[0].color",
    ),
    (
        "fraction for int32",
        |g, _| g["nodes"][4] = json!({"name":"x","interface":"int32","value":2.5}),
        "nodeGraph.nodes[4].value",
    ),
    (
        "too large for int32",
        |g, _| g["nodes"][4] = json!({"name":"x","interface":"int32","value":3_000_000_000_u64}),
        "nodeGraph.nodes[4].value",
    ),
    (
        "too large for float32",
        |g, _| g["nodes"][4]["value"] = json!(1e300),
        "nodeGraph.nodes[4].value",
    ),
    (
        "unknown type",
        |g, _| g["nodes"][4]["interface"] = json!("double"),
        "nodeGraph.nodes[4].interface",
    ),
    (
        "launch of a parameter",
        |g, _| g["nodes"][4]["launch"] = json!("onSignal"),
        "nodeGraph.nodes[4].launch",
    ),
    (
        "value of a packaged node",
        |g, _| g["nodes"][0]["value"] = json!(1),
        "nodeGraph.nodes[0].value",
    ),
    (
        "unknown launch",
        |g, _| g["nodes"][0]["launch"] = json!("later"),
        "nodeGraph.nodes[0].launch",
    ),
    (
        "consumer missing",
        |g, _| g["edges"][0] = json!({"producer":"eye.video_out"}),
        "nodeGraph.edges[0].consumer",
    ),
    (
        "one-character producer",
        |g, _| g["edges"][1]["producer"] = json!("p"),
        "nodeGraph.edges[1].producer",
    ),
    (
        "hyphen in the owner",
        |g, _| g["packages"][0]["name"] = json!("gate-owner::X"),
        "nodeGraph.packages[0].name",
    ),
    (
        "version of one number",
        |g, _| g["packages"][0]["version"] = json!("2"),
        "nodeGraph.packages[0].version",
    ),
    (
        "name twice",
        |g, _| g["nodes"][1]["name"] = json!("logic"),
        "nodeGraph.nodes[1].name",
    ),
    (
        "empty decorator text",
        |g, _| g["nodes"][2]["decorator"]["title"] = json!(""),
        "nodeGraph.nodes[2].decorator.title",
    ),
    (
        "with is no list",
        |_, o| o["nodeOverrides"][0]["with"] = json!("east"),
        "nodeGraphOverrides.nodeOverrides[0].with",
    ),
    (
        "with missing",
        |_, o| o["nodeOverrides"][0] = json!({"replace":"eye"}),
        "nodeGraphOverrides.nodeOverrides[0].with",
    ),
    (
        "with named twice",
        |_, o| o["nodeOverrides"][0]["with"][1]["name"] = json!("east"),
        "nodeOverrides.eye",
    ),
    (
        "package not registered",
        |g, _| g["packages"][0]["version"] = json!("2.0"),
        "packages.210987654321::GATE_CODE",
    ),
    (
        "system package in another version",
        |g, _| g["packages"][3]["version"] = json!("2.0"),
        "packages.panorama::hdmi_data_sink",
    ),
    (
        "two versions",
        |_, o| o["packages"][0] = json!({"name":"210987654321::GATE_CODE","version":"2.4"}),
        "packages.210987654321::GATE_CODE",
    ),
    (
        "package not listed",
        |g, _| g["nodes"][1]["interface"] = json!("210987654321::OTHER.x"),
        "nodes.net",
    ),
    (
        "unknown interface",
        |g, _| g["nodes"][0]["interface"] = json!("210987654321::GATE_CODE.other"),
        "nodes.logic",
    ),
    (
        "a name the API cannot carry",
        |g, _| g["nodes"][1]["name"] = json!("net$1"),
        "nodes.net$1",
    ),
    (
        "name taken",
        |_, o| o["nodes"][0]["name"] = json!("net"),
        "nodeOverrides.eye",
    ),
    (
        "name taken by a free node",
        |_, o| o["nodes"][2] = json!({"name":"net","interface":"float32"}),
        "nodeOverrides.min_score",
    ),
    (
        "unknown replaced",
        |_, o| o["nodeOverrides"][0]["replace"] = json!("ear"),
        "nodeOverrides.ear",
    ),
    (
        "unknown replacement",
        |_, o| o["nodeOverrides"][0]["with"][0]["name"] = json!("north"),
        "nodeOverrides.eye",
    ),
    (
        "replaced twice",
        |_, o| o["nodeOverrides"][1] = o["nodeOverrides"][0].clone(),
        "nodeOverrides.eye",
    ),
    (
        "not overridable",
        |g, _| g["nodes"][4]["overridable"] = json!(false),
        "nodeOverrides.min_score",
    ),
    (
        "mandatory override missing",
        |_, o| o["nodeOverrides"] = json!([]),
        "nodes.eye",
    ),
    (
        "mandatory override empty",
        |_, o| o["nodeOverrides"][0]["with"] = json!([]),
        "nodes.eye",
    ),
    (
        "abstract camera as replacement",
        |_, o| {
            o["nodes"][0]["interface"] =
                json!("panorama::abstract_rtsp_media_source.rtsp_v1_interface");
        },
        "nodes.east",
    ),
    (
        "parameter of another type",
        |_, o| o["nodes"][2] = json!({"name":"score_here","interface":"int32","value":1}),
        "nodeOverrides.min_score",
    ),
    (
        "parameter replaced by a camera",
        |_, o| o["nodeOverrides"][1]["with"] = json!([{"name":"east"}]),
        "nodeOverrides.min_score",
    ),
    (
        "parameter replaced by nothing",
        |_, o| o["nodeOverrides"][1]["with"] = json!([]),
        "nodeOverrides.min_score",
    ),
    (
        "edge to no node",
        |g, _| g["edges"][0]["consumer"] = json!("logik.video_in"),
        "edges.east.video_out -> logik.video_in",
    ),
    (
        "edge to no port",
        |g, _| g["edges"][0]["consumer"] = json!("logic.video"),
        "edges.east.video_out -> logic.video",
    ),
    (
        "edge from no port",
        |g, _| g["edges"][0]["producer"] = json!("eye.video"),
        "edges.east.video -> logic.video_in",
    ),
    (
        "edge from a bare node",
        |g, _| g["edges"][0]["producer"] = json!("eye"),
        "edges.east -> logic.video_in",
    ),
    (
        "edge into a parameter",
        |g, _| g["edges"][0]["consumer"] = json!("min_score"),
        "edges.east.video_out -> score_here",
    ),
    (
        "frames into a value",
        |g, _| g["edges"][0]["consumer"] = json!("logic.min_score"),
        "edges.east.video_out -> logic.min_score",
    ),
    (
        "two values into one",
        |g, o| {
            g["edges"][0] = json!({"producer":"second","consumer":"logic.min_score"});
            if let Some(nodes) = o["nodes"].as_array_mut() {
                nodes.push(json!({"name":"second","interface":"float32"}));
            }
        },
        "nodes.logic.min_score",
    ),
    (
        "port outside the range",
        |_, o| o["networkRoutingRules"][0]["hostPort"] = json!(443),
        "networkRoutingRules.logic",
    ),
    (
        "no port in the range",
        |_, o| o["networkRoutingRules"][0] = json!({"node":"logic","containerPort":80}),
        "networkRoutingRules.logic",
    ),
    (
        "port 0",
        |_, o| o["networkRoutingRules"][0]["containerPort"] = json!(0),
        "nodeGraphOverrides.networkRoutingRules[0].containerPort",
    ),
    (
        "port twice",
        |_, o| o["networkRoutingRules"] = json!([{"node":"logic","containerPort":80,"hostPort":8000},{"node":"logic","containerPort":81,"hostPort":8000}]),
        "networkRoutingRules.logic",
    ),
    (
        "port of a camera",
        |_, o| o["networkRoutingRules"][0]["node"] = json!("east"),
        "networkRoutingRules.east",
    ),
    (
        "two code nodes",
        |g, _| g["nodes"][1]["interface"] = json!("210987654321::GATE_CODE.main"),
        "nodes",
    ),
    (
        "a driver that is not there",
        |_, o| {
            o["packages"][0]["name"] = json!("210987654321::FILE");
            o["nodes"][0]["interface"] = json!("210987654321::FILE.FILE");
        },
        "nodes.east",
    ),
];

#[test]
fn each_broken_rule_is_named_at_its_place() {
    for (what, change, field) in BROKEN {
        match changed(*change) {
            Ok(_) => panic!("{what}: accepted"),
            Err(error) => {
                assert_eq!(error.field(), *field, "{what}: {error}");
                assert!(!error.is_syntax(), "{what}: {error}");
            }
        }
    }
}

#[test]
fn eight_cameras_are_allowed_and_nine_are_not() {
    let cameras = |count: usize| {
        changed(|_, overrides| {
            let names: Vec<String> = (0..count).map(|at| format!("cam{at}")).collect();
            let with: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
            overrides["nodes"] = names
                .iter()
                .map(|n| json!({ "name": n, "interface": "210987654321::gate-east.gate-east" }))
                .chain([json!({ "name": "score_here", "interface": "float32" })])
                .collect();
            overrides["nodeOverrides"][0]["with"] = json!(with);
        })
    };
    assert_eq!(cameras(8).map(|deployment| deployment.nodes.len()), Ok(11));
    assert_eq!(
        cameras(9),
        Err(ManifestError::TooManyCameras { count: 9, limit: 8 })
    );
}

#[test]
fn an_input_takes_no_more_edges_than_it_says() {
    let outcome = {
        let graph = Graph::parse(&graph().to_string()).expect("a graph");
        let overrides = Overrides::parse(&overrides().to_string()).expect("overrides");
        resolve(&graph, Some(&overrides), &|include| {
            let mut package = registered(include)?;
            for input in package
                .manifest
                .interfaces
                .iter_mut()
                .flat_map(|i| &mut i.inputs)
            {
                input.max_connections = 1;
            }
            Some(package)
        })
    };
    let error = outcome.expect_err("two cameras into one");
    assert_eq!(error.field(), "nodes.logic.video_in");
}

#[test]
fn a_small_document_cannot_be_multiplied_into_a_large_graph() {
    let outcome = changed(|graph, overrides| {
        let cameras: Vec<String> = (0..200).map(|at| format!("c{at}")).collect();
        let nodes = cameras
            .iter()
            .map(|n| json!({ "name": n, "interface": "210987654321::gate-east.gate-east" }));
        overrides["nodes"] = nodes
            .chain([json!({ "name": "score_here", "interface": "float32" })])
            .collect();
        overrides["nodeOverrides"][0]["with"] =
            cameras.iter().map(|name| json!({ "name": name })).collect();
        // A camera has no such input, but multiplication comes before the check of ports.
        graph["edges"] = json!([{ "producer": "eye.video_out", "consumer": "eye.video_out" }]);
    });
    assert_eq!(
        outcome,
        Err(ManifestError::TooMuch {
            what: "edges",
            limit: 2000
        })
    );
}

#[test]
fn what_is_no_json_is_told_apart_from_what_breaks_a_rule() {
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"nodeGraph":{}, "x":1}"#,
        r#"{"nodeGraph":{"a":1 "b":2}}"#,
    ] {
        let error = Graph::parse(text).expect_err(text);
        assert!(error.is_syntax(), "{text:?}: {error}");
    }
    let long = " ".repeat(1 << 20);
    assert!(matches!(
        Graph::parse(&long),
        Err(ManifestError::TooLarge { .. })
    ));
    let deep = "[".repeat(100_000);
    assert!(matches!(
        Graph::parse(&deep),
        Err(ManifestError::NotJson { .. })
    ));
}

#[test]
fn no_overrides_and_an_empty_text_are_the_same() {
    for text in [None, Some(""), Some(" \n")] {
        assert_eq!(Overrides::parse_payload(text), Ok(None));
    }
    assert!(Overrides::parse_payload(Some("x")).is_err());
}

#[test]
fn the_deviations_of_published_packages_are_accepted() {
    let bare = json!({ "nodeGraphOverrides": {
        "envelopeVersion": "2021-01-01", "packages": [], "nodes": [] } });
    assert!(
        Overrides::parse(&bare.to_string()).is_ok(),
        "empty lists, no nodeOverrides"
    );
    let decorated = changed(|_, overrides| {
        overrides["nodes"][0]["overridable"] = json!(true);
        overrides["nodes"][0]["overrideMandatory"] = json!(false);
        overrides["nodes"][0]["decorator"] = json!({ "title": "Chooseacamera" });
        overrides["nodeOverrides"][0]["envelopeVersion"] = json!("2021-01-01");
    });
    assert!(decorated.is_ok(), "{decorated:?}");

    let package = |change: fn(&mut Value)| {
        let mut package = code_package();
        change(&mut package["nodePackage"]);
        PackageManifest::parse(&package.to_string())
    };
    let placeholder = package(|p| {
        p["assets"][0]["implementations"][0]["assetUri"] = json!(".tar.gz");
        p["assets"][0]["implementations"][0]["descriptorUri"] = json!(".json");
    });
    let placeholder = placeholder.expect("placeholders can be read");
    let refused = placeholder.files("GATE_CODE", "2.3");
    assert!(
        matches!(refused, Err(ManifestError::AssetFile { .. })),
        "{refused:?}"
    );

    let unbuilt = package(|p| p["assets"] = json!([])).expect("a source package can be read");
    let refused = unbuilt.files("GATE_CODE", "2.3");
    assert!(
        matches!(refused, Err(ManifestError::NoAsset { .. })),
        "{refused:?}"
    );

    let older = package(|p| {
        let requirement = &mut p["assets"][0]["implementations"][0]["requirements"][0];
        requirement["nvAccelerators"] = requirement["inferenceAccelerators"].take();
        requirement
            .as_object_mut()
            .expect("an object")
            .remove("inferenceAccelerators");
    });
    let older = older.expect("the older spelling");
    let requirement = &older.assets[0].implementations[0].requirements[0];
    assert!(
        matches!(requirement, Requirement::HardwareAccess { accelerators } if accelerators == &["nvhost_gpu"])
    );

    let template = package(|p| {
        p["interfaces"][0]["inputs"] = json!([
            { "name": "files", "type": "string[]", "minimum": 1, "default": ["a"] },
            { "name": "fps", "type": "int32", "minimum": 1 },
            { "name": "url", "type": "string", "anything": true, "reference": true,
              "referenceSource": "vault", "default": "name" } ]);
        p["interfaces"][0]["asset"] = json!("some driver");
        p["interfaces"][0]["category"] = json!("media_source");
    });
    assert!(template.is_ok(), "{template:?}");

    let windows = code_package().to_string().replace(',', ",\r\n") + " \r\n\t";
    assert!(
        PackageManifest::parse(&windows).is_ok(),
        "CRLF and trailing blanks"
    );
    let nameless = package(|p| {
        let members = p.as_object_mut().expect("a package");
        members.remove("name");
        members.remove("version");
    });
    assert_eq!(
        nameless.map(|p| (p.name, p.version)),
        Ok((None, "1.0".to_owned()))
    );
}

#[test]
fn a_package_that_breaks_a_rule_is_refused_at_its_place() {
    let cases: &[(PackageChange, &str)] = &[
        (|p| p["interfaces"] = json!([]), "nodePackage.interfaces"),
        (
            |p| p["interfaces"][0]["inputs"][0]["name"] = json!("video-in"),
            "nodePackage.interfaces[0].inputs[0].name",
        ),
        (
            |p| p["interfaces"][0]["inputs"][0]["default"] = json!(1),
            "nodePackage.interfaces[0].inputs[0].default",
        ),
        (
            |p| p["interfaces"][0]["inputs"][1]["default"] = json!("x"),
            "nodePackage.interfaces[0].inputs[1].default",
        ),
        (
            |p| p["interfaces"][0]["inputs"][1]["name"] = json!("video_in"),
            "nodePackage.interfaces[0].inputs[1].name",
        ),
        (
            |p| p["interfaces"][0]["category"] = json!("code"),
            "nodePackage.interfaces[0].category",
        ),
        (
            |p| p["interfaces"][0]["network"]["inboundPorts"][0]["port"] = json!(70_000),
            "nodePackage.interfaces[0].network.inboundPorts[0].port",
        ),
        (
            |p| p["assets"][0]["implementations"][0]["requirements"] = json!([{"type":"ota"}]),
            "nodePackage.assets[0].implementations[0].requirements[0].minVersion",
        ),
        (
            |p| {
                p["assets"][0]["implementations"][0] =
                    json!({"type":"container","descriptorUri":"x"});
            },
            "nodePackage.assets[0].implementations[0].assetUri",
        ),
        (
            |p| p["assets"][0]["implementations"][0]["type"] = json!("disk"),
            "nodePackage.assets[0].implementations[0].type",
        ),
        (|p| p["version"] = json!("1"), "nodePackage.version"),
        (|p| p["author"] = json!("me"), "nodePackage.author"),
    ];
    for (change, field) in cases {
        let mut package = code_package();
        change(&mut package["nodePackage"]);
        let error = PackageManifest::parse(&package.to_string()).expect_err(field);
        assert_eq!(error.field(), *field, "{error}");
    }
}

#[test]
fn registration_asks_for_the_files_of_the_named_version() {
    let package = PackageManifest::parse(&code_package().to_string()).expect("a package");
    let files = package.files("GATE_CODE", "2.3").expect("complete");
    assert_eq!(
        (files[0].asset_uri, files[0].descriptor_uri),
        ("0c1f.tar.gz", "77ab.json")
    );
    for (name, version) in [("OTHER", "2.3"), ("GATE_CODE", "2.4")] {
        let error = package.files(name, version).expect_err(name);
        assert!(
            matches!(error, ManifestError::OtherPackage { .. }),
            "{error}"
        );
    }
    let camera = PackageManifest::parse(&camera_package("cam").to_string()).expect("a camera");
    assert_eq!(camera.files("cam", "1.0").map(|files| files.len()), Ok(0));
}

#[test]
fn a_file_outside_the_prefix_is_refused() {
    for uri in ["../x.tar.gz", "a/b.tar.gz", ".."] {
        let mut package = code_package();
        package["nodePackage"]["assets"][0]["implementations"][0]["assetUri"] = json!(uri);
        let package = PackageManifest::parse(&package.to_string()).expect("readable");
        let error = package.files("GATE_CODE", "2.3").expect_err(uri);
        assert!(
            matches!(error, ManifestError::AssetFile { .. }),
            "{uri}: {error}"
        );
    }
}

#[test]
fn a_descriptor_says_what_to_start_or_what_a_model_takes() {
    let runtime = json!({ "runtimeDescriptor": { "envelopeVersion": "2021-01-01", "entry": {
        "path": "python3.8", "name": "/panorama/gate.py", "arguments": ["--fast"],
        "environment": [ { "name": "LOG_STYLE", "value": "json" } ] } } });
    let Ok(Descriptor::Runtime(runtime)) = Descriptor::parse(&runtime.to_string()) else {
        panic!("a good descriptor is refused");
    };
    let command = ["python3.8", "/panorama/gate.py", "--fast"].map(str::to_owned);
    assert_eq!(runtime.command(), Some(command.to_vec()));
    assert_eq!(
        runtime.environment(),
        [("LOG_STYLE".to_owned(), "json".to_owned())]
    );

    for framework in ["PYTORCH", "TENSORFLOW", "MXNET", "ONNX"] {
        let model = json!({ "mlModelDescriptor": { "envelopeVersion": "2021-01-01",
            "framework": framework, "frameworkVersion": "1.8", "precisionMode": "FP16",
            "inputs": [ { "name": "data", "shape": [1, 3, 320, 320] } ] } });
        let Ok(Descriptor::Model(model)) = Descriptor::parse(&model.to_string()) else {
            panic!("{framework} is refused");
        };
        assert_eq!(model.inputs[0].shape, [1, 3, 320, 320]);
    }
}

#[test]
fn a_descriptor_that_breaks_a_rule_is_refused() {
    let envelope = r#""envelopeVersion":"2021-01-01""#;
    let model = |rest: &str| format!(r#"{{"mlModelDescriptor":{{{envelope},{rest}}}}}"#);
    let runtime = |rest: &str| format!(r#"{{"runtimeDescriptor":{{{envelope},{rest}}}}}"#);
    for text in [
        model(r#""framework":"PYTORCH""#),
        model(r#""framework":"CAFFE","inputs":[]"#),
        model(r#""framework":"ONNX","frameworkVersion":"1","inputs":[]"#),
        model(r#""framework":"ONNX","inputs":[{"name":"a","shape":[0]}]"#),
        model(r#""framework":"ONNX","inputs":[{"name":"a","shape":[-1,3]}]"#),
        model(r#""framework":"ONNX","inputs":[{"name":"a"}]"#),
        model(r#""framework":"ONNX","inputs":[{"name":"a","shape":[1]},{"name":"a","shape":[1]}]"#),
        runtime(r#""entry":{"path":"bash","arguments":["x"]}"#),
        runtime(r#""entry":{"path":"bash","name":"a\u0000b"}"#),
        runtime(r#""entry":{"name":"a","environment":[{"name":"A=B","value":""}]}"#),
        "{}".to_owned(),
    ] {
        assert!(Descriptor::parse(&text).is_err(), "{text}");
    }
    let package = PackageManifest::parse(&code_package().to_string()).expect("a package");
    let files = package.files("GATE_CODE", "2.3").expect("complete");
    let check = |text: &str| {
        let descriptor = Descriptor::parse(text).expect(text);
        files[0].check_descriptor(&descriptor)
    };
    for text in [
        runtime(r#""events":[]"#),
        runtime(r#""entry":{"name":"/a.py"}"#),
    ] {
        assert!(
            matches!(check(&text), Err(ManifestError::NoCommand { .. })),
            "{text}"
        );
    }
    let other = model(r#""framework":"ONNX","inputs":[]"#);
    assert!(matches!(
        check(&other),
        Err(ManifestError::DescriptorKind { .. })
    ));
    assert_eq!(
        check(&runtime(r#""entry":{"path":"bash","name":"/run.sh"}"#)),
        Ok(())
    );
}

/// Every manifest below a directory, told apart by its file name.
fn read_manifests(directory: &Path, read: &mut usize) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_manifests(&path, read);
            continue;
        }
        let outcome = match path.file_name().and_then(|name| name.to_str()) {
            Some("graph.json") => Graph::parse(&text(&path)).map(drop),
            Some("override.json") => Overrides::parse(&text(&path)).map(drop),
            Some("package.json") => PackageManifest::parse(&text(&path)).map(drop),
            Some("descriptor.json") => Descriptor::parse(&text(&path)).map(drop),
            _ => continue,
        };
        assert_eq!(outcome, Ok(()), "{}", path.display());
        *read += 1;
    }
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).expect("a readable file")
}

#[test]
fn the_samples_of_this_repository_are_read() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut read = 0;
    read_manifests(&examples, &mut read);
    assert!(read >= 8, "{read} manifests found");
}

/// JSON values that look like manifests: their member names and some of their words.
fn almost_a_manifest() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "nodeGraph",
        "nodeGraphOverrides",
        "nodePackage",
        "mlModelDescriptor",
        "envelopeVersion",
        "runtimeDescriptor",
        "packages",
        "nodes",
        "edges",
        "name",
        "version",
        "interface",
        "value",
        "producer",
        "consumer",
        "nodeOverrides",
        "replace",
        "with",
        "assets",
        "interfaces",
        "type",
        "inputs",
        "outputs",
        "shape",
        "entry",
        "path",
        "arguments",
        "implementations",
        "category",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "2021-01-01",
            "1.0",
            "a::b",
            "a::b.c",
            "int32",
            "x.y",
            "media"
        ])
        .prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(names.clone(), inner, 0..6).prop_map(|members| {
                members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()
            }),
        ]
    })
}

fn read_as_everything(text: &str) {
    let _ = Graph::parse(text);
    let _ = Overrides::parse(text);
    let _ = PackageManifest::parse(text);
    let _ = Descriptor::parse(text);
}

/// Puts a value at some place of a good document.
fn put(document: &mut Value, place: usize, value: Value) {
    fn places<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
        if *left == 0 {
            return Some(value);
        }
        *left -= 1;
        match value {
            Value::Array(items) => items.iter_mut().find_map(|item| places(item, left)),
            Value::Object(members) => members.values_mut().find_map(|item| places(item, left)),
            _ => None,
        }
    }
    let mut left = place;
    if let Some(found) = places(document, &mut left) {
        *found = value;
    }
}

proptest! {
    #[test]
    fn no_text_crashes_a_parser(text: String) {
        read_as_everything(&text);
    }

    #[test]
    fn no_json_crashes_a_parser(value in almost_a_manifest()) {
        read_as_everything(&value.to_string());
    }

    #[test]
    fn no_change_of_a_good_document_crashes_the_resolution(
        place in 0_usize..90, other in 0_usize..60, value in almost_a_manifest(),
    ) {
        let (mut graph, mut overrides) = (graph(), overrides());
        put(&mut graph, place, value.clone());
        put(&mut overrides, other, value);
        if let Err(error) = deploy(&graph, &overrides) {
            prop_assert!(!error.field().is_empty());
            prop_assert!(error.to_string().len() < 2000, "{error}");
        }
    }
}

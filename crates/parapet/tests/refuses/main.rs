//! Bad input gets a clear error where it belongs, nobody gets at what is not theirs, and the rest
//! goes on.
//!
//! One demo for all of it: it takes half a minute to start. While the tests misbehave, a witness
//! watches the frames of the demo's own cameras.

mod cameras;
mod canaries;
mod probe;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parapet_testkit::demo::Demo;
use parapet_testkit::operator::{Operator, Package};
use parapet_testkit::witness::Witness;
use parapet_testkit::{processes, wait_for};
use serde_json::{Value, json};

use cameras::BadCameras;
use canaries::files;

const PARAPET: &str = env!("CARGO_BIN_EXE_parapet");
/// "Within seconds", with the other tests' load on two cores.
const SECONDS: Duration = Duration::from_secs(30);
/// A camera that stands still so long has been disturbed. The agent tells once a second, and the
/// two cores are busy with compilers.
const STANDSTILL: Duration = Duration::from_secs(8);

#[test]
fn what_is_wrong_is_refused_where_it_belongs_and_the_rest_goes_on() -> Result<()> {
    let work = tempfile::tempdir()?;
    let demo = Demo::start(Path::new(PARAPET), &["--one-network"])?;
    let operator = Operator::of(&demo, work.path())?;
    let main = main_instance(&demo)?;
    let witness = Witness::begin(&demo.dir().join("agent"), &main);

    a_wrong_signature_is_refused(&demo)?;
    a_graph_that_does_not_fit_is_refused(&operator)?;
    let bad = BadCameras::deploy(&operator)?;
    a_model_that_does_not_fit_ends_the_deployment(&operator)?;
    an_application_stays_in_its_sandbox(&demo, &operator, &main)?;
    bad.repair_the_password(&demo, &operator)?;
    canaries::no_secret_can_be_found(&demo)?;

    let health = operator.get(&format!("/application-instances/{main}"))?;
    ensure!(health["HealthStatus"] == "RUNNING", "{health}");
    let seen = witness.end(STANDSTILL)?;
    ensure!(seen.len() == 2, "two cameras were to be seen: {seen:?}");
    Ok(())
}

/// The demo's own.
fn main_instance(demo: &Demo) -> Result<String> {
    let status = demo.status()?;
    let id = status["reported"]["instances"][0]["id"].as_str();
    id.map(str::to_owned).context("no instance")
}

fn a_wrong_signature_is_refused(demo: &Demo) -> Result<()> {
    let file = fs::read_to_string(demo.dir().join("server/admin/credentials"))?;
    let of = |name: &str| {
        file.lines()
            .find_map(|line| Some(line.strip_prefix(name)?.trim_start_matches([' ', '='])))
            .with_context(|| format!("no {name}"))
    };
    let (key, secret) = (of("aws_access_key_id")?, of("aws_secret_access_key")?);
    let mut changed: Vec<char> = secret.chars().collect();
    changed.reverse();
    let changed: String = changed.into_iter().collect();
    for (key, secret, status, code) in [
        (key, secret, 200, ""),
        (key, changed.as_str(), 403, "InvalidSignatureException"),
        (
            "AKIAAAAAAAAAAAAAAAAA",
            secret,
            403,
            "UnrecognizedClientException",
        ),
    ] {
        let variables = [
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ];
        let answer = demo.signed_get("/devices", &variables)?;
        let expected = answer.status == status && answer.error == code;
        ensure!(expected, "{answer:?} for {key}, not {status} {code}");
        let said = answer.body.to_string();
        ensure!(!said.contains(secret), "the answer holds a secret key");
    }
    Ok(())
}

fn a_graph_that_does_not_fit_is_refused(operator: &Operator<'_>) -> Result<()> {
    let node = operator.node("code_node", "NOT_THERE", "interface");
    let unknown = operator.graph(&["NOT_THERE"], &[node], &[]);

    // The sample's graph with nothing in the place of its camera.
    let sample = example("graphs/people-counter/graph.json");
    let sample = fs::read_to_string(&sample)?.replace("123456789012::", &operator_prefix(operator));
    let without_camera: Value = serde_json::from_str(&sample)?;

    for (name, graph, named) in [
        ("unknown-package", unknown, "NOT_THERE"),
        ("no-camera", without_camera, "camera_node"),
    ] {
        let (accepted, said) = operator.try_deploy(name, &graph)?;
        ensure!(!accepted, "{name} was accepted: {said}");
        for part in ["ValidationException", named] {
            ensure!(said.contains(part), "{name}: no {part} in {said}");
        }
    }
    Ok(())
}

fn operator_prefix(operator: &Operator<'_>) -> String {
    format!("{}::", operator.account)
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/people-counter")
        .join(path)
}

fn a_model_that_does_not_fit_ends_the_deployment(operator: &Operator<'_>) -> Result<()> {
    let read = |path: &str| -> Result<Value> {
        let text = fs::read_to_string(example(path)).with_context(|| format!("read {path}"))?;
        Ok(serde_json::from_str(&text)?)
    };
    let sample = "packages/123456789012-SCENE_DETECTOR-1.0";
    let mut descriptor = read(&format!("{sample}/descriptor.json"))?;
    descriptor["mlModelDescriptor"]["inputs"][0]["shape"] = json!([1, 3, 111, 222]);
    let manifest = read(&format!("{sample}/package.json"))?;
    let package = &manifest["nodePackage"];
    let mut interface = package["interfaces"][0].clone();
    interface["asset"] = json!("asset");
    let uri = &package["assets"][0]["implementations"][0]["assetUri"];
    let archive = example("assets").join(uri.as_str().context("no assetUri")?);
    operator.add_package(&Package {
        name: "BENT_DETECTOR",
        interface,
        kind: "model",
        descriptor,
        archive: &archive,
    })?;
    let graph = operator.graph(
        &["PEOPLE_COUNTER_CODE", "BENT_DETECTOR", "gate"],
        &[
            operator.node("code_node", "PEOPLE_COUNTER_CODE", "interface"),
            operator.node("model_node", "BENT_DETECTOR", "model_asset_interface"),
            operator.node("gate", "gate", "gate"),
        ],
        &[("gate.video_out", "code_node.video_in")],
    );
    let instance = operator.deploy("bent-model", &graph)?;
    let described = operator.wait_instance(&instance, &[("Status", "DEPLOYMENT_FAILED")])?;
    let description = described["StatusDescription"].as_str().unwrap_or_default();
    ensure!(
        description.starts_with("model_node: model_descriptor: "),
        "{description:?} names neither node nor code"
    );
    // What it should be stands in the model.
    for part in ["111", "192", "320", "correct the descriptor"] {
        ensure!(description.contains(part), "no {part} in {description:?}");
    }
    remove(operator, &instance)
}

fn remove(operator: &Operator<'_>, instance: &str) -> Result<()> {
    operator.remove(instance)?;
    operator.wait_instance(instance, &[("Status", "REMOVAL_SUCCEEDED")])?;
    Ok(())
}

fn an_application_stays_in_its_sandbox(
    demo: &Demo,
    operator: &Operator<'_>,
    main: &str,
) -> Result<()> {
    let bait = probe::Bait::lay(demo, main)?;
    let archive = bait.pack(operator.work)?;
    probe::Bait::try_on_host(operator.work)?;
    operator.add_package(&Package {
        name: "PROBE",
        interface: json!({"name": "interface", "category": "business_logic", "asset": "asset",
                          "inputs": [], "outputs": []}),
        kind: "container",
        descriptor: json!({"runtimeDescriptor": {
            "envelopeVersion": "2021-01-01",
            "entry": {"path": "python3", "name": "/panorama/probe.py"},
        }}),
        archive: &archive,
    })?;
    let node = operator.node("probe", "PROBE", "interface");
    let instance = operator.deploy("probe", &operator.graph(&["PROBE"], &[node], &[]))?;
    let expected = [
        ("Status", "DEPLOYMENT_SUCCEEDED"),
        ("HealthStatus", "RUNNING"),
    ];
    operator.wait_instance(&instance, &expected)?;
    let agent = demo.dir().join("agent");
    let directory = agent.join("instances").join(&instance);
    let events = directory.join("logs/probe/events.jsonl");
    let mut seen = wait_for("the probe to end", SECONDS, || {
        let seen = probe::read(&events)?;
        ensure!(seen.contains_key("done"), "{seen:?}");
        Ok(seen)
    })?;
    seen.remove("done");

    let writable = seen.remove("writable").context("no list of directories")?;
    let may = [
        "/opt/aws/panorama/logs",
        "/opt/aws/panorama/storage",
        "/tmp",
        "/var/tmp",
        "/run",
        "/dev/shm",
    ];
    let found: Vec<&str> = writable["directories"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let beyond: Vec<&&str> = found
        .iter()
        .filter(|directory| !may.contains(directory))
        .collect();
    ensure!(beyond.is_empty(), "it can write to {beyond:?}");
    ensure!(found.contains(&may[1]), "{found:?} lacks its own storage");
    for own in ["write its own storage", "write its own logs"] {
        let attempt = seen.remove(own).context(own)?;
        ensure!(attempt["got"] == true, "{attempt}");
    }
    ensure!(seen.len() > 25, "attempts are missing: {seen:?}");
    for attempt in seen.values() {
        ensure!(attempt["got"] == false, "it got out: {attempt}");
    }

    remove(operator, &instance)?;
    let left: Vec<PathBuf> = files(&agent)
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(&instance))
        .collect();
    ensure!(!directory.exists() && left.is_empty(), "left: {left:?}");
    let alive: Vec<_> = processes::all()
        .into_iter()
        .filter(|process| process.command.contains("/panorama/probe.py"))
        .collect();
    ensure!(alive.is_empty(), "still alive: {alive:?}");
    Ok(())
}

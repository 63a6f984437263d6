//! `parapet doctor` as its users run it: on this host as root and as nobody, in a network with
//! something wrong in it, and against a camera that has its factory's password.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use parapet_testkit::camera::{Relay, VirtualCamera};
use serde_json::{Value, json};

const PARAPET: &str = env!("CARGO_BIN_EXE_parapet");
/// With the other tests' load on two cores; `apt-get` alone has a minute.
const LIMIT: Duration = Duration::from_mins(3);

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &mut Command) -> Result<Output> {
    let begin = Instant::now();
    let output = command.output().context("run the doctor")?;
    ensure!(begin.elapsed() < LIMIT, "it took {:?}", begin.elapsed());
    Ok(output)
}

/// The object, checked against the schema of the page, and against the exit code.
fn object(output: &Output) -> Result<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("read the object ({}): {said}", output.status))?;
    fits(&schema()?, &report, "$")?;
    let levels: BTreeSet<&str> = findings(&report)
        .filter(|finding| finding["accepted"] == false)
        .filter_map(|finding| finding["level"].as_str())
        .collect();
    let code = if levels.contains("failure") {
        1
    } else if levels.contains("warning") || levels.contains("unknown") {
        3
    } else {
        0
    };
    ensure!(
        output.status.code() == Some(code),
        "{} and {levels:?}",
        output.status
    );
    Ok(report)
}

fn findings(report: &Value) -> impl Iterator<Item = &Value> {
    report["findings"].as_array().into_iter().flatten()
}

fn finding<'a>(report: &'a Value, id: &str) -> Result<&'a Value> {
    let found = findings(report).find(|finding| finding["id"] == id);
    found.with_context(|| format!("no finding of {id}"))
}

/// The schema that `docs/doctor.md` promises.
fn schema() -> Result<Value> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/doctor.md");
    let page = std::fs::read_to_string(page)?;
    let (_, rest) = page
        .split_once("```json\n")
        .context("no schema on the page")?;
    let (text, _) = rest.split_once("```").context("the schema has no end")?;
    Ok(serde_json::from_str(text)?)
}

/// As much of JSON Schema as that one uses; a keyword that is not known here fails.
fn fits(schema: &Value, value: &Value, place: &str) -> Result<()> {
    for (keyword, wanted) in schema.as_object().context("a schema is an object")? {
        match keyword.as_str() {
            "$schema" | "description" | "properties" => {}
            "const" => ensure!(value == wanted, "{place} is {value}, not {wanted}"),
            "enum" => ensure!(
                wanted.as_array().is_some_and(|all| all.contains(value)),
                "{place} is {value}, none of {wanted}"
            ),
            "type" => {
                let is_a = |name: &Value| match name.as_str() {
                    Some("object") => value.is_object(),
                    Some("array") => value.is_array(),
                    Some("string") => value.is_string(),
                    Some("boolean") => value.is_boolean(),
                    Some("integer") => value.is_u64() || value.is_i64(),
                    Some("null") => value.is_null(),
                    _ => false,
                };
                let fits = wanted
                    .as_array()
                    .map_or_else(|| is_a(wanted), |all| all.iter().any(is_a));
                ensure!(fits, "{place} is {value}, no {wanted}");
            }
            "required" => {
                for name in wanted
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                {
                    ensure!(value.get(name).is_some(), "{place}.{name} is missing");
                }
            }
            "additionalProperties" => {
                let known = &schema["properties"];
                for (name, _) in value.as_object().into_iter().flatten() {
                    ensure!(known.get(name).is_some(), "{place}.{name} is not described");
                }
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(wanted, item, &format!("{place}[{number}]"))?;
                }
            }
            _ => bail!("{place}: the keyword {keyword} is not known here"),
        }
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(member) = value.get(name) {
            fits(schema, member, &format!("{place}.{name}"))?;
        }
    }
    Ok(())
}

#[test]
fn the_schema_of_the_page_refuses_what_is_not_described() -> Result<()> {
    let schema = schema()?;
    for wrong in [json!({}), json!({"version": 2}), json!([])] {
        ensure!(fits(&schema, &wrong, "$").is_err(), "{wrong}");
    }
    Ok(())
}

#[test]
fn the_doctor_examines_this_host_as_root_and_as_nobody() -> Result<()> {
    let own = object(&run(Command::new(PARAPET).args(["doctor", "--json"]))?)?;
    ensure!(own["root"] == is_root(), "{}", own["root"]);
    let ids: BTreeSet<&str> = findings(&own).filter_map(|f| f["id"].as_str()).collect();
    ensure!(ids.len() > 30, "{ids:?}");
    // What is not known says what was missing, and nothing that needs an agent is well.
    for finding in findings(&own) {
        ensure!(
            finding["found"].as_str().is_some_and(|f| !f.is_empty()),
            "{finding}"
        );
        ensure!(
            finding["remedy"].is_null() == (finding["level"] == "ok"),
            "{finding}"
        );
    }
    for id in [
        "zones.level",
        "cameras.passwords",
        "certificate.device",
        "data.modes",
    ] {
        ensure!(
            finding(&own, id)?["level"] == "unknown",
            "{}",
            finding(&own, id)?
        );
    }
    if !is_root() {
        eprintln!("skipped: only root can become nobody");
        return Ok(());
    }
    let (_place, copy) = copy_for_everybody()?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let nobody = object(&run(command.arg(copy).args(["doctor", "--json"]))?)?;
    ensure!(nobody["root"] == false, "{}", nobody["root"]);
    let rules = finding(&nobody, "zones.foreign-rules")?;
    ensure!(rules["level"] == "unknown", "{rules}");
    let others: BTreeSet<&str> = findings(&nobody).filter_map(|f| f["id"].as_str()).collect();
    ensure!(others == ids, "the same checks for everybody");
    Ok(())
}

/// A copy that nobody can run: the way to the build directory may be closed to it.
fn copy_for_everybody() -> Result<(tempfile::TempDir, PathBuf)> {
    let place = tempfile::Builder::new()
        .prefix("parapet-doctor-")
        .tempdir()?;
    let copy = place.path().join("parapet");
    std::fs::copy(PARAPET, &copy)?;
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755))?;
    Ok((place, copy))
}

#[test]
fn what_is_wrong_in_a_network_is_found_there() -> Result<()> {
    if !is_root() {
        eprintln!("skipped: only root makes a network namespace with a wrong setting");
        return Ok(());
    }
    let script = r#"
        set -e
        ip link set lo up
        ip link add cam type veth peer name wall
        ip address add 10.99.7.1/24 dev cam
        ip link set cam up; ip link set wall up
        echo 1 > /proc/sys/net/ipv4/ip_forward
        echo 1 > /proc/sys/net/ipv4/conf/cam/proxy_arp
        nft add table ip town
        nft add chain ip town passing '{ type filter hook forward priority 0; policy accept; }'
        python3 -c '
import socket, subprocess, sys
waiting = socket.create_server(("0.0.0.0", 4711))
sys.exit(subprocess.run(sys.argv[1:]).returncode)
' "$@"
    "#;
    let mut command = Command::new("unshare");
    command.args([
        "--net", "sh", "-c", script, "sh", PARAPET, "doctor", "--json",
    ]);
    let report = object(&run(&mut command)?)?;
    let expect = |id: &str, level: &str, word: &str| -> Result<()> {
        let finding = finding(&report, id)?;
        ensure!(finding["level"] == level, "{finding}");
        ensure!(finding.to_string().contains(word), "{word}: {finding}");
        Ok(())
    };
    expect("zones.forwarding", "failure", "IPv4")?;
    expect("zones.foreign-rules", "failure", "ip town passing")?;
    expect("zones.switches", "warning", "net.ipv4.conf.cam.proxy_arp=1")?;
    expect("zones.listeners", "warning", "tcp 0.0.0.0:4711: python3")?;
    ensure!(
        report["summary"]["failure"].as_u64() >= Some(2),
        "{}",
        report["summary"]
    );
    Ok(())
}

/// Makes a camera zone with a way to the host, which forwards, and in which something listens.
const LEAKY_ZONE: &str = r#"
    set -e
    mount -t tmpfs none /run
    mkdir -p /run/parapet/40000000
    touch /run/parapet/40000000/cameras
    unshare --net=/run/parapet/40000000/cameras true
    inside() { nsenter --net=/run/parapet/40000000/cameras "$@"; }
    ip link set lo up
    ip link add host type veth peer name cam netns /run/parapet/40000000/cameras
    ip address add 10.99.8.1/24 dev host
    ip link set host up
    inside ip link set lo up
    inside ip address add 10.99.8.2/24 dev cam
    inside ip link set cam up
    inside sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
    inside python3 -c '
import socket, sys
waiting = socket.create_server(("10.99.8.2", 4712))
print("ready", flush=True)
sys.stdin.read()
' < "$HOLD" > "$HOLD.out" &
    exec 9> "$HOLD"
    while ! grep -q ready "$HOLD.out" 2> /dev/null; do sleep 0.1; done
    python3 -c '
import socket, subprocess, sys
waiting = socket.create_server(("10.99.8.1", 4711))
sys.exit(subprocess.run(sys.argv[1:]).returncode)
' "$@"
"#;

#[test]
fn a_camera_zone_is_entered_and_what_leaks_out_of_it_is_found() -> Result<()> {
    if !is_root() {
        eprintln!("skipped: only root makes a camera zone");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("agent.toml");
    std::fs::write(&config, "[process]\nid_base = 0x4000_0000\n")?;
    let hold = dir.path().join("hold");
    ensure!(
        Command::new("mkfifo").arg(&hold).status()?.success(),
        "mkfifo"
    );
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "sh", "-c", LEAKY_ZONE, "sh", PARAPET])
        .args(["doctor", "--json", "--config"])
        .arg(&config)
        .env("HOLD", &hold);
    let report = object(&run(&mut command)?)?;
    let expect = |id: &str, level: &str, word: &str| -> Result<()> {
        let finding = finding(&report, id)?;
        ensure!(finding["level"] == level, "{finding}");
        ensure!(finding.to_string().contains(word), "{word}: {finding}");
        Ok(())
    };
    expect("agent.configuration", "ok", "can be read")?;
    expect(
        "zones.forwarding",
        "failure",
        "the camera zone forwards IPv4",
    )?;
    expect("zones.listeners", "failure", "tcp 10.99.8.2:4712")?;
    let reached = "the camera zone to appliance 10.99.8.1:4711: connected";
    expect("reach.cameras", "failure", reached)?;
    expect(
        "reach.cameras",
        "failure",
        "10.99.8.1:9: answered with a refusal",
    )?;
    Ok(())
}

/// A state directory as an agent leaves it, with cameras at these addresses.
fn state(urls: &[String]) -> Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    let cameras = urls.iter().enumerate().map(|(number, url)| {
        json!({"node": format!("c{number}"), "stream": format!("door {number}"), "url": url,
               "secret": null, "paused": false})
    });
    let document = json!({
        "version": 1, "device": "device-a", "generation": 1,
        "instances": [{
            "id": "applicationInstance-a", "name": "a", "cameras": cameras.collect::<Vec<_>>(),
            "models": [], "applications": [], "displays": []
        }]
    });
    std::fs::create_dir(dir.path().join("ledger"))?;
    std::fs::write(dir.path().join("ledger/desired.json"), document.to_string())?;
    Ok(dir)
}

#[test]
fn a_camera_with_its_factorys_password_is_named_and_only_when_asked_for() -> Result<()> {
    let scenes = tempfile::tempdir()?;
    let login = Some(("admin", "12345"));
    let camera = VirtualCamera::start(Path::new(PARAPET), scenes.path(), "door", "none", login)?;
    let relay = Relay::to(camera.address()?)?;
    let state = state(&[format!("rtsp://{}/door", relay.address())])?;
    let doctor = |more: &[&str]| -> Result<Value> {
        let mut command = Command::new(PARAPET);
        command
            .args(["doctor", "--json", "--data"])
            .arg(state.path());
        object(&run(command.args(more))?)
    };
    let untouched = doctor(&[])?;
    let passwords = finding(&untouched, "cameras.passwords")?;
    ensure!(passwords["level"] == "unknown", "{passwords}");
    ensure!(relay.dialogues() == 0, "asked without being told to");

    let one = doctor(&["--try-passwords", "--attempts", "1"])?;
    let passwords = finding(&one, "cameras.passwords")?;
    ensure!(
        passwords["level"] == "ok",
        "one pair is refused: {passwords}"
    );
    ensure!(
        relay.logins() == 1,
        "{} passwords were tried",
        relay.logins()
    );

    let found = doctor(&["--try-passwords"])?;
    let passwords = finding(&found, "cameras.passwords")?;
    ensure!(passwords["level"] == "failure", "{passwords}");
    ensure!(
        passwords.to_string().contains("door 0 lets in admin"),
        "{passwords}"
    );
    ensure!(
        relay.logins() == 3,
        "it goes no further than the one that fits"
    );
    ensure!(
        !found.to_string().contains("12345"),
        "the password itself is not shown"
    );
    Ok(())
}

#[test]
fn a_state_directory_that_a_compromised_agent_has_prepared_does_no_harm() -> Result<()> {
    let state = state(&["rtsp://192.0.2.1/\u{1b}[2J".to_owned()])?;
    let at = |name: &str| state.path().join(name);
    let made = Command::new("mkfifo").arg(at("status.json")).status()?;
    ensure!(made.success(), "mkfifo");
    std::fs::create_dir(at("device"))?;
    std::os::unix::fs::symlink("/dev/zero", at("device/certificate.pem"))?;
    std::os::unix::fs::symlink("/etc/shadow", at("device/key.pem"))?;
    let mut command = Command::new(PARAPET);
    command
        .args(["doctor", "--json", "--data"])
        .arg(state.path());
    let report = object(&run(&mut command)?)?;
    for id in ["zones.level", "certificate.device", "clock.control-plane"] {
        ensure!(
            finding(&report, id)?["level"] == "unknown",
            "{}",
            finding(&report, id)?
        );
    }
    let modes = finding(&report, "data.modes")?;
    ensure!(
        modes.to_string().contains("device/key.pem is a link"),
        "{modes}"
    );
    Ok(())
}

#[test]
fn wrong_usage_is_told_apart_from_a_failure() -> Result<()> {
    for wrong in [
        &["doctor", "--accept", "no.such-check"][..],
        &["doctor", "--attempts", "3"],
        &["doctor", "--try-passwords", "--attempts", "11"],
        &["doctor", "--jsn"],
    ] {
        let output = run(Command::new(PARAPET).args(wrong))?;
        ensure!(
            output.status.code() == Some(2),
            "{wrong:?}: {}",
            output.status
        );
    }
    Ok(())
}

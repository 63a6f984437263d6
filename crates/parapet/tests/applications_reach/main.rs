//! What applications reach and what reaches them: a real agent and launcher between a made-up
//! world and Python applications that try what they may and what they may not.
//!
//! Everything lives in network namespaces of this test's own; root makes them. The agent runs as
//! root and as an ordinary user in turn.

mod town;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parapet_testkit::wait_for;
use serde_json::{Value, json};
use town::{As, Town};

/// With the other tests' load on two cores.
const SECONDS: Duration = Duration::from_mins(1);

fn on_each_appliance(test: impl Fn(&mut Town) -> Result<()>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root, so there are no network namespaces to test in");
        return Ok(());
    }
    for how in [As::Root, As::User] {
        eprintln!("as {how:?}");
        let mut town = Town::build(how)?;
        let tested = test(&mut town);
        if tested.is_err() {
            town.show();
        }
        tested.with_context(|| format!("as {how:?}"))?;
    }
    Ok(())
}

fn egress(hosts: &[&str], learn: bool) -> Value {
    let hosts: Vec<Value> = hosts
        .iter()
        .map(|text| {
            let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
            json!({"host": host, "port": port.parse::<u16>().unwrap_or(0)})
        })
        .collect();
    json!({"egress": {"learn": learn, "role": false, "hosts": hosts}})
}

/// Whom the caller may call: most of these names are traps.
const CALLER: [&str; 16] = [
    "allowed.test:443",
    "*.wild.test:443",
    "*.allowed.test:443",
    "10.99.1.2:8443",
    "169.254.169.254:80",
    "meta.test:80",
    "rebind.test:9999",
    "self.test:9999",
    "10.99.1.1:9999",
    "camera.test:554",
    "10.99.1.77:554",
    "named-camera.test:554",
    "10.99.1.78:554",
    "127.0.0.1:9999",
    "flip.test:443",
    "127.0.0.53:53",
];

#[test]
fn an_application_calls_whom_it_may_and_nobody_else() -> Result<()> {
    on_each_appliance(|town| {
        town.desire(&[
            ("caller", "caller.py", egress(&CALLER, false)),
            ("learner", "learner.py", egress(&[], true)),
            ("nobody", "nobody.py", json!({})),
        ])?;
        town.start()?;
        let said = town.wait_said("caller", "done yes", SECONDS)?;
        for (name, outcome) in [
            ("allowed_name", "ok"),
            ("allowed_below", "ok"),
            ("allowed_literal", "ok"),
            ("allowed_mapped", "ok"),
            ("half_close", "ok"),
            ("names_by_tcp", "ok"),
            ("other_port", "ECONNRESET"),
            ("other_name", "EAI_NONAME"),
            ("other_literal", "ECONNRESET"),
            ("stale_synthetic", "ECONNRESET"),
            ("metadata_literal", "ECONNRESET"),
            ("metadata_name", "ECONNRESET"),
            ("rebind", "ECONNRESET"),
            ("own_name", "ECONNRESET"),
            ("own_literal", "ECONNRESET"),
            ("camera_name", "ECONNRESET"),
            ("camera_literal", "ECONNRESET"),
            ("camera_by_name", "ECONNRESET"),
            ("camera_of_a_name", "ECONNRESET"),
            ("host_loopback", "ECONNREFUSED"),
            ("other_instance", "ECONNREFUSED"),
            ("flip_first", "ok"),
            ("flip_second", "ECONNRESET"),
            ("tunnel", "0"),
            ("udp", "EPERM"),
            ("udp6", "ENETUNREACH"),
            ("tcp6", "ENETUNREACH"),
            ("raw", "EPERM"),
            ("packet", "EPERM"),
        ] {
            let line = format!("{name} {outcome}");
            ensure!(said.lines().any(|said| said == line), "{line} in:\n{said}");
        }
        let said = town.wait_said("nobody", "done", SECONDS)?;
        ensure!(
            said.contains("name gaierror")
                && said.contains("literal ENETUNREACH")
                && said.contains("resolver ECONNREFUSED"),
            "{said}"
        );

        // What the world saw: calls to whom they were allowed to, questions for those names, and
        // not a packet more.
        let seen = town.world();
        for line in seen.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let expected = match words[..] {
                ["ready"] | ["tcp", "10.99.1.2", "443" | "8443"] => true,
                ["dns", name, "1" | "28"] => [
                    "allowed.test",
                    "a.wild.test",
                    "meta.test",
                    "rebind.test",
                    "self.test",
                    "flip.test",
                    "camera.test",
                    // The agent's own look, for the camera.
                    "named-camera.test",
                ]
                .contains(&name),
                _ => false,
            };
            ensure!(expected, "{line:?} arrived:\n{seen}");
        }
        ensure!(town.on_the_host()?.is_empty(), "the host was reached");

        // A learner's hosts are listed and none of them was asked for outside.
        town.wait_said("learner", "done", SECONDS)?;
        wait_for("what the learner asked for", SECONDS, || {
            let asked = town.instance("learner")?["asked"].clone();
            for (host, port) in [
                ("wanted.test", 8883),
                ("10.99.1.2", 80),
                ("only-asked.test", 0),
            ] {
                let listed = asked.as_array().into_iter().flatten().any(|line| {
                    line["host"] == host && line["port"] == port && line["allowed"] == false
                });
                ensure!(listed, "{host}:{port} in {asked}");
            }
            Ok(())
        })?;
        let asked = town.instance("caller")?["asked"].clone();
        let refused = asked
            .as_array()
            .into_iter()
            .flatten()
            .any(|l| l["allowed"] == false);
        ensure!(
            !refused,
            "one that does not learn lists a refused host: {asked}"
        );
        let log = town.log()?;
        ensure!(
            log.contains("parapet app egress allow caller allowed.test:80"),
            "no remedy in the log:\n{log}"
        );

        // One host more, and then less again, while it runs.
        let more = [&CALLER[..], &["late.test:443"]].concat();
        town.desire(&[
            ("caller", "caller.py", egress(&more, false)),
            ("learner", "learner.py", egress(&[], true)),
        ])?;
        town.wait_said("caller", "late ok", SECONDS)?;
        town.desire(&[("caller", "caller.py", egress(&CALLER, false))])?;
        let said = town.wait_said("caller", "held ECONNRESET", SECONDS)?;
        ensure!(
            said.matches("started once").count() == 1,
            "it started anew:\n{said}"
        );
        Ok(())
    })
}

#[test]
fn ten_thousand_attempts_of_one_application_leave_anothers_call_alive() -> Result<()> {
    on_each_appliance(|town| {
        town.desire(&[("steady", "steady.py", egress(&["allowed.test:443"], false))])?;
        town.start()?;
        town.wait_said("steady", "hundred 3 ", SECONDS)?;
        town.desire(&[
            ("steady", "steady.py", egress(&["allowed.test:443"], false)),
            ("flood", "flood.py", egress(&["10.99.1.2:443"], false)),
        ])?;
        town.wait_said("flood", "attempts 10000", SECONDS)?;
        let during = town.said("steady")?;
        let next = during.lines().count() + 3;
        let said = town.wait_said("steady", &format!("hundred {next} "), SECONDS)?;
        let longest = said
            .lines()
            .filter_map(|line| {
                line.strip_prefix("hundred ")?
                    .split(' ')
                    .nth(1)?
                    .parse::<u64>()
                    .ok()
            })
            .max()
            .unwrap_or(u64::MAX);
        eprintln!("{next} hundreds of echoes, the longest {longest} ms");
        // A lost place in a queue would be a time-out; what is left is the share of a processor.
        ensure!(longest < 5000, "an echo took {longest} ms:\n{said}");
        Ok(())
    })
}

#[test]
fn a_published_port_is_open_on_the_uplink_to_its_sources_while_the_application_runs() -> Result<()>
{
    on_each_appliance(|town| {
        town.client_certificate()?;
        let authorities = std::fs::read_to_string(town.path().join("clients.pem"))?;
        let ports = json!({"ports": [
            {"host": 8000, "container": 80, "sources": [{"address": "10.99.1.2", "prefix": 32}]},
            {"host": 8001, "container": 80, "tls": {}},
            {"host": 8002, "container": 80, "tls": {"client_authorities": authorities}},
            {"host": 8003, "container": 81},
        ]});
        let door = ("door", "doors.py", ports.clone());
        town.desire(std::slice::from_ref(&door))?;
        town.start()?;
        town.wait_said("door", "listens", SECONDS)?;
        let authority = town.path().join("data/device/inbound/ca.pem");
        let (certificate, key) = (
            town.path().join("client.pem"),
            town.path().join("client.key"),
        );
        let [authority, certificate, key] =
            [&authority, &certificate, &key].map(|path| path.to_string_lossy().into_owned());
        let visit = |town: &Town, from: &str, port: u16, tls: &[&str]| {
            town.visit("world", from, "10.99.1.1", port, tls)
        };
        let tls = [authority.as_str()];
        let both = [authority.as_str(), &certificate, &key];
        for (from, port, tls, outcome) in [
            ("10.99.1.2", 8000, &[][..], "inside"),
            ("10.99.1.9", 8000, &[], "ConnectionResetError"),
            ("10.99.1.2", 8001, &tls, "inside"),
            ("10.99.1.2", 8002, &both, "inside"),
            ("10.99.1.2", 8003, &[], "ConnectionResetError"),
            ("10.99.1.2", 8004, &[], "ConnectionRefusedError"),
        ] {
            let came = visit(town, from, port, tls)?;
            ensure!(
                came == outcome,
                "{from} at {port}: {came}, and not {outcome}"
            );
        }
        // In TLS 1.3 a client learns of its refusal when it reads.
        let came = visit(town, "10.99.1.2", 8002, &tls)?;
        ensure!(
            came.contains("SSL") || came == "ConnectionResetError",
            "without one: {came}"
        );
        let came = visit(town, "10.99.1.2", 8001, &[certificate.as_str()])?;
        ensure!(
            came.contains("SSL"),
            "another authority was trusted: {came}"
        );
        // Neither the host itself nor another of its ports.
        let came = town.visit("host", "127.0.0.1", "127.0.0.1", 8000, &[])?;
        ensure!(came == "ConnectionRefusedError", "loopback: {came}");
        for address in ["10.77.1.1", "10.99.1.1"] {
            let came = town.visit("cameras", "10.77.1.2", address, 8001, &[])?;
            ensure!(
                ["ConnectionRefusedError", "TimeoutError", "timeout"].contains(&came.as_str()),
                "from the cameras' side at {address}: {came}"
            );
        }

        // A second one that wants the same port gets the reason.
        let one = json!({"ports": [{"host": 8000, "container": 80}]});
        town.desire(&[door.clone(), ("rival", "doors.py", one)])?;
        wait_for("the rival's reason", SECONDS, || {
            let rival = town.instance("rival")?;
            let message = rival["reason"]["message"].as_str().unwrap_or_default();
            ensure!(
                rival["reason"]["code"] == "launch" && message.contains("port 8000"),
                "{rival}"
            );
            Ok(())
        })?;
        let came = visit(town, "10.99.1.2", 8000, &[])?;
        ensure!(came == "inside", "the first one lost it: {came}");

        // Closed with it.
        town.desire(&[])?;
        wait_for("the port to close", SECONDS, || {
            let came = visit(town, "10.99.1.2", 8000, &[])?;
            ensure!(came == "ConnectionRefusedError", "{came}");
            Ok(())
        })
    })
}

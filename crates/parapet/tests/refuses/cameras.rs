//! An application that is nothing but cameras, each wrong in its own way.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use parapet_testkit::camera::{Relay, VirtualCamera};
use parapet_testkit::demo::Demo;
use parapet_testkit::operator::Operator;
use parapet_testkit::wait_for;
use serde_json::Value;

use crate::{PARAPET, SECONDS};

/// Within it a camera that is retried would have been retried several times.
const RETRIES: Duration = Duration::from_secs(15);
/// What the guarded camera asks for.
pub(crate) const RIGHT_PASSWORD: &str = "right-7c1e5a90d3";
/// What it is told at first.
pub(crate) const WRONG_PASSWORD: &str = "wrong-4be82f6617";

/// They, and what stands for them on the network.
pub(crate) struct BadCameras {
    instance: String,
    guarded: VirtualCamera,
    relay: Relay,
    refused_since: Instant,
    _others: Vec<VirtualCamera>,
}

impl BadCameras {
    pub(crate) fn deploy(operator: &Operator<'_>) -> Result<Self> {
        let camera = |name: &str, fault: &str, login| {
            VirtualCamera::start(Path::new(PARAPET), operator.work, name, fault, login)
        };
        let garbage = camera("garbage", "garbage", None)?;
        let foreign = camera("foreign", "wrong-codec", None)?;
        let mumbling = camera("mumbling", "bad-sdp", None)?;
        let guarded = camera("guarded", "none", Some(("viewer", RIGHT_PASSWORD)))?;
        let relay = Relay::to(guarded.address()?)?;
        let guarded_url = format!("rtsp://{}/guarded", relay.address());
        let login = Some(("viewer", WRONG_PASSWORD));
        let absent_url = format!("rtsp://127.0.0.1:{}/absent", closed_port()?);
        let cameras = [
            ("absent", absent_url.as_str(), None),
            ("foreign", foreign.url(), None),
            ("garbage", garbage.url(), None),
            ("guarded", guarded_url.as_str(), login),
            ("mumbling", mumbling.url(), None),
        ];
        std::thread::scope(|scope| {
            let adding = cameras.map(|(name, url, login)| {
                scope.spawn(move || operator.add_camera(name, url, login))
            });
            for added in adding {
                added.join().unwrap_or_else(|_| anyhow::bail!("panicked"))?;
            }
            anyhow::Ok(())
        })?;
        let names = cameras.map(|(name, ..)| name);
        let nodes = names.map(|name| operator.node(name, name, name));
        let instance = operator.deploy("cameras-only", &operator.graph(&names, &nodes, &[]))?;

        for (node, code, hint) in [
            ("absent", "refused", "check port"),
            ("foreign", "unsupported_codec", "H.264"),
            ("garbage", "protocol", "breaks RTSP"),
            ("guarded", "unauthorized", "set the right ones"),
            ("mumbling", "bad_sdp", ""),
        ] {
            let remedy = operator.wait_node_error(&instance, node, code)?;
            ensure!(remedy.contains(hint) && !remedy.is_empty(), "{remedy}");
        }
        let refused_since = Instant::now();
        let expected = [
            ("Status", "DEPLOYMENT_SUCCEEDED"),
            ("HealthStatus", "ERROR"),
        ];
        let described = operator.wait_instance(&instance, &expected)?;
        let description = described["StatusDescription"].as_str().unwrap_or_default();
        ensure!(
            description.starts_with("absent: refused: "),
            "{description:?} names no camera"
        );
        Ok(Self {
            instance,
            guarded,
            relay,
            refused_since,
            _others: vec![garbage, foreign, mumbling],
        })
    }

    /// In place, and nobody else notices.
    pub(crate) fn repair_the_password(&self, demo: &Demo, operator: &Operator<'_>) -> Result<()> {
        wait_for(
            "the time in which it could have been retried",
            SECONDS,
            || {
                let waited = self.refused_since.elapsed();
                ensure!(waited > RETRIES, "{waited:?}");
                Ok(())
            },
        )?;
        let (logins, dialogues) = (self.relay.logins(), self.relay.dialogues());
        ensure!(
            logins == 1 && dialogues == 1,
            "{logins} logins in {dialogues} dialogues with a password that was refused"
        );
        let (status, reason) = operator.node_status(&self.instance, "guarded")?;
        ensure!(status == "ERROR", "guarded is {status}: {reason}");

        let before = (ingests(demo), instances(operator)?);
        let file = operator.work.join("right-password");
        fs::write(&file, format!("{RIGHT_PASSWORD}\n"))?;
        let changed = Command::new(PARAPET)
            .args(["camera", "set", "guarded", "--password-file"])
            .arg(&file)
            .arg("--data")
            .arg(demo.dir().join("server"))
            .output()?;
        let said = String::from_utf8_lossy(&changed.stderr);
        ensure!(changed.status.success(), "camera set: {said}");
        wait_for("the camera to run", SECONDS, || {
            let (status, reason) = operator.node_status(&self.instance, "guarded")?;
            ensure!(
                status == "RUNNING" && reason.is_empty(),
                "{status}: {reason}"
            );
            Ok(())
        })?;
        ensure!(
            self.relay.dialogues() == 2,
            "{} dialogues with {}",
            self.relay.dialogues(),
            self.guarded.url()
        );
        let after = (ingests(demo), instances(operator)?);
        ensure!(before == after, "changed from {before:?} to {after:?}");
        Ok(())
    }
}

/// A port of this machine that nobody listens on.
fn closed_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The processes that talk to cameras.
fn ingests(demo: &Demo) -> Vec<i32> {
    let mut pids: Vec<i32> = demo
        .processes("parapet-ingest")
        .iter()
        .map(|process| process.pid)
        .collect();
    pids.sort_unstable();
    pids
}

fn instances(operator: &Operator<'_>) -> Result<Vec<Value>> {
    let list = operator.get("/application-instances")?;
    let list = list["ApplicationInstances"].as_array();
    let list = list.context("no ApplicationInstances")?;
    Ok(list
        .iter()
        .map(|instance| instance["ApplicationInstanceId"].clone())
        .collect())
}

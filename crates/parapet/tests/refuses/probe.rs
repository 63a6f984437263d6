//! An application that tries to get out.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use parapet_testkit::demo::Demo;
use serde_json::{Value, json};

const SOURCE: &str = include_str!("probe.py");

/// What it may reach, were it not kept apart; listens as long as this lives.
pub(crate) struct Bait {
    _tcp: TcpListener,
    _unix: UnixListener,
    targets: Value,
}

impl Bait {
    pub(crate) fn lay(demo: &Demo, main_instance: &str) -> Result<Self> {
        let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).context("listen")?;
        let port = tcp.local_addr()?.port();
        let mut name = String::from("parapet-bait-");
        name.push_str(&port.to_string());
        let unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;

        let settings = demo.settings()?;
        let mut connect = vec![json!(["127.0.0.1", port])];
        for known in ["api_port", "device_port", "admin_port"] {
            connect.push(json!(["127.0.0.1", settings[known]]));
        }
        for camera in settings["camera_ports"].as_array().into_iter().flatten() {
            connect.push(json!(["127.0.0.1", camera]));
        }
        if let Some(address) = outer_address() {
            connect.push(json!([address, port]));
        }
        let agent = demo.process_of("agent")?.pid;
        let state = demo.dir().join("agent");
        let logs = state.join("instances").join(main_instance).join("logs");
        let read: Vec<PathBuf> = vec![
            state.clone(),
            state.join("device/key.sealed"),
            state.join("device/secrets.key"),
            state.join("status.json"),
            logs.join("code_node/events.jsonl"),
            demo.dir().join("server/parapet.db"),
            demo.dir().join("server/admin/credentials"),
            demo.dir().join("master.key"),
            format!("/proc/{agent}/environ").into(),
            format!("/proc/{agent}/root").into(),
        ];
        let targets = json!({
            "connect": connect,
            "abstract": name,
            "read": read,
            "write": ["/mine", "/panorama/mine", "/panorama/probe.py", "/usr/mine",
                      "/etc/passwd", "/dev/mine", "/opt/aws/panorama/mine",
                      "/opt/parapet/python/mine", "/run/parapet/mine",
                      "/proc/sys/kernel/core_pattern", "/proc/self/../sys/vm/drop_caches"],
        });
        Ok(Self {
            _tcp: tcp,
            _unix: unix,
            targets,
        })
    }

    /// The package's file system.
    pub(crate) fn pack(&self, work: &Path) -> Result<PathBuf> {
        let panorama = work.join("panorama");
        fs::create_dir_all(&panorama)?;
        fs::write(panorama.join("probe.py"), SOURCE)?;
        fs::write(panorama.join("targets.json"), self.targets.to_string())?;
        let archive = work.join("probe.tar.gz");
        let packed = Command::new("tar")
            .args(["--create", "--gzip", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(work)
            .arg("panorama")
            .status()
            .context("run tar")?;
        ensure!(packed.success(), "tar has failed");
        Ok(archive)
    }

    /// Starts the same probe where nothing holds it back: an attempt that fails there too
    /// would show nothing.
    pub(crate) fn try_on_host(work: &Path) -> Result<()> {
        let events = work.join("host-events.jsonl");
        let ended = Command::new("python3")
            .arg(work.join("panorama/probe.py"))
            .arg(&events)
            .status()
            .context("run python3")?;
        ensure!(ended.success(), "the probe has failed on the host");
        for (name, attempt) in read(&events)? {
            ensure!(
                name == "done" || attempt["got"] == true,
                "this attempt is no test, it fails without a sandbox too: {attempt}"
            );
        }
        Ok(())
    }
}

/// What a probe has reported, by attempt.
pub(crate) fn read(events: &Path) -> Result<BTreeMap<String, Value>> {
    let text = fs::read_to_string(events).with_context(|| format!("read {}", events.display()))?;
    let mut all = BTreeMap::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).context("read an event")?;
        let name = event["name"].as_str().context("an event has no name")?;
        all.insert(name.to_owned(), event);
    }
    Ok(all)
}

/// An address of this machine that is not its loopback, if it has any.
fn outer_address() -> Option<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Sends nothing: it only looks for the way there.
    socket.connect(("192.0.2.1", 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then(|| address.to_string())
}

//! `parapet audit` as an operator runs it, on the trail of a real control plane.

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, and says at what"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A control plane in a process of its own.
struct Plane {
    server: Child,
    folder: tempfile::TempDir,
}

impl Plane {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let config = folder.path().join("parapet.toml");
        let checkpoints = folder.path().join("checkpoints.jsonl");
        let text = format!(
            "[audit]\ncheckpoint_file = '{}'\ncheckpoint_seconds = 1\n",
            checkpoints.display()
        );
        std::fs::write(&config, text).expect("a configuration");
        let any = "127.0.0.1:0";
        let server = Command::new(env!("CARGO_BIN_EXE_parapet"))
            .args(["server", "--listen", any, "--device-listen", any])
            .args(["--admin-listen", any, "--data"])
            .arg(folder.path().join("data"))
            .arg("--config")
            .arg(config)
            .env("PARAPET_MASTER_KEY_FILE", folder.path().join("master.key"))
            .stderr(Stdio::null())
            .spawn()
            .expect("a server");
        let plane = Self { server, folder };
        plane.wait("the server answers", |plane| {
            plane.data().join("admin/env").exists() && plane.audit(&["search"]).status.success()
        });
        plane
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.path().join("checkpoints.jsonl")
    }

    /// A verb on this data directory.
    fn audit(&self, arguments: &[&str]) -> Output {
        parapet(&[arguments, &["--data", path(&self.data())]].concat())
    }

    fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::yield_now();
        }
    }

    /// Ends the server as a service manager does.
    fn stop(&mut self) {
        let id = self.server.id().to_string();
        let told = Command::new("kill").arg(id).status().expect("kill");
        assert!(told.success());
        let ended = self.server.wait().expect("an end");
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        // Both fail when it has ended.
        let _killed = self.server.kill();
        let _waited = self.server.wait();
    }
}

fn parapet(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_parapet"))
        .arg("audit")
        .args(arguments)
        .output()
        .expect("the command runs")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn text(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// What `verify` said of a trail that is not whole: the first bad record.
fn first_bad(output: &Output) -> i64 {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    told["firstBad"].as_i64().expect("a number")
}

#[test]
fn the_trail_is_searched_exported_and_verified_and_what_was_done_to_it_is_found() {
    let mut plane = Plane::start();
    let found = text(&plane.audit(&["search", "--action", "ServerStarted", "--output", "json"]));
    let found: Value = serde_json::from_str(found.trim()).expect("one record");
    assert_eq!(found["sequence"], 1);
    plane.wait("its own search is found", |plane| {
        let found = text(&plane.audit(&["search", "--principal", "admin", "--since", "1h"]));
        found.contains("parapet:SearchAudit") && found.contains("success")
    });
    assert_eq!(
        text(&plane.audit(&["search", "--outcome", "denied"])),
        "",
        "nothing was denied"
    );
    plane.wait("a checkpoint is exported", |plane| {
        std::fs::read_to_string(plane.checkpoints()).is_ok_and(|text| !text.is_empty())
    });
    let export = plane.folder.path().join("trail.jsonl");
    text(&plane.audit(&["export", "--file", path(&export)]));
    plane.stop();

    let checkpoints = plane.checkpoints();
    let outside = ["--checkpoint", path(&checkpoints)];
    let whole = text(&plane.audit(&[&["verify"], &outside[..]].concat()));
    assert!(whole.starts_with("whole: records 1 to "), "{whole}");
    assert!(!whole.contains("none covers"), "signed at its end: {whole}");
    let last = text(&plane.audit(&["search", "--offline", "--limit", "1"]));
    assert!(last.contains("ServerStopped"), "{last}");

    // An export that was taken before the end is whole, and cut as the last checkpoint sees it.
    let key = plane.data().join("admin/audit-public-key.pem");
    let verify = |file: &Path, checkpoints: &[&str]| {
        let file = ["verify", "--export", path(file), "--output", "json"];
        parapet(&[&file[..], checkpoints, &["--public-key", path(&key)]].concat())
    };
    text(&verify(&export, &[]));
    let lines = std::fs::read_to_string(&export).expect("an export");
    let records = lines.lines().count() - 1;
    let missing = i64::try_from(records).expect("few") + 1;
    assert_eq!(first_bad(&verify(&export, &outside)), missing);

    // A record in the middle is taken away.
    let without: Vec<&str> = lines
        .lines()
        .enumerate()
        .filter_map(|(index, line)| (index != 2).then_some(line))
        .collect();
    std::fs::write(&export, without.join("\n")).expect("written");
    assert_eq!(first_bad(&verify(&export, &[])), 2);

    // A byte of the database is changed.
    let database = plane.data().join("parapet.db");
    let mut bytes = std::fs::read(&database).expect("a database");
    let name = b"\"eventName\":\"ServerStarted\"";
    // Pages that were split keep copies that nobody reads: all are changed.
    let places: Vec<usize> = bytes
        .windows(name.len())
        .enumerate()
        .filter_map(|(at, window)| (window == name).then_some(at))
        .collect();
    assert!(!places.is_empty(), "the first record is in the file");
    for at in places {
        bytes[at + name.len() - 2] ^= 1;
    }
    std::fs::write(&database, bytes).expect("written");
    let changed = plane.audit(&["verify", "--output", "json"]);
    assert_eq!(first_bad(&changed), 1);
}

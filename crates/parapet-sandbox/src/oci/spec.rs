//! `config.json` of an application: what an OCI runtime is told, made from what our own set-up is
//! told (opencontainers/runtime-spec 1.0.2, `config.md` and `config-linux.md`).
//!
//! Pure. A package has no word in it: its command and its variables are the only texts of others,
//! and they stand where any text may. No hooks, no annotations.

use serde_json::{Value, json};

use crate::cgroup;
use crate::seccomp;
use crate::setup::{MASKED_DIRECTORIES, MASKED_FILES, READ_ONLY};
use crate::spawn::{Command, Limits, Users};

/// A character device that a container may use, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its driver.
    pub major: u32,
    /// Which one.
    pub minor: u32,
}

/// null, zero, full, random, urandom: the same on every Linux (`Documentation/admin-guide/devices.txt`).
const DEVICES: [Device; 5] = [
    Device { major: 1, minor: 3 },
    Device { major: 1, minor: 5 },
    Device { major: 1, minor: 7 },
    Device { major: 1, minor: 8 },
    Device { major: 1, minor: 9 },
];
/// The kernel's default span, as in `cgroup/settings.rs`.
const PERIOD_US: u64 = 100_000;

/// What the runtime mounts over the root that we have put together, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mount {
    /// `/proc` of the container's PID namespace.
    Proc,
    /// An empty tmpfs.
    Scratch { place: String, mebibytes: u32 },
    /// What lies inside another mount: our own at `source`, which has its restrictions already.
    Within { place: String, source: String },
}

/// All that a container differs in.
#[derive(Debug)]
pub(super) struct Container<'a> {
    /// Where the root is, read-only, with its devices.
    pub(super) root: &'a str,
    pub(super) mounts: &'a [Mount],
    /// In whose namespaces it is.
    pub(super) keeper: u32,
    pub(super) users: Users,
    pub(super) command: &'a Command,
    pub(super) limits: Limits,
    /// Below the root of each hierarchy that the runtime sees.
    pub(super) group: &'a str,
    pub(super) resources: &'a cgroup::Limits,
    /// Beyond those that everybody has.
    pub(super) devices: &'a [Device],
}

impl Container<'_> {
    /// `config.json`.
    pub(super) fn config(&self) -> Value {
        let texts = |list: &[std::ffi::CString]| -> Vec<String> {
            list.iter()
                .map(|text| text.to_string_lossy().into_owned())
                .collect()
        };
        let Users {
            inside,
            outside,
            count,
            run_as,
        } = self.users;
        let mapping = json!([{ "containerID": inside, "hostID": outside, "size": count }]);
        json!({
            "ociVersion": "1.0.2",
            "root": { "path": self.root, "readonly": true },
            "process": {
                "terminal": false,
                "user": { "uid": run_as, "gid": run_as, "umask": 0o022 },
                "cwd": "/",
                "args": texts(&self.command.arguments),
                "env": texts(&self.command.environment),
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": [], "effective": [], "inheritable": [], "permitted": [],
                    "ambient": [],
                },
                "rlimits": self.rlimits(),
            },
            "mounts": self.mounts(),
            "linux": {
                "namespaces": self.namespaces(),
                "uidMappings": mapping,
                "gidMappings": mapping,
                "cgroupsPath": format!("/{}", self.group),
                "resources": self.resources(),
                "seccomp": seccomp::application_profile(),
                "maskedPaths": in_proc(MASKED_FILES.iter().chain(&MASKED_DIRECTORIES)),
                "readonlyPaths": in_proc(READ_ONLY.iter()),
                "rootfsPropagation": "private",
            },
        })
    }

    fn rlimits(&self) -> Vec<Value> {
        let limit = |name: &str, value: u64| json!({ "type": name, "hard": value, "soft": value });
        let mut limits = vec![
            limit("RLIMIT_CORE", 0),
            limit("RLIMIT_NOFILE", self.limits.files),
        ];
        limits.extend(
            self.limits
                .processes
                .map(|processes| limit("RLIMIT_NPROC", processes)),
        );
        limits
    }

    /// Ours, which end with the launcher and which the gateway's rules are in already; mounts and
    /// the view of control groups are the container's own.
    fn namespaces(&self) -> Vec<Value> {
        let ours = [
            ("user", "user"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("network", "net"),
            ("pid", "pid"),
        ];
        ours.iter()
            .map(|(kind, file)| {
                json!({ "type": kind, "path": format!("/proc/{}/ns/{file}", self.keeper) })
            })
            .chain(["mount", "cgroup"].map(|kind| json!({ "type": kind })))
            .collect()
    }

    fn mounts(&self) -> Vec<Value> {
        // A `/dev` that is bound tells a runtime to make no devices of its own there.
        let devices = json!({
            "destination": "/dev", "type": "bind", "source": format!("{}/dev", self.root),
            "options": ["rbind"],
        });
        let others = self.mounts.iter().map(|mount| match mount {
            Mount::Proc => json!({
                "destination": "/proc", "type": "proc", "source": "proc",
                "options": ["nosuid", "nodev", "noexec"],
            }),
            Mount::Scratch { place, mebibytes } => json!({
                "destination": format!("/{place}"), "type": "tmpfs", "source": "tmpfs",
                "options": [
                    "nosuid", "nodev", "noexec", "mode=1777",
                    format!("size={mebibytes}m"),
                    format!("nr_inodes={}", crate::setup::inodes(*mebibytes)),
                ],
            }),
            Mount::Within { place, source } => json!({
                "destination": format!("/{place}"), "type": "bind", "source": source,
                "options": ["rbind"],
            }),
        });
        std::iter::once(devices).chain(others).collect()
    }

    /// The group has these limits already, and those that a runtime knows no words for.
    fn resources(&self) -> Value {
        let devices = DEVICES.iter().chain(self.devices);
        let allowed = devices.map(|Device { major, minor }| {
            json!({
                "allow": true, "type": "c", "major": major, "minor": minor, "access": "rw",
            })
        });
        let nothing = json!({ "allow": false, "access": "rwm" });
        let mut resources = json!({
            "devices": std::iter::once(nothing).chain(allowed).collect::<Vec<_>>(),
        });
        if let Some(bytes) = self.resources.memory_bytes {
            resources["memory"] = json!({ "limit": bytes });
        }
        if let Some(millis) = self.resources.cpu_millis {
            let quota = u64::from(millis) * PERIOD_US / 1000;
            resources["cpu"] = json!({ "quota": quota, "period": PERIOD_US });
        }
        if let Some(processes) = self.resources.processes {
            resources["pids"] = json!({ "limit": processes });
        }
        resources
    }
}

fn in_proc<'a>(names: impl Iterator<Item = &'a &'a str>) -> Vec<String> {
    names.map(|name| format!("/proc/{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Weight;

    fn command() -> Command {
        Command {
            candidates: Vec::new(),
            arguments: vec![c"python3".to_owned(), c"/panorama/app.py".to_owned()],
            environment: vec![c"PATH=/usr/bin:/bin".to_owned(), c"X=\"}".to_owned()],
        }
    }

    fn config(devices: &[Device]) -> Value {
        let scratch = |place: &str, mebibytes| Mount::Scratch {
            place: place.to_owned(),
            mebibytes,
        };
        Container {
            root: "/tmp/root",
            mounts: &[
                Mount::Within {
                    place: "dev/null".to_owned(),
                    source: "/tmp/root/dev/null".to_owned(),
                },
                scratch("dev/shm", 256),
                Mount::Proc,
                scratch("tmp", 256),
                scratch("run", 16),
                Mount::Within {
                    place: "run/parapet".to_owned(),
                    source: "/tmp/within/0".to_owned(),
                },
            ],
            keeper: 4711,
            users: Users {
                inside: 0,
                outside: 0x5001_0000,
                count: 65_536,
                run_as: 0,
            },
            command: &command(),
            limits: Limits {
                files: 2048,
                processes: Some(64),
            },
            group: "a7",
            resources: &cgroup::Limits {
                memory_bytes: Some(1 << 30),
                cpu_millis: Some(1500),
                processes: Some(64),
                io_bytes_per_second: Some(1_000_000),
                weight: Weight::Application,
                ends_whole: true,
            },
            devices,
        }
        .config()
    }

    /// The filter has tests of its own, and is long.
    #[test]
    fn a_runtime_is_told_exactly_this() {
        let mut config = config(&[Device {
            major: 195,
            minor: 0,
        }]);
        let filter = config["linux"]["seccomp"].take();
        assert_eq!(filter["defaultAction"], "SCMP_ACT_ERRNO");
        let found = serde_json::to_string_pretty(&config).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/oci/config.golden.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &found).unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            found, golden,
            "if this was meant, run again with UPDATE_GOLDEN=1"
        );
    }

    #[test]
    fn a_package_can_add_no_member_and_no_right() {
        let config = config(&[]);
        let members =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        assert_eq!(
            members(&config),
            ["linux", "mounts", "ociVersion", "process", "root"]
        );
        assert!(config.get("hooks").is_none());
        assert_eq!(config["process"]["env"][1], "X=\"}");
        for set in config["process"]["capabilities"]
            .as_object()
            .unwrap()
            .values()
        {
            assert_eq!(set, &json!([]));
        }
        let allowed = |device: &&Value| device["allow"] == true;
        let devices = config["linux"]["resources"]["devices"].as_array().unwrap();
        assert_eq!(devices[0], json!({ "allow": false, "access": "rwm" }));
        assert_eq!(devices.iter().filter(allowed).count(), 5);
        for mount in config["mounts"].as_array().unwrap() {
            let writable = mount["type"] == "tmpfs";
            let options = mount["options"].as_array().unwrap();
            for option in ["nosuid", "nodev", "noexec"] {
                assert!(!writable || options.iter().any(|o| o == option), "{mount}");
            }
        }
    }
}

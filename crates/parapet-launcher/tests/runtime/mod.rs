//! Applications by an OCI runtime. Every test of this binary runs on such a host too
//! ([`As::Runtime`]); here is what only such a host can show, and what a guest shows whose kernel
//! has control groups of version 2 alone.
//!
//! No runtime that is new enough is to be had where these tests run. The stand-ins are Debian's
//! runc and crun behind a script that says they were new enough: what is shown is what our side
//! does, and that a container by our `config.json` holds. Not what newer runtimes have mended.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use parapet_sandbox::launch::Worker;

use super::guest::{self, Guest};
use crate::host::{As, Host, IMAGE, script, text, wait_gone, wait_line};

/// Set inside of the guest.
const GUEST: &str = "PARAPET_TEST_GUEST";
const RUNC: &str = "/usr/sbin/runc";
const CRUN: &str = "/usr/bin/crun";
/// Where a stand-in writes down how it was called.
const CALLS: &str = "calls";

/// What tests of all hosts run on. crun does nothing where control groups are of version 1.
pub(super) fn hosts() -> &'static [As] {
    if std::env::var_os(GUEST).is_some() {
        &[As::Runtime, As::Crun]
    } else {
        &[As::Root, As::User, As::Runtime]
    }
}

pub(super) fn is_used(how: As) -> bool {
    matches!(how, As::Runtime | As::Crun)
}

/// The runtime of a host, in `directory`, if it has one.
pub(super) fn stand_in(directory: &Path, how: As) -> Option<PathBuf> {
    let (program, says) = match how {
        As::Runtime => (RUNC, "runc version 1.5.1"),
        As::Crun => (CRUN, "crun version 1.29.1"),
        As::OldRuntime => (RUNC, "runc version 1.1.5+ds1"),
        As::Root | As::User | As::Caged | As::WithoutNft => return None,
    };
    assert!(
        Path::new(program).exists(),
        "{program} is missing: tools/setup --tests installs it"
    );
    let calls = directory.join(CALLS);
    let lines = format!(
        "[ \"$1\" = --version ] && {{ echo {says}; exit; }}\n\
         echo \"$@\" >> {}\nexec {program} \"$@\"",
        calls.display()
    );
    Some(script(&directory.join("runtime"), &lines))
}

fn calls(host: &Host) -> String {
    fs::read_to_string(host.private.path().join(CALLS)).unwrap_or_default()
}

/// The groups of this launcher's applications in a hierarchy.
fn groups(host: &Host, hierarchy: &str) -> Vec<PathBuf> {
    let own = format!("{}.", host.child.id());
    let common = Path::new("/sys/fs/cgroup").join(hierarchy);
    let launchers = fs::read_dir(common.join("parapet-50000000"));
    launchers
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&own))
        .flat_map(|entry| fs::read_dir(entry.path()).unwrap().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

#[test]
fn a_runtime_never_sees_an_image_with_a_link_where_something_is_mounted() {
    let Some(mut host) = Host::start(As::Runtime) else {
        return;
    };
    assert_eq!(host.applications.split(' ').next(), Some("runc"));
    assert!(host.applications.contains("1.5.1"), "{}", host.applications);
    let rootfs = host.state().join(format!("images/{IMAGE}/rootfs"));
    let outside = host.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for place in ["dev", "proc", "run"] {
        symlink(&outside, rootfs.join(place)).unwrap();
        let refused = host.try_application("one", &["true"]).map(drop);
        let message = refused.unwrap_err();
        let named = format!("/{place} is a symbolic link");
        assert!(message.contains(&named), "{message}");
        assert_eq!(calls(&host), "", "the runtime was called for /{place}");
        fs::remove_file(rootfs.join(place)).unwrap();
    }
    let (id, _, output) = host.application(&["true"]);
    assert_eq!(text(output), "");
    assert_eq!(host.exit_code(id), 0);
    assert!(calls(&host).contains(" create "), "{}", calls(&host));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn a_runtime_that_is_too_old_starts_no_application_and_workers_go_on() {
    let Some(mut host) = Host::start(As::OldRuntime) else {
        return;
    };
    assert_eq!(host.applications, "none");
    let sentence = |text: &str| {
        ["runc 1.1.5", "1.5.1", "install", "\"own\""]
            .iter()
            .all(|part| text.contains(part))
    };
    assert!(
        host.missing.iter().any(|m| sentence(m)),
        "{:?}",
        host.missing
    );
    let refused = host.try_application("one", &["true"]).map(drop);
    let message = refused.unwrap_err();
    assert!(sentence(&message), "{message}");
    assert_eq!(calls(&host), "", "it was asked for its version alone");
    host.worker_script("parapet-codec", "echo works >&2");
    let (id, _, output, _channel) = host.worker(Worker::Codec);
    assert_eq!(text(output), "works\n");
    assert_eq!(host.exit_code(id), 0);
}

#[test]
fn nothing_of_a_container_is_left_when_it_or_its_launcher_ends() {
    let Some(mut host) = Host::start(As::Runtime) else {
        return;
    };
    let launcher = host.child.id();
    let children = move || {
        let path = format!("/proc/{launcher}/task/{launcher}/children");
        let list = fs::read_to_string(path).unwrap();
        list.split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect::<Vec<u32>>()
    };
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
    let (id, _, mut output) = host.application(&["sh", "-c", deaf]);
    wait_line(&mut output, "ready");
    let before = children();
    assert_eq!(before.len(), 2, "a keeper and a starter");
    let shown = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!shown.contains("/tmp/root"), "the host sees the root");
    assert!(!Path::new("/run/runc/application").exists());
    host.send(
        &super::LaunchRequest::Signal {
            id,
            signal: super::Signal::Kill,
        },
        &[],
    );
    assert_eq!(host.exit_code(id), 128 + 9);
    text(output);
    assert_eq!(children(), [] as [u32; 0]);
    assert_eq!(groups(&host, "devices"), [] as [PathBuf; 0]);
    assert_eq!(groups(&host, ""), [] as [PathBuf; 0]);

    let (_, _, mut output) = host.application(&["sh", "-c", deaf]);
    wait_line(&mut output, "ready");
    let before = children();
    host.child.kill().unwrap();
    host.child.wait().unwrap();
    for pid in before {
        wait_gone(pid);
    }
    // Its end is that of the last process of the application.
    text(output);
}

/// A node that looks like an accelerator, of a device that no container has otherwise: the
/// kernel's messages, which whoever may open it may write.
struct StandIn(PathBuf);

impl StandIn {
    fn make() -> Self {
        let path = PathBuf::from(format!("/dev/nvidia{}", 200_000 + std::process::id()));
        let kind = rustix::fs::FileType::CharacterDevice;
        let device = rustix::fs::makedev(1, 11);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o666.into(), device).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        Self(path)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn a_container_that_asks_for_accelerators_may_open_them() {
    for &how in hosts().iter().filter(|how| is_used(**how)) {
        let Some(mut host) = Host::start(how) else {
            return;
        };
        let node = StandIn::make();
        let open = format!("exec 2> /dev/null 3> {} && echo opened", node.0.display());
        for (gpu, expected) in [(true, "opened\n"), (false, "")] {
            host.gpu = gpu;
            let (id, _, output) = host.application(&["sh", "-c", &open]);
            let output = text(output);
            assert_eq!(output, expected);
            host.exit_code(id);
        }
    }
}

/// As on a host of either version of control groups.
fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[test]
fn a_container_may_use_the_devices_of_its_list_and_no_others() {
    for &how in hosts().iter().filter(|how| is_used(**how)) {
        let Some(mut host) = Host::start(how) else {
            return;
        };
        let use_them = "echo x > /dev/null && head -c 1 /dev/urandom > /dev/full; \
                        head -c 1 /dev/zero | wc -c; echo /dev/*; sleep 1000";
        let (_, _, mut output) = host.application(&["sh", "-c", use_them]);
        // /dev/full is full, and no more is there than every root has.
        let mut said = String::new();
        super::read_until(&mut output, "zero\n", &mut said);
        let names = "fd full null random shm stderr stdin stdout urandom zero";
        let found = said.lines().last().unwrap().replace("/dev/", "");
        assert!(found == names && said.contains("1\n"), "{said}");
        if is_unified() {
            refused_by_the_kernel(&host);
        } else {
            listed(&host);
        }
    }
}

/// Version 1 tells the list.
fn listed(host: &Host) {
    let groups = groups(host, "devices");
    assert_eq!(groups.len(), 1, "{groups:?}");
    let list = fs::read_to_string(groups[0].join("devices.list")).unwrap();
    for line in list.lines() {
        let (kind, rest) = line.split_once(' ').unwrap();
        let (number, access) = rest.split_once(' ').unwrap();
        // What a runtime adds by itself: making nodes, which takes a capability, terminals, and in
        // old ones TUN. There is no node of any of them inside.
        let ours = ["1:3", "1:5", "1:7", "1:8", "1:9"].contains(&number);
        let runtimes = ["5:0", "5:2", "136:*", "10:200"].contains(&number);
        let wanted = access == "m" || kind == "c" && (ours || runtimes);
        assert!(wanted, "{line} in {list}");
    }
    assert!(list.contains("1:3"), "{list}");
}

/// Version 2 has a program of the kernel in its place, which refuses also root who goes in there.
fn refused_by_the_kernel(host: &Host) {
    let groups = groups(host, "");
    assert_eq!(groups.len(), 1, "{groups:?}");
    let open = |group: &str, device: &str| {
        let line = format!("{group} exec 3< {device}");
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        output.status.success()
    };
    let inside = format!("echo $$ > {}/cgroup.procs;", groups[0].display());
    assert!(open("", "/dev/kmsg") && open(&inside, "/dev/null"));
    assert!(
        !open(&inside, "/dev/kmsg"),
        "another device could be opened"
    );
}

#[test]
fn containers_hold_with_control_groups_of_version_2_in_a_guest() {
    if !rustix::process::geteuid().is_root() || std::env::var_os(GUEST).is_some() {
        eprintln!("skipped: not root, or in the guest already");
        return;
    }
    let tests = [
        "an_application_gets_out_nowhere",
        "an_application_is_asked",
        "the_code_of_an_application",
        "everything_ends_with_the_launcher",
        "links_of_an_image",
        "an_attacker_as_an_application",
        "runtime::a_",
        "runtime::nothing",
    ];
    let attacker = super::attacker::attacker();
    let attacker = attacker.to_string_lossy();
    let log = guest::run(&Guest {
        filter: &tests.join(" "),
        variable: GUEST,
        modules: &[],
        programs: &[
            env!("CARGO_BIN_EXE_parapet-launcher"),
            &attacker,
            "/usr/bin/python3",
            "/usr/bin/true",
            "/usr/bin/cat",
            "/usr/bin/sleep",
            RUNC,
            CRUN,
        ],
        files: &guest::python(),
    });
    assert!(log.contains("test result: ok. 11 passed"), "{log}");
    assert!(!log.contains("skipped:"), "{log}");
}

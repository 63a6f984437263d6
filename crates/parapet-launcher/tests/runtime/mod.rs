//! Applications by an OCI runtime. Every test of this binary runs on such a host too
//! ([`As::Runtime`]); here is what only such a host can show.
//!
//! No runtime that is new enough is to be had where these tests run. The stand-in is the host's
//! runc behind a script that says it were new enough: what is shown is what our side does, and that
//! a container by our `config.json` holds. Not what a newer runtime has mended.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use parapet_sandbox::launch::Worker;

use super::{As, Host, IMAGE, script, text, wait_gone, wait_line};

const RUNC: &str = "/usr/sbin/runc";
/// Where a stand-in writes down how it was called.
const CALLS: &str = "calls";

/// A runtime in `directory` that says it were this version of runc.
pub(super) fn stand_in(directory: &Path, version: &str) -> PathBuf {
    assert!(
        Path::new(RUNC).exists(),
        "{RUNC} is missing: tools/setup --tests installs it"
    );
    let calls = directory.join(CALLS);
    let lines = format!(
        "[ \"$1\" = --version ] && {{ echo runc version {version}; exit; }}\n\
         echo \"$@\" >> {}\nexec {RUNC} \"$@\"",
        calls.display()
    );
    script(&directory.join("runtime"), &lines)
}

fn calls(host: &Host) -> String {
    fs::read_to_string(host.private.path().join(CALLS)).unwrap_or_default()
}

/// Directories of the host's device hierarchy with this launcher's groups.
fn device_lists(host: &Host) -> Vec<PathBuf> {
    let own = format!("{}.", host.child.id());
    let common = "/sys/fs/cgroup/devices/parapet-50000000";
    let launchers = fs::read_dir(common).into_iter().flatten().flatten();
    launchers
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&own))
        .flat_map(|entry| fs::read_dir(entry.path()).unwrap().flatten())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.path().join("devices.list"))
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
    assert_eq!(device_lists(&host), [] as [PathBuf; 0]);

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

#[test]
fn a_container_may_use_the_devices_of_its_list_and_no_others() {
    let Some(mut host) = Host::start(As::Runtime) else {
        return;
    };
    if !Path::new("/sys/fs/cgroup/devices").exists() {
        eprintln!("skipped: this host has no hierarchy for devices");
        return;
    }
    let use_them = "echo x > /dev/null && head -c 1 /dev/urandom > /dev/full; \
                    head -c 1 /dev/zero | wc -c; ls /dev | tr '\\n' ' '; echo; sleep 1000";
    let (_, _, mut output) = host.application(&["sh", "-c", use_them]);
    // /dev/full is full, and no more is there than every root has.
    let mut said = String::new();
    super::read_until(&mut output, "zero \n", &mut said);
    assert!(
        said.contains("1\nfd full null random shm stderr stdin stdout urandom zero"),
        "{said}"
    );
    let lists = device_lists(&host);
    assert_eq!(lists.len(), 1, "{lists:?}");
    let list = fs::read_to_string(&lists[0]).unwrap();
    for line in list.lines() {
        let (kind, rest) = line.split_once(' ').unwrap();
        let (number, access) = rest.split_once(' ').unwrap();
        // What a runtime adds by itself: making nodes, which takes a capability, terminals, and in
        // old ones TUN. There is no node of any of them inside.
        let ours = ["1:3", "1:5", "1:7", "1:8", "1:9"].contains(&number);
        let terminals = ["5:0", "5:2", "136:*", "10:200"].contains(&number);
        let wanted = access == "m" || kind == "c" && (ours || terminals);
        assert!(wanted, "{line} in {list}");
    }
    assert!(list.contains("1:3"), "{list}");
}

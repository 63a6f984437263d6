//! The starter: a child of the launcher that has a runtime make one container, and waits for it.
//!
//! Its mount namespace holds the root that it puts together, `config.json` and the runtime's own
//! state, on a tmpfs that nobody else sees: with the starter's end all of it is gone, whoever was
//! killed. It shows the runtime this launcher's control groups alone. Once the application runs, it
//! leaves all of that but the wait: no descriptor, no capability, its stage as root. Order is security
//! here as in [`crate::setup`].

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, mkdir, openat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::net::{SendFlags, send};
use rustix::process::{
    DumpableBehavior, Signal, WaitOptions, WaitStatus, chdir, fchdir, pivot_root,
    set_child_subreaper, set_dumpable_behavior, set_parent_process_death_signal, setsid, umask,
    wait,
};
use rustix::thread::set_no_new_privs;
use serde_json::Value;

use super::spec::{Container, Mount};
use super::{Containment, MAX_SAID};
use crate::confine::Outer;
use crate::kernel::{self, Reach, Side, Signals, restrict_mount};
use crate::root::{Entry, Kind, Root};
use crate::setup::{self, STAGE};
use crate::spawn::{Command, Limits, Users};

/// How long a container may take: a runtime needs tenths of a second, a slow disk some more.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// Below the stage.
const ROOT: &str = "/tmp/root";
const WITHIN: &str = "/tmp/within";
const STATE: &str = "/tmp/state";
const LOG: &str = "/tmp/log";
const PID: &str = "/tmp/pid";
const CONFIG: &str = "/tmp/config.json";
/// The container's name: there is one in a state.
const NAME: &str = "application";

/// All that a starter is given.
pub(super) struct Work<'a> {
    pub(super) containment: Containment<'a>,
    pub(super) users: Users,
    pub(super) root: Root,
    pub(super) command: Command,
    pub(super) descriptors: Vec<OwnedFd>,
    pub(super) limits: Limits,
    pub(super) keeper: u32,
}

/// The application's process, a child that the runtime has left to the starter.
#[derive(Debug, Clone, Copy)]
struct Main {
    pid: u32,
    /// How it ended, where that was before anybody waited for it.
    ended: Option<WaitStatus>,
}

/// What failed, and why.
type Failure = String;

trait At<T> {
    fn at(self, step: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: &str) -> Result<T, Failure> {
        self.map_err(|error| format!("{step}: {}", error.into()))
    }
}

/// The child's life. A failure goes out of `sync`; without one it is closed when the application
/// runs.
pub(super) fn run(work: Work<'_>, sync: &OwnedFd) -> ! {
    let outcome = catch_unwind(AssertUnwindSafe(|| begin(work, sync).and_then(leave)));
    let said = match outcome {
        Ok(Ok(main)) => await_end(main),
        Ok(Err(said)) => said,
        Err(_) => "internal error".to_owned(),
    };
    let end = said.floor_char_boundary(MAX_SAID);
    // A launcher that is gone reads nothing, and has ended this process anyway.
    let _ = send(sync, &said.as_bytes()[..end], SendFlags::NOSIGNAL);
    kernel::exit_now(127)
}

/// Up to the running application.
fn begin(work: Work<'_>, sync: &OwnedFd) -> Result<Main, Failure> {
    setup::die_with_launcher(sync).at("tie the starter to the launcher")?;
    setsid().at("leave the launcher's session")?;
    kernel::new_keyring().at("leave the launcher's keys")?;
    umask(Mode::from_raw_mode(0o022));
    // What the runtime leaves is a child of its parent's parent: this one, who asks for its code.
    set_child_subreaper(rustix::process::Pid::from_raw(1)).at("adopt what a runtime leaves")?;
    kernel::unshare_mounts().at("make a mount namespace")?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .at("cut the mounts off from the host's")?;
    let containment = work.containment;
    containment
        .groups
        .show_alone()
        .at("show a runtime its control groups alone")?;
    let stage = setup::new_root_at(STAGE).at("make a stage")?;
    for place in [ROOT, WITHIN, STATE] {
        mkdir(place, Mode::from_raw_mode(0o755)).at("make a stage")?;
    }
    let mounts = furnish(&work.root)?;
    let config = Container {
        root: ROOT,
        mounts: &mounts,
        keeper: work.keeper,
        users: work.users,
        command: &work.command,
        limits: work.limits,
        group: containment.group.name(),
        resources: containment.limits,
        devices: containment.devices,
    }
    .config();
    fs::write(CONFIG, config.to_string()).at("write config.json")?;
    drop(work.root);
    drop(stage);
    let runtime = &containment.runtime.path;
    let runtime = CString::new(runtime.as_os_str().as_encoded_bytes())
        .map_err(|_| "use the runtime's path: it has a null byte".to_owned())?;
    let create = [
        "create",
        "--bundle",
        STAGE,
        "--pid-file",
        PID,
        "--no-new-keyring",
        NAME,
    ];
    call(&runtime, &create, &work.descriptors, None)?;
    let main = fs::read_to_string(PID).at("read the container's process")?;
    let main = main
        .trim()
        .parse()
        .map_err(|_| format!("read the container's process: it is {main:?}"))?;
    let mut main = Main {
        pid: main,
        ended: None,
    };
    call(
        &runtime,
        &["start", NAME],
        &work.descriptors,
        Some(&mut main),
    )?;
    Ok(main)
}

/// Puts the root together but for what the runtime has to mount itself: gives that.
fn furnish(root: &Root) -> Result<Vec<Mount>, Failure> {
    let made = setup::new_root_at(ROOT).at("make an empty root")?;
    let within =
        openat(CWD, WITHIN, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).at("make a stage")?;
    let mut mounts: Vec<Mount> = Vec::new();
    for entry in &root.entries {
        let place = entry.place.to_string_lossy().into_owned();
        let inside = mounts.iter().any(|mount| match mount {
            Mount::Scratch { place: above, .. } => place
                .strip_prefix(above.as_str())
                .is_some_and(|rest| rest.starts_with('/')),
            Mount::Proc | Mount::Within { .. } => false,
        });
        match &entry.kind {
            Kind::Scratch { mebibytes } => mounts.push(Mount::Scratch {
                place,
                mebibytes: *mebibytes,
            }),
            Kind::Proc(_) => mounts.push(Mount::Proc),
            Kind::Tree { mount, directory } if inside => {
                let name = mounts.len().to_string();
                let aside = Entry {
                    place: CString::new(name.as_str()).unwrap_or_default(),
                    kind: Kind::Tree {
                        mount: mount.try_clone().at("take a mount aside")?,
                        directory: *directory,
                    },
                };
                setup::attach(&within, &aside)
                    .at(&format!("put into the root of a container /{place}"))?;
                mounts.push(Mount::Within {
                    place,
                    source: format!("{WITHIN}/{name}"),
                });
            }
            // Once more by name: older runtimes bind `/dev` without what is mounted in it.
            Kind::Tree { .. } if place.starts_with("dev/") => {
                setup::attach(&made, entry)
                    .at(&format!("put into the root of a container /{place}"))?;
                let source = format!("{ROOT}/{place}");
                mounts.push(Mount::Within { place, source });
            }
            // A tmpfs is empty but for mounts.
            _ if inside => return Err(format!("put /{place} into a container: it is no mount")),
            _ => setup::attach(&made, entry)
                .at(&format!("put into the root of a container /{place}"))?,
        }
    }
    restrict_mount(made.as_fd(), Reach::One, MountAttrFlags::MOUNT_ATTR_RDONLY)
        .at("make the root of a container read-only")?;
    Ok(mounts)
}

/// Runs the runtime with `words` and the application's descriptors; its own words where it fails.
/// The application may end before the runtime does.
fn call(
    runtime: &CString,
    words: &[&str],
    descriptors: &[OwnedFd],
    main: Option<&mut Main>,
) -> Result<(), Failure> {
    let step = words[0];
    let before = ["--root", STATE, "--log", LOG, "--log-format", "json"];
    let mut arguments = vec![runtime.clone()];
    for word in before.iter().chain(words) {
        arguments.push(CString::new(*word).unwrap_or_default());
    }
    let environment = [c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    match kernel::fork(kernel::Fork::Plain).at(step)? {
        Side::Child => {
            let error = set_parent_process_death_signal(Some(Signal::KILL))
                .map_err(io::Error::from)
                .and_then(|()| kernel::set_signals(Signals::Default))
                .and_then(|()| {
                    let copies: io::Result<Vec<_>> =
                        descriptors.iter().map(OwnedFd::try_clone).collect();
                    setup::pass(copies?)
                })
                .map(|()| kernel::execute(runtime, &arguments, &environment));
            kernel::exit_now(match error {
                Ok(_) => 127,
                Err(_) => 126,
            })
        }
        Side::Parent(pid, _) => match wait_for(pid, main).at(step)?.exit_status() {
            Some(0) => Ok(()),
            code => Err(format!("{step}: {}", said(code))),
        },
    }
}

/// The runtime's last error, from its log.
fn said(code: Option<i32>) -> String {
    let log = fs::read(LOG).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let message = log.lines().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let message = line["msg"].as_str()?.to_owned();
        (line["level"] != "warning" && line["level"] != "info").then_some(message)
    });
    let end = || match code {
        Some(code) => format!("it ended with code {code}"),
        None => "it was ended by a signal".to_owned(),
    };
    let message = message.unwrap_or_else(end);
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How the child `wanted` ends; others that end meanwhile are reaped, and how `main` did is kept.
fn wait_for(wanted: u32, mut main: Option<&mut Main>) -> rustix::io::Result<WaitStatus> {
    loop {
        let (pid, status) = match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) => (pid.as_raw_nonzero().get() as u32, status),
            Ok(None) | Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        if pid == wanted {
            return Ok(status);
        }
        if let Some(main) = main.as_deref_mut().filter(|main| main.pid == pid) {
            main.ended = Some(status);
        }
    }
}

/// Gives up what a process that only waits has no use for. Mounts above all: a host's disk could
/// not be taken away while this namespace holds it.
fn leave(main: Main) -> Result<Main, Failure> {
    let outer = Outer::of(crate::confine::Kind::Application)
        .map_err(|error| format!("filter the starter's calls: {error}"))?;
    let root = openat(CWD, STAGE, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
        .at("leave the host's root")?;
    fchdir(&root).at("leave the host's root")?;
    pivot_root(".", ".").at("leave the host's root")?;
    unmount(".", UnmountFlags::DETACH).at("leave the host's root")?;
    chdir("/").at("leave the host's root")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at("close the starter's memory")?;
    setup::drop_capabilities().at("drop the starter's capabilities")?;
    set_no_new_privs(true).at("forbid new privileges")?;
    outer.filter_calls().at("filter the starter's calls")?;
    Ok(main)
}

/// Ends as the application does.
fn await_end(main: Main) -> ! {
    // With the socket to the launcher, which learns so that the application runs.
    if kernel::close_all().is_err() {
        kernel::exit_now(126);
    }
    let ended = main.ended.or_else(|| wait_for(main.pid, None).ok());
    let code = ended.and_then(|status| {
        let signal = status.terminating_signal().map(|signal| 128 + signal);
        status.exit_status().or(signal)
    });
    kernel::exit_now(code.unwrap_or(128))
}

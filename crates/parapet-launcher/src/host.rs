//! What this host allows, found out once, by trying.
//!
//! Owns the handles and paths that every start uses. Never falls back in silence: what is not
//! possible is a sentence in [`Host::missing`], which the agent shows to the operator.

use std::error::Error as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use parapet_sandbox::cgroup::{Disk, Group, Groups, Place};
use parapet_sandbox::confine::{self, Kind};
use parapet_sandbox::failure;
use parapet_sandbox::gateway;
use parapet_sandbox::launch::Worker;
use parapet_sandbox::launcher_process::{enter_user_namespace, has_users};
use parapet_sandbox::oci::Runtime;
use parapet_sandbox::root::Root;
use parapet_sandbox::spawn::{
    Limits, Network, Program, Sandbox, SpawnError, Users, spawn, spawn_task,
};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, openat};

use crate::limits;
use crate::options::Options;
use crate::users::Directory;
use crate::zones::Zones;

/// How processes are kept apart here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Namespaces, and a user for each.
    Users,
    /// Namespaces; all are the caller's user outside.
    Namespaces,
    /// Neither. Applications are refused.
    Bare,
}

/// What all starts share.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) isolation: Isolation,
    pub(crate) state: OwnedFd,
    pub(crate) libexec: PathBuf,
    pub(crate) sdk: PathBuf,
    pub(crate) onnxruntime: Option<PathBuf>,
    pub(crate) users: Directory,
    pub(crate) groups: Groups,
    pub(crate) machine_bytes: u64,
    pub(crate) zones: Zones,
    pub(crate) starter: Starter,
    pub(crate) missing: Vec<String>,
}

/// What starts applications.
#[derive(Debug)]
pub(crate) enum Starter {
    /// Our own set-up.
    Own,
    /// The runtime that the operator wants.
    Runtime(Runtime),
    /// The operator wants one that cannot be used, for this reason: applications do not start. Never
    /// our own set-up in its place, which nobody asked for.
    Nothing(String),
}

impl Starter {
    /// For the operator.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Own => "own".to_owned(),
            Self::Runtime(runtime) => runtime.to_string(),
            Self::Nothing(_) => "none".to_owned(),
        }
    }
}

/// Tries the host out and opens what is needed.
pub(crate) fn prepare(options: &Options) -> anyhow::Result<Host> {
    std::fs::create_dir_all(&options.state)
        .with_context(|| format!("make {}", options.state.display()))?;
    let root = rustix::process::geteuid().is_root() && has_users(options.id_base);
    let mut missing = confine::missing();
    let mut isolation = if root {
        Isolation::Users
    } else {
        Isolation::Namespaces
    };
    if !root && let Err(error) = enter_user_namespace() {
        isolation = Isolation::Bare;
        missing.push(bare(&error.to_string()));
    }
    // Before anything is started. In a user namespace there is no host's network to rule.
    let mut zones = if root {
        Zones::prepare(options.network.clone(), &options.run, options.id_base)
    } else {
        Zones::not_root(options)
    };
    // Only now: a handle from before would belong to the mounts that were left.
    let state = open_state(&options.state, root.then_some(options.id_base))?;
    let mut users = if root {
        Directory::own(options.id_base)
    } else {
        Directory::Shared
    };
    let machine_bytes = limits::machine_bytes();
    let (mut groups, unlimited) = Groups::prepare(
        options.id_base,
        Disk::below(state.as_fd()),
        &limits::everything(machine_bytes),
    );
    missing.extend(unlimited);
    if let Err(error) = try_groups(&groups) {
        groups = Groups::none();
        missing.push(format!(
            "limits of memory, processor time, processes and disk traffic (failed to {}): start \
             as root, or as a systemd unit with Delegate=yes and DelegateSubgroup=launcher",
            failure::with_causes(&*error)
        ));
    }
    if isolation != Isolation::Bare
        && let Err(error) = try_out(&mut users, &zones)
    {
        isolation = Isolation::Bare;
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        missing.push(bare(&format!("failed to {error}{cause}")));
        zones.without_sandboxes();
    }
    let starter = starter(options, isolation, &mut groups);
    if let Starter::Nothing(reason) = &starter {
        missing.push(format!("{reason}; applications do not start until then"));
    }
    if isolation != Isolation::Users {
        missing.push(
            "a user for each process: everything runs as the user that started Parapet; start it \
             as root to give each process its own"
                .to_owned(),
        );
    }
    if isolation != Isolation::Bare
        && let Err(error) = gateway::programs()
    {
        missing.push(format!(
            "gateways of applications (failed to {error}): applications run, but reach nobody, \
             also whom they may"
        ));
    }
    Ok(Host {
        isolation,
        state,
        libexec: options.libexec.clone(),
        sdk: options.sdk.clone(),
        onnxruntime: options.onnxruntime.clone(),
        users,
        groups,
        machine_bytes,
        zones,
        starter,
        missing,
    })
}

fn starter(options: &Options, isolation: Isolation, groups: &mut Groups) -> Starter {
    let Some(path) = &options.runtime else {
        return Starter::Own;
    };
    let fit = |groups: &mut Groups| -> Result<Runtime, String> {
        if isolation != Isolation::Users {
            return Err(
                "it needs root: start the agent as root, or set applications.runtime to \
                        \"own\""
                    .to_owned(),
            );
        }
        if groups.is_empty() {
            return Err(
                "it needs control groups, and this host gives none: allow them, or set \
                        applications.runtime to \"own\""
                    .to_owned(),
            );
        }
        let runtime = Runtime::find(path).map_err(|error| failure::with_causes(&error))?;
        if runtime.needs_unified_groups() && !groups.is_unified() {
            return Err(format!(
                "{runtime} needs control groups of version 2 alone: boot with \
                 systemd.unified_cgroup_hierarchy=1, use runc, or set applications.runtime to \
                 \"own\""
            ));
        }
        groups
            .with_devices(options.id_base)
            .map_err(|error| format!("make groups for devices: {error}"))?;
        Ok(runtime)
    };
    fit(groups).map_or_else(
        |reason| {
            Starter::Nothing(format!(
                "the runtime of applications (failed to use {}: {reason})",
                path.display()
            ))
        },
        Starter::Runtime,
    )
}

fn bare(cause: &str) -> String {
    format!(
        "sandboxes ({cause}): workers run with no new privileges and, but for ingest, without \
         network, but can tell which files their user has; applications do not start. Allow user \
         namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, \
         kernel.apparmor_restrict_unprivileged_userns) or start as root"
    )
}

fn open_state(path: &Path, owner: Option<u32>) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let step = || format!("open the state directory {}", path.display());
    let state = openat(CWD, path, flags, Mode::empty()).with_context(step)?;
    fchmod(&state, Mode::from_raw_mode(0o700)).with_context(step)?;
    if let Some(id) = owner {
        fchown(&state, Some(Uid::from_raw(id)), Some(Gid::from_raw(id))).with_context(step)?;
    }
    Ok(state)
}

/// Puts a process into a group, as each start will.
fn try_groups(groups: &Groups) -> Result<(), Box<dyn std::error::Error>> {
    let group: Group = groups.make("trial", &limits::worker(Worker::Ingest, 0))?;
    let place = group.place()?;
    let (held, hold) = std::io::pipe()?;
    let (running, _) = spawn_task(move || {
        // Lives until it is ended.
        std::io::Read::read(&mut &held, &mut [0]).map_err(|error| error.to_string())?;
        Ok(())
    })?;
    let placed = place.take(running.pid());
    drop(hold);
    running.destroy();
    placed?;
    Ok(())
}

/// Goes through a whole set-up up to the program, for a worker's and an application's kind.
fn try_out(users: &mut Directory, zones: &Zones) -> Result<(), SpawnError> {
    let nobody = std::collections::BTreeSet::new();
    let cameras = zones.network().map_err(SpawnError::Join)?;
    let worker = Kind::Worker;
    let kinds = [
        (users.worker(&nobody).ok(), cameras, worker(Worker::Ingest)),
        (
            users.worker(&nobody).ok(),
            Network::None,
            worker(Worker::Codec),
        ),
        (
            users.application(None, &nobody).ok(),
            Network::Loopback,
            Kind::Application,
        ),
    ];
    for (users, network, kind) in kinds {
        let users = users.unwrap_or(Users {
            inside: 0,
            outside: 0,
            count: 1,
            run_as: 0,
        });
        let running = spawn(trial(kind, users, network))?;
        running.destroy();
    }
    Ok(())
}

fn trial(kind: Kind, users: Users, network: Network) -> Sandbox {
    Sandbox {
        kind,
        users,
        network,
        root: Root::new(),
        program: Program::None,
        descriptors: Vec::new(),
        limits: Limits {
            files: 64,
            processes: None,
        },
        place: Place::default(),
    }
}

impl Host {
    /// The state directory.
    pub(crate) fn state(&self) -> std::os::fd::BorrowedFd<'_> {
        self.state.as_fd()
    }
}

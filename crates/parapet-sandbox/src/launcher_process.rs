//! The agent's first two steps: start the launcher, then give up root.
//!
//! Order matters. As root the launcher is started first and stays root; only then
//! [`drop_to`] turns the agent into an ordinary user. Both belong before the first thread.
//! Never restarts the launcher: when it ends, everything it started has ended, and so does the
//! agent.

use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{capabilities, set_no_new_privs};
use thiserror::Error;

use crate::channel::{Channel, ChannelError};
use crate::kernel;
use crate::zones::{Port, Ports};

/// First host user of Parapet where `--id-base` names none: the agent's own. High, so that no
/// account of the host and no range of `/etc/subuid` is likely to reach it, and below 2^31.
pub const ID_BASE: u32 = 0x5000_0000;

/// Where the camera zone is kept where `--run` says nothing else.
pub const RUN: &str = "/run/parapet";

/// The descriptor that the launcher finds its channel at.
pub const CHANNEL_FD: RawFd = 3;

/// Where the launcher finds what it needs. Paths are absolute.
#[derive(Debug, Clone)]
pub struct LauncherOptions {
    /// `parapet-launcher` itself.
    pub executable: PathBuf,
    /// The appliance's state directory. Made by the launcher when it is missing; as root it is
    /// given to the user `id_base` with mode 0700.
    pub state: PathBuf,
    /// Directory of `parapet-ingest`, `parapet-codec` and `parapet-infer`.
    pub libexec: PathBuf,
    /// Directory that holds the Python package `panoramasdk`.
    pub sdk: PathBuf,
    /// ONNX Runtime's shared library, where there is one.
    pub onnxruntime: Option<PathBuf>,
    /// The OCI runtime that applications are run by; `None` for our own set-up.
    pub runtime: Option<PathBuf>,
    /// First host user and group of Parapet, [`ID_BASE`] when in doubt.
    pub id_base: u32,
    /// Where the camera zone is kept while nobody runs: [`RUN`] when in doubt. On a file system
    /// that is empty after a boot.
    pub run: PathBuf,
    /// The host's ports, for the rules that keep networks apart; `None` for no rules at all.
    pub network: Option<Ports>,
}

/// Why the launcher could not be started.
#[derive(Debug, Error)]
pub enum LauncherProcessError {
    /// No channel.
    #[error("make the launcher's channel")]
    Channel(#[from] ChannelError),
    /// The zones stand still, or in part.
    #[error("remove the zones: {0}")]
    Remove(String),
    /// The executable did not start.
    #[error("start {}", executable.display())]
    Start {
        /// Which one.
        executable: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Starts the launcher and gives the agent's end of its channel. The first event is
/// [`crate::launch::LaunchEvent::Ready`]. Dropping the channel ends the launcher and with it
/// everything it has started.
pub fn spawn_launcher(options: &LauncherOptions) -> Result<(Child, Channel), LauncherProcessError> {
    let (ours, theirs) = Channel::pair()?;
    let theirs = theirs.into_fd();
    let mut command = command(options);
    // A group of its own: an interrupt from the terminal reaches the agent alone, which ends
    // applications in order.
    command.process_group(0);
    // Whatever its number, after this call number 3 is taken, so that the pipe by which std learns
    // of a failed exec cannot be what the child overwrites there.
    let theirs = fcntl_dupfd_cloexec(&theirs, CHANNEL_FD).map_err(ChannelError::from)?;
    kernel::place_in(&mut command, theirs.as_raw_fd(), CHANNEL_FD);
    let child = command
        .spawn()
        .map_err(|source| LauncherProcessError::Start {
            executable: options.executable.clone(),
            source,
        })?;
    Ok((child, ours))
}

/// Becomes the launcher, which takes over descriptor 3 from here: a socket at which a service
/// manager listens for the agent ([`crate::split`]). Returns only on failure.
#[must_use]
pub fn become_launcher(options: &LauncherOptions) -> LauncherProcessError {
    let source = command(options).exec();
    LauncherProcessError::Start {
        executable: options.executable.clone(),
        source,
    }
}

/// Becomes the launcher for the one task of loading an appliance's zones before it starts, at boot.
/// Returns only on failure.
#[must_use]
pub fn become_zones(options: &LauncherOptions) -> LauncherProcessError {
    let mut command = Command::new(&options.executable);
    command
        .arg("--load-zones")
        .args(["--id-base", &options.id_base.to_string()])
        .arg("--run")
        .arg(&options.run)
        .env_clear();
    name_ports(&mut command, options.network.as_ref());
    LauncherProcessError::Start {
        executable: options.executable.clone(),
        source: command.exec(),
    }
}

fn name_ports(command: &mut Command, ports: Option<&Ports>) {
    if let Some(ports) = ports {
        let list = |items: Vec<String>| items.join(",");
        let ports_of = |ports: &[Port]| list(ports.iter().map(Port::to_string).collect());
        let addresses = ports.camera_addresses.iter().map(ToString::to_string);
        command
            .args(["--uplink", &ports_of(&ports.uplink)])
            .args(["--cameras", &ports_of(&ports.cameras)])
            .args(["--camera-addresses", &list(addresses.collect())])
            .args(["--others", &ports_of(&ports.others)]);
    }
}

/// The launcher's command line, in an empty environment.
fn command(options: &LauncherOptions) -> Command {
    let mut command = Command::new(&options.executable);
    command
        .arg("--channel-fd")
        .arg(CHANNEL_FD.to_string())
        .arg("--state")
        .arg(&options.state)
        .arg("--libexec")
        .arg(&options.libexec)
        .arg("--sdk")
        .arg(&options.sdk)
        .arg("--id-base")
        .arg(options.id_base.to_string())
        .arg("--run")
        .arg(&options.run)
        .env_clear()
        .stdin(Stdio::null());
    if let Some(onnxruntime) = &options.onnxruntime {
        command.arg("--onnxruntime").arg(onnxruntime);
    }
    if let Some(runtime) = &options.runtime {
        command.arg("--runtime").arg(runtime);
    }
    name_ports(&mut command, options.network.as_ref());
    command
}

/// All users of an appliance, from the base on: 2^24, so that many appliances have room beside each
/// other, as a demo and the host's own.
pub const USERS: u32 = 1 << 24;

/// Whether all users that are given out from `base` on exist here: root of a container may lack
/// them.
#[must_use]
pub fn has_users(base: u32) -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else {
        return false;
    };
    covers(&map, u64::from(base), u64::from(base) + u64::from(USERS))
}

/// Whether one line of an ID map (first inside, first outside, count) holds `first..end`.
fn covers(map: &str, first: u64, end: u64) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        matches!(numbers[..], [inside, _, count] if inside <= first && end <= inside + count)
    })
}

/// Takes away what an appliance that does not run has left in the host's network: its table, its
/// camera zone; the camera ports come back as they were. Nothing where there is nothing.
pub fn remove_zones(
    executable: &Path,
    run: &Path,
    id_base: u32,
) -> Result<(), LauncherProcessError> {
    let output = Command::new(executable)
        .arg("--remove-zones")
        .args(["--id-base", &id_base.to_string()])
        .arg("--run")
        .arg(run)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|source| LauncherProcessError::Start {
            executable: executable.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(LauncherProcessError::Remove(
        said.trim().chars().take(1000).collect(),
    ))
}

/// Makes an ordinary user root of a user namespace of its own, in which it may make others.
/// All its files stay those of the user.
pub fn enter_user_namespace() -> std::io::Result<()> {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    kernel::unshare_user_and_mounts()?;
    // The kernel's condition for a group map by an ordinary user.
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Why root could not be given up.
#[derive(Debug, Error)]
pub enum DropError {
    /// The kernel refused a step.
    #[error("give up root: {step}")]
    Refused {
        /// Which call.
        step: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The calls succeeded and yet something of root is left.
    #[error("give up root: {left} is left")]
    Left {
        /// What.
        left: &'static str,
    },
}

/// Makes this process the ordinary user and group `id` for good, with no further groups, no
/// capabilities, no way to new ones, and memory that its own user cannot read from outside.
///
/// To be called as root, after [`spawn_launcher`] (the launcher then owns no part of this) and
/// before the first thread. The directories above the state directory may be closed to `id`
/// (`/root` is): enter the state directory first and use it by relative paths.
pub fn drop_to(id: u32) -> Result<(), DropError> {
    kernel::become_user(id).map_err(|(step, source)| DropError::Refused { step, source })?;
    stay(id)
}

/// Makes sure that this process, started as the ordinary user `id`, has nothing of root and no way
/// to it: [`drop_to`] without its first step.
pub fn stay(id: u32) -> Result<(), DropError> {
    let step = |step| {
        move |errno: rustix::io::Errno| DropError::Refused {
            step,
            source: errno.into(),
        }
    };
    set_no_new_privs(true).map_err(step("no new privileges"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(step("close the memory"))?;
    verify(id)
}

fn verify(id: u32) -> Result<(), DropError> {
    let ids = [rustix::process::getuid(), rustix::process::geteuid()].map(rustix::fs::Uid::as_raw);
    if ids != [id; 2] {
        return Err(DropError::Left { left: "a user" });
    }
    let groups =
        [rustix::process::getgid(), rustix::process::getegid()].map(rustix::fs::Gid::as_raw);
    // A service manager names the user's own group as a further one.
    let further = rustix::process::getgroups().unwrap_or_default();
    if groups != [id; 2] || further.iter().any(|group| group.as_raw() != id) {
        return Err(DropError::Left { left: "a group" });
    }
    let sets = capabilities(None).map_err(|errno| DropError::Refused {
        step: "capget",
        source: errno.into(),
    })?;
    if !(sets.effective | sets.permitted).is_empty() {
        return Err(DropError::Left {
            left: "a capability",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in the copy of this test that gives up root.
    const INSIDE: &str = "PARAPET_TEST_DROP";
    const ID: u32 = ID_BASE + 7;

    #[test]
    fn a_root_without_the_users_that_are_given_out_is_known() {
        assert!(covers(
            "         0          0 4294967295\n",
            0x5000_0000,
            0x6000_0000
        ));
        assert!(!covers("0 100000 65536\n", 0x5000_0000, 0x6000_0000));
        assert!(!covers("0 1000 1\n1 100000 65536\n", 0, 2));
        assert!(!covers("", 0, 1));
    }

    #[test]
    fn root_is_given_up_for_good_and_by_every_thread() {
        if std::env::var_os(INSIDE).is_some() {
            return drop_inside();
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        // In a process of its own: there is no way back.
        let name = "launcher_process::tests::root_is_given_up_for_good_and_by_every_thread";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(String::from_utf8_lossy(&output.stderr).contains("dropped"));
    }

    fn drop_inside() {
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            asked.recv().unwrap();
            std::fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        drop_to(ID).unwrap();
        ask.send(()).unwrap();
        let id = format!("{ID}\t{ID}\t{ID}\t{ID}");
        for status in [
            other.join().unwrap(),
            std::fs::read_to_string("/proc/thread-self/status").unwrap(),
        ] {
            for line in ["Uid:\t", "Gid:\t"].map(|name| format!("{name}{id}")) {
                assert!(status.contains(&line), "{line} in {status}");
            }
            assert!(status.contains("CapPrm:\t0000000000000000"), "{status}");
        }
        assert!(kernel::become_user(0).is_err(), "root came back");
        assert!(drop_to(ID + 1).is_err(), "another user was to be had");
        let outside = std::fs::metadata("/proc/self/environ").unwrap();
        assert_eq!(
            std::os::unix::fs::MetadataExt::uid(&outside),
            0,
            "its user may look in"
        );
        eprintln!("dropped");
    }
}

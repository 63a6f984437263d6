//! Control groups: what a worker or an application may use, enforced by the kernel.
//!
//! [`Groups`] is one launcher's part of the host's hierarchies, [`Group`] one process tree in it,
//! the same for version 1, version 2 and hosts that have both. Layout, in each hierarchy:
//! `parapet-<id base>/<launcher>/<w or a><number>`. A launcher holds a lock on its own directory;
//! what is there without a lock belongs to one that was killed, and is ended and removed at the
//! next start. Decides no limit: [`Limits`] come from the caller.
//!
//! A process is put into its group by its parent, before it is let go ([`Place`]), so that nothing
//! it does is outside. Nothing in a sandbox sees these files.

mod find;
mod settings;
mod shown;

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use thiserror::Error;

pub use find::{Controller, Version};
use find::{Found, hierarchies};
use settings::{Setting, settings};

/// How long the end of killed processes is waited for; the kernel needs milliseconds unless a
/// disk hangs.
const END: Duration = Duration::from_secs(2);
/// Between looks at a group that is being emptied.
const LOOK: Duration = Duration::from_millis(2);
/// Another launcher may remove the common group while it is entered; more often than this in a
/// row it does not.
const TRIES: u32 = 16;

/// What a process tree may use. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes, files in tmpfs and cached pages included; never swapped out.
    pub memory_bytes: Option<u64>,
    /// Processor time in thousandths of one processor.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Bytes a second from the disk and to it, each.
    pub io_bytes_per_second: Option<u64>,
    /// Its share when processors are short.
    pub weight: Weight,
    /// Whether running out of memory ends all of it.
    pub ends_whole: bool,
}

/// Shares of the processors, for when they are short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// An application.
    Application,
    /// A worker.
    Worker,
    /// All groups of this launcher together.
    Everything,
}

/// A disk by number: whole, not a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Its driver.
    pub major: u32,
    /// Which one.
    pub minor: u32,
}

impl Disk {
    /// The disk below a file; `None` where its file system is on none of its own (tmpfs, overlay,
    /// btrfs).
    #[must_use]
    pub fn below(file: BorrowedFd<'_>) -> Option<Self> {
        let device = rustix::fs::fstat(file).ok()?.st_dev;
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let place = format!("/sys/dev/block/{major}:{minor}");
        if !Path::new(&place).exists() {
            return None;
        }
        // Traffic is limited for whole disks; a partition lies in its disk's directory.
        if !Path::new(&place).join("partition").exists() {
            return Some(Self { major, minor });
        }
        let text = fs::read_to_string(Path::new(&place).join("../dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

/// Why a process tree has no group.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// No directory for it.
    #[error("make the control group {name}")]
    Make {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A limit is refused.
    #[error("limit {controller}: write {value:?} to {file}")]
    Limit {
        /// Of what.
        controller: Controller,
        /// The file.
        file: &'static str,
        /// What it refused.
        value: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The group's list of processes.
    #[error("open the processes of the control group {name}")]
    Place {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One launcher's groups.
#[derive(Debug)]
pub struct Groups {
    hierarchies: Vec<Rc<Hierarchy>>,
    disk: Option<Disk>,
}

/// Our part of a hierarchy: the launcher's directory, locked, in the common one.
#[derive(Debug)]
struct Hierarchy {
    /// Where it is mounted.
    place: PathBuf,
    /// Of the launcher's directory.
    path: PathBuf,
    base: OwnedFd,
    common_name: String,
    common: OwnedFd,
    name: String,
    own: OwnedFd,
    version: Version,
    controllers: Vec<Controller>,
}

impl Groups {
    /// None at all: every tree goes without limits.
    #[must_use]
    pub fn none() -> Self {
        Self {
            hierarchies: Vec::new(),
            disk: None,
        }
    }

    /// Makes this launcher's groups, and ends and removes what killed launchers with this
    /// `id_base` have left. What the host does not give is a sentence in the second value.
    #[must_use]
    pub fn prepare(id_base: u32, disk: Option<Disk>, all: &Limits) -> (Self, Vec<String>) {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let found = hierarchies(
            &read("/proc/self/mountinfo"),
            &read("/proc/self/cgroup"),
            |base| fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default(),
        );
        let common = common_name(id_base);
        let mut ours = Vec::new();
        // By reason: an ordinary user is refused everything for one and the same.
        let mut lost: Vec<(String, Vec<Controller>)> = Vec::new();
        for found in &found {
            let entered = Hierarchy::enter(found, &common, |controller, error| {
                let reason = error.to_string();
                match lost.iter_mut().find(|(other, _)| *other == reason) {
                    Some((_, controllers)) => controllers.push(controller),
                    None => lost.push((reason, vec![controller])),
                }
            });
            ours.extend(entered.map(Rc::new));
        }
        let mut missing: Vec<String> = lost
            .iter()
            .map(|(reason, controllers)| refused(controllers, reason))
            .collect();
        let absent: Vec<Controller> = Controller::ALL
            .into_iter()
            .filter(|controller| !found.iter().any(|f| f.controllers.contains(controller)))
            .collect();
        if !absent.is_empty() {
            missing.push(absent_sentence(&absent));
        }
        let groups = Self {
            hierarchies: ours,
            disk,
        };
        missing.extend(groups.weaknesses());
        for hierarchy in &groups.hierarchies {
            if let Err(error) = hierarchy.limit("", all, None) {
                missing.push(format!(
                    "a limit for all workers and applications together: {}",
                    crate::failure::with_causes(&error)
                ));
            }
        }
        (groups, missing)
    }

    /// Whether the kernel limits this here.
    #[must_use]
    pub fn limits(&self, controller: Controller) -> bool {
        self.version(controller).is_some()
    }

    /// A group for one process tree. It is ended and removed when this is dropped.
    pub fn make(&self, name: &str, limits: &Limits) -> Result<Group, CgroupError> {
        let mut group = Group {
            name: name.to_owned(),
            hierarchies: Vec::new(),
            alarm: None,
        };
        for hierarchy in &self.hierarchies {
            mkdirat(&hierarchy.own, name, Mode::from_raw_mode(0o755)).map_err(|errno| {
                CgroupError::Make {
                    name: name.to_owned(),
                    source: errno.into(),
                }
            })?;
            group.hierarchies.push(Rc::clone(hierarchy));
            hierarchy.limit(name, limits, self.disk)?;
        }
        if limits.ends_whole {
            group.alarm = group.watch_memory();
        }
        Ok(group)
    }

    /// Lets go of everything as a launcher that is killed does: locks fall, groups and processes
    /// stay.
    pub fn abandon(self) {
        for hierarchy in &self.hierarchies {
            // A lock that is gone already was all that this is for.
            let _ = flock(&hierarchy.own, FlockOperation::Unlock);
        }
        std::mem::forget(self);
    }

    fn version(&self, controller: Controller) -> Option<Version> {
        self.hierarchies
            .iter()
            .find(|hierarchy| hierarchy.controllers.contains(&controller))
            .map(|hierarchy| hierarchy.version)
    }

    /// What works, but not all of it.
    fn weaknesses(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if self.limits(Controller::Io) && self.disk.is_none() {
            sentences.push(
                "limits of disk traffic: the state directory is on no disk of its own (tmpfs, \
                 overlay or btrfs); put it on a file system that is on one disk"
                    .to_owned(),
            );
        } else if self.version(Controller::Io) == Some(Version::One) {
            sentences.push(
                "limits of disk traffic for what is written through the page cache: control groups \
                 of version 1 see direct writes and reads only; boot with \
                 systemd.unified_cgroup_hierarchy=1 for version 2"
                    .to_owned(),
            );
        }
        sentences
    }
}

impl Drop for Groups {
    /// Ends all trees at once and removes what is ours.
    fn drop(&mut self) {
        for hierarchy in &self.hierarchies {
            // Whatever stays is found by the next launcher.
            let _ = hierarchy.remove();
        }
    }
}

fn common_name(id_base: u32) -> String {
    format!("parapet-{id_base:x}")
}

fn absent_sentence(absent: &[Controller]) -> String {
    format!(
        "limits of {}: the kernel offers no controller {}; boot with cgroup v2 mounted at \
         /sys/fs/cgroup and without cgroup_disable=, in a container pass the host's control groups",
        listed(absent, |controller| controller.to_string()),
        listed(absent, |controller| controller.modern_name().to_owned()),
    )
}

fn refused(controllers: &[Controller], reason: &str) -> String {
    format!(
        "limits of {} ({reason}): start as root, or as a systemd unit with Delegate=yes and \
         DelegateSubgroup=launcher",
        listed(controllers, |controller| controller.to_string()),
    )
}

fn listed(controllers: &[Controller], name: impl Fn(Controller) -> String) -> String {
    let names: Vec<String> = controllers.iter().map(|c| name(*c)).collect();
    names.join(", ")
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

impl Hierarchy {
    /// Makes and locks this launcher's directory; `lost` is told each controller that cannot be
    /// had. `None` when that is all.
    fn enter(
        found: &Found,
        common: &str,
        mut lost: impl FnMut(Controller, &io::Error),
    ) -> Option<Self> {
        let mut controllers = found.controllers.clone();
        let made = openat(CWD, &found.base, DIRECTORY, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|base| {
                if found.version == Version::Two {
                    controllers.retain(|controller| {
                        let offered = offer(base.as_fd(), *controller);
                        if let Err(error) = &offered {
                            lost(*controller, error);
                        }
                        offered.is_ok()
                    });
                }
                if controllers.is_empty() {
                    return Ok(None);
                }
                let found = Found {
                    controllers: controllers.clone(),
                    ..found.clone()
                };
                Self::make_again(&found, base.as_fd(), common).map(Some)
            });
        match made {
            Ok(made) => made,
            Err(error) => {
                for controller in controllers {
                    lost(controller, &error);
                }
                None
            }
        }
    }

    fn make_again(found: &Found, base: BorrowedFd<'_>, common: &str) -> io::Result<Self> {
        let mut last = io::Error::from(Errno::AGAIN);
        for _ in 0..TRIES {
            match Self::make(found, base, common) {
                // Another launcher has removed the common directory under our hands.
                Err(error) if is_gone(&error) => last = error,
                other => return other,
            }
        }
        Err(last)
    }

    fn make(found: &Found, base: BorrowedFd<'_>, common_name: &str) -> io::Result<Self> {
        let Found {
            version,
            controllers,
            ..
        } = found;
        let version = *version;
        make_directory(base, common_name)?;
        let common = openat(base, common_name, DIRECTORY, Mode::empty())?;
        // Held while a launcher's directory is made but not locked yet.
        flock(&common, FlockOperation::LockExclusive)?;
        clean(common.as_fd(), version)?;
        let name = free_name(common.as_fd())?;
        let own = openat(&common, &name, DIRECTORY, Mode::empty())?;
        flock(&own, FlockOperation::NonBlockingLockExclusive)?;
        if version == Version::Two {
            for controller in controllers {
                offer(common.as_fd(), *controller)?;
                offer(own.as_fd(), *controller)?;
            }
        }
        flock(&common, FlockOperation::Unlock)?;
        Ok(Self {
            place: found.place.clone(),
            path: found.base.join(common_name).join(&name),
            base: base.try_clone_to_owned()?,
            common_name: common_name.to_owned(),
            common,
            name,
            own,
            version,
            controllers: controllers.clone(),
        })
    }

    /// Writes the limits of the group `name`; our own with an empty name.
    fn limit(&self, name: &str, limits: &Limits, disk: Option<Disk>) -> Result<(), CgroupError> {
        for controller in &self.controllers {
            for setting in settings(*controller, self.version, limits, disk) {
                let Setting {
                    file,
                    value,
                    optional,
                } = setting;
                match write(self.own.as_fd(), name, file, &value) {
                    Err(error) if optional && is_gone(&error) => {}
                    other => other.map_err(|source| CgroupError::Limit {
                        controller: *controller,
                        file,
                        value,
                        source,
                    })?,
                }
            }
        }
        Ok(())
    }

    fn remove(&self) -> io::Result<()> {
        flock(&self.common, FlockOperation::LockExclusive)?;
        end_below(self.own.as_fd(), self.version)?;
        unlinkat(&self.common, &self.name, AtFlags::REMOVEDIR)?;
        // The last one takes the common directory along; one that is about to use it makes it anew.
        match unlinkat(&self.base, &self.common_name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::BUSY | Errno::NOTEMPTY | Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        flock(&self.common, FlockOperation::Unlock)?;
        Ok(())
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::NODEV)
    )
}

fn make_directory(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes a directory of a name that nobody has: this process's number, which two launchers in
/// different PID namespaces may share, and a count.
fn free_name(common: BorrowedFd<'_>) -> io::Result<String> {
    let pid = std::process::id();
    for count in 0..1000 {
        let name = format!("{pid}.{count}");
        match mkdirat(common, &name, Mode::from_raw_mode(0o755)) {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EXIST.into())
}

/// Hands a controller of version 2 on to the groups below.
fn offer(group: BorrowedFd<'_>, controller: Controller) -> io::Result<()> {
    let value = format!("+{}", controller.modern_name());
    write(group, "", "cgroup.subtree_control", &value)
}

/// Ends and removes what launchers without a lock, dead ones, have left.
fn clean(common: BorrowedFd<'_>, version: Version) -> io::Result<()> {
    for name in subgroups(common)? {
        let left = openat(common, &name, DIRECTORY, Mode::empty())?;
        if flock(&left, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        // A process that cannot be ended now is no reason not to start.
        if end_below(left.as_fd(), version).is_ok() {
            let _ = unlinkat(common, &name, AtFlags::REMOVEDIR);
        }
    }
    Ok(())
}

/// Ends every process of the groups below, and removes those.
fn end_below(group: BorrowedFd<'_>, version: Version) -> io::Result<()> {
    let names = subgroups(group)?;
    for name in &names {
        kill_all(group, name, version)?;
    }
    for name in &names {
        remove_group(group, name, version)?;
    }
    Ok(())
}

/// Ends what is in a group until nothing is, and removes it.
fn remove_group(parent: BorrowedFd<'_>, name: &str, version: Version) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if begin.elapsed() < END => {
                kill_all(parent, name, version)?;
                std::thread::sleep(LOOK);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn kill_all(parent: BorrowedFd<'_>, name: &str, version: Version) -> io::Result<()> {
    if version == Version::Two {
        match write(parent, name, "cgroup.kill", "1") {
            // Kernels before 5.14 have no such file.
            Err(error) if is_gone(&error) => {}
            other => return other,
        }
    }
    let listed = || match read(parent, name, "cgroup.procs") {
        Err(error) if is_gone(&error) => Ok(String::new()),
        other => other,
    };
    for line in listed()?.lines() {
        // Zero is a process of another PID namespace, which cannot be named here.
        let Some(pid) = line.parse().ok().and_then(Pid::from_raw) else {
            continue;
        };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        // The number may have become another process's between list and handle.
        if listed()?.lines().any(|again| again == line) {
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    }
    Ok(())
}

fn subgroups(group: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(group)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_dir() && name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    Ok(names)
}

fn open_file(group: BorrowedFd<'_>, name: &str, file: &str, flags: OFlags) -> io::Result<fs::File> {
    let path = if name.is_empty() {
        file.to_owned()
    } else {
        format!("{name}/{file}")
    };
    let file = openat(group, path, flags | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fs::File::from(file))
}

fn write(group: BorrowedFd<'_>, name: &str, file: &str, value: &str) -> io::Result<()> {
    open_file(group, name, file, OFlags::WRONLY)?.write_all(value.as_bytes())
}

fn read(group: BorrowedFd<'_>, name: &str, file: &str) -> io::Result<String> {
    let mut text = String::new();
    open_file(group, name, file, OFlags::RDONLY)?.read_to_string(&mut text)?;
    Ok(text)
}

/// The groups of one process tree. Dropping it ends the tree and removes them.
#[derive(Debug)]
pub struct Group {
    name: String,
    hierarchies: Vec<Rc<Hierarchy>>,
    alarm: Option<OwnedFd>,
}

/// Where a process is put before it is let go.
#[derive(Debug, Default)]
pub struct Place {
    processes: Vec<fs::File>,
}

impl Place {
    /// Puts a process there.
    pub fn take(&self, pid: u32) -> io::Result<()> {
        for mut file in &self.processes {
            file.write_all(pid.to_string().as_bytes())?;
        }
        Ok(())
    }
}

impl Group {
    /// For a process that is about to be started in it.
    pub fn place(&self) -> Result<Place, CgroupError> {
        let processes = self
            .hierarchies
            .iter()
            .map(|h| open_file(h.own.as_fd(), &self.name, "cgroup.procs", OFlags::WRONLY))
            .collect::<io::Result<_>>()
            .map_err(|source| CgroupError::Place {
                name: self.name.clone(),
                source,
            })?;
        Ok(Place { processes })
    }

    /// Its name, below this launcher's own groups.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process IDs of the tree as this process sees them; empty without any control group.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let Some(hierarchy) = self.hierarchies.first() else {
            return Vec::new();
        };
        read(hierarchy.own.as_fd(), &self.name, "cgroup.procs")
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect()
    }

    /// Whether the kernel has ended a process of the tree because it was out of memory: its own
    /// limit, that of all together, or the machine's.
    #[must_use]
    pub fn ran_out_of_memory(&self) -> bool {
        let Some(hierarchy) = self.memory() else {
            return false;
        };
        let file = match hierarchy.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        read(hierarchy.own.as_fd(), &self.name, file)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count != "0")
    }

    /// Readable when memory was short somewhere above or in this group. Only in version 1, where
    /// the kernel ends one process and the rest must be ended by the caller, once
    /// [`Group::ran_out_of_memory`] says so; version 2 ends the whole tree itself.
    #[must_use]
    pub fn alarm(&self) -> Option<BorrowedFd<'_>> {
        self.alarm.as_ref().map(AsFd::as_fd)
    }

    /// Makes the alarm unreadable until the next time.
    pub fn silence(&self) {
        if let Some(alarm) = &self.alarm {
            let mut count = [0; 8];
            // It does not block, and what it says is known.
            let _ = rustix::io::read(alarm, &mut count);
        }
    }

    fn memory(&self) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .map(Rc::as_ref)
            .find(|hierarchy| hierarchy.controllers.contains(&Controller::Memory))
    }

    /// `None` in version 2, and on a kernel that tells nobody.
    fn watch_memory(&self) -> Option<OwnedFd> {
        let hierarchy = self.memory().filter(|h| h.version == Version::One)?;
        let group = hierarchy.own.as_fd();
        let alarm = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
        let control = open_file(group, &self.name, "memory.oom_control", OFlags::RDONLY).ok()?;
        let line = format!("{} {}", alarm.as_raw_fd(), control.as_raw_fd());
        write(group, &self.name, "cgroup.event_control", &line).ok()?;
        Some(alarm)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for hierarchy in &self.hierarchies {
            // A process that cannot be ended keeps its group, which the next launcher removes.
            let _ = remove_group(hierarchy.own.as_fd(), &self.name, hierarchy.version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_lacks_is_said_with_the_way_out() {
        let absent = absent_sentence(&[Controller::Memory, Controller::Io]);
        assert!(
            absent.starts_with("limits of memory, disk traffic")
                && absent.contains("memory, io")
                && absent.contains("boot with"),
            "{absent}"
        );
        let lost = refused(&[Controller::Cpu], "Permission denied");
        assert!(
            lost.starts_with("limits of processor time (Permission denied)")
                && lost.contains("Delegate=yes"),
            "{lost}"
        );
    }

    #[test]
    fn without_groups_nothing_is_limited_and_everything_starts() {
        let groups = Groups::none();
        assert!(
            Controller::ALL
                .iter()
                .all(|controller| !groups.limits(*controller))
        );
        let limits = Limits {
            memory_bytes: Some(1),
            cpu_millis: Some(1),
            processes: Some(1),
            io_bytes_per_second: Some(1),
            weight: Weight::Worker,
            ends_whole: true,
        };
        let group = groups.make("any", &limits).unwrap();
        assert!(group.place().unwrap().processes.is_empty());
        assert!(!group.ran_out_of_memory() && group.alarm().is_none());
    }
}

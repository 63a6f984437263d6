//! Turns a fresh child into a sandboxed program: one ordered function, one [`Step`] for each thing
//! that can fail.
//!
//! Runs in the child alone and never returns into its caller's code. Decides nothing: what is
//! attached where was fixed by the parent. Order is security here; each step says what it needs
//! of those before it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, mkdirat, openat, symlinkat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount, open_tree, unmount,
};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, chdir, fchdir, pivot_root, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit, setsid, umask,
};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    set_capabilities, set_capabilities_secure_bits, set_no_new_privs, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::confine::Outer;
use crate::kernel::{self, Reach, Side, Signals, restrict_mount};
use crate::root::{Entry, Kind, Proc, Root, open_below};
use crate::spawn::{Command, Limits, Network, Program, Sandbox, Users};

/// Where the new root is attached before it becomes `/`. Any directory will do that every host
/// has; what it hides here is out of reach a moment later anyway.
pub(crate) const STAGE: &str = "/tmp";

/// Files of `/proc` that say or do too much; nothing is lost where one is missing.
pub(crate) const MASKED_FILES: [&str; 6] = [
    "kcore",
    "keys",
    "key-users",
    "timer_list",
    "sched_debug",
    "sysrq-trigger",
];
/// Directories of `/proc` likewise.
pub(crate) const MASKED_DIRECTORIES: [&str; 4] = ["acpi", "scsi", "asound", "driver"];
/// Directories of `/proc` to be read only.
pub(crate) const READ_ONLY: [&str; 5] = ["sys", "bus", "fs", "irq", "tty"];

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a set-up consists of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }

        impl fmt::Display for Step {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

steps! {
    /// The parent has set the users.
    Wait = "wait for the launcher",
    /// No further groups.
    Groups = "leave the launcher's groups",
    /// The sandbox's group.
    Group = "take the group of a sandbox",
    /// The sandbox's user.
    User = "take the user of a sandbox",
    /// Ends with the launcher.
    DeathSignal = "tie a process to the launcher",
    /// A session without terminal, empty keyring.
    Session = "leave the launcher's session",
    /// No further user namespaces.
    NoNamespaces = "forbid further user namespaces",
    /// Ports below 1024, inside.
    LowPorts = "open the low ports to an application",
    /// Mounts stay here.
    Propagation = "cut the mounts off from the host's",
    /// The empty root.
    NewRoot = "make an empty root",
    /// One entry of the root.
    Attach = "put into the root of a sandbox /",
    /// The root is read-only.
    SealRoot = "make the root of a sandbox read-only",
    /// The root becomes `/`.
    Pivot = "change to the root of a sandbox",
    /// The old root is gone.
    Detach = "leave the host's root",
    /// A host name that says nothing.
    HostName = "set the host name",
    /// Loopback.
    Loopback = "bring up the loopback interface",
    /// Limits.
    Limits = "limit the resources of a process",
    /// Capabilities.
    Capabilities = "drop the capabilities",
    /// No new privileges.
    NoNewPrivileges = "forbid new privileges",
    /// Descriptors.
    Descriptors = "pass the descriptors",
    /// Landlock.
    Files = "restrict the files of a process",
    /// seccomp.
    Calls = "filter the system calls of a process",
    /// Signals.
    Signals = "reset the signals",
    /// The init of an application.
    Init = "start under an init",
    /// The program itself.
    Execute = "start the program",
    /// A defect of ours.
    Panic = "set up a process: internal error",
}

/// What a failed child says: the step, the number of the root's entry, the error number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) step: Step,
    entry: u32,
    pub(crate) errno: i32,
}

impl Report {
    pub(crate) const LENGTH: usize = 9;

    fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [self.step as u8; Self::LENGTH];
        bytes[1..5].copy_from_slice(&self.entry.to_le_bytes());
        bytes[5..].copy_from_slice(&self.errno.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        let [step, e0, e1, e2, e3, n0, n1, n2, n3] = bytes;
        Self {
            step: Step::ALL
                .get(usize::from(step))
                .copied()
                .unwrap_or(Step::Panic),
            entry: u32::from_le_bytes([e0, e1, e2, e3]),
            errno: i32::from_le_bytes([n0, n1, n2, n3]),
        }
    }

    /// What the step was about, for a message.
    pub(crate) fn item(self, root: Option<&Root>, command: Option<&Command>) -> String {
        match (self.step, root, command) {
            (Step::Attach, Some(root), _) => root
                .entries
                .get(self.entry as usize)
                .map(|entry| entry.place.to_string_lossy().into_owned())
                .unwrap_or_default(),
            (Step::Execute, _, Some(command)) => {
                let tried: Vec<_> = command
                    .candidates
                    .iter()
                    .map(|path| path.to_string_lossy())
                    .collect();
                format!("(tried {})", tried.join(", "))
            }
            _ => String::new(),
        }
    }
}

/// A step with its error.
struct Failure {
    step: Step,
    entry: u32,
    error: io::Error,
}

trait At<T> {
    fn at(self, step: Step) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            step,
            entry: 0,
            error: error.into(),
        })
    }
}

/// The child's life up to its program.
pub(crate) fn run(sandbox: Sandbox, outer: Outer, sync: &OwnedFd) -> ! {
    finish(sync, || enter(sandbox, outer, sync))
}

/// The like without namespaces.
pub(crate) fn run_bare(
    outer: Outer,
    command: &Command,
    descriptors: Vec<OwnedFd>,
    limits: Limits,
    sync: &OwnedFd,
) -> ! {
    finish(sync, || {
        wait_for_parent(sync).at(Step::Wait)?;
        die_with_launcher(sync).at(Step::DeathSignal)?;
        setsid().at(Step::Session)?;
        kernel::new_keyring().at(Step::Session)?;
        limit(limits).at(Step::Limits)?;
        set_no_new_privs(true).at(Step::NoNewPrivileges)?;
        outer.restrict_files().at(Step::Files)?;
        pass(descriptors).at(Step::Descriptors)?;
        execute(command, outer)
    })
}

fn finish(sync: &OwnedFd, work: impl FnOnce() -> Result<(), Failure>) -> ! {
    // A panic must not unwind into a second copy of the launcher.
    let outcome = catch_unwind(AssertUnwindSafe(work));
    let report = match outcome {
        Ok(Ok(())) => kernel::exit_now(0),
        Ok(Err(failure)) => Report {
            step: failure.step,
            entry: failure.entry,
            errno: failure.error.raw_os_error().unwrap_or(libc::EINVAL),
        },
        Err(_) => Report {
            step: Step::Panic,
            entry: 0,
            errno: libc::EINVAL,
        },
    };
    // A parent that is gone reads no report, and has ended this process anyway.
    let _ = send(sync, &report.to_bytes(), SendFlags::NOSIGNAL);
    kernel::exit_now(127)
}

/// The life of a child that only does some work of the launcher's own.
pub(crate) fn run_task(work: impl FnOnce() -> Result<(), String>, mut report: io::PipeWriter) -> ! {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|errno| io::Error::from(errno).to_string())?;
        work()
    }));
    let message = match outcome {
        Ok(Ok(())) => kernel::exit_now(0),
        Ok(Err(message)) => message,
        Err(_) => "internal error".to_owned(),
    };
    let end = message.floor_char_boundary(512);
    // Without a reader nobody wants to know.
    let _ = report.write_all(&message.as_bytes()[..end]);
    kernel::exit_now(1)
}

fn enter(sandbox: Sandbox, outer: Outer, sync: &OwnedFd) -> Result<(), Failure> {
    let Sandbox {
        kind: _,
        users,
        network,
        root,
        program,
        descriptors,
        limits,
        place,
    } = sandbox;
    // The parent's business.
    drop(place);
    wait_for_parent(sync).at(Step::Wait)?;
    become_user(users)?;
    // After the last change of users, which would clear it; before any longer work.
    die_with_launcher(sync).at(Step::DeathSignal)?;
    setsid().at(Step::Session)?;
    kernel::new_keyring().at(Step::Session)?;
    umask(Mode::from_raw_mode(0o022));
    // Inside another user namespace a process would hold every capability again, and with it the
    // kernel's less trodden paths. The limit counts per namespace: it needs our own, and the
    // host's /proc while it is there.
    std::fs::write("/proc/sys/user/max_user_namespaces", "0").at(Step::NoNamespaces)?;
    if matches!(network, Network::Loopback) {
        // What an image listens at is its own business in a network of its own: port 80 of a
        // container is open to it, as it was on the original.
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").at(Step::LowPorts)?;
    }
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .at(Step::Propagation)?;
    let new_root = new_root().at(Step::NewRoot)?;
    for (number, entry) in root.entries.iter().enumerate() {
        attach(&new_root, entry).map_err(|error| Failure {
            step: Step::Attach,
            entry: number as u32,
            error,
        })?;
    }
    restrict_mount(
        new_root.as_fd(),
        Reach::One,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
    .at(Step::SealRoot)?;
    fchdir(&new_root).at(Step::Pivot)?;
    // Puts the old root on top of the new one at the same place, from where it is taken off.
    pivot_root(".", ".").at(Step::Pivot)?;
    unmount(".", UnmountFlags::DETACH).at(Step::Detach)?;
    chdir("/").at(Step::Detach)?;
    rustix::system::sethostname(b"parapet").at(Step::HostName)?;
    if matches!(network, Network::Loopback) {
        kernel::raise_loopback().at(Step::Loopback)?;
    }
    limit(limits).at(Step::Limits)?;
    drop_capabilities().at(Step::Capabilities)?;
    set_no_new_privs(true).at(Step::NoNewPrivileges)?;
    // The root is complete, its paths are final. A keeper opens no file; and within rules of its own
    // it could not pass a signal on to who is outside them.
    if !matches!(program, Program::Keeper) {
        outer.restrict_files().at(Step::Files)?;
    }
    drop(root);
    pass(descriptors).at(Step::Descriptors)?;
    match program {
        Program::Keeper => keep(outer),
        Program::None => outer.filter_calls().at(Step::Calls),
        Program::First(command) => execute(&command, outer),
        Program::UnderInit(command) => under_init(&command, outer),
    }
}

fn wait_for_parent(sync: &OwnedFd) -> io::Result<()> {
    let mut byte = [0];
    let (received, _) = recv(sync, &mut byte, RecvFlags::empty())?;
    if received == 0 {
        Err(io::ErrorKind::UnexpectedEof.into())
    } else {
        Ok(())
    }
}

fn become_user(users: Users) -> Result<(), Failure> {
    match set_thread_groups(&[]) {
        // An ordinary user's namespace may not touch groups at all; the launcher says so at its
        // start.
        Err(Errno::PERM) if users.count == 1 => {}
        other => other.at(Step::Groups)?,
    }
    let (uid, gid) = (Uid::from_raw(users.run_as), Gid::from_raw(users.run_as));
    set_thread_res_gid(gid, gid, gid).at(Step::Group)?;
    set_thread_res_uid(uid, uid, uid).at(Step::User)
}

pub(crate) fn die_with_launcher(sync: &OwnedFd) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A launcher that died before the line above has closed its end.
    let mut polled = [PollFd::new(sync, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if poll(&mut polled, Some(&now))? != 0 {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}

fn new_root() -> io::Result<OwnedFd> {
    new_root_at(STAGE)
}

/// An empty root, attached at `place`: a handle of it.
pub(crate) fn new_root_at(place: &str) -> io::Result<OwnedFd> {
    let mount = scratch(
        1,
        "0755",
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )?;
    move_mount(
        mount.as_fd(),
        c"",
        CWD,
        place,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    // The descriptor of a mount goes on naming its root after the move.
    Ok(mount)
}

pub(crate) fn scratch(
    mebibytes: u32,
    mode: &str,
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "size", format!("{mebibytes}m"))?;
    fsconfig_set_string(fs.as_fd(), "nr_inodes", inodes(mebibytes).to_string())?;
    fsconfig_set_string(fs.as_fd(), "mode", mode)?;
    fsconfig_create(fs.as_fd())?;
    Ok(fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// How many files a tmpfs of this size may have: the small ones of an application, and no more than
/// a kernel should keep.
pub(crate) fn inodes(mebibytes: u32) -> u32 {
    4096 * mebibytes.clamp(1, 16)
}

pub(crate) fn attach(root: &OwnedFd, entry: &Entry) -> io::Result<()> {
    let path = entry.place.to_str().map_err(|_| Errno::INVAL)?;
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    let place = open_below(
        root.as_fd(),
        parent.as_ref(),
        OFlags::PATH | OFlags::DIRECTORY,
    )?;
    let directory = Mode::from_raw_mode(0o755);
    let onto = |mount: &OwnedFd| {
        move_mount(
            mount.as_fd(),
            c"",
            &place,
            name,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    match &entry.kind {
        Kind::Directory => mkdirat(&place, name, directory)?,
        Kind::Link(target) => symlinkat(target.as_c_str(), &place, name)?,
        Kind::File(content) => create(&place, name)?.write_all(content)?,
        Kind::Tree {
            mount,
            directory: true,
        } => {
            mkdirat(&place, name, directory)?;
            onto(mount)?;
        }
        Kind::Tree {
            mount,
            directory: false,
        } => {
            create(&place, name)?;
            onto(mount)?;
        }
        Kind::Scratch { mebibytes } => onto(&scratch(
            *mebibytes,
            "1777",
            MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV
                | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        )?)?,
        Kind::Over { source } => {
            let Ok(target) = open_below(place.as_fd(), name.as_ref(), OFlags::PATH) else {
                return Ok(());
            };
            let stat = rustix::fs::fstat(&target)?;
            if rustix::fs::FileType::from_raw_mode(stat.st_mode)
                == rustix::fs::FileType::RegularFile
            {
                put_over(&clone_below(root, source)?, &target)?;
            }
        }
        Kind::Proc(proc) => onto_proc(root, *proc, onto)?,
    }
    Ok(())
}

fn create(place: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(File::from(openat(
        place,
        name,
        flags,
        Mode::from_raw_mode(0o644),
    )?))
}

fn onto_proc(
    root: &OwnedFd,
    proc: Proc,
    onto: impl Fn(&OwnedFd) -> rustix::io::Result<()>,
) -> io::Result<()> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    if proc == Proc::Processes {
        fsconfig_set_string(fs.as_fd(), "subset", "pid")?;
    }
    fsconfig_create(fs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    onto(&mount)?;
    if proc == Proc::Processes {
        return Ok(());
    }
    for name in READ_ONLY {
        if let Some(target) = if_there(&mount, name)? {
            let cover = clone(&target)?;
            restrict_mount(cover.as_fd(), Reach::One, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
            put_over(&cover, &target)?;
        }
    }
    for name in MASKED_DIRECTORIES {
        if let Some(target) = if_there(&mount, name)? {
            put_over(
                &scratch(1, "0555", attributes | MountAttrFlags::MOUNT_ATTR_RDONLY)?,
                &target,
            )?;
        }
    }
    for name in MASKED_FILES {
        if let Some(target) = if_there(&mount, name)? {
            put_over(&clone_below(root, c"dev/null")?, &target)?;
        }
    }
    Ok(())
}

fn if_there(directory: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    match open_below(directory.as_fd(), name.as_ref(), OFlags::PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn clone_below(root: &OwnedFd, path: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let path = path.to_str().map_err(|_| Errno::INVAL)?;
    clone(&open_below(root.as_fd(), path.as_ref(), OFlags::PATH)?)
}

fn clone(handle: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(handle.as_fd(), c"", flags)?)
}

fn put_over(mount: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount.as_fd(), c"", target.as_fd(), c"", flags)?)
}

fn limit(limits: Limits) -> io::Result<()> {
    let exactly = |value| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(Resource::Core, exactly(0))?;
    setrlimit(Resource::Nofile, exactly(limits.files))?;
    if let Some(processes) = limits.processes {
        setrlimit(Resource::Nproc, exactly(processes))?;
    }
    Ok(())
}

pub(crate) fn drop_capabilities() -> io::Result<()> {
    clear_ambient_capability_set()?;
    // Root inside is a name only: its programs start without capabilities, for good.
    set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED,
    )?;
    kernel::drop_bounding_set()?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}

pub(crate) fn pass(descriptors: Vec<OwnedFd>) -> io::Result<()> {
    // First out of the way, so that placing one cannot overwrite another.
    let lifted = descriptors
        .iter()
        .map(|descriptor| fcntl_dupfd_cloexec(descriptor, 64))
        .collect::<Result<Vec<_>, _>>()?;
    kernel::close_on_exec_from(0)?;
    for (target, descriptor) in (0..).zip(&lifted) {
        kernel::place(descriptor.as_raw_fd(), target)?;
    }
    // The originals may have had these very numbers and must not be closed any more.
    std::mem::forget(descriptors);
    Ok(())
}

fn execute(command: &Command, outer: Outer) -> Result<(), Failure> {
    kernel::set_signals(Signals::Default).at(Step::Signals)?;
    // Last: from here on the kernel refuses most of what came before.
    outer.filter_calls().at(Step::Calls)?;
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for candidate in &command.candidates {
        let error = kernel::execute(candidate, &command.arguments, &command.environment);
        // The first one that is there speaks for all.
        if error.raw_os_error() != Some(libc::ENOENT) {
            last = error;
            break;
        }
    }
    Err(last).at(Step::Execute)
}

/// Stays as the first process of namespaces that an OCI runtime puts an application into: an init
/// that has started nothing, ends with the launcher, and whose end is that of all others.
fn keep(outer: Outer) -> Result<(), Failure> {
    kernel::set_signals(Signals::Blocked).at(Step::Signals)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Init)?;
    outer.filter_calls().at(Step::Calls)?;
    crate::init::run(None)
}

/// Stays as the first process of an application. It is this program's own copy and not a program
/// of the image, since an image may lack anything; it holds no descriptor and its memory cannot be
/// read from inside.
fn under_init(command: &Command, outer: Outer) -> Result<(), Failure> {
    kernel::set_signals(Signals::Blocked).at(Step::Signals)?;
    match kernel::fork(kernel::Fork::Plain).at(Step::Init)? {
        Side::Child => execute(command, outer),
        Side::Parent(pid, pidfd) => {
            drop(pidfd);
            set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Init)?;
            outer.filter_calls().at(Step::Calls)?;
            crate::init::run(Some(pid))
        }
    }
}

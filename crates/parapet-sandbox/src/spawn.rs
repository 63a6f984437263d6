//! Starts one process in a sandbox: the parent's half.
//!
//! [`spawn`] makes the child, gives it its users and waits until it has become its program or has
//! said which step failed. The child's half is [`crate::setup`]. Owns no state: the caller keeps
//! the [`Running`] processes. Never returns with a half-made child alive.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use thiserror::Error;

use crate::cgroup::Place;
use crate::confine::{Kind, Outer};
use crate::kernel::{self, Fork, Side};
use crate::namespace::Namespace;
use crate::root::Root;
use crate::seccomp::FilterError;
use crate::setup::{self, Report, Step};

/// How long a set-up may take before it is given up. It takes milliseconds; only a host whose
/// disk hangs comes here.
const SETUP_LIMIT: Duration = Duration::from_secs(10);

/// The network of a sandbox.
#[derive(Debug)]
pub enum Network {
    /// A namespace of its own without any interface up.
    None,
    /// A namespace of its own with a loopback interface.
    Loopback,
    /// The host's.
    Host,
    /// This one: the camera zone.
    Join(Namespace),
}

/// The user and group of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Users {
    /// First ID inside.
    pub inside: u32,
    /// First ID outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
    /// Which one inside the program runs as.
    pub run_as: u32,
}

/// What a process may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open files.
    pub files: u64,
    /// Processes and threads of its user; not set where many sandboxes share one user.
    pub processes: Option<u64>,
}

/// What becomes of the first process.
#[derive(Debug)]
pub enum Program {
    /// It becomes this program: the PID namespace ends with it.
    First(Command),
    /// It stays as an init that starts this program, reaps, and passes SIGTERM on to everybody.
    UnderInit(Command),
    /// It stays as an init that starts nothing: others are put into its namespaces.
    Keeper,
    /// It ends with success after the last step before a program: to try out a host.
    None,
}

/// A program with all it is told.
#[derive(Debug)]
pub struct Command {
    /// Where to look for it: full paths, tried in this order.
    pub candidates: Vec<CString>,
    /// Its arguments, itself first.
    pub arguments: Vec<CString>,
    /// `NAME=value` each; nothing else is inherited.
    pub environment: Vec<CString>,
}

/// A process to be started.
#[derive(Debug)]
pub struct Sandbox {
    /// What kind of process it is: its system calls, and what it may do with its files.
    pub kind: Kind,
    /// Its users.
    pub users: Users,
    /// Its network.
    pub network: Network,
    /// Its files.
    pub root: Root,
    /// What it runs.
    pub program: Program,
    /// Its descriptors: the first becomes number 0, and so on. No others survive.
    pub descriptors: Vec<OwnedFd>,
    /// Its limits.
    pub limits: Limits,
    /// Its control groups.
    pub place: Place,
}

/// A process that runs.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    pidfd: OwnedFd,
    /// The first process of the namespaces, where that is another: signals are its business, and
    /// it ends with this one.
    keeper: Option<Box<Running>>,
}

/// Why a process could not be started.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// Its filters.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The kernel makes no such child.
    #[error("make a process in namespaces of its own")]
    Fork(#[source] io::Error),
    /// The namespace cannot be entered.
    #[error("enter the camera zone")]
    Join(#[source] io::Error),
    /// The child's users could not be set.
    #[error("give the process its users ({map})")]
    Users {
        /// Which file.
        map: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The child could not be put into its control groups.
    #[error("put a process into its control groups")]
    Place(#[source] io::Error),
    /// The child failed.
    #[error("{step}{}{item}", if item.is_empty() { "" } else { " " })]
    Step {
        /// At which step.
        step: Step,
        /// With what.
        item: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The child neither failed nor succeeded.
    #[error("set up a process within {} s", SETUP_LIMIT.as_secs())]
    Timeout,
    /// An OCI runtime, or what is done for it.
    #[error("start an application by {runtime}: {said}")]
    Runtime {
        /// Its name and version.
        runtime: String,
        /// What failed, in its words or ours.
        said: String,
    },
    /// The socket to the child.
    #[error("talk to a process during its set-up")]
    Sync(#[source] io::Error),
}

impl Running {
    /// Its process ID as this process sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn new(pid: u32, pidfd: OwnedFd) -> Self {
        Self {
            pid,
            pidfd,
            keeper: None,
        }
    }

    /// The same, within the namespaces of `keeper`.
    pub(crate) fn kept_by(mut self, keeper: Self) -> Self {
        self.keeper = Some(Box::new(keeper));
        self
    }

    /// Asks it, or everybody under its init, to end.
    pub fn terminate(&self) -> io::Result<()> {
        self.first().signal(Signal::TERM)
    }

    /// Ends it and everything in its PID namespace.
    pub fn kill(&self) -> io::Result<()> {
        self.first().signal(Signal::KILL)
    }

    /// Reaps it once its descriptor is readable: the exit code, or 128 + signal.
    /// `None` while it still runs.
    pub fn reap(&self) -> io::Result<Option<i32>> {
        let code = self.wait(WaitIdOptions::NOHANG)?;
        if let (Some(_), Some(keeper)) = (code, &self.keeper) {
            // Whoever is left of the application goes with it.
            keeper.destroy();
        }
        Ok(code)
    }

    fn first(&self) -> &Self {
        self.keeper.as_deref().unwrap_or(self)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            // Already gone, which is what was asked for.
            Err(Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    fn wait(&self, options: WaitIdOptions) -> io::Result<Option<i32>> {
        let status = loop {
            match waitid(
                WaitId::PidFd(self.pidfd.as_fd()),
                WaitIdOptions::EXITED | options,
            ) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        Ok(status.map(
            |status| match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => code,
                (None, Some(signal)) => 128 + signal,
                // EXITED reports nothing else.
                (None, None) => 128,
            },
        ))
    }

    /// Ends it without mercy and waits for that.
    pub fn destroy(&self) {
        // Errors here mean that it is gone: the only outcome that the caller asks for.
        if let Some(keeper) = &self.keeper {
            keeper.destroy();
        }
        let _ = self.signal(Signal::KILL);
        let _ = self.wait(WaitIdOptions::empty());
    }
}

impl AsFd for Running {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Starts a process. Returns when its program runs.
pub fn spawn(sandbox: Sandbox) -> Result<Running, SpawnError> {
    spawn_prepared(sandbox, |_| ()).map(|(running, ())| running)
}

/// Like [`spawn`], with something done about the process, whose ID is given, once it exists in its
/// namespaces with its users, and before it goes on.
pub fn spawn_prepared<T>(
    sandbox: Sandbox,
    prepare: impl FnOnce(u32) -> T,
) -> Result<(Running, T), SpawnError> {
    // The child is born where its parent stands. It has no capability there: the namespace belongs
    // to the host's users and not to the child's own.
    let (fork, visit) = match &sandbox.network {
        Network::Host => (Fork::Namespaces, None),
        Network::None | Network::Loopback => (Fork::NamespacesAndNetwork, None),
        Network::Join(namespace) => {
            let visit = namespace.visit().map_err(SpawnError::Join)?;
            (Fork::Namespaces, Some(visit))
        }
    };
    let outer = Outer::of(sandbox.kind)?;
    let (ours, theirs) = sync_sockets()?;
    match kernel::fork(fork).map_err(SpawnError::Fork)? {
        Side::Child => {
            // Else the parent's end would outlive the parent here, and its death go unnoticed.
            drop(ours);
            setup::run(sandbox, outer, &theirs)
        }
        Side::Parent(pid, pidfd) => {
            drop(visit);
            drop(theirs);
            let running = Running::new(pid, pidfd);
            let command = match &sandbox.program {
                Program::First(command) | Program::UnderInit(command) => Some(command),
                Program::Keeper | Program::None => None,
            };
            let prepared = set_users(sandbox.users, pid)
                .and_then(|()| sandbox.place.take(pid).map_err(SpawnError::Place))
                .map(|()| prepare(pid))
                .and_then(|prepared| {
                    supervise(&ours, Some(&sandbox.root), command)?;
                    Ok(prepared)
                })
                .or_else(|error| fail(&running, error))?;
            Ok((running, prepared))
        }
    }
}

/// Starts a program without namespaces. Returns when it runs.
pub(crate) fn spawn_bare(
    kind: Kind,
    command: &Command,
    descriptors: Vec<OwnedFd>,
    limits: Limits,
    place: &Place,
) -> Result<Running, SpawnError> {
    let outer = Outer::of(kind)?;
    let (ours, theirs) = sync_sockets()?;
    match kernel::fork(Fork::Plain).map_err(SpawnError::Fork)? {
        Side::Child => {
            drop(ours);
            setup::run_bare(outer, command, descriptors, limits, &theirs)
        }
        Side::Parent(pid, pidfd) => {
            drop(theirs);
            let running = Running::new(pid, pidfd);
            place
                .take(pid)
                .map_err(SpawnError::Place)
                .and_then(|()| supervise(&ours, None, Some(command)))
                .or_else(|error| fail(&running, error))?;
            Ok(running)
        }
    }
}

fn sync_sockets() -> Result<(OwnedFd, OwnedFd), SpawnError> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| SpawnError::Sync(errno.into()))
}

fn fail<T>(running: &Running, error: SpawnError) -> Result<T, SpawnError> {
    running.destroy();
    Err(error)
}

/// Does `work` in a child, so that the caller need not wait for it; what it fails with comes out
/// of the returned pipe. The child ends with this process.
pub fn spawn_task(
    work: impl FnOnce() -> Result<(), String>,
) -> io::Result<(Running, io::PipeReader)> {
    let (reader, writer) = io::pipe()?;
    match kernel::fork(Fork::Plain)? {
        Side::Child => {
            drop(reader);
            setup::run_task(work, writer)
        }
        Side::Parent(pid, pidfd) => Ok((Running::new(pid, pidfd), reader)),
    }
}

fn set_users(users: Users, pid: u32) -> Result<(), SpawnError> {
    let Users {
        inside,
        outside,
        count,
        ..
    } = users;
    let line = format!("{inside} {outside} {count}");
    for map in ["uid_map", "gid_map"] {
        // One write, as the kernel demands; `fs::write` does one for so short a text.
        std::fs::write(format!("/proc/{pid}/{map}"), &line)
            .map_err(|source| SpawnError::Users { map, source })?;
    }
    Ok(())
}

/// Waits until a child has said something, or has closed its end.
pub(crate) fn readable(sync: &OwnedFd, limit: Duration) -> Result<(), SpawnError> {
    let limit = Timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(sync, PollFlags::IN)];
    loop {
        match poll(&mut polled, Some(&limit)) {
            Ok(0) => return Err(SpawnError::Timeout),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(SpawnError::Sync(errno.into())),
        }
    }
}

/// Lets the child go on and waits for its program or its report.
fn supervise(
    sync: &OwnedFd,
    root: Option<&Root>,
    command: Option<&Command>,
) -> Result<(), SpawnError> {
    let failed = |errno: Errno| SpawnError::Sync(errno.into());
    send(sync, b"!", SendFlags::NOSIGNAL).map_err(failed)?;
    readable(sync, SETUP_LIMIT)?;
    let mut bytes = [0; Report::LENGTH];
    let (received, _) = recv(sync, &mut bytes, RecvFlags::empty()).map_err(failed)?;
    if received == 0 {
        // Every copy of the child's end is closed: by exec, or by its death, which its
        // descriptor reports next.
        return Ok(());
    }
    let report = Report::from_bytes(bytes);
    Err(SpawnError::Step {
        step: report.step,
        item: report.item(root, command),
        source: io::Error::from_raw_os_error(report.errno),
    })
}

//! Which files a process may touch whatever its root shows: Landlock, beside mounts and owners.
//!
//! Two layers for workers as with system calls: the outer one, set before `exec`, leaves reading
//! and running; the inner one, set by the worker, leaves nothing. Where the kernel can, workers
//! are also cut off from listening, from abstract sockets and from signals to others. What a
//! kernel does not know yet is left out; [`crate::confine::missing`] tells the operator.

use std::io;
use std::path::Path;

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, Errno, NetPort, PathBeneath, PathFd,
    RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    Scope, make_bitflags,
};

use crate::launch::Worker;
use crate::zones::PLAIN_SIDE_PORT;

/// The newest rights that this code was written for; older kernels know a part of them.
const NEWEST: ABI = ABI::V10;

/// Where an application may write: its storage and logs, and what lives in memory.
const WRITABLE: [&str; 6] = [
    "/opt/aws/panorama/logs",
    "/opt/aws/panorama/storage",
    "/tmp",
    "/var/tmp",
    "/run",
    "/dev/shm",
];
/// Where it may write into what is there: devices, and the settings of its own processes.
const SETTABLE: [&str; 2] = ["/dev", "/proc"];

/// Before a worker's program: it is read and run, nothing is written.
pub(crate) fn worker(worker: Worker) -> io::Result<()> {
    restrict(|| {
        networked(worker)?
            .allow("/", reading())?
            .allow("/dev", AccessFs::ReadFile | AccessFs::WriteFile)
    })
}

/// A worker on itself: no file at all, whatever it still finds a way to name.
pub(crate) fn worker_itself(worker: Worker) -> io::Result<()> {
    restrict(|| networked(worker))
}

/// Before an application's program.
pub(crate) fn application() -> io::Result<()> {
    restrict(|| {
        let mut ruleset = created(BitFlags::EMPTY)?.allow("/", reading())?;
        for path in WRITABLE {
            ruleset = ruleset.allow(path, AccessFs::from_all(NEWEST))?;
        }
        let set = make_bitflags!(AccessFs::{WriteFile | Truncate | IoctlDev});
        for path in SETTABLE {
            ruleset = ruleset.allow(path, set)?;
        }
        Ok(ruleset)
    })
}

fn reading() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir})
}

/// What of the network is forbidden. Which camera an ingest reaches is the zone's to say.
fn network(worker: Worker) -> BitFlags<AccessNet> {
    match worker {
        Worker::Ingest => AccessNet::BindTcp.into(),
        Worker::Codec | Worker::Infer => AccessNet::from_all(NEWEST),
    }
}

/// An ingest listens to itself alone ([`crate::zones::plain_side`]), and to nobody else.
fn networked(worker: Worker) -> Result<RulesetCreated, RulesetError> {
    let ruleset = created(network(worker))?;
    match worker {
        Worker::Ingest => ruleset.add_rule(NetPort::new(PLAIN_SIDE_PORT, AccessNet::BindTcp)),
        Worker::Codec | Worker::Infer => Ok(ruleset),
    }
}

fn created(network: BitFlags<AccessNet>) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?;
    if !network.is_empty() {
        ruleset = ruleset.handle_access(network)?;
    }
    ruleset.create()
}

trait Allow: Sized {
    fn allow(self, path: &str, access: impl Into<BitFlags<AccessFs>>)
    -> Result<Self, RulesetError>;
}

impl Allow for RulesetCreated {
    /// Nothing for what is not there.
    fn allow(
        self,
        path: &str,
        access: impl Into<BitFlags<AccessFs>>,
    ) -> Result<Self, RulesetError> {
        match PathFd::new(Path::new(path)) {
            Ok(place) => self.add_rule(PathBeneath::new(place, access)),
            Err(_) => Ok(self),
        }
    }
}

/// The rules hold for the calling thread and what it starts; with a newer kernel for all threads.
fn restrict(rules: impl FnOnce() -> Result<RulesetCreated, RulesetError>) -> io::Result<()> {
    rules()
        .and_then(|ruleset| ruleset.all_threads(true))
        .and_then(RulesetCreated::restrict_self)
        .map(drop)
        .map_err(|error| io::Error::from_raw_os_error(*Errno::from(error)))
}

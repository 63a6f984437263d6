//! The loop: requests in, events out, and the processes that run.
//!
//! Owns every process and task that was started. One thread: a request is done before the next is
//! read, except for deletions and measurements, which have a process of their own. What is wrong with a request
//! goes back to the agent; what is wrong with the channel ends the launcher.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use parapet_sandbox::bare::{self, Bare};
use parapet_sandbox::cgroup::{CgroupError, Group};
use parapet_sandbox::channel::{Channel, ChannelError, Packet};
use parapet_sandbox::confine;
use parapet_sandbox::failure;
use parapet_sandbox::gateway::{Inside, Sockets, furnish};
use parapet_sandbox::launch::{LaunchEvent, LaunchRequest, Resources, Signal, Worker};
use parapet_sandbox::remove::remove;
use parapet_sandbox::root::open_below;
use parapet_sandbox::spawn::{
    Limits, Network, Program, Running, Sandbox, SpawnError, Users, spawn, spawn_prepared,
    spawn_task,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, statat};
use rustix::io::Errno;
use thiserror::Error;

use crate::host::{Host, Isolation};
use crate::limits::{self, LimitsError};
use crate::measure::measure;
use crate::names::{Image, Name, NameError};
use crate::roots::{self, Extras, RootsError};
use crate::users::UsersError;

/// Most processes and deletions at a time: far above what an appliance of any size runs.
const MAX_PROCESSES: usize = 1024;
/// Most instances looked at for their users.
const MAX_INSTANCES: usize = 8192;
/// How long after an alarm the kernel may take to end a process: it does so at once, or finds
/// memory after all.
const ALARM: Duration = Duration::from_secs(5);
/// Between looks at a group with an alarm.
const ALARM_LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// Longest message of a failure.
const MAX_MESSAGE: usize = 2048;

/// Why a request is refused. The message goes to the operator.
#[derive(Debug, Error)]
enum RequestError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error(transparent)]
    Limits(#[from] LimitsError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error("start process {0}: that number is in use")]
    Used(u64),
    #[error("start a process: {MAX_PROCESSES} run already")]
    Full,
    #[error("start a process: the request came with {found} descriptors and needs {needed}")]
    Descriptors { needed: usize, found: usize },
    #[error(
        "start an application: this host allows no user namespaces; allow them, or start as root"
    )]
    NoSandbox,
    #[error("{step}")]
    Files {
        step: &'static str,
        #[source]
        source: Errno,
    },
    #[error("remove {0}: an application of it runs")]
    InUse(Name),
    #[error("work on the files of {instance}")]
    Task {
        instance: Name,
        #[source]
        source: std::io::Error,
    },
}

struct Process {
    running: Running,
    kind: Kind,
    /// An application's, for [`LaunchRequest::Socket`].
    network: Option<Inside>,
    group: Group,
    /// Since when memory was short around it, until the kernel has chosen whom to end.
    alarmed: Option<Instant>,
}

impl Process {
    fn new(running: Running, kind: Kind, network: Option<Inside>, group: Group) -> Self {
        Self {
            running,
            kind,
            network,
            group,
            alarmed: None,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Worker { worker: Worker, user: u32 },
    Application { instance: Name },
}

/// What became of an application's gateway, if it was to have one.
type Gateway = Option<Result<Sockets, String>>;

struct Deletion {
    instance: Name,
    running: Running,
    report: PipeReader,
    /// Of a look at what it holds: how much.
    measured: Option<PipeReader>,
}

/// The launcher at work.
pub(crate) struct Requests<'a> {
    channel: &'a Channel,
    host: Host,
    processes: BTreeMap<u64, Process>,
    deletions: Vec<Deletion>,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(channel: &'a Channel, host: Host) -> Self {
        Self {
            channel,
            host,
            processes: BTreeMap::new(),
            deletions: Vec::new(),
        }
    }

    /// Says what the host allows, then serves until the agent's end of the channel closes.
    pub(crate) fn serve(mut self) -> anyhow::Result<()> {
        self.tell(&LaunchEvent::Ready {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            privileged: self.host.isolation == Isolation::Users,
            network: self.host.zones.found().clone(),
            missing: self.host.missing.clone(),
        })?;
        loop {
            let (request, ended, deleted) = self.wait()?;
            // Ends first: a request may use a number or a user that has just become free.
            for id in ended {
                self.ended(id)?;
            }
            for index in deleted.into_iter().rev() {
                self.deleted(index)?;
            }
            if request {
                match self
                    .channel
                    .recv::<LaunchRequest>()
                    .context("read a request")?
                {
                    Some(packet) => self.answer(packet)?,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Whether there is a request, which processes have ended, which deletions.
    fn wait(&mut self) -> anyhow::Result<(bool, Vec<u64>, Vec<usize>)> {
        let limit = self.end_what_is_out_of_memory()?;
        let ids: Vec<u64> = self.processes.keys().copied().collect();
        let mut polled = vec![PollFd::new(self.channel, PollFlags::IN)];
        let runs = self.processes.values().map(|process| &process.running);
        polled.extend(
            runs.chain(self.deletions.iter().map(|deletion| &deletion.running))
                .map(|running| PollFd::new(running, PollFlags::IN)),
        );
        // Last: those only wake the loop.
        let alarms: Vec<u64> = self
            .processes
            .iter()
            .filter(|(_, process)| process.group.alarm().is_some())
            .map(|(id, _)| *id)
            .collect();
        let first_alarm = polled.len();
        polled.extend(
            self.processes
                .values()
                .filter_map(|process| process.group.alarm())
                .map(|alarm| PollFd::from_borrowed_fd(alarm, PollFlags::IN)),
        );
        loop {
            match poll(&mut polled, limit.as_ref()) {
                Err(Errno::INTR) => {}
                other => {
                    other.context("wait for requests")?;
                    break;
                }
            }
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(polled);
        for (id, _) in alarms
            .iter()
            .zip(&ready[first_alarm..])
            .filter(|(_, ready)| **ready)
        {
            if let Some(process) = self.processes.get_mut(id) {
                process.group.silence();
                process.alarmed = Some(Instant::now());
            }
        }
        let (processes, deletions) = ready[1..first_alarm].split_at(ids.len());
        let ended = ids.into_iter().zip(processes).filter(|(_, ready)| **ready);
        let deleted = deletions.iter().enumerate().filter(|(_, ready)| **ready);
        Ok((
            ready[0],
            ended.map(|(id, _)| id).collect(),
            deleted.map(|(i, _)| i).collect(),
        ))
    }

    /// Control groups of version 1 end one process of a tree and leave the others to go on without
    /// it: the rest is ended here. Gives the time until the next look, if one is due.
    fn end_what_is_out_of_memory(&mut self) -> anyhow::Result<Option<Timespec>> {
        let mut again = None;
        for process in self.processes.values_mut() {
            let Some(since) = process.alarmed else {
                continue;
            };
            if process.group.ran_out_of_memory() {
                process.alarmed = None;
                process
                    .running
                    .kill()
                    .context("end a process that is out of memory")?;
            } else if since.elapsed() > ALARM {
                process.alarmed = None;
            } else {
                again = Some(ALARM_LOOK);
            }
        }
        Ok(again)
    }

    fn answer(&mut self, packet: Packet<LaunchRequest>) -> anyhow::Result<()> {
        let Packet { header, fds, .. } = packet;
        match header {
            LaunchRequest::Worker { id, worker } => {
                let started = self.worker(id, worker, fds);
                self.started(id, started.map(|process| (process, None)))
            }
            LaunchRequest::Application {
                id,
                instance,
                node,
                image,
                command,
                environment,
                resources,
                gateway,
                gpu,
            } => {
                let wanted = Wanted {
                    instance,
                    node,
                    image,
                    command,
                    environment,
                    resources,
                    gateway,
                    gpu,
                };
                let started = self.application(id, wanted, fds);
                self.started(id, started)
            }
            LaunchRequest::Reach { id, addresses } => {
                let error = self.reach(id, &addresses).err();
                self.tell(&LaunchEvent::Reached { id, error })
            }
            LaunchRequest::Socket { id } => self.socket(id),
            LaunchRequest::Signal { id, signal } => self.signal(id, signal),
            LaunchRequest::Measure { instance } => match self.measure(instance.clone()) {
                Ok(()) => Ok(()),
                Err(error) => self.tell(&LaunchEvent::Measured {
                    instance,
                    bytes: 0,
                    error: Some(describe(&error)),
                }),
            },
            LaunchRequest::Remove { instance } => match self.remove(instance.clone()) {
                Ok(()) => Ok(()),
                Err(error) => {
                    let error = Some(describe(&error));
                    self.tell(&LaunchEvent::Removed { instance, error })
                }
            },
        }
    }

    fn worker(
        &mut self,
        id: u64,
        worker: Worker,
        fds: Vec<OwnedFd>,
    ) -> Result<Process, RequestError> {
        self.admit(id)?;
        let found = fds.len();
        let [channel, stderr]: [OwnedFd; 2] = fds
            .try_into()
            .map_err(|_| RequestError::Descriptors { needed: 2, found })?;
        let taken = self
            .processes
            .values()
            .filter_map(|process| match process.kind {
                Kind::Worker { user, .. } => Some(user),
                Kind::Application { .. } => None,
            })
            .chain(self.host.zones.spent());
        let users = self.host.users.worker(&taken.collect())?;
        let command = roots::worker_command(&self.host, worker)?;
        let descriptors = vec![null()?, null()?, stderr, channel];
        let limits = self.limits(limits::WORKER_PROCESSES.into());
        let group = self.host.groups.make(
            &format!("w{id}"),
            &limits::worker(worker, self.host.machine_bytes),
        )?;
        let place = group.place()?;
        // Ingest alone talks to cameras.
        let network = match worker {
            Worker::Ingest => self.host.zones.network().map_err(SpawnError::Join)?,
            Worker::Codec | Worker::Infer => Network::None,
        };
        let running = if self.host.isolation == Isolation::Bare {
            bare::spawn(Bare {
                executable: self.host.libexec.join(roots::executable(worker)),
                environment: bare_environment(&self.host, worker),
                worker,
                descriptors,
                limits,
                place,
            })?
        } else {
            let root = roots::worker_root(&self.host, worker)?;
            let program = Program::First(command);
            spawn(Sandbox {
                kind: confine::Kind::Worker(worker),
                users,
                network,
                root,
                program,
                descriptors,
                limits,
                place,
            })?
        };
        let user = users.outside;
        Ok(Process::new(
            running,
            Kind::Worker { worker, user },
            None,
            group,
        ))
    }

    fn application(
        &mut self,
        id: u64,
        wanted: Wanted,
        fds: Vec<OwnedFd>,
    ) -> Result<(Process, Gateway), RequestError> {
        self.admit(id)?;
        let found = fds.len();
        let [output]: [OwnedFd; 1] = fds
            .try_into()
            .map_err(|_| RequestError::Descriptors { needed: 1, found })?;
        let instance = Name::parse("instance", wanted.instance)?;
        let node = Name::parse("node", wanted.node)?;
        let image = Image::parse(wanted.image)?;
        if self.host.isolation == Isolation::Bare {
            return Err(RequestError::NoSandbox);
        }
        let limits = limits::application(wanted.resources)?;
        let command = roots::application_command(wanted.command, wanted.environment)?;
        let users = self.directories(&instance, &node)?;
        // So that the application may open /dev/stdout: the pipe is a file of its own then.
        // Where there is one user for all, it is the caller's as it should be.
        if self.host.isolation == Isolation::Users {
            own(&output, users)?;
        }
        let gateway = wanted.gateway;
        let extras = Extras {
            gateway,
            gpu: wanted.gpu,
        };
        let root = roots::application_root(&self.host, &image, &instance, &node, extras)?;
        let again = output.try_clone().map_err(|error| {
            let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            RequestError::Files {
                step: "copy the output's descriptor",
                source,
            }
        })?;
        let group = self.host.groups.make(&format!("a{id}"), &limits)?;
        let sandbox = Sandbox {
            kind: confine::Kind::Application,
            users,
            network: Network::Loopback,
            root,
            program: Program::UnderInit(command),
            descriptors: vec![null()?, output, again],
            // Also where no control group counts them.
            limits: self.limits(wanted.resources.processes.into()),
            place: group.place()?,
        };
        let (running, (network, gateway)) = spawn_prepared(sandbox, |pid| {
            let network = Inside::of(pid);
            let gateway = gateway.then(|| match &network {
                Ok(network) => furnish(network).map_err(|error| failure::with_causes(&error)),
                Err(error) => Err(failure::with_causes(error)),
            });
            (network.ok(), gateway)
        })?;
        let kind = Kind::Application { instance };
        Ok((Process::new(running, kind, network, group), gateway))
    }

    fn admit(&self, id: u64) -> Result<(), RequestError> {
        if self.processes.contains_key(&id) {
            return Err(RequestError::Used(id));
        }
        if self.processes.len() + self.deletions.len() >= MAX_PROCESSES {
            return Err(RequestError::Full);
        }
        Ok(())
    }

    fn limits(&self, processes: u64) -> Limits {
        // Where all share the caller's user, the limit would count what is not ours.
        let own = self.host.isolation == Isolation::Users;
        Limits {
            files: 2048,
            processes: own.then_some(processes),
        }
    }

    /// Makes the instance's log and storage directories for its users.
    fn directories(&self, instance: &Name, node: &Name) -> Result<Users, RequestError> {
        let path = format!("instances/{instance}");
        let base = open_below(self.host.state(), Path::new(&path), DIRECTORY)
            .map_err(|source| RootsError::Missing { what: path, source })?;
        let owner = storage_owner(&base, "storage")
            .map_err(|source| files("look at the instance's storage", source))?;
        let users = self
            .host
            .users
            .application(owner, &self.other_owners(instance)?)?;
        directory(&base, "storage", 0o700, Some(users))?;
        let logs = directory(&base, "logs", 0o755, None)?;
        directory(&logs, node.as_str(), 0o755, Some(users))?;
        Ok(users)
    }

    fn other_owners(&self, instance: &Name) -> Result<BTreeSet<u32>, RequestError> {
        let failed = |source| files("look at the users of other instances", source);
        let all =
            open_below(self.host.state(), Path::new("instances"), DIRECTORY).map_err(failed)?;
        let mut owners = BTreeSet::new();
        for entry in rustix::fs::Dir::read_from(&all)
            .map_err(failed)?
            .take(MAX_INSTANCES)
        {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name.starts_with('.') || name == instance.as_str() {
                continue;
            }
            // An entry that is no instance has no storage and no users.
            let storage = open_below(all.as_fd(), Path::new(name), DIRECTORY)
                .and_then(|other| storage_owner(&other, "storage"));
            owners.extend(storage.ok().flatten());
        }
        Ok(owners)
    }

    fn socket(&self, id: u64) -> anyhow::Result<()> {
        let network = self.processes.get(&id).and_then(|p| p.network.as_ref());
        let (socket, error) = match network.map(Inside::socket) {
            Some(Ok(socket)) => (vec![socket], None),
            Some(Err(error)) => (Vec::new(), Some(failure::with_causes(&error))),
            None => (Vec::new(), Some("the application has ended".to_owned())),
        };
        self.tell_with(&LaunchEvent::Socket { id, error }, &socket)
    }

    /// Lets an ingest reach these addresses and no others, or ends it: what cannot be ruled must
    /// not run.
    fn reach(&mut self, id: u64, addresses: &[SocketAddr]) -> Result<(), String> {
        let Some(process) = self.processes.get(&id) else {
            return Err("reach a camera: its ingest has ended".to_owned());
        };
        let Kind::Worker {
            worker: Worker::Ingest,
            user,
        } = process.kind
        else {
            return Err("reach a camera: only ingest does".to_owned());
        };
        self.host.zones.reach(user, addresses).inspect_err(|_| {
            // Already gone is as good.
            let _ = process.running.kill();
        })
    }

    fn signal(&self, id: u64, signal: Signal) -> anyhow::Result<()> {
        // An unknown number has ended a moment ago; its event is on the way.
        let Some(process) = self.processes.get(&id) else {
            return Ok(());
        };
        match (signal, &process.kind) {
            (Signal::Terminate, Kind::Application { .. }) => process.running.terminate(),
            // A worker is the first process of its namespace, which the kernel shields from
            // signals it does not handle; and it holds nothing that it could put in order.
            _ => process.running.kill(),
        }
        .context("signal a process")
    }

    fn remove(&mut self, instance: String) -> Result<(), RequestError> {
        let instance = Name::parse("instance", instance)?;
        if self.processes.len() + self.deletions.len() >= MAX_PROCESSES {
            return Err(RequestError::Full);
        }
        let in_use = |process: &Process| matches!(&process.kind, Kind::Application { instance: used } if *used == instance);
        if self.processes.values().any(in_use) {
            return Err(RequestError::InUse(instance));
        }
        let state = self.host.state();
        let started = spawn_task(|| {
            let directory = match open_below(state, Path::new("instances"), DIRECTORY) {
                Err(Errno::NOENT) => return Ok(()),
                other => other.map_err(|errno| format!("open instances: {errno}"))?,
            };
            let name = std::ffi::CString::new(instance.as_str()).map_err(|e| e.to_string())?;
            remove(directory.as_fd(), &name)
        });
        let (running, report) = started.map_err(|source| RequestError::Task {
            instance: instance.clone(),
            source,
        })?;
        self.deletions.push(Deletion {
            instance,
            running,
            report,
            measured: None,
        });
        Ok(())
    }

    fn measure(&mut self, instance: String) -> Result<(), RequestError> {
        let instance = Name::parse("instance", instance)?;
        if self.processes.len() + self.deletions.len() >= MAX_PROCESSES {
            return Err(RequestError::Full);
        }
        let pids: Vec<u32> = self
            .processes
            .values()
            .filter(|process| matches!(&process.kind, Kind::Application { instance: used } if *used == instance))
            .flat_map(|process| process.group.processes())
            .collect();
        let failed = |source| RequestError::Task {
            instance: instance.clone(),
            source,
        };
        let (measured, mut writer) = std::io::pipe().map_err(failed)?;
        let state = self.host.state();
        let path = format!("instances/{instance}");
        let started = spawn_task(move || {
            let directory = open_below(state, Path::new(&path), DIRECTORY)
                .map_err(|errno| format!("open {path}: {errno}"))?;
            let bytes = measure(directory.as_fd(), &["storage", "logs"], &pids)?;
            writer
                .write_all(&bytes.to_le_bytes())
                .map_err(|error| error.to_string())
        });
        let (running, report) = started.map_err(failed)?;
        self.deletions.push(Deletion {
            instance,
            running,
            report,
            measured: Some(measured),
        });
        Ok(())
    }

    fn started(
        &mut self,
        id: u64,
        started: Result<(Process, Gateway), RequestError>,
    ) -> anyhow::Result<()> {
        match started {
            Ok((process, gateway)) => {
                let pid = process.running.pid();
                self.processes.insert(id, process);
                let (sockets, no_gateway) = match gateway {
                    Some(Ok(sockets)) => (vec![sockets.names, sockets.calls], None),
                    Some(Err(mut message)) => {
                        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
                        (Vec::new(), Some(message))
                    }
                    None => (Vec::new(), None),
                };
                let started = LaunchEvent::Started {
                    id,
                    pid,
                    no_gateway,
                };
                self.tell_with(&started, &sockets)
            }
            Err(error) => self.tell(&LaunchEvent::Failed {
                id,
                message: describe(&error),
            }),
        }
    }

    fn ended(&mut self, id: u64) -> anyhow::Result<()> {
        let Some(process) = self.processes.get(&id) else {
            return Ok(());
        };
        let Some(code) = process.running.reap().context("reap a process")? else {
            return Ok(());
        };
        let out_of_memory = process.group.ran_out_of_memory();
        if let Some(Process {
            kind: Kind::Worker { user, .. },
            ..
        }) = self.processes.remove(&id)
        {
            self.host.zones.forget(user);
        }
        self.tell(&LaunchEvent::Exited {
            id,
            code,
            out_of_memory,
        })
    }

    fn deleted(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(code) = self.deletions[index]
            .running
            .reap()
            .context("reap a deletion")?
        else {
            return Ok(());
        };
        let Deletion {
            instance,
            report,
            measured,
            ..
        } = self.deletions.remove(index);
        let mut message = String::new();
        let read = report.take(MAX_MESSAGE as u64).read_to_string(&mut message);
        let error = match (code, read) {
            (0, _) => None,
            (_, Ok(length)) if length > 0 => Some(message),
            _ => Some(format!("the work ended with code {code}")),
        };
        if let Some(mut measured) = measured {
            let mut bytes = [0; 8];
            let read = measured.read_exact(&mut bytes);
            let error = error.or_else(|| read.err().map(|error| error.to_string()));
            return self.tell(&LaunchEvent::Measured {
                instance: instance.as_str().to_owned(),
                bytes: u64::from_le_bytes(bytes),
                error,
            });
        }
        self.tell(&LaunchEvent::Removed {
            instance: instance.as_str().to_owned(),
            error,
        })
    }

    fn tell(&self, event: &LaunchEvent) -> anyhow::Result<()> {
        self.tell_with(event, &[])
    }

    fn tell_with(&self, event: &LaunchEvent, fds: &[OwnedFd]) -> anyhow::Result<()> {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match self.channel.send(event, &[], &fds) {
            // The agent has ended, perhaps with events unread; the next read sees it.
            Err(ChannelError::Socket(error))
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            other => other.context("tell the agent"),
        }
    }
}

struct Wanted {
    instance: String,
    node: String,
    image: String,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    resources: Resources,
    gateway: bool,
    gpu: bool,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

fn files(step: &'static str, source: Errno) -> RequestError {
    RequestError::Files { step, source }
}

fn null() -> Result<OwnedFd, RequestError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, Mode::empty())
        .map_err(|source| files("open /dev/null", source))
}

/// The owner of a directory, unless it is not there or still the launcher's: then a start ended
/// half-way.
fn storage_owner(base: &OwnedFd, name: &str) -> Result<Option<u32>, Errno> {
    match statat(base, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if stat.st_uid == rustix::process::geteuid().as_raw() => Ok(None),
        Ok(stat) => Ok(Some(stat.st_uid)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn directory(
    parent: &OwnedFd,
    name: &str,
    mode: u32,
    users: Option<Users>,
) -> Result<OwnedFd, RequestError> {
    match mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(source) => return Err(files("make a directory of the instance", source)),
    }
    let made = open_below(parent.as_fd(), Path::new(name), DIRECTORY)
        .map_err(|source| files("open a directory of the instance", source))?;
    if let Some(users) = users {
        let stat = fstat(&made).map_err(|source| files("look at a directory", source))?;
        if stat.st_uid != users.outside {
            own(&made, users)?;
            fchmod(&made, Mode::from_raw_mode(mode))
                .map_err(|source| files("open a directory to its user", source))?;
        }
    }
    Ok(made)
}

fn own(file: &OwnedFd, users: Users) -> Result<(), RequestError> {
    // Inside, the program runs as `run_as`; the first one inside is the first one outside.
    let id = users.outside + (users.run_as - users.inside);
    fchown(file, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))
        .map_err(|source| files("give a file to the application", source))
}

fn bare_environment(host: &Host, worker: Worker) -> Vec<(String, String)> {
    let mut environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    if let (Worker::Infer, Some(library)) = (worker, &host.onnxruntime) {
        environment.push((
            "ORT_DYLIB_PATH".to_owned(),
            library.to_string_lossy().into_owned(),
        ));
    }
    environment
}

/// An error and its causes in one line, as long as an answer may be.
fn describe(error: &RequestError) -> String {
    let mut text = failure::with_causes(error);
    text.truncate(text.floor_char_boundary(MAX_MESSAGE));
    text
}

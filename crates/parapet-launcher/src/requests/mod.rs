//! The loop: requests in, events out, and the processes that run.
//!
//! Owns every process ([`start`]) and errand ([`errand`]) that was started. One thread: a request is
//! done before the next is read, except for errands, which have a process of their own. What is
//! wrong with a request goes back to the agent; what is wrong with the channel ends the launcher.

mod directories;
mod errand;
mod start;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use parapet_sandbox::cgroup::{CgroupError, Group};
use parapet_sandbox::channel::{Channel, ChannelError, Packet};
use parapet_sandbox::failure;
use parapet_sandbox::gateway::{Inside, Sockets};
use parapet_sandbox::launch::{LaunchEvent, LaunchRequest, Signal, Worker};
use parapet_sandbox::spawn::{Running, SpawnError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use thiserror::Error;

use self::errand::Errand;
use self::start::Wanted;
use crate::host::{Host, Isolation};
use crate::limits::LimitsError;
use crate::names::{Name, NameError};
use crate::roots::RootsError;
use crate::users::UsersError;

/// Most processes and errands at a time: far above what an appliance of any size runs.
const MAX_PROCESSES: usize = 1024;
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
    #[error("start an application by {0}")]
    NoRuntime(String),
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

/// The launcher at work.
pub(crate) struct Requests<'a> {
    channel: &'a Channel,
    host: Host,
    processes: BTreeMap<u64, Process>,
    errands: Vec<Errand>,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(channel: &'a Channel, host: Host) -> Self {
        Self {
            channel,
            host,
            processes: BTreeMap::new(),
            errands: Vec::new(),
        }
    }

    /// Says what the host allows, then serves until the agent's end of the channel closes.
    pub(crate) fn serve(mut self) -> anyhow::Result<()> {
        self.tell(&LaunchEvent::Ready {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            privileged: self.host.isolation == Isolation::Users,
            network: self.host.zones.found().clone(),
            applications: self.host.starter.described(),
            missing: self.host.missing.clone(),
        })?;
        loop {
            let (request, ended, done) = self.wait()?;
            // Ends first: a request may use a number or a user that has just become free.
            for id in ended {
                self.ended(id)?;
            }
            for index in done.into_iter().rev() {
                self.done(index)?;
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

    /// Whether there is a request, which processes have ended, which errands.
    fn wait(&mut self) -> anyhow::Result<(bool, Vec<u64>, Vec<usize>)> {
        let limit = self.end_what_is_out_of_memory()?;
        let ids: Vec<u64> = self.processes.keys().copied().collect();
        let mut polled = vec![PollFd::new(self.channel, PollFlags::IN)];
        let runs = self.processes.values().map(|process| &process.running);
        polled.extend(
            runs.chain(self.errands.iter().map(|errand| &errand.running))
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
        let (processes, errands) = ready[1..first_alarm].split_at(ids.len());
        let ended = ids.into_iter().zip(processes).filter(|(_, ready)| **ready);
        let done = errands.iter().enumerate().filter(|(_, ready)| **ready);
        Ok((
            ready[0],
            ended.map(|(id, _)| id).collect(),
            done.map(|(i, _)| i).collect(),
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

fn files(step: &'static str, source: Errno) -> RequestError {
    RequestError::Files { step, source }
}

/// An error and its causes in one line, as long as an answer may be.
fn describe(error: &RequestError) -> String {
    let mut text = failure::with_causes(error);
    text.truncate(text.floor_char_boundary(MAX_MESSAGE));
    text
}

//! The agent's side of the launcher: starts processes and learns of their end.
//!
//! Owns the channel to `parapet-launcher`. Tasks: one that sends requests, one that receives events
//! and hands each to the [`Process`] it belongs to. When the launcher ends, everything it started
//! has ended too, and so does the agent ([`Launcher::ended`]).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use parapet_device::reported::{NetworkReport, Separation};
use parapet_media::protocol::Hello;
use parapet_sandbox::channel::{Channel, ChannelError};
use parapet_sandbox::launch::{self, LaunchEvent, LaunchRequest, Resources, Signal, Worker};
use parapet_sandbox::zones::PortAddress;
use thiserror::Error;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::packets::PacketSocket;

/// How long a process may take to start and to say hello.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a socket inside an application may take.
const SOCKET_LIMIT: Duration = Duration::from_secs(10);
/// How long deleting an instance's files may take.
const REMOVE_LIMIT: Duration = Duration::from_mins(2);

/// Version that every executable of this build states.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a process does not run.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// The launcher's own answer.
    #[error("start a process: {0}")]
    Refused(String),
    /// The launcher has ended.
    #[error("start a process: the launcher has ended")]
    LauncherEnded,
    /// Nothing happened in time.
    #[error("start a process: no answer within {} s", START_LIMIT.as_secs())]
    Timeout,
    /// Another version stands beside the agent.
    #[error(
        "start a process: version {found} stands beside the agent {VERSION}; install one build"
    )]
    Version {
        /// What the process said.
        found: String,
    },
    /// Its channel.
    #[error("talk to a process")]
    Channel(#[from] ChannelError),
    /// Pipe or socket could not be made.
    #[error("make the pipes of a process")]
    Pipe(#[from] std::io::Error),
}

/// What a host allows, as the launcher found it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// Whether every process has a user of its own.
    pub(crate) privileged: bool,
    /// What starts applications: `own`, a runtime with its version and path, or `none`.
    pub(crate) applications: String,
    /// What is missing, a sentence each.
    pub(crate) missing: Vec<String>,
    /// How the networks are kept apart.
    pub(crate) network: NetworkReport,
    /// Networks that the camera zone has an address in.
    pub(crate) camera_networks: Vec<PortAddress>,
}

struct Outgoing {
    request: LaunchRequest,
    fds: Vec<OwnedFd>,
}

type Waiting = HashMap<u64, mpsc::UnboundedSender<Life>>;

enum Life {
    Started(Result<Option<GatewaySockets>, String>),
    Failed(String),
    Exited(End),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Exit code, or 128 + signal.
    pub(crate) code: i32,
    /// Whether it was for want of memory.
    pub(crate) out_of_memory: bool,
}

impl End {
    /// Of a process that nobody heard of again.
    const KILLED: Self = Self {
        code: 128 + 9,
        out_of_memory: false,
    };
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.out_of_memory, self.code) {
            (true, _) => f.write_str("ran out of memory"),
            (false, 129..) => write!(f, "was ended by signal {}", self.code - 128),
            (false, code) => write!(f, "ended with code {code}"),
        }
    }
}

/// What an application is started with.
pub(crate) struct ApplicationStart {
    /// Names its directory.
    pub(crate) instance: String,
    /// Names its directories in there.
    pub(crate) node: String,
    /// Names its image.
    pub(crate) image: String,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Variables beside the launcher's own.
    pub(crate) environment: Vec<(String, String)>,
    /// What it may use.
    pub(crate) resources: Resources,
    /// Whether its calls get a way out ([`Process::take_gateway`]).
    pub(crate) gateway: bool,
    /// Whether it gets the accelerators.
    pub(crate) gpu: bool,
}

/// Where the calls of an application with a gateway arrive.
#[derive(Debug)]
pub(crate) struct GatewaySockets {
    /// Questions for names: UDP.
    pub(crate) names: OwnedFd,
    /// Calls: TCP, listening.
    pub(crate) calls: OwnedFd,
}

type Doors = HashMap<u64, VecDeque<oneshot::Sender<Result<OwnedFd, String>>>>;

struct Shared {
    // Unbounded, but never more than a start, two signals and a removal per living process.
    requests: mpsc::UnboundedSender<Outgoing>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    removals: Mutex<HashMap<String, oneshot::Sender<Option<String>>>>,
    measurements: Mutex<HashMap<String, oneshot::Sender<Result<u64, String>>>>,
    /// Who waits for a socket inside an application; the launcher answers in order.
    doors: Mutex<Doors>,
    /// In the order of the requests, which is that of the answers.
    reaching: Mutex<HashMap<u64, VecDeque<oneshot::Sender<Option<String>>>>>,
    ended: watch::Sender<bool>,
}

/// Handle of the launcher; clones share it.
#[derive(Clone)]
pub(crate) struct Launcher {
    shared: Arc<Shared>,
}

impl Launcher {
    /// Takes over the launcher's channel and waits for what it says of the host.
    pub(crate) async fn connect(channel: Channel) -> Result<(Self, Host), StartError> {
        let socket = Arc::new(PacketSocket::new(channel)?);
        let ready = timeout(START_LIMIT, socket.recv::<LaunchEvent>())
            .await
            .map_err(|_| StartError::Timeout)??
            .ok_or(StartError::LauncherEnded)?;
        let LaunchEvent::Ready {
            version,
            privileged,
            network,
            applications,
            missing,
        } = ready.header
        else {
            return Err(StartError::Refused(
                "the launcher's first event is not ready".to_owned(),
            ));
        };
        if version != VERSION {
            return Err(StartError::Version { found: version });
        }
        let (requests, outgoing) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            requests,
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            removals: Mutex::default(),
            measurements: Mutex::default(),
            doors: Mutex::default(),
            reaching: Mutex::default(),
            ended: watch::Sender::new(false),
        });
        // Both end with the launcher, and with them the agent.
        tokio::spawn(write_requests(
            Arc::clone(&socket),
            outgoing,
            Arc::clone(&shared),
        ));
        tokio::spawn(read_events(socket, Arc::clone(&shared)));
        Ok((
            Self { shared },
            Host {
                privileged,
                applications,
                missing,
                network: NetworkReport {
                    separation: match network.separation {
                        launch::Separation::Separated => Separation::Separated,
                        launch::Separation::Filtered => Separation::Filtered,
                        launch::Separation::Flat => Separation::Flat,
                    },
                    uplink: network.uplink.iter().map(ToString::to_string).collect(),
                    cameras: network.cameras.iter().map(ToString::to_string).collect(),
                    missing: network.missing,
                },
                camera_networks: network.camera_networks,
            },
        ))
    }

    /// Returns when the launcher has ended.
    pub(crate) async fn ended(&self) {
        let mut ended = self.shared.ended.subscribe();
        // The sender lives in `self`, so an error cannot happen and would mean the same.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Starts a worker, up to its hello.
    pub(crate) async fn worker(
        &self,
        worker: Worker,
    ) -> Result<(Process, PacketSocket), StartError> {
        let (ours, theirs) = Channel::pair()?;
        let (mut process, id) = self.process()?;
        let stderr = process.pipe.take().ok_or(StartError::LauncherEnded)?;
        self.request(
            LaunchRequest::Worker { id, worker },
            vec![theirs.into_fd(), stderr],
        );
        process.started().await?;
        let socket = PacketSocket::new(ours)?;
        let hello = timeout(START_LIMIT, socket.recv::<Hello>())
            .await
            .map_err(|_| StartError::Timeout)??;
        match hello {
            Some(packet) if packet.header.version == VERSION => Ok((process, socket)),
            Some(packet) => Err(StartError::Version {
                found: packet.header.version,
            }),
            None => {
                let end = process.exited().await;
                Err(StartError::Refused(format!(
                    "{worker:?} {end} at its start"
                )))
            }
        }
    }

    /// Starts an application.
    pub(crate) async fn application(&self, start: ApplicationStart) -> Result<Process, StartError> {
        let ApplicationStart {
            instance,
            node,
            image,
            command,
            environment,
            resources,
            gateway,
            gpu,
        } = start;
        let (mut process, id) = self.process()?;
        let output = process.pipe.take().ok_or(StartError::LauncherEnded)?;
        let request = LaunchRequest::Application {
            id,
            instance,
            node,
            image,
            command,
            environment,
            resources,
            gateway,
            gpu,
        };
        self.request(request, vec![output]);
        process.started().await?;
        Ok(process)
    }

    /// A TCP socket inside an application's network, not connected.
    async fn socket(&self, id: u64) -> Result<OwnedFd, StartError> {
        let (done, answer) = oneshot::channel();
        lock(&self.shared.doors)
            .entry(id)
            .or_default()
            .push_back(done);
        self.request(LaunchRequest::Socket { id }, Vec::new());
        match timeout(SOCKET_LIMIT, answer).await {
            Err(_) => Err(StartError::Timeout),
            Ok(Err(_)) => Err(StartError::LauncherEnded),
            Ok(Ok(socket)) => socket.map_err(StartError::Refused),
        }
    }

    /// Bytes of disk that an instance holds. One question per instance at a time.
    pub(crate) async fn measure(&self, instance: &str) -> Result<u64, StartError> {
        let (done, answer) = oneshot::channel();
        lock(&self.shared.measurements).insert(instance.to_owned(), done);
        self.request(
            LaunchRequest::Measure {
                instance: instance.to_owned(),
            },
            Vec::new(),
        );
        match timeout(REMOVE_LIMIT, answer).await {
            Err(_) => Err(StartError::Timeout),
            Ok(Err(_)) => Err(StartError::LauncherEnded),
            Ok(Ok(measured)) => measured.map_err(StartError::Refused),
        }
    }

    /// Lets an ingest reach these addresses and no others. After an error it reaches none.
    pub(crate) async fn reach(
        &self,
        id: u64,
        addresses: Vec<SocketAddr>,
    ) -> Result<(), StartError> {
        let (done, answer) = oneshot::channel();
        lock(&self.shared.reaching)
            .entry(id)
            .or_default()
            .push_back(done);
        self.request(LaunchRequest::Reach { id, addresses }, Vec::new());
        match timeout(START_LIMIT, answer).await {
            Err(_) => Err(StartError::Timeout),
            Ok(Err(_)) => Err(StartError::LauncherEnded),
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(error))) => Err(StartError::Refused(error)),
        }
    }

    /// Deletes an instance's files.
    pub(crate) async fn remove(&self, instance: &str) -> Result<(), StartError> {
        let (done, answer) = oneshot::channel();
        lock(&self.shared.removals).insert(instance.to_owned(), done);
        self.request(
            LaunchRequest::Remove {
                instance: instance.to_owned(),
            },
            Vec::new(),
        );
        match timeout(REMOVE_LIMIT, answer).await {
            Err(_) => Err(StartError::Timeout),
            Ok(Err(_)) => Err(StartError::LauncherEnded),
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(error))) => Err(StartError::Refused(error)),
        }
    }

    fn process(&self) -> Result<(Process, u64), StartError> {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, life) = mpsc::unbounded_channel();
        lock(&self.shared.waiting).insert(id, sender);
        let (output, pipe) = pipe_pair()?;
        let process = Process {
            id,
            launcher: self.clone(),
            life,
            exit: None,
            pipe: Some(pipe),
            output: Some(output),
            gateway: Ok(None),
        };
        Ok((process, id))
    }

    fn request(&self, request: LaunchRequest, fds: Vec<OwnedFd>) {
        // An ended launcher is noticed by whoever waits for the answer.
        let _ = self.shared.requests.send(Outgoing { request, fds });
    }
}

fn pipe_pair() -> Result<(pipe::Receiver, OwnedFd), std::io::Error> {
    let (reader, writer) = std::io::pipe()?;
    let reader = OwnedFd::from(reader);
    rustix::io::ioctl_fionbio(&reader, true)?;
    Ok((
        pipe::Receiver::from_owned_fd(reader)?,
        OwnedFd::from(writer),
    ))
}

/// A process started by the launcher. Dropping it kills it and all its children.
pub(crate) struct Process {
    id: u64,
    launcher: Launcher,
    life: mpsc::UnboundedReceiver<Life>,
    exit: Option<End>,
    pipe: Option<OwnedFd>,
    output: Option<pipe::Receiver>,
    gateway: Result<Option<GatewaySockets>, String>,
}

/// The way to an application's ports.
#[derive(Clone)]
pub(crate) struct Door {
    id: u64,
    launcher: Launcher,
}

impl Door {
    /// A TCP socket inside the application's network, not connected and not blocking.
    pub(crate) async fn socket(&self) -> Result<OwnedFd, StartError> {
        self.launcher.socket(self.id).await
    }
}

impl Process {
    /// Its number in requests.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// What it writes to standard error (and, for applications, output); once.
    pub(crate) fn take_output(&mut self) -> Option<pipe::Receiver> {
        self.output.take()
    }

    /// Where its calls arrive, if it was to have a gateway, or why it has none; once.
    pub(crate) fn take_gateway(&mut self) -> Result<Option<GatewaySockets>, String> {
        std::mem::replace(&mut self.gateway, Ok(None))
    }

    /// The way to its ports.
    pub(crate) fn door(&self) -> Door {
        Door {
            id: self.id,
            launcher: self.launcher.clone(),
        }
    }

    /// Sends a signal to it and its children.
    pub(crate) fn signal(&self, signal: Signal) {
        self.launcher.request(
            LaunchRequest::Signal {
                id: self.id,
                signal,
            },
            Vec::new(),
        );
    }

    /// Waits for the end.
    pub(crate) async fn exited(&mut self) -> End {
        loop {
            if let Some(end) = self.exit {
                return end;
            }
            match self.life.recv().await {
                Some(Life::Exited(end)) => self.exit = Some(end),
                Some(Life::Started(_)) => {}
                Some(Life::Failed(_)) | None => self.exit = Some(End::KILLED),
            }
        }
    }

    /// Waits a moment for the end of a process that has closed its channel, and no longer: a
    /// process that hangs there is killed by its drop.
    pub(crate) async fn exited_soon(&mut self) -> End {
        timeout(Duration::from_secs(1), self.exited())
            .await
            .unwrap_or(End::KILLED)
    }

    async fn started(&mut self) -> Result<(), StartError> {
        match timeout(START_LIMIT, self.life.recv()).await {
            Err(_) => Err(StartError::Timeout),
            Ok(None) => Err(StartError::LauncherEnded),
            Ok(Some(Life::Started(gateway))) => {
                self.gateway = gateway;
                Ok(())
            }
            Ok(Some(Life::Failed(message))) => {
                self.exit = Some(End {
                    code: 127,
                    out_of_memory: false,
                });
                Err(StartError::Refused(message))
            }
            Ok(Some(Life::Exited(end))) => {
                self.exit = Some(end);
                Err(StartError::Refused(format!("{end} at its start")))
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exit.is_none() {
            self.signal(Signal::Kill);
        }
        lock(&self.launcher.shared.waiting).remove(&self.id);
        lock(&self.launcher.shared.doors).remove(&self.id);
        lock(&self.launcher.shared.reaching).remove(&self.id);
    }
}

async fn write_requests(
    socket: Arc<PacketSocket>,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    shared: Arc<Shared>,
) {
    while let Some(Outgoing { request, fds }) = outgoing.recv().await {
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if let Err(error) = socket.send(&request, &[], &borrowed).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the launcher takes no requests"
            );
            shared.ended.send_replace(true);
            return;
        }
    }
}

async fn read_events(socket: Arc<PacketSocket>, shared: Arc<Shared>) {
    loop {
        let (event, fds) = match socket.recv::<LaunchEvent>().await {
            Ok(Some(packet)) => (packet.header, packet.fds),
            Ok(None) => break,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the launcher's event cannot be read"
                );
                break;
            }
        };
        let (id, life) = match event {
            LaunchEvent::Ready { .. } => continue,
            LaunchEvent::Socket { id, error } => {
                if let Some(waits) = next_at_the_door(&shared, id) {
                    let missing = || error.unwrap_or_else(|| "no socket came".to_owned());
                    let _ = waits.send(fds.into_iter().next().ok_or_else(missing));
                }
                continue;
            }
            LaunchEvent::Started { id, no_gateway, .. } => {
                let gateway = match (no_gateway, <[OwnedFd; 2]>::try_from(fds)) {
                    (Some(reason), _) => Err(reason),
                    (None, Ok([names, calls])) => Ok(Some(GatewaySockets { names, calls })),
                    (None, Err(_)) => Ok(None),
                };
                (id, Life::Started(gateway))
            }
            LaunchEvent::Reached { id, error } => {
                let done = lock(&shared.reaching)
                    .get_mut(&id)
                    .and_then(VecDeque::pop_front);
                if let Some(done) = done {
                    // Whoever asked may have turned to another address since.
                    let _ = done.send(error);
                }
                continue;
            }
            LaunchEvent::Failed { id, message } => (id, Life::Failed(message)),
            LaunchEvent::Exited {
                id,
                code,
                out_of_memory,
            } => (
                id,
                Life::Exited(End {
                    code,
                    out_of_memory,
                }),
            ),
            LaunchEvent::Measured {
                instance,
                bytes,
                error,
            } => {
                if let Some(done) = lock(&shared.measurements).remove(&instance) {
                    let _ = done.send(error.map_or(Ok(bytes), Err));
                }
                continue;
            }
            LaunchEvent::Removed { instance, error } => {
                if let Some(done) = lock(&shared.removals).remove(&instance) {
                    let _ = done.send(error);
                }
                continue;
            }
        };
        if let Some(waiting) = lock(&shared.waiting).get(&id) {
            let _ = waiting.send(life);
        }
    }
    shared.ended.send_replace(true);
    lock(&shared.waiting).clear();
    lock(&shared.removals).clear();
    lock(&shared.reaching).clear();
    lock(&shared.measurements).clear();
    lock(&shared.doors).clear();
}

fn next_at_the_door(shared: &Shared, id: u64) -> Option<oneshot::Sender<Result<OwnedFd, String>>> {
    let mut doors = lock(&shared.doors);
    let waiting = doors.get_mut(&id)?;
    let next = waiting.pop_front();
    if waiting.is_empty() {
        doors.remove(&id);
    }
    next
}

/// No code panics while it holds one of these locks, so poison says nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

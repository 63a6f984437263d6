//! One code node: its process, started again when it ends, and the socket its SDK connects to.
//!
//! The node runs from the SDK's welcome on; a process that never touches the SDK goes on, with no
//! status (`spec/sdk.md` 3.5). What it prints goes to `console_output`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parapet_device::confinement::Egress;
use parapet_device::desired;
use parapet_device::reported::{NodeStatus, Reason};
use parapet_sandbox::launch::Signal;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::board::cut;
use crate::gateway::Gateway;
use crate::inbound::Inbound;
use crate::launcher::{ApplicationStart, End, Launcher, Process};
use crate::limits::{self, Effective};
use crate::logs::{self, Task};
use crate::machine::{self, Machine};
use crate::sdk::{Node, Server};
use crate::storage::{Storage, Watch};

/// Between the request to end and the end (`spec/sdk.md` 3.2).
const GRACE: Duration = Duration::from_secs(5);
/// Starts that fail in a row before the deployment counts as failed.
const ATTEMPTS: u32 = 3;

/// How far an application is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApplicationState {
    /// Not started yet.
    Starting,
    /// Has been started at least once.
    Started,
    /// Cannot be started, and why.
    Failed(Reason),
}

/// A running application.
pub(crate) struct Application {
    /// How far it is.
    pub(crate) state: watch::Receiver<ApplicationState>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    gateway: Gateway,
}

/// What an application's processes are started with.
pub(crate) struct ApplicationSpec {
    pub(crate) application: desired::Application,
    /// Variables of the platform (`spec/sdk.md` 3.3).
    pub(crate) environment: Vec<(String, String)>,
    /// `instances/<instance>` below the state directory.
    pub(crate) directory: PathBuf,
    /// What it may use.
    pub(crate) limits: Effective,
    /// The way out.
    pub(crate) gateway: Gateway,
    /// The way in.
    pub(crate) inbound: Arc<Inbound>,
    /// Its unpacked image.
    pub(crate) image: PathBuf,
    /// Says when its instance holds too much disk.
    pub(crate) storage: Storage,
}

impl Application {
    /// Opens the socket and starts the process.
    pub(crate) fn start(launcher: Launcher, node: Arc<Node>, spec: ApplicationSpec) -> Self {
        let (state_sender, state) = watch::channel(ApplicationState::Starting);
        let stop = CancellationToken::new();
        let gateway = spec.gateway.clone();
        let job = Job {
            launcher,
            node,
            spec,
            state: state_sender,
        };
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            job.run(&stopped).await;
        });
        Self {
            state,
            stop,
            task,
            gateway,
        }
    }

    /// Lets it call others than before.
    pub(crate) fn set_egress(&self, egress: Egress) {
        self.gateway.set(egress);
    }

    /// Asks the process to end, ends it after the grace period, and waits for that.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if timeout(GRACE * 3, &mut self.task).await.is_err() {
            tracing::warn!("an application did not end in time");
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Job {
    launcher: Launcher,
    node: Arc<Node>,
    spec: ApplicationSpec,
    state: watch::Sender<ApplicationState>,
}

impl Job {
    async fn run(self, stop: &CancellationToken) {
        let line = self.node.line.clone();
        let _server = match self.open().await {
            Ok(server) => server,
            Err(error) => {
                self.fail("launch", &format!("open the application's socket: {error}"));
                return;
            }
        };
        if let Some(message) = self.foreign().await {
            self.fail("architecture", &message);
            return;
        }
        let mut backoff = Backoff::for_processes();
        let mut failed = 0;
        let instance = line.instance().as_str();
        let mut watch = self
            .spec
            .storage
            .watch(instance, self.spec.limits.storage_bytes);
        while !stop.is_cancelled() {
            match self.once(stop, &mut watch).await {
                Ok(Outcome::Asked) => return,
                Ok(Outcome::Held(reason)) => {
                    line.error("storage", &reason);
                    tokio::select! {
                        // The watch lives here, so it ends with a change.
                        _ = watch.held.wait_for(Option::is_none) => continue,
                        () = stop.cancelled() => return,
                    }
                }
                Ok(Outcome::Ended(end)) => {
                    failed = 0;
                    let (code, message) = ended(end, &self.spec.limits);
                    line.error(code, &message);
                }
                Err(error) => {
                    failed += 1;
                    if failed == ATTEMPTS && *self.state.borrow() == ApplicationState::Starting {
                        self.fail("launch", &error);
                        return;
                    }
                    line.error("launch", &error);
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next()) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Cannot be started, for good.
    fn fail(&self, code: &str, message: &str) {
        self.node.line.error(code, message);
        self.state.send_replace(ApplicationState::Failed(Reason {
            code: code.to_owned(),
            message: cut(message),
        }));
    }

    /// Why this host cannot run the image, if it is for another processor.
    async fn foreign(&self) -> Option<String> {
        let application = &self.spec.application;
        let host = Machine::host()?;
        let program = application.command.first()?.clone();
        let environment = application.environment.clone();
        let rootfs = self.spec.image.join("rootfs");
        let look = move || machine::of_image(&rootfs, &program, &environment);
        // A look that fails says nothing; the start will.
        let image = tokio::task::spawn_blocking(look).await.ok()?;
        let handlers = Path::new(machine::HANDLERS);
        machine::refusal(host, image, application.confinement.emulate, handlers)
    }

    async fn open(&self) -> std::io::Result<Server> {
        let run = self
            .spec
            .directory
            .join("run")
            .join(self.spec.application.node.as_str());
        tokio::fs::create_dir_all(&run).await?;
        tokio::fs::create_dir_all(self.logs()).await?;
        Server::open(&run, Arc::clone(&self.node))
    }

    fn logs(&self) -> PathBuf {
        self.spec.directory.join("logs")
    }

    /// One life of the process.
    async fn once(&self, stop: &CancellationToken, watch: &mut Watch) -> Result<Outcome, String> {
        if let Some(reason) = watch.held.borrow_and_update().clone() {
            return Ok(Outcome::Held(reason));
        }
        let application = &self.spec.application;
        let image = application.asset.sha256.to_string();
        let mut environment = self.spec.environment.clone();
        environment.extend(application.environment.iter().cloned());
        let line = &self.node.line;
        // Before the start, which fails if another has a port; nobody can connect yet.
        let ports = &application.confinement.ports;
        let ports = self
            .spec
            .inbound
            .reserve(ports)
            .map_err(|e| e.to_string())?;
        let started = self.launcher.application(ApplicationStart {
            instance: line.instance().to_string(),
            node: application.node.to_string(),
            image,
            command: application.command.clone(),
            environment,
            resources: self.spec.limits.resources,
            gateway: self.spec.gateway.is_wanted(),
            gpu: application.confinement.gpu,
        });
        let mut process = started.await.map_err(|error| error.to_string())?;
        let _gateway = self.gateway(&mut process);
        let _ports = ports
            .open(&process.door(), line)
            .map_err(|e| e.to_string())?;
        let _console = logs::console(process.take_output(), self.logs());
        self.state.send_replace(ApplicationState::Started);
        if !self.node.is_connected() {
            self.node.line.set(NodeStatus::NotAvailable, None);
        }
        let outcome = tokio::select! {
            end = process.exited() => return Ok(Outcome::Ended(end)),
            () = stop.cancelled() => Outcome::Asked,
            reason = too_much(&mut watch.held) => Outcome::Held(reason),
        };
        process.signal(match outcome {
            Outcome::Asked => Signal::Terminate,
            // It would use the time to write on.
            _ => Signal::Kill,
        });
        if timeout(GRACE, process.exited()).await.is_err() {
            process.signal(Signal::Kill);
            let _ = timeout(GRACE, process.exited()).await;
        }
        Ok(outcome)
    }

    /// Serves the calls of this life. Without a gateway the application runs and reaches nobody.
    fn gateway(&self, process: &mut Process) -> Option<Task> {
        let line = &self.node.line;
        let served = match process.take_gateway() {
            Ok(None) => return None,
            Ok(Some(sockets)) => self.spec.gateway.serve(sockets).map_err(|e| e.to_string()),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = &served {
            tracing::error!(
                instance = %line.instance(), node = %line.node(), reason,
                "the application has no gateway and reaches nobody"
            );
        }
        served.ok()
    }
}

/// How one life of a process ended.
enum Outcome {
    /// It was asked to end, for good.
    Asked,
    /// By itself.
    Ended(End),
    /// It was ended and must not run until its watch says so.
    Held(String),
}

/// Waits for a reason to hold an application.
async fn too_much(held: &mut watch::Receiver<Option<String>>) -> String {
    let reason = held.wait_for(Option::is_some).await.ok();
    match reason.and_then(|reason| reason.clone()) {
        Some(reason) => reason,
        // Without a watch there is nothing to wait for.
        None => std::future::pending().await,
    }
}

/// Code and message of an end that was not asked for.
fn ended(end: End, limits: &Effective) -> (&'static str, String) {
    if end.out_of_memory {
        let limit = limits::human(limits.resources.memory_bytes);
        let message = format!(
            "the application ran out of memory (its limit is {limit}) and is started again; raise \
             limits.memory_bytes of the instance or [limits] memory of the device, or use less"
        );
        return ("memory", message);
    }
    let message = format!("the application {end} and is started again; see console_output");
    ("exited", message)
}

/// Where an instance keeps its files.
pub(crate) fn directory(root: &Path, instance: &str) -> PathBuf {
    root.join("instances").join(instance)
}

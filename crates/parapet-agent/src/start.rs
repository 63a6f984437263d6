//! From the command line to a running appliance, in order.
//!
//! Launcher first (as root, where the agent was started so), then into the state directory, then
//! down to an ordinary user, and only then the run-time with its threads. From there on all paths
//! are relative: the directories above the state directory may be closed to the agent's user.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use parapet_device::confinement::Network;
use parapet_device::{DesiredDocument, DeviceId, Generation};
use parapet_plan::Capacity;
use parapet_sandbox::channel::Channel;
use parapet_sandbox::launcher_process::{
    self, DropError, LauncherProcessError, become_launcher, drop_to, has_users, spawn_launcher,
    stay,
};
use parapet_sandbox::split::{SplitError, connect_launcher};
use parapet_sandbox::zones::{Level, Ports};
use rustix::process::{Resource, getrlimit, setrlimit};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::at_rest::{
    self, Ask, DataError, EncryptError, KeyError, Unlocked, Vault, VaultError, keep, unlock_data,
};
use crate::board::Board;
use crate::camera::certificates::CameraCertificates;
use crate::camera::local::Files;
use crate::camera::place::Places;
use crate::config::Config;
use crate::engine;
use crate::gateway::{OffLimits, Outside};
use crate::inbound::{Certificates, Inbound};
use crate::launcher::{Launcher, StartError};
use crate::ledger::{Ledger, LedgerError};
use crate::link::client::{ClientError, ControlPlane};
use crate::link::enroll::{self, EnrollError};
use crate::link::identity::{Identity, IdentityError};
use crate::link::{Origin, live, session};
use crate::logs::Task;
use crate::sdk::HOLD;
use crate::secrets::{SecretError, Secrets};
use crate::state::{self, LockError};
use crate::status::{self, Reporter};
use crate::storage::Storage;
use crate::store::{AssetError, Store};
use crate::views::Views;

/// Between looks at a desired document on disk.
const LOOK: Duration = Duration::from_millis(200);
/// Applications have this long to end with the agent.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Why the agent does not run, or runs no more.
#[derive(Debug, Error)]
#[error("{step}")]
pub struct AgentError {
    step: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl AgentError {
    fn new(step: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            source: None,
        }
    }

    fn because(
        step: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            step: step.into(),
            source: Some(source.into()),
        }
    }
}

macro_rules! steps {
    ($($error:ty => $step:literal),* $(,)?) => {
        $(impl From<$error> for AgentError {
            fn from(error: $error) -> Self {
                Self::because($step, error)
            }
        })*
    };
}

steps! {
    LauncherProcessError => "start the launcher",
    SplitError => "reach the launcher",
    LockError => "hold the state directory",
    DropError => "give up root",
    StartError => "hear from the launcher",
    DataError => "unlock the state directory",
    EncryptError => "finish the encryption of the state directory",
    KeyError => "open the device key",
    VaultError => "seal the device's keys",
    LedgerError => "open the ledger",
    SecretError => "open the secrets",
    AssetError => "open the store",
    IdentityError => "read the device's identity",
    EnrollError => "enrol the device",
    ClientError => "prepare the link",
}

/// Runs the appliance until it is asked to end (`SIGTERM`, `SIGINT`) or cannot go on.
///
/// To be called before the process has any other thread.
pub fn run(config: Config) -> Result<(), AgentError> {
    let enroll = config.enroll.as_deref().map(read_archive).transpose()?;
    fs::create_dir_all(&config.data)
        .map_err(|e| AgentError::because(format!("make {}", config.data.display()), e))?;
    unlock_and_tell(&config, Ask::Nobody)?;
    // As long as this process lives.
    let _lock = state::hold(&config.data)?;
    // A TPM is root's.
    let vault = keep::open(&config.data, &config.keys, config.device_key.as_deref())?;
    let vault = vault.seen_as(Path::new(keep::DEVICE));
    let (mut child, channel) = if let Some(path) = &config.launcher {
        (None, connect_launcher(path)?)
    } else {
        let (child, channel) = spawn_launcher(&config.launcher_options())?;
        (Some(child), channel)
    };
    std::env::set_current_dir(&config.data)
        .map_err(|e| AgentError::because(format!("enter {}", config.data.display()), e))?;
    settle(&config)?;
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| AgentError::because("start the run-time", e))?;
    let ended = runtime.block_on(appliance(config, channel, enroll, vault));
    // Blocking work that hangs must not keep the agent from ending.
    runtime.shutdown_timeout(Duration::from_secs(2));
    // Its channel is closed: it ends, and with it whatever is left.
    if let Some(child) = &mut child {
        wait_for(child);
    }
    ended
}

/// Unlocks an encrypted state directory, as root, and leaves the device key for an agent that is an
/// ordinary user from the beginning in `config.device_key`. Asks for a passphrase at the terminal
/// where no file has it.
pub fn unlock(config: &Config) -> Result<Unlocked, AgentError> {
    if !rustix::process::geteuid().is_root() {
        return Err(AgentError::new(
            "unlock the state directory: only root can; run it as root",
        ));
    }
    let found = unlock_and_tell(config, Ask::Terminal)?;
    if let Some(file) = &config.device_key {
        make_for_the_agent(config)
            .map_err(|e| AgentError::because(format!("make {}", config.data.display()), e))?;
        at_rest::hand_over(&config.data, &config.keys, file)?;
    }
    Ok(found)
}

/// The state directory of an agent that has not started yet.
fn make_for_the_agent(config: &Config) -> io::Result<()> {
    let user = Some(config.id_base).filter(|base| has_users(*base));
    match fs::DirBuilder::new().mode(0o700).create(&config.data) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Ok(()) => std::os::unix::fs::chown(&config.data, user, user),
        other => other,
    }
}

fn unlock_and_tell(config: &Config, ask: Ask) -> Result<Unlocked, AgentError> {
    let found = unlock_data(&config.data, &config.keys, ask)?;
    if found == Unlocked::Now {
        tracing::info!("the state directory is unlocked");
    }
    if rustix::process::geteuid().is_root() {
        at_rest::tidy_up(&config.data)?;
    }
    Ok(found)
}

/// As many open files as the host allows: each call of an application is two, and one application
/// that holds all its calls must not be the end of another's.
fn raise_descriptors() {
    /// For a dozen applications at their limits.
    const ENOUGH: u64 = 16_384;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(errno) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%errno, "the limit of open files stays as it is");
    }
    let now = getrlimit(Resource::Nofile).current;
    if now.is_some_and(|now| now < ENOUGH) {
        tracing::warn!(
            limit = now,
            "few open files are allowed: many applications with many calls may exhaust them; \
             raise the hard limit (LimitNOFILE) to {ENOUGH}"
        );
    }
}

/// Becomes the launcher of an appliance, at a socket that a service manager left as descriptor 3:
/// the root half of an installation as two services. Returns only on failure.
#[must_use]
pub fn run_launcher(config: &Config) -> AgentError {
    become_launcher(&config.launcher_options()).into()
}

/// Becomes the launcher for the time that loading the zones takes: the unit that is started before
/// ports come up. Returns only on failure.
#[must_use]
pub fn load_zones(config: &Config) -> AgentError {
    launcher_process::become_zones(&config.launcher_options()).into()
}

/// Gives up root, or makes sure that there is none.
fn settle(config: &Config) -> Result<(), AgentError> {
    let is_root = rustix::process::geteuid().is_root();
    if config.launcher.is_some() {
        let (own, agent) = (rustix::process::geteuid().as_raw(), config.id_base);
        if own != agent {
            return Err(AgentError::new(format!(
                "use the launcher of a service as user {own}: start the agent as user and group \
                 {agent}, without further groups"
            )));
        }
        return Ok(stay(agent)?);
    }
    // Root of a container may have no other users: it stays what it is there, and the launcher's
    // sentences about what is missing say so.
    if is_root && has_users(config.id_base) {
        // Whoever started the agent may want it to end with it (`setpriv --pdeathsig`); the kernel
        // forgets that wish with the change of users.
        let wish = rustix::process::parent_process_death_signal()
            .map_err(|e| AgentError::because("ask for the parent's wish", e))?;
        let parent = rustix::process::getppid();
        give_away(Path::new("."), config.id_base)
            .map_err(|e| AgentError::because("give the state directory to the agent's user", e))?;
        drop_to(config.id_base)?;
        rustix::process::set_parent_process_death_signal(wish)
            .map_err(|e| AgentError::because("keep to the parent's wish", e))?;
        if wish.is_some() && rustix::process::getppid() != parent {
            return Err(AgentError::new("go on: who started the agent has ended"));
        }
        return Ok(());
    }
    // As root this is part of giving root up. The launcher is a program of its own and stays as it
    // is: it maps users into its namespace.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|e| AgentError::because("close the memory to debuggers", e))
}

/// Takes what an appliance that does not run has left in the host's network away: its rules, its
/// camera namespace. As root; nothing where there is nothing.
pub fn remove_zones(config: &Config) -> Result<(), AgentError> {
    let launcher = config.libexec.join("parapet-launcher");
    launcher_process::remove_zones(&launcher, &config.run, config.id_base)
        .map_err(|e| AgentError::because("remove the zones", e))
}

fn read_archive(path: &Path) -> Result<Vec<u8>, AgentError> {
    fs::read(path).map_err(|e| AgentError::because(format!("read {}", path.display()), e))
}

fn wait_for(launcher: &mut Child) {
    if let Err(error) = launcher.wait() {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the launcher's end is unknown"
        );
    }
}

/// Makes the agent's user the owner of what an agent that ran as another user has left. Nothing of
/// the applications (`instances/<id>/...`), which belong to users of their own, and no unpacked
/// image, which holds a million files and is readable for everybody.
fn give_away(root: &Path, id: u32) -> io::Result<()> {
    let give = |path: &Path| std::os::unix::fs::lchown(path, Some(id), Some(id));
    give(root)?;
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        give(&entry.path())?;
        let skipped = ["instances", "images"]
            .iter()
            .any(|name| entry.file_name() == *name);
        if !skipped && entry.file_type()?.is_dir() {
            give_tree(&entry.path(), id)?;
        }
    }
    Ok(())
}

fn give_tree(path: &Path, id: u32) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        std::os::unix::fs::lchown(entry.path(), Some(id), Some(id))?;
        if entry.file_type()?.is_dir() {
            give_tree(&entry.path(), id)?;
        }
    }
    Ok(())
}

async fn appliance(
    config: Config,
    channel: Channel,
    enroll: Option<Vec<u8>>,
    vault: Vault,
) -> Result<(), AgentError> {
    let root = PathBuf::from(".");
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|e| AgentError::because("watch for signals", e))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|e| AgentError::because("watch for signals", e))?;
    let (launcher, host) = Launcher::connect(channel).await?;
    for missing in &host.missing {
        tracing::warn!(privileged = host.privileged, "{missing}");
    }
    tracing::info!(by = host.applications, "start of applications");
    tracing::info!(separation = %host.network.separation, "networks of cameras and uplink");
    for missing in &host.network.missing {
        tracing::warn!(separation = %host.network.separation, "{missing}");
    }
    let own_ports = |ports: &Ports| ports.level() == Level::Separated;
    let places = Arc::new(Places {
        on_host: config.loopback_cameras,
        networks: host.camera_networks.clone(),
        separated: config.network.as_ref().is_some_and(own_ports),
    });
    let asked_to_end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let part = Appliance {
        config,
        root,
        launcher: launcher.clone(),
        host,
        places,
        enroll,
        vault,
    };
    let (end, ends) = watch::channel(false);
    let mut work = tokio::spawn(part.run(ends));
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = asked_to_end => {
            tracing::info!("asked to end");
            end.send_replace(true);
            match tokio::time::timeout(END_LIMIT, &mut work).await {
                Ok(ended) => ended,
                Err(_) => return Err(AgentError::new("end in time: an application did not stop")),
            }
        }
        () = launcher.ended() => return Err(AgentError::new("go on: the launcher has ended")),
    };
    ended.map_err(|panic| AgentError::because("go on: a part of the agent failed", panic))?
}

struct Appliance {
    config: Config,
    root: PathBuf,
    launcher: Launcher,
    host: crate::launcher::Host,
    places: Arc<Places>,
    enroll: Option<Vec<u8>>,
    vault: Vault,
}

impl Appliance {
    async fn run(self, mut ends: watch::Receiver<bool>) -> Result<(), AgentError> {
        let Self {
            config,
            root,
            launcher,
            host,
            places,
            enroll,
            vault,
        } = self;
        for file in vault.migrate()? {
            tracing::info!(file, "a private key in a plain file is sealed now");
        }

        let mut server = None;
        let origin = if let Some(file) = &config.desired {
            Origin::File(status::seen_from(&config.data, file))
        } else {
            let plane = Arc::new(ControlPlane::new(identity(enroll, &vault).await?)?);
            server = Some(Arc::clone(&plane));
            Origin::Server(plane)
        };
        let device: Option<DeviceId> = server.as_ref().map(|server| server.device().clone());
        let region = server
            .as_ref()
            .map_or_else(|| config.region.clone(), |s| s.region().to_owned());

        let camera_networks = places.networks.iter().map(|network| Network {
            address: network.address,
            prefix: network.prefix,
        });
        let camera_networks = camera_networks.collect();

        let ledger = Ledger::open(&root.join("ledger"), device.clone())?;
        let secrets = Arc::new(Secrets::open(vault.clone(), origin.clone())?);
        let store = Arc::new(Store::open(&root, origin.clone())?);
        let board = Board::new();
        let views = Views::new();
        let (documents, desired) = watch::channel(ledger.document().cloned());
        let (observed_sender, observed) = watch::channel(ledger.generation());
        let (applied_sender, applied) = watch::channel(Generation(0));
        let known = device.or_else(|| ledger.document().map(|document| document.device.clone()));
        let (device_sender, device) = watch::channel(known);
        let reporter = Arc::new(Reporter {
            board: board.clone(),
            boot_id: boot_id(),
            observed,
            applied,
            device,
            host,
            keys: vault.held_by(),
            encrypted: matches!(
                at_rest::data::policy_of(&root),
                Ok(parapet_sandbox::fscrypt::Policy::Encrypted(_))
            ),
            connected: AtomicBool::new(false),
            seq: AtomicU64::new(0),
        });

        let storage = Storage::default();
        let watched = storage.clone().keep(root.clone(), launcher.clone());
        let _storage: Task = tokio::spawn(watched).into();
        let engine = engine::Context {
            root: root.clone(),
            launcher,
            secrets,
            store,
            board,
            views: views.clone(),
            capacity: Capacity {
                ring_bytes: config.ring_bytes,
                hold: HOLD,
            },
            limits: config.limits,
            storage: storage.clone(),
            outside: Arc::new(Outside {
                hosts: config.applications.hosts,
                off_limits: OffLimits::new(camera_networks),
            }),
            inbound: Arc::new(Inbound::new(
                config.uplink,
                Certificates::new(vault, config.applications.names),
            )),
            region,
            places,
            certificates: Arc::new(CameraCertificates::below(&root)),
            files: Files {
                allowed: config.files,
            },
        };
        let mut engine = tokio::spawn(engine::run(engine, desired, applied_sender));
        let written = Arc::clone(&reporter);
        let _status: Task = tokio::spawn(async move { status::keep(&written, &root).await }).into();

        let inbox = Inbox {
            ledger,
            documents,
            observed: observed_sender,
            device: device_sender,
        };
        let feed = async {
            match (server, origin) {
                (Some(server), _) => {
                    let _live: Task = tokio::spawn(live::run(Arc::clone(&server), views)).into();
                    session::run(server, inbox, reporter).await
                }
                (None, Origin::File(file)) => watch_file(&file, inbox).await,
                (None, Origin::Server(_)) => Ok(()),
            }
        };
        tokio::select! {
            fed = feed => fed?,
            ended = &mut engine => {
                ended.map_err(|panic| AgentError::because("go on: the engine failed", panic))?;
            }
            _ = ends.wait_for(|end| *end) => {}
        }
        // The feed is gone and with it the documents' sender: the engine ends its applications.
        engine
            .await
            .map_err(|panic| AgentError::because("end: the engine failed", panic))
    }
}

/// The identity of an earlier start, or the one that the archive gives.
async fn identity(archive: Option<Vec<u8>>, vault: &Vault) -> Result<Identity, AgentError> {
    if let Some(archive) = archive {
        enroll::enroll(&archive, vault).await?;
    }
    Identity::read(vault)?.ok_or_else(|| {
        AgentError::new(
            "find the device's identity: give the archive of ProvisionDevice with --enroll, or a \
             document with --desired",
        )
    })
}

/// Where new documents go.
pub(crate) struct Inbox {
    pub(crate) ledger: Ledger,
    pub(crate) documents: watch::Sender<Option<DesiredDocument>>,
    pub(crate) observed: watch::Sender<Generation>,
    pub(crate) device: watch::Sender<Option<DeviceId>>,
}

impl Inbox {
    /// Stores a document and hands it on; says in the log why one is refused.
    pub(crate) fn offer(&mut self, bytes: &[u8]) {
        match self.ledger.offer(bytes) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(generation = %self.ledger.generation(), "new desired document");
                let document = self.ledger.document().cloned();
                self.observed.send_replace(self.ledger.generation());
                self.device
                    .send_replace(document.as_ref().map(|d| d.device.clone()));
                self.documents.send_replace(document);
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a desired document is refused"
            ),
        }
    }
}

/// The tool for tests: a document on disk in place of a control plane.
async fn watch_file(path: &Path, mut inbox: Inbox) -> Result<(), AgentError> {
    let mut seen = None;
    let mut told = false;
    loop {
        match fs::metadata(path).and_then(|metadata| Ok((metadata.modified()?, metadata.len()))) {
            Ok(now) if seen == Some(now) => {}
            Ok(now) => match fs::read(path) {
                Ok(bytes) => {
                    told = false;
                    seen = Some(now);
                    inbox.offer(&bytes);
                }
                Err(error) => tell(&mut told, path, &error),
            },
            Err(error) => tell(&mut told, path, &error),
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(told: &mut bool, path: &Path, error: &io::Error) {
    if !std::mem::replace(told, true) {
        tracing::warn!(
            path = %path.display(), error = error as &dyn std::error::Error,
            "no desired document yet"
        );
    }
}

/// Random, so that two starts never share one. Without a random source nothing else works either.
fn boot_id() -> String {
    let mut bytes = [0; 16];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        tracing::error!("no random numbers");
    }
    hex::encode(bytes)
}

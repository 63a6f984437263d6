//! What an application's SDK speaks with (`docs/sdk-protocol.md`).
//!
//! [`wire`] holds the messages, [`session`] one connection with its leases, this file the socket
//! and what all connections of a code node share. A session that misbehaves or vanishes costs
//! nobody else anything: its leases end with it.

#[cfg(test)]
mod fuzz;
mod session;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use parapet_device::NodeName;
use parapet_device::desired::{Input, Output};
use parapet_device::reported::NodeStatus;
use parapet_sandbox::channel::Channel;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::board::Line;
use crate::camera::CameraFrames;
use crate::display::Screen;
use crate::launcher::lock;
use crate::logs::{Lines, Task};
use crate::model::ModelHandle;

/// Frames of one camera that a connection may hold at a time.
pub(crate) const HOLD: u32 = 4;
/// Memory that held frames may take in the application once they are private.
const HOLD_BYTES: u64 = 1 << 30;
/// Connections of a node at a time: the main process, its children, and those of a debugger.
const MOST_SESSIONS: usize = 32;

/// A code node as its sessions see it.
pub(crate) struct Node {
    pub(crate) line: Line,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) cameras: BTreeMap<NodeName, Arc<CameraFrames>>,
    pub(crate) models: BTreeMap<NodeName, ModelHandle>,
    pub(crate) screens: BTreeMap<NodeName, Arc<Screen>>,
    /// Something is new at one of the cameras.
    pub(crate) wake: watch::Sender<u64>,
    pub(crate) connected: AtomicU32,
    /// What its sessions say for the operator.
    pub(crate) said: Mutex<Lines>,
}

impl Node {
    /// Whether a session is open.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed) > 0
    }

    /// Gives on what an SDK says as one line, unless there has been too much of it.
    fn say(&self, message: &str, now: Instant, give: impl FnMut(&str)) {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let mut line: String = message.chars().take(500).map(printable).collect();
        line.push('\n');
        lock(&self.said).feed(line.as_bytes(), now, give);
    }

    /// Whether anybody looks at what the node puts out.
    fn is_watched(&self) -> bool {
        let displays = self.outputs.iter().flat_map(|output| &output.displays);
        displays
            .filter_map(|name| self.screens.get(name))
            .any(|screen| screen.is_watched())
    }
}

/// The right to call the node connected.
struct Presence(Arc<Node>);

impl Presence {
    fn new(node: &Arc<Node>) -> Self {
        node.connected.fetch_add(1, Ordering::Relaxed);
        node.line.running();
        Self(Arc::clone(node))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.0.connected.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.line.set(NodeStatus::NotAvailable, None);
        }
    }
}

/// The socket of a code node. Dropping it ends all sessions.
pub(crate) struct Server {
    _task: Task,
}

impl Server {
    /// Listens at `sdk.sock` in `directory`, which the launcher shows to the application.
    pub(crate) fn open(directory: &Path, node: Arc<Node>) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the listener owns its descriptor"
        )]
        let listener = AsyncFd::new(listen(directory)?)?;
        Ok(Self {
            _task: tokio::spawn(accept(listener, node)).into(),
        })
    }
}

/// Socket addresses hold 108 bytes and instance and node names take more: bind by descriptor.
fn listen(directory: &Path) -> io::Result<OwnedFd> {
    let name = directory.join("sdk.sock");
    match std::fs::remove_file(&name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(directory, flags, Mode::empty())?;
    let address = format!(
        "/proc/self/fd/{}/sdk.sock",
        std::os::fd::AsRawFd::as_raw_fd(&handle)
    );
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(address.as_str())?)?;
    // The directory above is the agent's alone; in its own root the application is another user.
    rustix::fs::chmod(&name, Mode::from_raw_mode(0o666))?;
    rustix::fs::chmod(directory, Mode::from_raw_mode(0o755))?;
    rustix::net::listen(&socket, 16)?;
    Ok(socket)
}

async fn accept(listener: AsyncFd<OwnedFd>, node: Arc<Node>) {
    let mut sessions = JoinSet::new();
    loop {
        let connection = tokio::select! {
            connection = next_connection(&listener) => connection,
            // Keeps the set small.
            Some(_) = sessions.join_next() => continue,
        };
        match connection {
            Ok(fd) if sessions.len() < MOST_SESSIONS => {
                sessions.spawn(session::run(Channel::from_fd(fd), Arc::clone(&node)));
            }
            Ok(_) => tracing::warn!(
                instance = %node.line.instance(), node = %node.line.node(),
                "connection refused: {MOST_SESSIONS} are open"
            ),
            Err(error) => {
                // Out of descriptors, most likely; do not spin.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no connection can be taken"
                );
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    }
}

async fn next_connection(listener: &AsyncFd<OwnedFd>) -> io::Result<OwnedFd> {
    loop {
        let mut guard = listener.readable().await?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(guard.get_inner().as_fd(), flags) {
            Ok(fd) => return Ok(fd),
            Err(rustix::io::Errno::WOULDBLOCK) => guard.clear_ready(),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

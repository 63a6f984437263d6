//! The way in: ports of the appliance that lead to ports of an application (`docs/egress.md`).
//!
//! Listens on the uplink's interfaces only, for as long as the application runs. Who connects is
//! held against the port's source ranges, optionally has to speak TLS ([`certificates`]), and is
//! then connected through a socket that the launcher makes inside the application's network; bytes
//! are copied and never parsed. Owns the listeners; a task for each, which owns its connections.

mod certificates;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parapet_device::confinement::{HOST_PORTS, InboundPort};
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub(crate) use certificates::Certificates;
use certificates::{CertificateError, Tls};

use crate::board::Line;
use crate::launcher::{Door, lock};
use crate::logs::Task;
use crate::rate::Rate;
use crate::relay::{IDLE, relay};

/// Connections of one port, and of one address to it.
const MOST: usize = 128;
const MOST_OF_ONE: usize = 32;
/// Connections taken at one listener.
const RATE: (u32, u32) = (100, 200);
/// For a client's handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// For the application to take a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Clients that wait to be taken.
const BACKLOG: u32 = 64;

/// Why a port cannot be opened. The message goes to the operator as the node's reason.
#[derive(Debug, Error)]
pub(crate) enum InboundError {
    #[error(
        "open port {0}: only {first} to {last} may be opened; choose another in the override",
        first = HOST_PORTS.start(), last = HOST_PORTS.end()
    )]
    Range(u16),
    #[error(
        "open port {port}: another program or application uses it; free it, or choose another \
         host port in the override"
    )]
    InUse { port: u16 },
    #[error("open port {port} at {place}: {source}")]
    Listen {
        port: u16,
        place: String,
        source: io::Error,
    },
    #[error("open port {port}: none of the interfaces of [network] uplink is there")]
    NoUplink { port: u16 },
    #[error("use TLS at port {port}: {source}")]
    Tls { port: u16, source: CertificateError },
}

/// What all inbound ports of the appliance share.
pub(crate) struct Inbound {
    /// Interfaces of the uplink; without any, ports are open on loopback alone: nothing says which
    /// other interface is not the cameras'.
    uplink: Vec<String>,
    certificates: Arc<Certificates>,
}

/// The ports of an application that is about to start: nobody else can have them any more, and
/// nobody can connect yet.
pub(crate) struct Reserved {
    sockets: Vec<(TcpSocket, Arc<Port>)>,
}

struct Port {
    host: u16,
    wanted: InboundPort,
    tls: Option<Tls>,
    places: Arc<Semaphore>,
    clients: Mutex<BTreeMap<IpAddr, usize>>,
    /// One request at a time to the launcher, which serves everybody in turn.
    at_the_door: Semaphore,
}

impl Inbound {
    pub(crate) fn new(uplink: Vec<String>, certificates: Certificates) -> Self {
        Self {
            uplink,
            certificates: Arc::new(certificates),
        }
    }

    /// Takes the ports; all or none.
    pub(crate) fn reserve(&self, ports: &[InboundPort]) -> Result<Reserved, InboundError> {
        let mut sockets = Vec::new();
        for wanted in ports {
            let port = wanted.host;
            if !HOST_PORTS.contains(&port) {
                return Err(InboundError::Range(port));
            }
            let tls = match &wanted.tls {
                None => None,
                Some(tls) => Some(
                    Tls::new(Arc::clone(&self.certificates), tls)
                        .map_err(|source| InboundError::Tls { port, source })?,
                ),
            };
            let shared = Arc::new(Port {
                host: port,
                wanted: wanted.clone(),
                tls,
                places: Arc::new(Semaphore::new(MOST)),
                clients: Mutex::default(),
                at_the_door: Semaphore::new(1),
            });
            let bound = if self.uplink.is_empty() {
                loopback(port)?
            } else {
                self.on_uplink(port)?
            };
            sockets.extend(
                bound
                    .into_iter()
                    .map(|socket| (socket, Arc::clone(&shared))),
            );
        }
        Ok(Reserved { sockets })
    }

    fn on_uplink(&self, port: u16) -> Result<Vec<TcpSocket>, InboundError> {
        let mut bound = Vec::new();
        for interface in &self.uplink {
            match every_address_of(interface, port) {
                Ok(socket) => bound.push(socket),
                // Not plugged in; the next start of the application finds it.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) =>
                {
                    tracing::warn!(interface, port, "an interface of the uplink is not there");
                }
                Err(error) => return Err(failed(port, interface, error)),
            }
        }
        if bound.is_empty() {
            return Err(InboundError::NoUplink { port });
        }
        Ok(bound)
    }
}

fn failed(port: u16, place: &str, source: io::Error) -> InboundError {
    if source.kind() == io::ErrorKind::AddrInUse {
        InboundError::InUse { port }
    } else {
        InboundError::Listen {
            port,
            place: place.to_owned(),
            source,
        }
    }
}

fn loopback(port: u16) -> Result<Vec<TcpSocket>, InboundError> {
    let mut bound = Vec::new();
    for address in [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ] {
        match bind(SocketAddr::new(address, port), None) {
            Ok(socket) => bound.push(socket),
            // A host without IPv6 has no such address.
            Err(error) if address.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(failed(port, &address.to_string(), error)),
        }
    }
    Ok(bound)
}

/// Bound to the interface, not to its addresses: those may change, and a packet that comes in at
/// another interface finds nothing, whatever address it names.
fn every_address_of(interface: &str, port: u16) -> io::Result<TcpSocket> {
    bind((Ipv6Addr::UNSPECIFIED, port).into(), Some(interface)).or_else(|error| {
        match error
            .raw_os_error()
            .map(rustix::io::Errno::from_raw_os_error)
        {
            // A host without IPv6.
            Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL) => {
                bind((Ipv4Addr::UNSPECIFIED, port).into(), Some(interface))
            }
            _ => Err(error),
        }
    })
}

fn bind(address: SocketAddr, interface: Option<&str>) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        let all = address.ip().is_unspecified();
        rustix::net::sockopt::set_ipv6_v6only(&socket, !all)?;
        socket
    };
    // Connections of an application's earlier life may linger. Two that listen exclude each other
    // all the same.
    socket.set_reuseaddr(true)?;
    if let Some(interface) = interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    socket.bind(address)?;
    Ok(socket)
}

impl Reserved {
    /// Opens the ports to an application that runs, until the tasks are dropped.
    pub(crate) fn open(self, door: &Door, line: &Line) -> Result<Vec<Task>, InboundError> {
        let mut tasks = Vec::new();
        for (socket, port) in self.sockets {
            let listener = socket
                .listen(BACKLOG)
                .map_err(|error| failed(port.host, "the uplink", error))?;
            tracing::info!(
                instance = %line.instance(), node = %line.node(), port = port.host,
                container = port.wanted.container, tls = port.tls.is_some(), "port open"
            );
            tasks.push(tokio::spawn(take(listener, port, door.clone(), line.clone())).into());
        }
        Ok(tasks)
    }
}

async fn take(listener: TcpListener, port: Arc<Port>, door: Door, line: Line) {
    let mut rate = Rate::new(RATE.0, RATE.1);
    let mut connections = JoinSet::new();
    let mut told = false;
    loop {
        let next = async {
            let place = Arc::clone(&port.places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            // Keeps the set small.
            Some(_) = connections.join_next() => continue,
        };
        let (Ok(place), Ok((client, from))) = (place, accepted) else {
            // Out of descriptors, most likely; do not spin. The semaphore is never closed.
            sleep(Duration::from_millis(200)).await;
            continue;
        };
        rate.next().await;
        let from = from.ip().to_canonical();
        let Some(presence) = port.admit(from) else {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(
                    instance = %line.instance(), node = %line.node(), port = port.host,
                    client = %from,
                    "connection refused: outside the port's source ranges, or too many of one \
                     address; further ones are not logged"
                );
            }
            refuse(&client);
            continue;
        };
        let (port, door) = (Arc::clone(&port), door.clone());
        connections.spawn(async move {
            let _held = (place, presence);
            if let Err(error) = serve(&port, &door, client).await {
                tracing::debug!(
                    port = port.host, client = %from,
                    error = &error as &dyn std::error::Error, "connection ended"
                );
            }
        });
    }
}

/// A place of one client's share; dropping it gives it back.
struct Presence {
    port: Arc<Port>,
    from: IpAddr,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut clients = lock(&self.port.clients);
        if let Some(count) = clients.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.from);
            }
        }
    }
}

impl Port {
    fn admit(self: &Arc<Self>, from: IpAddr) -> Option<Presence> {
        let sources = &self.wanted.sources;
        if !sources.is_empty() && !sources.iter().any(|network| network.contains(from)) {
            return None;
        }
        let mut clients = lock(&self.clients);
        let count = clients.entry(from).or_default();
        if *count >= MOST_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Presence {
            port: Arc::clone(self),
            from,
        })
    }
}

async fn serve(port: &Port, door: &Door, client: TcpStream) -> io::Result<()> {
    match &port.tls {
        None => {
            // A port that nothing listens at is to look like one.
            let inside = connect(port, door).await.inspect_err(|_| refuse(&client))?;
            relay(client, inside, IDLE).await
        }
        Some(tls) => {
            let acceptor = tls
                .acceptor(client.local_addr()?.ip())
                .map_err(io::Error::other)?;
            let client = timeout(HANDSHAKE_LIMIT, acceptor.accept(client)).await??;
            relay(client, connect(port, door).await?, IDLE).await
        }
    }
}

async fn connect(port: &Port, door: &Door) -> io::Result<TcpStream> {
    let socket = {
        // Closed never.
        let _turn = port.at_the_door.acquire().await;
        door.socket().await.map_err(io::Error::other)?
    };
    let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
    let address = (Ipv4Addr::LOCALHOST, port.wanted.container).into();
    timeout(CONNECT_LIMIT, socket.connect(address)).await?
}

fn refuse(client: &TcpStream) {
    // Else the client sees an end.
    let _ = rustix::net::sockopt::set_socket_linger(client, Some(Duration::ZERO));
}

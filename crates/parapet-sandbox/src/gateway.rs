//! What an application's network namespace holds beyond its loopback interface: two sockets that
//! all its calls end at.
//!
//! The namespace never gets another interface. [`furnish`] turns every TCP connection to outside
//! and every question to a resolver towards these sockets, which the agent answers, and lets
//! nothing else leave (`docs/egress.md`). It is called while the application's first process still
//! waits, so that no program of the application ever runs without the rules. [`Inside`] is the
//! handle by which the launcher has something done inside; it never goes there itself.
//! Nothing here reads what an application wrote.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Ipv4Addr, SocketAddrV4, SocketFlags, SocketType, bind, listen, socket_with,
};
use thiserror::Error;

use crate::channel::{Channel, ChannelError};
use crate::namespace::Namespace;
use crate::programs::{Program, ProgramError};
use crate::spawn::spawn_task;
use crate::{failure, kernel};

/// Where the sockets are, inside: bound before any program runs and not to be shared, so that an
/// application cannot take their place.
pub const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 53), 53);
/// The resolver's file of an application with a gateway.
pub const RESOLV_CONF: &str = "nameserver 127.0.0.53\noptions timeout:2 attempts:2\n";

/// Below the limit of a set-up, which waits for it.
const TASK_LIMIT: Duration = Duration::from_secs(8);
/// Calls that wait for the agent; further ones wait in the application.
const BACKLOG: i32 = 128;

/// The whole of an application's way out. Rates bound the kernel's table of connections, which an
/// application could fill by itself. `-100` comes before the filter, which therefore sees where a
/// call really goes: to [`ADDRESS`], or nowhere.
const RULES: &str = "\
table inet parapet {
  chain turn {
    type nat hook output priority -100; policy accept;
    meta nfproto ipv4 udp dport 53 dnat ip to 127.0.0.53:53
    ip daddr != 127.0.0.0/8 meta l4proto tcp dnat ip to 127.0.0.53:53
  }
  chain out {
    type filter hook output priority 0; policy drop;
    oifname != \"lo\" drop
    ct state invalid drop
    ct state new limit rate over 500/second burst 2000 packets drop
    ip daddr 127.0.0.0/8 accept
    ip6 daddr ::1 accept
    reject with icmpx type admin-prohibited
  }
}
";

/// Why a namespace has no gateway.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// A program is missing, or failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The child that works inside failed.
    #[error("{0}")]
    Child(String),
    /// The namespace cannot be entered.
    #[error("enter the network namespace of a process")]
    Enter(#[source] io::Error),
    /// The loopback interface stays down.
    #[error("bring up the loopback interface")]
    Loopback(#[source] io::Error),
    /// No socket.
    #[error("make a socket in the network namespace of a process")]
    Socket(#[source] io::Error),
}

/// The sockets of a gateway, made inside.
#[derive(Debug)]
pub struct Sockets {
    /// Where names are asked: UDP.
    pub names: OwnedFd,
    /// Where calls arrive, and names are asked by TCP: listening.
    pub calls: OwnedFd,
}

/// The network namespace of a process, which lives as long as this handle.
#[derive(Debug)]
pub struct Inside(Namespace);

impl Inside {
    /// Of the process with this ID, as the caller sees it. To be asked for while the process is
    /// known to be the one that was meant, such as between its making and its program.
    pub fn of(pid: u32) -> Result<Self, GatewayError> {
        Namespace::of(pid).map(Self).map_err(GatewayError::Enter)
    }

    /// A TCP socket inside, not connected, for the agent to reach a port of the application by.
    pub fn socket(&self) -> Result<OwnedFd, GatewayError> {
        let [socket] = self.within(|| Ok([tcp().map_err(GatewayError::Socket)?]))?;
        Ok(socket)
    }

    /// Has a child do `work` inside and hand over what it makes. A child, because there is no way
    /// back for a launcher without root, and none that could be forgotten for one with root.
    fn within<const N: usize>(
        &self,
        work: impl FnOnce() -> Result<[OwnedFd; N], GatewayError>,
    ) -> Result<[OwnedFd; N], GatewayError> {
        let channel = |error: ChannelError| GatewayError::Child(failure::with_causes(&error));
        let (ours, theirs) = Channel::pair().map_err(channel)?;
        let inside = || {
            self.0.enter().map_err(GatewayError::Enter)?;
            let made = work()?;
            theirs
                .send(&(), &[], &made.each_ref().map(AsFd::as_fd))
                .map_err(channel)
        };
        let (child, mut report) =
            spawn_task(move || inside().map_err(|error| failure::with_causes(&error)))
                .map_err(|error| GatewayError::Child(error.to_string()))?;
        let in_time = readable_in_time(&ours, TASK_LIMIT);
        let packet = match in_time {
            Ok(true) => ours.recv::<()>().map_err(channel),
            Ok(false) => Err(GatewayError::Child("it does not end".to_owned())),
            Err(error) => Err(GatewayError::Child(error.to_string())),
        };
        child.destroy();
        if let Some(packet) = packet? {
            return packet
                .fds
                .try_into()
                .map_err(|_| GatewayError::Child("its sockets got lost".to_owned()));
        }
        let mut message = String::new();
        match report.read_to_string(&mut message) {
            Ok(1..) => Err(GatewayError::Child(message)),
            _ => Err(GatewayError::Child("it ended without a word".to_owned())),
        }
    }
}

/// Whether this host has what a gateway needs; the reason where it lacks something.
pub fn programs() -> Result<(), GatewayError> {
    Program::ip()?;
    Program::nft()?;
    Ok(())
}

/// Gives the namespace its rules and its sockets. To be called once, before any program runs in it.
pub fn furnish(inside: &Inside) -> Result<Sockets, GatewayError> {
    let (ip, nft) = (Program::ip()?, Program::nft()?);
    let [names, calls] = inside.within(|| {
        kernel::raise_loopback().map_err(GatewayError::Loopback)?;
        // The rules first: without a route nothing could leave either.
        nft.run("load the rules of a gateway (nft)", &["-f", "-"], RULES)?;
        // Calls need a way to begin on; where they go is the rules' business. There is no such way
        // for IPv6: programs fall back to IPv4 at once, and no name has an IPv6 address here.
        let way = ["route", "add", "default", "dev", "lo", "src", "127.0.0.1"];
        ip.run("make a gateway's route (ip)", &way, "")?;
        sockets().map_err(GatewayError::Socket)
    })?;
    Ok(Sockets { names, calls })
}

fn sockets() -> io::Result<[OwnedFd; 2]> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let names = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    bind(&names, &ADDRESS)?;
    let calls = tcp()?;
    bind(&calls, &ADDRESS)?;
    listen(&calls, BACKLOG)?;
    Ok([names, calls])
}

fn tcp() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

fn readable_in_time(fd: impl AsFd, limit: Duration) -> io::Result<bool> {
    let limit = Timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)) {
            Ok(ready) => return Ok(ready != 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

//! Launcher and agent as two services: how they meet, and how each knows the other.
//!
//! A service manager listens at a packet socket, starts the launcher as root when somebody calls,
//! and starts the agent as the ordinary user that it is for its whole life: there is no moment at
//! which the agent is root. The launcher serves one agent and ends with it; the manager starts it
//! again for the next. See `docs/hardening.md`.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, connect, socket_with,
};
use thiserror::Error;

use crate::channel::Channel;

/// Why the two do not meet.
#[derive(Debug, Error)]
pub enum SplitError {
    /// The listening socket gives nobody.
    #[error("accept the agent")]
    Accept(#[source] std::io::Error),
    /// Nobody listens, or this user may not call.
    #[error(
        "call the launcher at {path}: start parapet-launcher.socket, and give the socket to user \
         {user}, who calls",
        path = path.display()
    )]
    Connect {
        /// Where.
        path: PathBuf,
        /// Who calls.
        user: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody listens who would learn of everything and could answer anything.
    #[error(
        "trust the launcher at {path}: user {user} listens there, neither root nor this one",
        path = path.display()
    )]
    Stranger {
        /// Where.
        path: PathBuf,
        /// Who listens.
        user: u32,
    },
}

/// Waits for the agent at a listening packet socket and takes no further caller: whoever comes
/// meanwhile is the next launcher's. The agent is user `id_base`; others are put out.
pub fn accept_agent(listening: OwnedFd, id_base: u32) -> Result<Channel, SplitError> {
    loop {
        let caller = match accept_with(&listening, SocketFlags::CLOEXEC) {
            Ok(caller) => caller,
            Err(Errno::INTR | Errno::CONNABORTED | Errno::AGAIN) => {
                wait(&listening)?;
                continue;
            }
            Err(errno) => return Err(SplitError::Accept(errno.into())),
        };
        // Who called `connect`, told by the kernel: nobody can pass for another.
        let user = socket_peercred(&caller)
            .map_err(|errno| SplitError::Accept(errno.into()))?
            .uid
            .as_raw();
        if user == id_base {
            drop(listening);
            return Ok(Channel::from_fd(caller));
        }
        eprintln!("parapet-launcher: user {user} is put out: the agent is user {id_base}");
    }
}

/// Until somebody calls: a service manager may have made its socket non-blocking.
fn wait(listening: &OwnedFd) -> Result<(), SplitError> {
    use rustix::event::{PollFd, PollFlags, poll};
    match poll(&mut [PollFd::new(listening, PollFlags::IN)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(SplitError::Accept(errno.into())),
    }
}

/// Calls the launcher that is to be had at `path`. What comes back is as from
/// [`crate::launcher_process::spawn_launcher`].
pub fn connect_launcher(path: &Path) -> Result<Channel, SplitError> {
    let own = rustix::process::geteuid().as_raw();
    let failed = |errno: Errno| SplitError::Connect {
        path: path.to_owned(),
        user: own,
        source: errno.into(),
    };
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed)?;
    connect(&socket, &address).map_err(failed)?;
    // Who called `listen`: the service manager, or whoever serves this user.
    let user = socket_peercred(&socket).map_err(failed)?.uid.as_raw();
    if user != 0 && user != own {
        return Err(SplitError::Stranger {
            path: path.to_owned(),
            user,
        });
    }
    Ok(Channel::from_fd(socket))
}

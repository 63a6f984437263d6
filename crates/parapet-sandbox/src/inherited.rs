//! How a started process finds the channel that its starter left it as descriptor 3.
//!
//! Every worker calls [`channel`] first thing in `main`, the launcher [`door`]. They alone turn a
//! number into an owned descriptor, so that those programs can forbid `unsafe`.

#![expect(
    unsafe_code,
    reason = "a descriptor inherited by number has no other way to an owner"
)]

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::FdFlags;
use rustix::net::SocketType;
use thiserror::Error;

use crate::channel::Channel;
use crate::launcher_process::CHANNEL_FD;

/// Why there is no channel.
#[derive(Debug, Error)]
pub enum InheritedError {
    /// Nothing, or no packet socket, is at descriptor 3: the program was started by hand.
    #[error(
        "find a packet socket at descriptor {CHANNEL_FD}: this program is started by parapet, not by hand"
    )]
    NoChannel,
    /// The second call: the channel has its owner already.
    #[error("take the channel at descriptor {CHANNEL_FD} a second time")]
    Taken,
}

/// Takes over the channel at descriptor 3. Once per process, before descriptors are opened.
pub fn channel() -> Result<Channel, InheritedError> {
    take().map(Channel::from_fd)
}

/// What the launcher's starter left it.
#[derive(Debug)]
pub enum Door {
    /// The agent is at the other end.
    Agent(Channel),
    /// An agent is still to come: a service manager listens for it.
    Listening(OwnedFd),
}

/// Takes over the channel at descriptor 3, or the socket at which one is to be accepted. Once per
/// process, before descriptors are opened.
pub fn door() -> Result<Door, InheritedError> {
    let fd = take()?;
    let listens =
        rustix::net::sockopt::socket_acceptconn(&fd).map_err(|_| InheritedError::NoChannel)?;
    Ok(if listens {
        Door::Listening(fd)
    } else {
        Door::Agent(Channel::from_fd(fd))
    })
}

fn take() -> Result<OwnedFd, InheritedError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(InheritedError::Taken);
    }
    // SAFETY: nothing but closed descriptors is misused by borrowing a number for two questions;
    // a closed one answers EBADF, which ends here.
    let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(CHANNEL_FD) };
    match rustix::net::sockopt::socket_type(fd) {
        Ok(SocketType::SEQPACKET) => {}
        _ => return Err(InheritedError::NoChannel),
    }
    rustix::io::fcntl_setfd(fd, FdFlags::CLOEXEC).map_err(|_| InheritedError::NoChannel)?;
    // SAFETY: the descriptor is open (it answered above) and was left for this call by whoever
    // started the process: the standard library opens none before `main`, and `TAKEN` lets only
    // one caller become its owner.
    Ok(unsafe { OwnedFd::from_raw_fd(CHANNEL_FD) })
}

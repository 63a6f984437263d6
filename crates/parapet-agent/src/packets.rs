//! A [`Channel`] that waits without blocking a thread.
//!
//! Owns nothing but the registration with the run-time. One task may send while another receives.

use std::os::fd::BorrowedFd;

use parapet_sandbox::channel::{Channel, ChannelError, Packet};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;

/// One end of a packet socket within the run-time.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    fd: AsyncFd<Channel>,
}

impl PacketSocket {
    /// Registers a channel; from now on it does not block.
    pub(crate) fn new(channel: Channel) -> Result<Self, ChannelError> {
        channel.set_nonblocking()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; a channel owns its descriptor"
        )]
        let fd = AsyncFd::new(channel).map_err(ChannelError::Socket)?;
        Ok(Self { fd })
    }

    /// Sends one packet, waiting until the peer takes it.
    pub(crate) async fn send<T: Serialize>(
        &self,
        header: &T,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        loop {
            let mut guard = self.fd.writable().await.map_err(ChannelError::Socket)?;
            match guard.get_inner().send(header, payload, fds) {
                Err(e) if e.would_block() => guard.clear_ready(),
                sent => return sent,
            }
        }
    }

    /// Receives one packet, or `None` at the end of the peer.
    pub(crate) async fn recv<T: DeserializeOwned>(
        &self,
    ) -> Result<Option<Packet<T>>, ChannelError> {
        loop {
            let mut guard = self.fd.readable().await.map_err(ChannelError::Socket)?;
            match guard.get_inner().recv() {
                Err(e) if e.would_block() => guard.clear_ready(),
                received => return received,
            }
        }
    }
}

//! One packet socket for every conversation on the appliance: launcher, workers, models, SDK.
//!
//! A packet of a `SOCK_SEQPACKET` socket is: four bytes of header length (little endian), a JSON
//! header, the payload. Descriptors travel as `SCM_RIGHTS` of the same packet. Packets keep their
//! borders, so a reader never loses its place, and a descriptor never leaves its message.
//! What a packet may hold is bounded here; what a header may say is the business of its type.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Longest payload of one packet; longer data is sent in parts by its type.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Longest JSON header.
pub const MAX_HEADER: usize = 32 * 1024;
/// Most descriptors in one packet.
pub const MAX_FDS: usize = 4;

const LENGTH: usize = 4;

/// What can go wrong with a packet.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The socket failed; `WouldBlock` on a non-blocking socket.
    #[error("use the socket")]
    Socket(#[source] std::io::Error),
    /// A packet to be sent exceeds [`MAX_HEADER`], [`MAX_PAYLOAD`] or [`MAX_FDS`].
    #[error("send a packet of {header} bytes of header, {payload} of payload, {fds} descriptors")]
    TooLarge {
        /// Bytes of JSON.
        header: usize,
        /// Bytes after it.
        payload: usize,
        /// Descriptors.
        fds: usize,
    },
    /// The peer sent a packet that is cut, or shorter than it claims.
    #[error("read a packet: it is cut off")]
    Truncated,
    /// The peer's header is not the JSON expected here.
    #[error("read a packet's header")]
    Header(#[source] serde_json::Error),
}

impl ChannelError {
    /// Whether a non-blocking socket only asks to wait.
    #[must_use]
    pub fn would_block(&self) -> bool {
        matches!(self, Self::Socket(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    }
}

impl From<Errno> for ChannelError {
    fn from(errno: Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// A packet as received.
#[derive(Debug)]
pub struct Packet<T> {
    /// The parsed header.
    pub header: T,
    /// The bytes after it.
    pub payload: Vec<u8>,
    /// Descriptors, owned by the receiver, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// One end of a packet socket.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

impl Channel {
    /// Two connected ends, close-on-exec, blocking.
    pub fn pair() -> Result<(Self, Self), ChannelError> {
        let (a, b) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self { fd: a }, Self { fd: b }))
    }

    /// Takes over a connected packet socket.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Gives the descriptor back.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Makes `send` and `recv` return `WouldBlock` instead of waiting.
    pub fn set_nonblocking(&self) -> Result<(), ChannelError> {
        Ok(rustix::io::ioctl_fionbio(&self.fd, true)?)
    }

    /// Sends one packet: whole or not at all.
    pub fn send<T: Serialize>(
        &self,
        header: &T,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let json = serde_json::to_vec(header).map_err(ChannelError::Header)?;
        if json.len() > MAX_HEADER || payload.len() > MAX_PAYLOAD || fds.len() > MAX_FDS {
            return Err(ChannelError::TooLarge {
                header: json.len(),
                payload: payload.len(),
                fds: fds.len(),
            });
        }
        let length = (json.len() as u32).to_le_bytes();
        let parts = [
            IoSlice::new(&length),
            IoSlice::new(&json),
            IoSlice::new(payload),
        ];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(ChannelError::TooLarge {
                header: 0,
                payload: 0,
                fds: fds.len(),
            });
        }
        loop {
            match sendmsg(&self.fd, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Receives one packet, or `None` when the peer has closed its end.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<Option<Packet<T>>, ChannelError> {
        let mut bytes = vec![0; LENGTH + MAX_HEADER + MAX_PAYLOAD];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(
                &self.fd,
                &mut parts,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                // A peer that died with unread packets resets the socket: the same as its end.
                Err(Errno::CONNRESET) => return Ok(None),
                Err(errno) => return Err(errno.into()),
                Ok(received) => break received,
            }
        };
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            return Err(ChannelError::Truncated);
        }
        bytes.truncate(received.bytes);
        let (length, rest) = bytes
            .split_first_chunk::<LENGTH>()
            .ok_or(ChannelError::Truncated)?;
        let length = u32::from_le_bytes(*length) as usize;
        let json = rest.get(..length).ok_or(ChannelError::Truncated)?;
        let header = serde_json::from_slice(json).map_err(ChannelError::Header)?;
        let payload = rest[length..].to_vec();
        Ok(Some(Packet {
            header,
            payload,
            fds,
        }))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

    #[test]
    fn a_packet_keeps_header_payload_and_descriptor_together() -> Result {
        let (a, b) = Channel::pair()?;
        let (mut reader, writer) = std::io::pipe()?;
        a.send(&("hello", 7), b"pixels", &[writer.as_fd()])?;
        drop(writer);
        let packet = b.recv::<(String, u32)>()?.ok_or("no packet")?;
        assert_eq!(packet.header, ("hello".to_owned(), 7));
        assert_eq!(packet.payload, b"pixels");
        let passed = packet.fds.into_iter().next().ok_or("no descriptor")?;
        std::fs::File::from(passed).write_all(b"x")?;
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        assert_eq!(text, "x");
        Ok(())
    }

    #[test]
    fn the_end_of_the_peer_is_no_error() -> Result {
        let (a, b) = Channel::pair()?;
        drop(a);
        assert!(b.recv::<()>()?.is_none());
        Ok(())
    }

    #[test]
    fn the_largest_packet_passes_and_a_larger_one_is_refused() -> Result {
        let (a, b) = Channel::pair()?;
        a.send(&(), &vec![7; MAX_PAYLOAD], &[])?;
        assert_eq!(
            b.recv::<()>()?.ok_or("no packet")?.payload.len(),
            MAX_PAYLOAD
        );
        let refused = a.send(&(), &vec![7; MAX_PAYLOAD + 1], &[]);
        assert!(matches!(refused, Err(ChannelError::TooLarge { .. })));
        Ok(())
    }

    #[test]
    fn a_header_longer_than_its_packet_is_refused() -> Result {
        let (a, b) = Channel::pair()?;
        rustix::io::write(&a, &[255, 0, 0, 0, b'{'])?;
        assert!(matches!(b.recv::<()>(), Err(ChannelError::Truncated)));
        Ok(())
    }
}

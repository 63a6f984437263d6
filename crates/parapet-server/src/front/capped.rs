//! A socket from which only so many bytes are read until it has earned more.
//!
//! Before the end of its handshake a peer is anybody: what it may make this server read and hold is
//! bounded here, below TLS, whatever lengths its records claim.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module.
#[derive(Debug)]
pub(super) struct Capped<S> {
    inner: S,
    /// Bytes that may still be read; `None`: any number.
    left: Option<usize>,
}

impl<S> Capped<S> {
    pub(super) fn new(inner: S, bytes: usize) -> Self {
        Self {
            inner,
            left: Some(bytes),
        }
    }

    /// Lets it send so many bytes more.
    pub(super) fn allow(&mut self, bytes: usize) {
        self.left = Some(bytes);
    }

    /// Lets it send what it likes.
    pub(super) fn lift(&mut self) {
        self.left = None;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Capped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(left) = self.left else {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        };
        if left == 0 {
            let error = io::Error::other("more bytes than a handshake has");
            return Poll::Ready(Err(error));
        }
        let space = buf.initialize_unfilled_to(left.min(buf.remaining()));
        let mut part = ReadBuf::new(space);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        self.left = Some(left - read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Capped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn no_more_is_read_than_allowed() {
        let sent = [7; 10];
        let mut capped = Capped::new(&sent[..], 4);
        let mut read = [0; 8];
        assert_eq!(capped.read(&mut read).await.expect("four bytes"), 4);
        assert!(capped.read(&mut read).await.is_err());
        capped.allow(1);
        assert_eq!(capped.read(&mut read).await.expect("one byte"), 1);
        capped.lift();
        assert_eq!(capped.read(&mut read).await.expect("the rest"), 5);
        assert_eq!(capped.read(&mut read).await.expect("the end"), 0);
    }
}

//! Bytes from one connection to another and back, within bounds of time and memory.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep};

/// Held of each direction.
const BUFFER: usize = 16 * 1024;

/// How long nothing may pass in either direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// While both ends may send.
    pub(crate) open: Duration,
    /// Once one of them has sent its last.
    pub(crate) half_open: Duration,
}

/// Ordinary conversations: longer than the time-outs of routers on the way.
pub(crate) const IDLE: Idle = Idle {
    open: Duration::from_mins(15),
    half_open: Duration::from_mins(5),
};

/// Copies until both directions have ended, one fails, or nothing has passed for too long. The end
/// of one direction is passed on, and the other goes on.
pub(crate) async fn relay(
    one: impl AsyncRead + AsyncWrite,
    other: impl AsyncRead + AsyncWrite,
    idle: Idle,
) -> io::Result<()> {
    let (read_one, write_one) = split(one);
    let (read_other, write_other) = split(other);
    let activity = Activity::new();
    let both = async {
        tokio::try_join!(
            pump(read_one, write_other, &activity),
            pump(read_other, write_one, &activity),
        )
    };
    tokio::select! {
        ended = both => ended.map(|_| ()),
        () = activity.is_idle(idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    activity: &Activity,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        activity.now();
        if length == 0 {
            activity.ended.fetch_add(1, Ordering::Relaxed);
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        activity.now();
    }
}

struct Activity {
    begin: Instant,
    last_ms: AtomicU64,
    ended: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            last_ms: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    fn now(&self) {
        let now = self.begin.elapsed().as_millis() as u64;
        self.last_ms.store(now, Ordering::Relaxed);
    }

    async fn is_idle(&self, idle: Idle) {
        loop {
            let limit = match self.ended.load(Ordering::Relaxed) {
                0 => idle.open,
                _ => idle.half_open,
            };
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let rest = (last + limit).saturating_sub(self.begin.elapsed());
            if rest.is_zero() {
                return;
            }
            // Looked at in between: the limit changes when a direction ends.
            sleep(rest.min(idle.half_open)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn the_end_of_one_direction_leaves_the_other_open() {
        let (mut near, left) = duplex(64);
        let (right, mut far) = duplex(64);
        let copying = tokio::spawn(relay(left, right, IDLE));
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut text = String::new();
        far.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        far.write_all(b"answer").await.unwrap();
        drop(far);
        text.clear();
        near.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
        copying.await.unwrap().unwrap();
    }

    /// Both limits far apart, so that a test can tell which one it was.
    const SHORT: Idle = Idle {
        open: Duration::from_millis(600),
        half_open: Duration::from_millis(60),
    };

    #[tokio::test]
    async fn silence_ends_a_conversation_sooner_once_a_side_has_ended() {
        for ended in [false, true] {
            let (mut near, left) = duplex(64);
            let (right, _far) = duplex(64);
            if ended {
                near.shutdown().await.unwrap();
            }
            let begin = Instant::now();
            let outcome = relay(left, right, SHORT).await;
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
            let took = begin.elapsed();
            let least = if ended { SHORT.half_open } else { SHORT.open };
            assert!(took >= least, "{took:?}");
            assert_eq!(took < SHORT.open, ended, "{took:?}");
        }
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_silence() {
        let (mut near, left) = duplex(64);
        let (right, _far) = duplex(64);
        let copying = tokio::spawn(relay(left, right, SHORT));
        let _ = near.write_all(&vec![7; 1_000_000]).await;
        let outcome = copying.await.unwrap();
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

//! The conversation with the agent (`parapet_media::protocol`) and the endless tries to read the
//! camera.
//!
//! One thread, three futures that are polled together: requests are read, the camera is read,
//! and what waits in the outbox is sent. None waits for another, so a busy agent never slows
//! the camera down and a dead camera never delays a request.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parapet_media::protocol::{Hello, IngestEvent, IngestRequest};
use parapet_sandbox::channel::{Channel, ChannelError};
use thiserror::Error;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_rustls::rustls::crypto::CryptoProvider;

use crate::backoff::Backoff;
use crate::dialogue::{self, Ended};
use crate::file;
use crate::sink::Sink;
use crate::source::Source;

/// Why the worker ends.
#[derive(Debug, Error)]
pub(crate) enum WorkerError {
    /// The agent is gone in the middle of a packet, or sent what is none.
    #[error("talk to the agent")]
    Channel(#[from] ChannelError),
    /// The agent sent no file to play.
    #[error("play a file: none came with the request")]
    NoFile,
    /// The channel cannot be waited for.
    #[error("wait for the agent")]
    Wait(#[from] std::io::Error),
}

/// What to read.
enum Reading {
    Camera(Source),
    File(File),
}

/// Serves the agent until it closes the channel.
pub(crate) async fn run(
    channel: Channel,
    provider: Arc<CryptoProvider>,
) -> Result<(), WorkerError> {
    channel.send(
        &Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        &[],
        &[],
    )?;
    channel.set_nonblocking()?;
    #[expect(
        deprecated,
        reason = "what `register` makes its caller promise holds: a channel owns its descriptor and keeps it"
    )]
    let link = AsyncFd::new(channel)?;
    let sink = Sink::default();
    let retry = Notify::new();
    let mut reading = None;
    loop {
        let next = {
            let camera = read(reading.as_ref(), &sink, &retry);
            tokio::pin!(camera);
            loop {
                let received = tokio::select! {
                    biased;
                    received = receive(&link) => received?,
                    sent = send_all(&link, &sink) => match sent? {},
                    never = &mut camera => match never {},
                };
                let Some((request, mut descriptors)) = received else {
                    return Ok(());
                };
                match request {
                    IngestRequest::Open {
                        url,
                        address,
                        credentials,
                        tls,
                    } => {
                        break Reading::Camera(Source {
                            url,
                            address,
                            credentials,
                            tls: tls.map(Cell::new),
                            provider: Arc::clone(&provider),
                        });
                    }
                    IngestRequest::Play => {
                        let file = descriptors.pop().ok_or(WorkerError::NoFile)?;
                        break Reading::File(File::from(file));
                    }
                    // Heard only by a wait: while a try is under way or pictures come, there is
                    // nothing to do.
                    IngestRequest::Retry => retry.notify_waiters(),
                }
            }
        };
        reading = Some(next);
    }
}

async fn receive(
    link: &AsyncFd<Channel>,
) -> Result<Option<(IngestRequest, Vec<OwnedFd>)>, WorkerError> {
    loop {
        let mut ready = link.readable().await?;
        match link.get_ref().recv::<IngestRequest>() {
            Err(error) if error.would_block() => ready.clear_ready(),
            received => return Ok(received?.map(|packet| (packet.header, packet.fds))),
        }
    }
}

async fn send_all(link: &AsyncFd<Channel>, sink: &Sink) -> Result<Infallible, WorkerError> {
    loop {
        let Some(packet) = sink.outbox.borrow().first() else {
            sink.wake.notified().await;
            continue;
        };
        match link.get_ref().send(&packet.header, &packet.payload, &[]) {
            Ok(()) => sink.outbox.borrow_mut().sent(),
            Err(error) if error.would_block() => link.writable().await?.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tries for ever; after a lasting fault only when asked.
async fn read(reading: Option<&Reading>, sink: &Sink, retry: &Notify) -> Infallible {
    let Some(reading) = reading else {
        return std::future::pending().await;
    };
    let mut backoff = Backoff::new();
    loop {
        let ended = match reading {
            Reading::Camera(source) => dialogue::run(source, sink).await,
            Reading::File(file) => Ended {
                fault: file::run(file, sink).await,
                played: false,
            },
        };
        if ended.played {
            backoff.reset();
        }
        let wait = (!ended.fault.last).then(|| backoff.next(random()));
        sink.outbox.borrow_mut().event(IngestEvent::Failed {
            code: ended.fault.code,
            message: ended.fault.message,
            retry_ms: wait.map(|wait| wait.as_millis() as u64),
        });
        sink.wake.notify_one();
        let waited = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = waited => {}
            () = retry.notified() => backoff.reset(),
        }
    }
}

/// Only for jitter, so a host without randomness gets none.
fn random() -> u32 {
    let mut bytes = [0; 4];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(4) => u32::from_ne_bytes(bytes),
        _ => 0,
    }
}

/// Longest the run-time may take to end its background tasks.
pub(crate) const SHUTDOWN_LIMIT: Duration = Duration::from_millis(200);

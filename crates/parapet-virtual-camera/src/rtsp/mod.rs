//! The RTSP 1.0 server: TCP only, one description, any number of viewers.
//!
//! Tasks: one that accepts, and one a client (`session`), all owned by the accepting one and ended
//! with it. The camera's state that they share is read-only but for the fault and the beginning of
//! a clip, which are watched values.

mod auth;
mod request;
mod sdp;
mod session;
mod source;

pub use auth::{AuthScheme, Credentials};
pub(crate) use source::Source;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::fault::Fault;
use crate::units::{AccessUnit, ParameterSets};

/// Clients at a time; more wait.
const MOST_CLIENTS: usize = 256;
/// A client speaks TLS within this.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A clip begins this much after it was asked for, so that every session hears of it in time.
const CLIP_LEAD_US: u64 = 100_000;

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Camera {
    name: String,
    url: String,
    credentials: Option<Credentials>,
    nonce: String,
    parameter_sets: ParameterSets,
    source: Source,
    pub(crate) fault: watch::Sender<Fault>,
    /// When the clip's first picture is shown, microseconds since the epoch.
    pub(crate) epoch: watch::Sender<Option<u64>>,
    /// Sessions that play.
    pub(crate) playing: watch::Sender<usize>,
    random: AtomicU64,
}

/// A session that plays, while it lives.
#[derive(Debug)]
struct Counted(watch::Sender<usize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Camera {
    /// A camera; `random` makes its nonce and its sessions' numbers.
    pub(crate) fn new(
        name: String,
        url: String,
        credentials: Option<Credentials>,
        (source, parameter_sets): (Source, ParameterSets),
        fault: Fault,
        random: [u64; 2],
    ) -> Self {
        Self {
            name,
            url,
            credentials,
            nonce: format!("{:016x}", random[0]),
            parameter_sets,
            source,
            fault: watch::Sender::new(fault),
            epoch: watch::Sender::new(None),
            playing: watch::Sender::new(0),
            random: AtomicU64::new(random[1]),
        }
    }

    /// Begins the clip as soon as a session plays, and says when its first picture is shown. Asked
    /// twice, it says the same again.
    pub(crate) async fn start_clip(&self) -> u64 {
        let mut playing = self.playing.subscribe();
        // The sender lives in `self`, so the wait ends only by its condition.
        let _ = playing.wait_for(|count| *count > 0).await;
        let mut begin_us = wall_us() + CLIP_LEAD_US;
        self.epoch.send_if_modified(|epoch| {
            begin_us = *epoch.get_or_insert(begin_us);
            true
        });
        begin_us
    }

    /// How long the clip lasts; a loop has no end.
    pub(crate) fn clip_length_us(&self) -> Option<u64> {
        match &self.source {
            Source::Clip(clip) => Some(clip.length_us),
            Source::Loop { .. } => None,
        }
    }

    fn is_named_by(&self, uri: &str) -> bool {
        let after_scheme = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        let path = after_scheme.split_once('/').map_or("", |(_, path)| path);
        let path = path.strip_suffix("/trackID=0").unwrap_or(path);
        path.trim_end_matches('/') == self.name || uri == "*"
    }

    fn challenge(&self) -> String {
        self.credentials
            .as_ref()
            .map(|c| c.challenge(&self.nonce))
            .unwrap_or_default()
    }

    fn count(&self) -> Counted {
        self.playing.send_modify(|count| *count += 1);
        Counted(self.playing.clone())
    }

    /// A number that no other session of this camera has soon.
    fn number(&self) -> u32 {
        let step = self
            .random
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        (step.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32) as u32
    }

    /// Bytes without meaning.
    fn noise(&self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number() as u8).collect()
    }

    /// A picture of the same shape whose contents mean nothing.
    fn noise_like(&self, unit: &AccessUnit) -> AccessUnit {
        let nals = unit.nals.iter().map(|nal| {
            let mut noise = self.noise(nal.len());
            if let (Some(to), Some(from)) = (noise.first_mut(), nal.first()) {
                *to = *from;
            }
            Bytes::from(noise)
        });
        AccessUnit {
            nals: nals.collect(),
            is_key: unit.is_key,
        }
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(camera: Arc<Camera>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let places = Arc::new(Semaphore::new(MOST_CLIENTS));
    let mut sessions = JoinSet::new();
    loop {
        // The semaphore is never closed; without a place nobody is accepted.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    let camera = Arc::clone(&camera);
                    let tls = tls.clone();
                    sessions.spawn(async move {
                        // How a client's connection ends is the client's concern.
                        let _ = greet(camera, socket, tls).await;
                        drop(place);
                    });
                }
                // Out of descriptors or memory: try again when that may have changed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = sessions.join_next() => {}
        }
    }
}

async fn greet(camera: Arc<Camera>, socket: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<()> {
    // Small packets are sent at once: a picture's end must not wait for the next picture.
    socket.set_nodelay(true)?;
    let Some(tls) = tls else {
        return session::serve(camera, socket).await;
    };
    let spoken = timeout(HANDSHAKE_LIMIT, tls.accept(socket)).await??;
    session::serve(camera, spoken).await
}

/// Microseconds since the epoch.
pub(crate) fn wall_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

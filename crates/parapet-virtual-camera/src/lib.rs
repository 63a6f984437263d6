//! A camera to develop against without one.
//!
//! [`VirtualCamera`] serves H.264 over RTSP: either a synthetic street scene whose truth is known
//! frame by frame ([`Truth`]), drawn and encoded once and then kept in a cache, or a clip from a
//! file as it is. [`Fault`]s let a test see what others make of a camera that misbehaves.
//!
//! The picture shown at wall time `t` is a pure function of `t`: a loop's picture number is
//! `floor(t * fps) mod N` and it was taken at `k / fps`, so that whoever has a time stamp can look
//! up what the picture shows, even after every process has been restarted.

#![forbid(unsafe_code)]

mod cache;
mod encode;
mod fault;
mod file;
mod rtp;
mod rtsp;
mod scene;
mod tls;
mod truth;
mod units;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use cache::{CacheError, files as cached_files};
pub use encode::EncodeError;
pub use fault::{Fault, UnknownFault};
pub use file::ClipError;
pub use rtsp::{AuthScheme, Credentials};
pub use scene::{LABELS, Scene, SceneError, SceneParameters, YuvPicture};
pub use tls::TlsError;
pub use truth::{Truth, TruthBox, TruthError};

use file::Clip;
use rtsp::{Camera, Source};

/// What a camera shows.
#[derive(Debug, Clone)]
pub enum Picture {
    /// A synthetic scene, kept in a directory once it has been made.
    Scene {
        /// Which scene.
        of: SceneParameters,
        /// Where clips and truths are kept.
        cache: PathBuf,
    },
    /// A clip from a file, played once when [`VirtualCamera::start_clip`] is called.
    File(PathBuf),
}

/// How a camera is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The path of its URL: letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Who may watch; everybody without.
    pub credentials: Option<Credentials>,
    /// What it shows.
    pub picture: Picture,
    /// Speaks RTSP in TLS (`rtsps`), with the key and certificate of this file (PEM), which are made
    /// where there is none.
    pub tls: Option<PathBuf>,
    /// What it does wrong from the start.
    pub fault: Fault,
}

/// Why a camera could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The name does not fit into a URL.
    #[error("name a camera {0:?}: 1 to 128 letters, digits, '-', '_' and '.'")]
    Name(String),
    /// The scene could not be made.
    #[error("make the scene")]
    Scene(#[source] CacheError),
    /// The clip could not be read.
    #[error("read the clip")]
    Clip(#[source] ClipError),
    /// The clip that was made has no parameter sets.
    #[error("find parameter sets in what the encoder made; empty the cache and try again")]
    NoParameterSets,
    /// The address cannot be used.
    #[error("listen at {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It cannot speak TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no randomness to give.
    #[error("get random numbers from the system")]
    Random(#[source] io::Error),
    /// The thread that draws ended early.
    #[error("draw the scene: its thread has ended")]
    Thread(#[source] tokio::task::JoinError),
}

/// A camera that runs until it is dropped.
#[derive(Debug)]
pub struct VirtualCamera {
    camera: Arc<Camera>,
    url: String,
    truth: Option<(PathBuf, Arc<Truth>)>,
    server: JoinHandle<()>,
}

impl VirtualCamera {
    /// Makes what is missing (seconds, on a thread of its own) and listens.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options {
            listen,
            name,
            credentials,
            picture,
            tls,
            fault,
        } = options;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) {
            return Err(StartError::Name(name.chars().take(128).collect()));
        }
        let opened = tokio::task::spawn_blocking(move || open(picture));
        let (source, truth) = opened.await.map_err(StartError::Thread)??;
        let sets = source.parameter_sets().ok_or(StartError::NoParameterSets)?;
        let failed = |source| StartError::Listen {
            address: listen,
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tls = tls.map(|file| tls::acceptor(&file)).transpose()?;
        let scheme = if tls.is_some() { "rtsps" } else { "rtsp" };
        let url = format!("{scheme}://{address}/{name}");
        let random = random()?;
        let camera = Camera::new(
            name,
            url.clone(),
            credentials,
            (source, sets),
            fault,
            random,
        );
        let camera = Arc::new(camera);
        let server = tokio::spawn(rtsp::serve(Arc::clone(&camera), listener, tls));
        Ok(Self {
            camera,
            url,
            truth,
            server,
        })
    }

    /// Where it can be watched; without credentials.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it shows, where that is known.
    #[must_use]
    pub fn truth(&self) -> Option<&Truth> {
        self.truth.as_ref().map(|(_, truth)| truth.as_ref())
    }

    /// The file that says what it shows, where that is known.
    #[must_use]
    pub fn truth_file(&self) -> Option<&Path> {
        self.truth.as_ref().map(|(file, _)| file.as_path())
    }

    /// Lets it misbehave, or stop that, from now on and in every session.
    pub fn set_fault(&self, fault: Fault) {
        self.camera.fault.send_replace(fault);
    }

    /// How many sessions play at the moment.
    #[must_use]
    pub fn playing(&self) -> usize {
        *self.camera.playing.borrow()
    }

    /// Begins the clip as soon as somebody plays, and gives the wall time of its first picture in
    /// microseconds since the epoch. Asked again it gives the same time.
    pub async fn start_clip(&self) -> u64 {
        self.camera.start_clip().await
    }

    /// Waits until the clip that began at `epoch_us` is over; a scene never is.
    pub async fn clip_over(&self, epoch_us: u64) {
        let Some(length_us) = self.camera.clip_length_us() else {
            return std::future::pending().await;
        };
        while let left @ 1.. = (epoch_us + length_us).saturating_sub(rtsp::wall_us()) {
            tokio::time::sleep(Duration::from_micros(left)).await;
        }
    }
}

impl Drop for VirtualCamera {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Makes a scene's clip and truth in `directory` unless they are there, and gives both files.
pub fn render(of: SceneParameters, directory: &Path) -> Result<[PathBuf; 2], CacheError> {
    cache::load_or_make(directory, of).map(|_| cached_files(directory, of))
}

type Opened = (Source, Option<(PathBuf, Arc<Truth>)>);

fn open(picture: Picture) -> Result<Opened, StartError> {
    match picture {
        Picture::Scene { of, cache } => {
            let mut made = cache::load_or_make(&cache, of).map_err(StartError::Scene)?;
            let truth = std::mem::replace(
                &mut made.truth,
                Truth {
                    width: of.width,
                    height: of.height,
                    fps: of.fps,
                    frames: Vec::new(),
                },
            );
            let file = made.truth_file.clone();
            Ok((Source::of_loop(made), Some((file, Arc::new(truth)))))
        }
        Picture::File(path) => Ok((
            Source::Clip(Clip::open(&path).map_err(StartError::Clip)?),
            None,
        )),
    }
}

fn random() -> Result<[u64; 2], StartError> {
    let mut bytes = [0_u8; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    // Up to 256 bytes are given whole or not at all.
    got.map_err(|error| StartError::Random(error.into()))?;
    let number = u128::from_ne_bytes(bytes);
    Ok([number as u64, (number >> 64) as u64])
}

//! Checkpoints on their way out of the server.
//!
//! A task a destination, owned by [`super::checkpoints`]. Each knows the newest checkpoint alone:
//! one covers all before it, so what could not be sent is replaced by what came later, and nothing
//! queues. A failure is logged and tried again, ever more rarely. No caller waits for any of this.

mod otlp;
mod syslog;

use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::checkpoint::Checkpoint;
use super::settings::{AuditSettings, Syslog};

use otlp::Otlp;

/// For one attempt.
const ATTEMPT: Duration = Duration::from_secs(10);
/// After the first failure.
const RETRY: Duration = Duration::from_secs(1);
/// Between two attempts, at most.
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// A checkpoint with its line.
#[derive(Debug)]
pub(super) struct Signed {
    pub checkpoint: Checkpoint,
    pub line: String,
}

/// The newest checkpoint; `None` before the first.
pub(super) type Newest = watch::Receiver<Option<Arc<Signed>>>;

/// Why a checkpoint did not arrive.
#[derive(Debug, Error)]
pub enum ExportError {
    /// A file or socket.
    #[error("send a checkpoint")]
    Io(#[from] io::Error),
    /// HTTP.
    #[error("send a checkpoint to the OTLP collector")]
    Http(#[from] reqwest::Error),
    /// TLS cannot be set up.
    #[error("set up TLS to the OTLP collector")]
    Tls(#[from] rustls::Error),
    /// The file of `otlp_ca`.
    #[error("read the certificates of otlp_ca")]
    Certificates(#[from] rustls_pki_types::pem::Error),
    /// The collector does not want it.
    #[error("send a checkpoint to the OTLP collector: it answered {0}")]
    Answer(u16),
    /// It took too long.
    #[error("send a checkpoint within {} s", ATTEMPT.as_secs())]
    Slow,
}

/// Where checkpoints go.
pub(super) enum Destination {
    File(PathBuf),
    Syslog(Syslog),
    Otlp(Otlp),
}

impl Destination {
    /// All that the settings name.
    pub(super) fn of(settings: &AuditSettings) -> Result<Vec<Self>, ExportError> {
        let mut all = Vec::new();
        all.extend(settings.checkpoint_file.clone().map(Self::File));
        all.extend(settings.syslog.clone().map(Self::Syslog));
        if let Some(url) = &settings.otlp {
            all.push(Self::Otlp(Otlp::new(url, settings.otlp_ca.as_deref())?));
        }
        Ok(all)
    }

    async fn send(&self, signed: &Arc<Signed>) -> Result<(), ExportError> {
        match self {
            Self::File(path) => {
                let (path, signed) = (path.clone(), Arc::clone(signed));
                tokio::task::spawn_blocking(move || append(&path, &signed.line))
                    .await
                    .map_err(io::Error::other)??;
                Ok(())
            }
            Self::Syslog(receiver) => Ok(syslog::send(receiver, signed).await?),
            Self::Otlp(collector) => collector.send(signed).await,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Syslog(Syslog::Unix(path)) => write!(f, "syslog:{}", path.display()),
            Self::Syslog(Syslog::Udp(address)) => write!(f, "syslog:udp:{address}"),
            Self::Syslog(Syslog::Tcp(address)) => write!(f, "syslog:tcp:{address}"),
            Self::Otlp(collector) => write!(f, "otlp:{collector}"),
        }
    }
}

/// Sends the newest checkpoint until no more can come; `sent` hears of each that arrived.
pub(super) async fn run(
    destination: Destination,
    mut newest: Newest,
    sent: impl Fn(&Signed, &Destination),
) {
    let mut retry = RETRY;
    while newest.changed().await.is_ok() {
        loop {
            let Some(signed) = newest.borrow_and_update().clone() else {
                break;
            };
            let attempt = timeout(ATTEMPT, destination.send(&signed)).await;
            match attempt.unwrap_or(Err(ExportError::Slow)) {
                Ok(()) => {
                    retry = RETRY;
                    sent(&signed, &destination);
                    break;
                }
                Err(error) => say(&destination, &signed, &error, retry),
            }
            tokio::select! {
                () = sleep(retry) => {}
                changed = newest.changed() => if changed.is_err() {
                    return;
                },
            }
            retry = (retry * 2).min(LONGEST_RETRY);
        }
    }
}

fn say(destination: &Destination, signed: &Signed, error: &ExportError, retry: Duration) {
    tracing::warn!(
        %destination,
        sequence = signed.checkpoint.head.sequence,
        error = error as &dyn std::error::Error,
        retry_s = retry.as_secs(),
        "a checkpoint of the audit trail did not arrive; trying again"
    );
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)?;
    // One write: lines of two servers do not mix.
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}

#[cfg(test)]
mod tests;

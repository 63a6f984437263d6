//! Notices that the operator's certificate files have changed, and has them read again.
//!
//! [`watch`] is one task: it looks at the files every two seconds and listens for SIGHUP; it writes
//! nothing but the certificate in use and the log. By looking instead of by inotify, because the
//! files are often links into a directory that is replaced as a whole.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::operator_certificate::{OperatorCertificate, Stamp};
use crate::front::listener::told;
use crate::store::Micros;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

type Stamps = [Option<Stamp>; 2];

/// When files that are written one after the other are whole: they have changed, and between two
/// looks they have not.
#[derive(Debug)]
struct Settling<S> {
    read: S,
    seen: S,
}

impl<S: PartialEq + Copy> Settling<S> {
    fn new(read: S) -> Self {
        Self { read, seen: read }
    }

    /// Whether to read the files, which look like this now.
    fn look(&mut self, now: S) -> bool {
        let settled = now == self.seen;
        self.seen = now;
        let news = settled && now != self.read;
        if news {
            self.read = now;
        }
        news
    }
}

/// Reads the files again when they have changed and on SIGHUP, until the shutdown is told.
pub(crate) async fn watch(
    certificate: Arc<OperatorCertificate>,
    mut shutdown: watch::Receiver<bool>,
) {
    // Without the signal there are still the looks.
    let mut hangup = signal(SignalKind::hangup()).ok();
    // Not from a look of now: files that were replaced since they were read would stay unread.
    let mut settling = Settling::new(certificate.stamps());
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = looks.tick() => false,
            () = received(&mut hangup) => true,
            () = told(&mut shutdown) => return,
        };
        let now = stamps(&certificate).await;
        if settling.look(now) || asked {
            reload(&certificate).await;
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

async fn stamps(certificate: &Arc<OperatorCertificate>) -> Stamps {
    let certificate = Arc::clone(certificate);
    tokio::task::spawn_blocking(move || certificate.files().stamps())
        .await
        // Only at the end of the run time.
        .unwrap_or([None; 2])
}

async fn reload(certificate: &Arc<OperatorCertificate>) {
    let reloaded = Arc::clone(certificate);
    let outcome = tokio::task::spawn_blocking(move || reloaded.reload(Micros::now())).await;
    match outcome {
        Ok(Ok(())) => {
            let until = certificate.not_after();
            tracing::info!(until, "the API has a new TLS certificate");
        }
        Ok(Err(fault)) => {
            let error = &fault as &dyn std::error::Error;
            tracing::error!(
                error,
                "kept the old TLS certificate of the API: failed to take the new one"
            );
        }
        Err(error) => tracing::error!(%error, "kept the old TLS certificate of the API"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::identity::CertificateFiles;

    #[test]
    fn files_that_are_replaced_before_the_first_look_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = CertificateFiles {
            certificate: dir.path().join("tls.pem"),
            key: dir.path().join("tls.key"),
            ca_bundle: None,
        };
        let install = || {
            let names = vec!["localhost".to_owned()];
            let pair = rcgen::generate_simple_self_signed(names).expect("a certificate");
            std::fs::write(&files.certificate, pair.cert.pem()).expect("a file");
            let key = dir.path().join("new.key");
            std::fs::write(&key, pair.signing_key.serialize_pem()).expect("a file");
            std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("a mode");
            std::fs::rename(&key, &files.key).expect("a rename");
        };
        install();
        let loaded = OperatorCertificate::load(files.clone(), Micros::now()).expect("good");
        install();
        let mut settling = Settling::new(loaded.stamps());
        assert!(!settling.look(files.stamps()), "they may still be written");
        assert!(settling.look(files.stamps()));
    }

    #[test]
    fn files_are_read_once_after_they_have_come_to_rest() {
        let mut settling = Settling::new((1, 1));
        let looks = [
            // Nothing new.
            ((1, 1), false),
            // The certificate is written, then the key.
            ((2, 1), false),
            ((2, 2), false),
            ((2, 2), true),
            ((2, 2), false),
            // Taken back at once.
            ((3, 2), false),
            ((2, 2), false),
            ((2, 2), false),
        ];
        for (step, (now, read)) in looks.into_iter().enumerate() {
            assert_eq!(settling.look(now), read, "step {step}");
        }
    }
}

//! The device's standing conversation with the control plane.
//!
//! Two loops side by side: one asks for the desired document and gives each to the inbox, one
//! hands in reports, at each change and every ten seconds, and renews the certificate. Neither
//! waits for the other, and a control plane that is away delays nothing on the device.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parapet_device::PROTOCOL_VERSION;
use parapet_device::desired::DesiredDocument;

use super::client::{Answer, ControlPlane};
use crate::backoff::Backoff;
use crate::start::{AgentError, Inbox};
use crate::status::Reporter;

/// A report at least so often.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Changes within this time go into one report.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// After an answer that more asking does not change.
const REST: Duration = Duration::from_secs(30);

/// Runs until it is dropped.
pub(crate) async fn run(
    server: Arc<ControlPlane>,
    inbox: Inbox,
    reporter: Arc<Reporter>,
) -> Result<(), AgentError> {
    tokio::join!(
        receive(&server, inbox, &reporter),
        report(&server, &reporter)
    );
    Ok(())
}

async fn receive(server: &ControlPlane, mut inbox: Inbox, reporter: &Reporter) {
    let mut backoff = Backoff::for_network();
    loop {
        match server.desired(inbox.ledger.generation()).await {
            Ok(answer) => {
                reporter.connected.store(true, Ordering::Relaxed);
                backoff.reset();
                match answer {
                    Answer::Nothing => {}
                    Answer::Document(bytes) => {
                        let before = inbox.ledger.generation();
                        inbox.offer(&bytes);
                        if inbox.ledger.generation() == before {
                            // Refused: asking at once brings the same again.
                            tokio::time::sleep(REST).await;
                        }
                    }
                    Answer::Behind => {
                        tracing::error!(
                            generation = %inbox.ledger.generation(),
                            "the control plane has an older document than this device: \
                             it was restored from a backup; the device goes on with its own"
                        );
                        tokio::time::sleep(REST).await;
                    }
                    Answer::Deleted => {
                        tracing::error!("this device is deleted: its applications end");
                        inbox.documents.send_replace(Some(DesiredDocument {
                            version: PROTOCOL_VERSION,
                            device: server.device().clone(),
                            generation: inbox.ledger.generation(),
                            instances: Vec::new(),
                        }));
                        tokio::time::sleep(REST).await;
                    }
                }
            }
            Err(error) => {
                reporter.connected.store(false, Ordering::Relaxed);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the control plane does not answer"
                );
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

async fn report(server: &ControlPlane, reporter: &Reporter) {
    let mut changes = reporter.changes();
    let mut backoff = Backoff::for_network();
    loop {
        match server.report(&reporter.report()).await {
            Ok(()) => {
                reporter.connected.store(true, Ordering::Relaxed);
                backoff.reset();
                renew(server).await;
                reporter.change(&mut changes, REPORT_EVERY).await;
                tokio::time::sleep(DEBOUNCE).await;
            }
            Err(error) => {
                reporter.connected.store(false, Ordering::Relaxed);
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the report is handed in later"
                );
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

async fn renew(server: &ControlPlane) {
    match server.learn_authorities().await {
        Ok(false) => {}
        Ok(true) => tracing::info!("the device trusts other authorities of the control plane"),
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "other authorities of the control plane are learned later"
        ),
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    match server
        .renew_if_due(i64::try_from(now).unwrap_or(i64::MAX))
        .await
    {
        Ok(false) => {}
        Ok(true) => tracing::info!("the device's certificate is renewed"),
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the device's certificate is renewed later"
        ),
    }
}

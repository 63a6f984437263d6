//! The task that signs where the trail stands, every so many records and minutes.
//!
//! One task, owned by [`super::Audit`], which owns the tasks of [`super::export`]. It looks at the
//! trail's head once a second, signs it when it is due, stores the checkpoint beside the trail,
//! writes it to the server's own log (which a service manager keeps elsewhere), and hands it to the
//! destinations. At the end it signs once more.
//!
//! That a checkpoint arrived somewhere is a record itself; such records alone make no new
//! checkpoint, or an idle server would make them for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::chain::Head;
use super::checkpoint::SigningKey;
use super::event::Event;
use super::export::{self, Destination, Signed};
use super::record::Place;
use super::recorder::{Queue, Work};
use super::settings::AuditSettings;
use crate::front::listener::told;
use crate::store::{self, Micros, Store, StoreError};

/// How often the head is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// For the last checkpoint to arrive when the server ends.
const LAST: Duration = Duration::from_secs(3);

/// What the task needs.
pub(super) struct Checkpoints {
    pub store: Store,
    pub place: Arc<Place>,
    pub queue: Queue,
    pub key: SigningKey,
    pub settings: AuditSettings,
    pub destinations: Vec<Destination>,
}

impl Checkpoints {
    /// Until `stop` is told; then once more.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let (newest, _) = watch::channel(None);
        // Records of arrivals since the last checkpoint.
        let own = Arc::new(AtomicI64::new(0));
        let mut exports = JoinSet::new();
        for destination in self.destinations {
            let (queue, place) = (self.queue.clone(), Arc::clone(&self.place));
            let own = Arc::clone(&own);
            let sent = move |signed: &Signed, destination: &Destination| {
                own.fetch_add(1, Ordering::Relaxed);
                let event = Event::CheckpointExported {
                    sequence: signed.checkpoint.head.sequence,
                    hash: &signed.checkpoint.head.hash.to_string(),
                    destination: &destination.to_string(),
                };
                queue.push(Work::record(event.record(&place, Micros::now())));
            };
            exports.spawn(export::run(destination, newest.subscribe(), sent));
        }
        let maker = Maker {
            store: self.store,
            place: self.place,
            key: self.key,
        };
        let mut last = maker.last().await;
        let mut made = Instant::now();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_over = false;
        while !is_over {
            tokio::select! {
                _ = ticks.tick() => {}
                () = told(&mut stop) => is_over = true,
            }
            let Some(head) = maker.head().await else {
                continue;
            };
            let new = head.sequence - last - own.load(Ordering::Relaxed);
            let enough = i64::from(self.settings.checkpoint_records);
            let is_due = new >= enough || made.elapsed() >= self.settings.interval() || is_over;
            if new > 0
                && is_due
                && let Some(signed) = maker.make(head).await
            {
                last = head.sequence;
                made = Instant::now();
                own.store(0, Ordering::Relaxed);
                newest.send_replace(Some(Arc::new(signed)));
            }
        }
        drop(newest);
        let arrived = timeout(LAST, async { while exports.join_next().await.is_some() {} });
        if arrived.await.is_err() {
            tracing::warn!(
                "the last checkpoint of the audit trail did not arrive everywhere in time"
            );
            exports.shutdown().await;
        }
    }
}

struct Maker {
    store: Store,
    place: Arc<Place>,
    key: SigningKey,
}

impl Maker {
    /// Number of the last stored checkpoint.
    async fn last(&self) -> i64 {
        let last = self.store.read(store::audit::last_checkpoint).await;
        last.unwrap_or_else(|error| {
            say(&error);
            0
        })
    }

    async fn head(&self) -> Option<Head> {
        match self.store.read(store::audit::head).await {
            Ok(head) => head,
            Err(error) => {
                say(&error);
                None
            }
        }
    }

    async fn make(&self, head: Head) -> Option<Signed> {
        let checkpoint = self.key.sign(&self.place.account, head, Micros::now());
        let line = match checkpoint.to_line() {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "could not write a checkpoint of the audit trail");
                return None;
            }
        };
        let stored = line.clone();
        let kept = self
            .store
            .write(move |tx| store::audit::insert_checkpoint(tx, head.sequence, &stored))
            .await;
        if let Err(error) = kept {
            // It is exported all the same: what is outside counts.
            say(&error);
        }
        tracing::info!(checkpoint = line, "signed where the audit trail stands");
        Some(Signed { checkpoint, line })
    }
}

fn say(error: &StoreError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "could not look after the audit trail's checkpoints");
}

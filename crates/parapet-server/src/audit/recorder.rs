//! The queue of records that no transaction carries, and the task that commits them in groups.
//!
//! One task, owned by [`super::Audit`]: it takes what waits (bounded), commits it as one write of
//! the store, and ends each interval of [`super::flood`]. It never gives a record up: while the store
//! fails it tries again, the queue fills, and callers are refused ([`super::Unrecorded`]).
//!
//! When the queue is full: a call waits up to [`PATIENCE`] and is then refused, since an answer
//! without its record would be the thing an audit trail must not allow; a record that nobody can
//! wait for (a caller that went away, the end of a viewing) is counted, and the count is recorded
//! as `RecordsLost` as soon as there is a place.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::flood::{self, Flood, Repeated, Source, Summary};
use super::record::{Place, Record};
use crate::front::listener::told;
use crate::store::{self, Micros, Store, StoreError, Tx};

/// Records that wait, at most; each is about 1 kB, 20 kB at worst.
const QUEUE: usize = 2_048;
/// Records behind one commit, at most.
const GROUP: usize = 256;
/// How long a call waits for a place.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long the first record of a group waits for more: bounds the commits that reads cause.
const LINGER: Duration = Duration::from_millis(10);
/// Between two attempts while the store fails.
const RETRY: Duration = Duration::from_secs(1);
/// Attempts while the server ends.
const LAST: u32 = 3;

/// Something for the trail.
pub(super) struct Work {
    record: Record,
    /// Where it may already be.
    appended: Option<i64>,
}

impl Work {
    pub(super) fn record(record: Record) -> Self {
        Self {
            record,
            appended: None,
        }
    }

    /// A record that was appended there, in a transaction whose end nobody saw.
    pub(super) fn confirm(record: Record, sequence: i64) -> Self {
        Self {
            record,
            appended: Some(sequence),
        }
    }
}

/// The way into the trail for what no transaction carries; clones share it.
#[derive(Clone)]
pub(super) struct Queue {
    works: mpsc::Sender<Work>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lost: AtomicU64,
    flood: Mutex<Flood>,
}

impl Queue {
    /// A queue, and what its task needs.
    pub(super) fn new() -> (Self, Receiver) {
        let (works, received) = mpsc::channel(QUEUE);
        let shared = Arc::<Shared>::default();
        let receiver = Receiver {
            works: received,
            shared: Arc::clone(&shared),
        };
        (Self { works, shared }, receiver)
    }

    /// Waits for a place; whether there was one in time.
    pub(super) async fn send(&self, work: Work) -> bool {
        match timeout(PATIENCE, self.works.reserve()).await {
            Ok(Ok(place)) => {
                place.send(work);
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Without waiting; counts what finds no place.
    pub(super) fn push(&self, work: Work) {
        if let Err(unsent) = self.works.try_send(work) {
            let work = match unsent {
                mpsc::error::TrySendError::Full(work) | mpsc::error::TrySendError::Closed(work) => {
                    work
                }
            };
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                event = work.record.event_name,
                request_id = work.record.request_id,
                "a record found no place in the queue of the audit trail; it is counted"
            );
        }
    }

    /// A refusal that anybody can cause: recorded by itself or counted, never waited for.
    pub(super) fn refused(&self, source: &Source, now: Micros, record: impl FnOnce() -> Record) {
        let mut flood = self.shared.flood();
        if flood.note(source.clone(), now) && self.works.try_send(Work::record(record())).is_err() {
            flood.recount(source, now);
        }
    }
}

impl Shared {
    fn flood(&self) -> std::sync::MutexGuard<'_, Flood> {
        self.flood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other end of a [`Queue`].
pub(super) struct Receiver {
    works: mpsc::Receiver<Work>,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Commits what arrives until `stop` is told or all senders are gone; then what is left.
    pub(super) async fn run(mut self, store: Store, place: Place, mut stop: watch::Receiver<bool>) {
        let mut interval = interval_at(Instant::now() + flood::INTERVAL, flood::INTERVAL);
        let mut group = Vec::with_capacity(GROUP);
        loop {
            tokio::select! {
                received = self.works.recv_many(&mut group, GROUP) => {
                    if received == 0 {
                        break;
                    }
                    if received < GROUP {
                        self.linger(&mut group).await;
                    }
                    commit(&store, &place, &self.shared, &stop, &mut group).await;
                }
                _ = interval.tick() => {
                    group.extend(self.summaries(&place));
                    commit(&store, &place, &self.shared, &stop, &mut group).await;
                }
                () = told(&mut stop) => self.works.close(),
            }
        }
        group.extend(self.summaries(&place));
        commit(&store, &place, &self.shared, &stop, &mut group).await;
    }

    async fn linger(&mut self, group: &mut Vec<Work>) {
        let until = Instant::now() + LINGER;
        while group.len() < GROUP {
            let room = GROUP - group.len();
            let more = self.works.recv_many(group, room);
            match tokio::time::timeout_at(until, more).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn summaries(&self, place: &Place) -> Vec<Work> {
        let Summary { repeated, others } = self.shared.flood().end();
        let now = Micros::now();
        let told = |source: Option<&Source>, counted: &Repeated| {
            let name = source.map_or("RepeatedRefusals", |source| source.kind.repeated());
            let mut record = Record::new(place, now, "parapet.amazonaws.com", name);
            if let Some(source) = source {
                record.source_ip_address = source.address.to_string();
                record.user_identity = super::UserIdentity::unknown(
                    Some(source.subject.as_str()).filter(|subject| !subject.is_empty()),
                );
            }
            record.request_parameters = json!({
                "count": counted.count,
                "firstMicros": counted.first.0,
                "lastMicros": counted.last.0,
            });
            Work::record(record)
        };
        repeated
            .iter()
            .map(|(source, counted)| told(Some(source), counted))
            .chain(others.iter().map(|counted| told(None, counted)))
            .collect()
    }
}

/// Writes a group; returns when it is durable, and leaves `group` empty. Gives up only when the
/// store is closed, or fails again and again while the server ends; then the log says so.
async fn commit(
    store: &Store,
    place: &Place,
    shared: &Shared,
    stop: &watch::Receiver<bool>,
    group: &mut Vec<Work>,
) {
    let lost = shared.lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let mut record = Record::new(place, Micros::now(), "parapet.amazonaws.com", "RecordsLost");
        record.request_parameters = json!({ "count": lost });
        group.push(Work::record(record));
    }
    if group.is_empty() {
        return;
    }
    let works = Arc::new(std::mem::take(group));
    let mut attempts = 0;
    loop {
        let batch = Arc::clone(&works);
        let Err(error) = store.write(move |tx| write(tx, &batch)).await else {
            return;
        };
        attempts += 1;
        let is_last = matches!(error, StoreError::Closed) || (*stop.borrow() && attempts >= LAST);
        say(&error, works.len(), is_last);
        if is_last {
            return;
        }
        sleep(RETRY).await;
    }
}

fn say(error: &StoreError, records: usize, is_last: bool) {
    let error = error as &dyn std::error::Error;
    if is_last {
        tracing::error!(error, records, "lost records of the audit trail");
    } else {
        tracing::error!(
            error,
            records,
            "could not write the audit trail; trying again"
        );
    }
}

fn write(tx: &Tx<'_>, works: &[Work]) -> Result<(), StoreError> {
    for work in works {
        let is_there = match work.appended {
            Some(sequence) => store::audit::holds(tx, sequence, &work.record.event_id)?,
            None => false,
        };
        if !is_there {
            super::append(tx, &work.record)?;
        }
    }
    Ok(())
}

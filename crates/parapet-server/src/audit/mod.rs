//! The audit trail: one line for each call and each event that security rests on, chained so that
//! no line can be changed, removed or slipped in unseen (`docs/audit.md`).
//!
//! [`record`] is the shape, [`draft`] the record of a call in the making, [`chain`] and
//! [`checkpoint`] what makes it hold, [`mask`] what keeps secrets out. A change and its record are
//! one transaction ([`Audit::write`]); everything else goes through a bounded queue
//! ([`recorder`]) whose task commits in groups. Refusals that anybody can cause are counted
//! ([`flood`]). Nothing here decides whether a call is allowed, and nothing is ever dropped in
//! silence.
//!
//! Tasks, owned by [`Audit`] and ended by [`Audit::stop`]: the recorder (reads the queue, writes the
//! trail), and [`checkpoints`] (reads the trail's head, writes checkpoints) with a task for each
//! destination ([`export`]).

pub mod chain;
pub mod checkpoint;
mod checkpoints;
pub mod draft;
mod event;
mod export;
mod flood;
pub mod identity;
pub(crate) mod key;
pub mod mask;
pub mod offline;
pub mod record;
mod recorder;
pub mod search;
pub mod settings;
pub mod verify;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::store::{self, Micros, Scope, Store, StoreError, Tx};

pub use checkpoint::SigningKey;
pub use draft::{Access, Draft, Opening};
pub use event::Event;
pub use export::ExportError;
pub use flood::Refused;
pub use identity::UserIdentity;
pub use key::KeyError;
pub use record::Record;
pub use settings::AuditSettings;

use chain::Head;
use checkpoints::Checkpoints;
use export::Destination;
use record::Place;
use recorder::{Queue, Work};

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it was asked.
    Success,
    /// With an error.
    Failure {
        /// The error's name, as the caller got it: `AccessDeniedException`.
        code: String,
        /// The error's text, as the caller got it.
        message: String,
    },
}

impl Outcome {
    /// An error.
    #[must_use]
    pub fn failure(code: &str, message: &str) -> Self {
        Self::Failure {
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    fn apply(&self, record: &mut Record) {
        if let Self::Failure { code, message } = self {
            record.failed(code, message);
        }
    }
}

/// The trail cannot take a record now, so the call must not be answered as if it could: 503.
#[derive(Debug, Error)]
#[error("record the call in the audit trail: it does not keep up; try again later")]
pub struct Unrecorded;

/// The way into the trail. Clones share it.
#[derive(Clone)]
pub struct Audit {
    store: Store,
    place: Arc<Place>,
    queue: Queue,
    task: Arc<Task>,
}

struct Task {
    stop: watch::Sender<bool>,
    recorder: Mutex<Option<JoinHandle<()>>>,
    stop_checkpoints: watch::Sender<bool>,
    checkpoints: Mutex<Option<JoinHandle<()>>>,
}

impl Audit {
    /// Starts the recorder's task; needs a run time.
    #[must_use]
    pub fn start(store: Store, scope: &Scope) -> Self {
        let place = Place {
            account: scope.account.clone(),
            region: scope.region.clone(),
        };
        let (queue, receiver) = Queue::new();
        let (stop, stopped) = watch::channel(false);
        let recorder = tokio::spawn(receiver.run(store.clone(), place.clone(), stopped));
        Self {
            store,
            place: Arc::new(place),
            queue,
            task: Arc::new(Task {
                stop,
                recorder: Mutex::new(Some(recorder)),
                stop_checkpoints: watch::channel(false).0,
                checkpoints: Mutex::new(None),
            }),
        }
    }

    /// Starts to sign where the trail stands and to export it; once.
    pub fn sign(&self, key: SigningKey, settings: &AuditSettings) -> Result<(), ExportError> {
        let checkpoints = Checkpoints {
            store: self.store.clone(),
            place: Arc::clone(&self.place),
            queue: self.queue.clone(),
            key,
            settings: settings.clone(),
            destinations: Destination::of(settings)?,
        };
        let stop = self.task.stop_checkpoints.subscribe();
        let handle = tokio::spawn(checkpoints.run(stop));
        let before = lock(&self.task.checkpoints).replace(handle);
        debug_assert!(before.is_none(), "checkpoints are signed by one task");
        Ok(())
    }

    /// Begins the record of a call.
    #[must_use]
    pub fn begin(&self, opening: &Opening<'_>) -> Arc<Draft> {
        Arc::new(Draft::begin(
            self.queue.clone(),
            &self.place,
            opening,
            Micros::now(),
        ))
    }

    /// Runs `work` and appends the call's record in one transaction: either both are durable when
    /// this returns, or neither.
    ///
    /// Finish the draft with [`record`](Self::record) all the same: it writes nothing more when
    /// the call succeeds, and what failed when it does not.
    pub async fn write<T, E, F>(&self, draft: &Arc<Draft>, work: F) -> Result<T, E>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let inner = Arc::clone(draft);
        let written = self
            .store
            .write(move |tx| {
                let value = work(tx)?;
                inner.commit(tx, &Outcome::Success)?;
                Ok(value)
            })
            .await;
        draft.settle(written.is_ok());
        written
    }

    /// Finishes the record of a call and hands it to the queue, unless [`write`](Self::write) has
    /// put it into the trail. Waits for a place in the queue, not for the disk.
    pub async fn record(&self, draft: &Draft, outcome: &Outcome) -> Result<(), Unrecorded> {
        match draft.finish(outcome) {
            None => Ok(()),
            Some(work) => self.send(work).await,
        }
    }

    /// Finishes the record of a call whose refusal anybody can cause: recorded by itself, or
    /// counted while there are many. `subject` is the key or name that was claimed. Never waits.
    pub fn refuse(&self, draft: &Draft, kind: Refused, subject: &str, outcome: &Outcome) {
        if let Some(mut record) = draft.take() {
            let now = Micros::now();
            // The address was written by us, from an address.
            if let Ok(address) = record.source_ip_address.parse::<IpAddr>() {
                let source = flood::Source::new(kind, address, subject);
                self.queue.refused(&source, now, || {
                    outcome.apply(&mut record);
                    *record
                });
            }
        }
    }

    /// Records an event; waits for a place in the queue, not for the disk.
    pub async fn event(&self, event: &Event<'_>) -> Result<(), Unrecorded> {
        self.send(Work::record(event.record(&self.place, Micros::now())))
            .await
    }

    /// Records an event where nobody can wait; counted when the queue is full.
    pub fn note(&self, event: &Event<'_>) {
        self.queue
            .push(Work::record(event.record(&self.place, Micros::now())));
    }

    /// Records an event in the transaction of the change that it tells of.
    pub fn append(&self, tx: &Tx<'_>, event: &Event<'_>) -> Result<(), StoreError> {
        append(tx, &event.record(&self.place, Micros::now()))?;
        Ok(())
    }

    /// Records an event that anybody can cause, or counts it while there are many.
    pub fn refused(&self, kind: Refused, address: IpAddr, subject: &str, event: &Event<'_>) {
        let now = Micros::now();
        let source = flood::Source::new(kind, address, subject);
        self.queue
            .refused(&source, now, || event.record(&self.place, now));
    }

    /// Commits what is in the queue, signs the trail's end, and ends the tasks. Records that come
    /// later are lost, and said to be so in the log.
    pub async fn stop(&self) {
        self.task.stop.send_replace(true);
        let recorder = lock(&self.task.recorder).take();
        ended(recorder).await;
        self.task.stop_checkpoints.send_replace(true);
        let checkpoints = lock(&self.task.checkpoints).take();
        ended(checkpoints).await;
    }

    async fn send(&self, work: Work) -> Result<(), Unrecorded> {
        if self.queue.send(work).await {
            Ok(())
        } else {
            Err(Unrecorded)
        }
    }
}

async fn ended(task: Option<JoinHandle<()>>) {
    if let Some(task) = task
        && let Err(error) = task.await
    {
        tracing::error!(%error, "a task of the audit trail ended badly");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records an event in the transaction of its change, for a command that works on the database
/// itself, beside a server or without one.
pub(crate) fn append_event(
    tx: &Tx<'_>,
    scope: &Scope,
    event: &Event<'_>,
) -> Result<(), StoreError> {
    let place = Place {
        account: scope.account.clone(),
        region: scope.region.clone(),
    };
    append(tx, &event.record(&place, Micros::now()))?;
    Ok(())
}

/// Appends a record at the trail's end, in this transaction; its number.
fn append(tx: &Tx<'_>, record: &Record) -> Result<i64, StoreError> {
    let text = record.to_text().map_err(|source| StoreError::Document {
        what: "audit record",
        source,
    })?;
    let head =
        store::audit::head(tx)?.unwrap_or_else(|| Head::genesis(&record.recipient_account_id));
    let time = record.time().unwrap_or_else(Micros::now);
    Ok(store::audit::append(tx, &head, time, &text)?.sequence)
}

#[cfg(test)]
mod tests;

//! To a new master key while the server answers.
//!
//! One task ([`serve`]) does the work that [`Rotation::begin`] asks for: it walks every sealed
//! column ([`wrapped::COLUMNS`]) in batches through the one writer, sees to it that nothing sealed
//! under an older key can still be written, opens every value once with the new key alone, and only
//! then lets the older keys go from the source. Until that moment both keys are in the ring and in
//! the source: a server that is killed anywhere goes on at its next start, because a source with
//! more than one key means exactly this.

use std::sync::Arc;
use std::time::Duration;

use parapet_auth::{KeyId, MasterKeys, WrapError};
use thiserror::Error;
use tokio::sync::{Mutex, Notify, watch};

use super::{KeyRing, KeySource, MasterKeyError};
use crate::audit::{Audit, Event};
use crate::front::listener::told;
use crate::random;
use crate::store::wrapped::{self, Column, Sealed};
use crate::store::{Store, StoreError};

/// Values of one transaction: short enough that others' writes do not wait for it.
const BATCH: usize = 64;
/// Walks until nothing is left: more than two mean that something seals with an older key.
const WALKS: usize = 8;
/// Older keys stay in memory this long: for a request that read its row before it was rewrapped.
const GRACE: Duration = Duration::from_secs(30);

/// How far a rotation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// None was asked for since the start.
    Idle,
    /// Values are being rewrapped.
    Rewrapping,
    /// Each value is opened with the new key alone.
    Verifying,
    /// No value needs an older key.
    Done,
    /// It stopped; older keys are kept.
    Failed(String),
}

/// What there is to say of the master keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// How far it is.
    pub state: State,
    /// Values that there are.
    pub total: u64,
    /// Values that are done, in this state.
    pub done: u64,
    /// Keys that no value needs any more.
    pub retired: Vec<KeyId>,
    /// Whether they are out of the source; where not, the operator takes them out.
    pub out_of_source: bool,
}

/// Why a rotation stops.
#[derive(Debug, Error)]
pub enum RotationError {
    /// The source of the keys.
    #[error(transparent)]
    Source(#[from] MasterKeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value does not open.
    #[error("rewrap {column} of row {id} in {table}")]
    Value {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// ID of its label.
        id: String,
        /// Why.
        #[source]
        source: WrapError,
    },
    /// No nonce.
    #[error("rewrap a value: there are no random numbers")]
    Random(#[source] std::io::Error),
    /// Something goes on sealing with an older key.
    #[error("rewrap all values: after {WALKS} walks {left} are still under an older key")]
    Endless {
        /// How many.
        left: u64,
    },
}

/// Rotations of one server. One at a time.
#[derive(Debug)]
pub struct Rotation {
    progress: watch::Sender<Progress>,
    asked: Notify,
    beginning: Mutex<()>,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            progress: watch::Sender::new(Progress {
                state: State::Idle,
                total: 0,
                done: 0,
                retired: Vec::new(),
                out_of_source: true,
            }),
            asked: Notify::new(),
            beginning: Mutex::new(()),
        }
    }
}

/// What a rotation works on.
#[derive(Clone)]
pub struct Parts {
    /// Hears of each rotation that is through.
    pub audit: Audit,
    /// The sealed values.
    pub store: Store,
    /// The keys in use.
    pub ring: Arc<KeyRing>,
    /// Where they come from.
    pub source: KeySource,
}

impl Rotation {
    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Begins one, with a new key where the one in use is the newest; one that runs goes on, and
    /// one that stopped is taken up.
    pub async fn begin(&self, parts: &Parts) -> Result<Progress, RotationError> {
        let _one = self.beginning.lock().await;
        if matches!(self.progress().state, State::Rewrapping | State::Verifying) {
            return Ok(self.progress());
        }
        let ring = parts.ring.keys();
        let current = ring.current().id();
        let left = parts
            .store
            .read(move |connection| wrapped::count_not_under(connection, current))
            .await?;
        if left == 0 || ring.older_ids().next().is_none() {
            let next = parts.source.next(&ring).await?;
            let seals = next.current().id();
            parts
                .store
                .write(move |tx| wrapped::readmit(tx, seals))
                .await?;
            parts.ring.replace(ring.succeeded_by(&next));
        }
        self.start(parts).await?;
        Ok(self.progress())
    }

    /// Takes up what an earlier run left: older keys in the source.
    pub async fn resume(&self, parts: &Parts) -> Result<(), StoreError> {
        if parts.ring.keys().older_ids().next().is_some() {
            tracing::info!("the source gives more than one master key: rewrapping what is old");
            self.start(parts).await?;
        }
        Ok(())
    }

    async fn start(&self, parts: &Parts) -> Result<(), StoreError> {
        let total = parts.store.read(wrapped::count).await?;
        self.progress.send_replace(Progress {
            state: State::Rewrapping,
            total,
            done: 0,
            retired: Vec::new(),
            out_of_source: false,
        });
        self.asked.notify_one();
        Ok(())
    }

    fn set(&self, state: State) {
        self.progress.send_modify(|progress| {
            progress.state = state;
            progress.done = 0;
        });
    }

    fn advance(&self, values: usize) {
        self.progress.send_modify(|progress| {
            progress.done += values as u64;
            progress.total = progress.total.max(progress.done);
        });
    }

    async fn run(&self, parts: &Parts) -> Result<Vec<KeyId>, RotationError> {
        let ring = parts.ring.keys();
        let (current, older) = (ring.current().id(), ring.older_ids().collect::<Vec<_>>());
        let mut walks = 0;
        loop {
            for column in wrapped::COLUMNS {
                self.rewrap(parts, &ring, column).await?;
            }
            let gone = older.clone();
            let left = parts
                .store
                .write(move |tx| wrapped::retire(tx, current, &gone))
                .await?;
            walks += 1;
            match left {
                0 => break,
                left if walks == WALKS => return Err(RotationError::Endless { left }),
                _ => self.set(State::Rewrapping),
            }
        }
        self.set(State::Verifying);
        let alone = Arc::new(ring.without(&older));
        for column in wrapped::COLUMNS {
            self.verify(parts, &alone, column).await?;
        }
        let out = parts.source.retire(&older).await?;
        self.progress.send_modify(|progress| {
            progress.state = State::Done;
            progress.retired.clone_from(&older);
            progress.out_of_source = out;
        });
        Ok(older)
    }

    async fn rewrap(
        &self,
        parts: &Parts,
        ring: &Arc<MasterKeys>,
        column: &'static Column,
    ) -> Result<(), RotationError> {
        let mut after = 0;
        loop {
            let ring = Arc::clone(ring);
            let (seen, fresh) = parts
                .store
                .read(move |connection| {
                    let values = column.values(connection, after, BATCH)?;
                    let fresh = values
                        .iter()
                        .filter(|value| !ring.is_current(&value.sealed))
                        .map(|value| rewrapped(&ring, column, value))
                        .collect::<Result<Vec<_>, _>>()?;
                    let seen = values.last().map(|value| (value.rowid, values.len()));
                    Ok::<_, RotationError>((seen, fresh))
                })
                .await?;
            let Some((last, count)) = seen else {
                return Ok(());
            };
            if !fresh.is_empty() {
                parts
                    .store
                    .write(move |tx| {
                        for (rowid, before, sealed) in &fresh {
                            // A value that changed meanwhile was sealed anew by its writer; if
                            // with an older key, the next walk finds it.
                            column.replace(tx, *rowid, before, sealed)?;
                        }
                        Ok::<_, StoreError>(())
                    })
                    .await?;
            }
            after = last;
            self.advance(count);
        }
    }

    async fn verify(
        &self,
        parts: &Parts,
        ring: &Arc<MasterKeys>,
        column: &'static Column,
    ) -> Result<(), RotationError> {
        let mut after = 0;
        loop {
            let ring = Arc::clone(ring);
            let seen = parts
                .store
                .read(move |connection| {
                    let values = column.values(connection, after, BATCH)?;
                    for value in &values {
                        open(&ring, column, value)?;
                    }
                    let last = values.last();
                    Ok::<_, RotationError>(last.map(|value| (value.rowid, values.len())))
                })
                .await?;
            let Some((last, count)) = seen else {
                return Ok(());
            };
            after = last;
            self.advance(count);
        }
    }
}

fn open(
    ring: &MasterKeys,
    column: &'static Column,
    value: &Sealed,
) -> Result<zeroize::Zeroizing<Vec<u8>>, RotationError> {
    ring.unwrap(&value.label(column), &value.sealed)
        .map_err(|source| RotationError::Value {
            table: column.table,
            column: column.column,
            id: value.id.clone(),
            source,
        })
}

/// Row, the value before, the value under the current key.
fn rewrapped(
    ring: &MasterKeys,
    column: &'static Column,
    value: &Sealed,
) -> Result<(i64, Vec<u8>, Vec<u8>), RotationError> {
    let plain = open(ring, column, value)?;
    let nonce = random::bytes().map_err(RotationError::Random)?;
    let sealed = ring
        .wrap(&value.label(column), &plain, nonce)
        .map_err(|source| RotationError::Value {
            table: column.table,
            column: column.column,
            id: value.id.clone(),
            source,
        })?;
    Ok((value.rowid, value.sealed.clone(), sealed))
}

/// Carries out what is asked for, until the shutdown is told.
pub async fn serve(rotation: Arc<Rotation>, parts: Parts, mut shutdown: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = rotation.asked.notified() => {}
            () = told(&mut shutdown) => return,
        }
        let outcome = tokio::select! {
            outcome = rotation.run(&parts) => outcome,
            // Both keys stay in the source: the next start goes on.
            () = told(&mut shutdown) => return,
        };
        match outcome {
            Ok(gone) => {
                let current = parts.ring.keys().current().id();
                let out_of_source = rotation.progress().out_of_source;
                tracing::info!(%current, ?gone, out_of_source, "no secret needs an older master key");
                let key = &current.to_string();
                parts.audit.note(&Event::MasterKeyRotated { key });
                tokio::select! {
                    () = tokio::time::sleep(GRACE) => {}
                    // Another rotation keeps them until it is through.
                    () = rotation.asked.notified() => rotation.asked.notify_one(),
                    () = told(&mut shutdown) => return,
                }
                let ring = parts.ring.keys();
                if ring.current().id() == current {
                    parts.ring.replace(ring.without(&gone));
                }
            }
            Err(error) => {
                let text = chain(&error);
                tracing::error!(
                    error = text,
                    "could not go over to the new master key; both are kept"
                );
                rotation.set(State::Failed(text));
            }
        }
    }
}

/// An error with its causes, for the operator.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

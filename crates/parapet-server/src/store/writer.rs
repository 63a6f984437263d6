//! The one writer: a plain thread that commits many callers' work with one fsync.
//!
//! It takes what waits in its queue (bounded, back-pressure on the callers), runs each closure in
//! a savepoint of its own, commits once, and only then answers them. A closure that fails or
//! panics undoes its own savepoint and nobody else's.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::error::StoreError;

/// Work that waits for the disk; a caller beyond that waits for a place.
const QUEUE: usize = 1024;
/// Most closures behind one fsync, so that the first does not wait for ever.
const GROUP: usize = 128;

/// The connection inside a write transaction: what functions that change something ask for.
pub struct Tx<'c>(&'c Connection);

impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

/// What became of the shared commit.
type Committed = Result<(), String>;
/// Tells one caller; called after the commit.
type Reply = Box<dyn FnOnce(&Committed) + Send>;
/// Runs one caller's closure on the open transaction, if one could be opened. `None` when the
/// closure panicked: its caller sees the answer's channel closed.
type Job = Box<dyn FnOnce(Option<&Connection>) -> Option<Reply> + Send>;

/// Handle on the writer thread. The thread ends when this is dropped, after the work in its queue.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || serve(&connection, queue))
            .map_err(StoreError::Thread)?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(super) async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = match connection {
                Some(connection) => Some(in_savepoint(connection, work)?),
                None => None,
            };
            Some(Box::new(move |committed: &Committed| {
                let outcome = match (outcome, committed) {
                    // The closure's own refusal stands, whatever became of the others' commit.
                    (Some(Err(error)), _) => Err(error),
                    (Some(Ok(value)), Ok(())) => Ok(value),
                    (_, Err(reason)) => Err(StoreError::Commit(reason.clone()).into()),
                    (None, Ok(())) => Err(StoreError::Closed.into()),
                };
                // A caller that has gone away does not undo what is durable.
                let _gone = answer.send(outcome);
            }))
        });
        let jobs = self.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answered
            .await
            .unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // The thread catches the panics of its jobs, so there is nothing to hand on.
            let _ended = thread.join();
        }
    }
}

/// Runs one closure; `None` when it panicked. Leaves the savepoint released or rolled back.
fn in_savepoint<T, E>(
    connection: &Connection,
    work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
) -> Option<Result<T, E>>
where
    E: From<StoreError>,
{
    if let Err(error) = connection.execute_batch("SAVEPOINT job") {
        return Some(Err(StoreError::from(error).into()));
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| work(&Tx(connection))));
    let end = if matches!(outcome, Ok(Ok(_))) {
        connection.execute_batch("RELEASE job")
    } else {
        connection.execute_batch("ROLLBACK TO job; RELEASE job")
    };
    match (outcome, end) {
        (Ok(Ok(_)), Err(error)) => Some(Err(StoreError::from(error).into())),
        (Ok(outcome), _) => Some(outcome),
        (Err(_), _) => None,
    }
}

fn serve(connection: &Connection, mut queue: mpsc::Receiver<Job>) {
    let mut replies: Vec<Reply> = Vec::with_capacity(GROUP);
    while let Some(first) = queue.blocking_recv() {
        let mut committed = connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|e| e.to_string());
        let mut next = Some(first);
        while let Some(job) = next {
            // Without a transaction a savepoint would commit by itself, so the job gets none.
            replies.extend(job(committed.is_ok().then_some(connection)));
            next = if replies.len() < GROUP {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        if committed.is_ok() {
            committed = connection
                .execute_batch("COMMIT")
                .map_err(|e| e.to_string());
        }
        if let Err(reason) = &committed {
            tracing::error!(%reason, "database transaction failed");
            // Fails when SQLite has rolled back already, which is what is wanted.
            let _rolled_back = connection.execute_batch("ROLLBACK");
        }
        for reply in replies.drain(..) {
            reply(&committed);
        }
    }
    if let Err(error) = connection.execute_batch("PRAGMA optimize") {
        tracing::debug!(%error, "could not optimize the database at its end");
    }
}

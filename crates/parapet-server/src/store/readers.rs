//! Readers: a few connections that cannot write, lent to blocking threads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking::Pool;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::error::StoreError;

/// Reads at the same time. `SQLite` readers never block each other or the writer; more connections
/// than cores only cost memory.
const CONNECTIONS: usize = 8;

pub(super) struct Readers {
    path: PathBuf,
    places: Arc<Semaphore>,
    idle: Arc<Pool>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let readers = Self {
            path: path.to_owned(),
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            idle: Arc::new(Pool::default()),
        };
        readers.idle.put(connect_reader(path)?);
        Ok(readers)
    }

    pub(super) async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Closed)?;
        let idle = Arc::clone(&self.idle);
        let path = self.path.clone();
        let task = tokio::task::spawn_blocking(move || {
            let connection = match idle.take() {
                Some(connection) => connection,
                None => connect_reader(&path)?,
            };
            // A deferred transaction: all statements of `work` see the same state. A panic drops
            // the connection with it, and the next reader opens a fresh one.
            let outcome = {
                let snapshot = connection
                    .unchecked_transaction()
                    .map_err(StoreError::from)?;
                work(&snapshot)
            };
            idle.put(connection);
            drop(place);
            outcome
        });
        task.await
            .unwrap_or_else(|_| Err(StoreError::Panicked.into()))
    }
}

fn connect_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = super::connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// The idle connections.
mod parking {
    use std::sync::{Mutex, PoisonError};

    use rusqlite::Connection;

    #[derive(Default)]
    pub(super) struct Pool(Mutex<Vec<Connection>>);

    impl Pool {
        pub(super) fn take(&self) -> Option<Connection> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
        }

        pub(super) fn put(&self, connection: Connection) {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}

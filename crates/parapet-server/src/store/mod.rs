//! The durable state of the control plane: one `SQLite` file, all SQL of the server.
//!
//! Owns the schema, the one writer thread and the pool of readers. Callers hand in closures:
//! [`Store::write`] runs one inside a transaction that is on disk before the answer comes back,
//! [`Store::read`] runs one on a consistent snapshot. What a table holds is in the file named
//! after it; those functions take the connection of the closure, so that an operation composes
//! them into one transaction. Nothing here knows a rule of Panorama, waits for anything but the
//! disk, or sees a secret in the clear.
//!
//! Times are integer microseconds since the epoch; account and region are part of every key; JSON
//! columns are opaque to SQL (`research/fleet.md` 3.3).

pub mod access_keys;
pub mod accounts;
pub mod attachments;
pub mod audit;
pub mod authorities;
pub mod cameras;
pub mod certificates;
pub mod confinements;
pub mod desired;
pub mod devices;
mod error;
pub mod groups;
pub mod holder;
pub mod inline_policies;
pub mod instances;
pub mod jobs;
pub mod mfa_devices;
mod migrations;
pub mod names;
pub mod nodes;
pub mod objects;
pub mod oidc_providers;
pub mod packages;
pub mod page;
pub mod policies;
pub mod principal_tags;
mod readers;
pub mod replays;
pub mod roles;
pub mod scope;
pub mod secrets;
pub mod service_keys;
pub mod session_keys;
pub mod tags;
pub mod uploads;
pub mod users;
pub mod versions;
pub mod wrapped;
mod writer;

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

pub use error::StoreError;
pub use holder::{Holder, HolderKind};
pub use names::{NamePage, Names};
pub use page::{Page, Position};
pub use scope::{Micros, Scope};
pub use writer::Tx;

use readers::Readers;
use writer::Writer;

/// A handle on the database; clones share it. The last one dropped ends the writer thread.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    readers: Readers,
}

impl Store {
    /// Opens the database at `path`, makes it when it is missing, and brings its schema up to date.
    ///
    /// Refuses a schema that a newer Parapet has written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // Made before SQLite makes it, so that nobody but the server can read it; the files beside
        // it get the same mode.
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(StoreError::Create)?;
        let mut connection = connect(path)?;
        migrations::apply(&mut connection)?;
        wrapped::prepare_fence(&connection)?;
        let readers = Readers::open(path)?;
        let writer = Writer::start(connection)?;
        Ok(Self {
            inner: Arc::new(Inner { writer, readers }),
        })
    }

    /// Runs `work` in a transaction. `Ok` is returned after the commit has reached the disk; an
    /// `Err` of `work` undoes all it did. Concurrent writes share one commit.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.inner.writer.run(work).await
    }

    /// Runs `work` on a snapshot that holds every write acknowledged so far.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.inner.readers.run(work).await
    }
}

/// One connection with the settings that every connection needs.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // FULL: an acknowledged write survives a loss of power, not only the death of the process.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

#[cfg(test)]
mod tests;

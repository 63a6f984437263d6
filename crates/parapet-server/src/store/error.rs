//! What can go wrong below the store's surface.

use thiserror::Error;

/// Why a read or a write failed. None of these is the caller's fault.
#[derive(Debug, Error)]
pub enum StoreError {
    /// `SQLite` refused or failed.
    #[error("run a statement on the database")]
    Sqlite(#[from] rusqlite::Error),
    /// The commit failed after the work was done; nothing of it is kept.
    #[error("commit to the database: {0}")]
    Commit(String),
    /// The file was written by a newer version.
    #[error(
        "open the database: its schema is number {found}, this version knows {known}; install a newer parapet or restore the backup made before the update"
    )]
    NewerSchema {
        /// Number in the file.
        found: i64,
        /// Newest number known here.
        known: i64,
    },
    /// A stored document cannot be read back.
    #[error("read the stored {what}")]
    Document {
        /// Which column.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A stored text is not the value it should be.
    #[error("read the stored {what}: {value:?} is not known to this version")]
    Value {
        /// Which column.
        what: &'static str,
        /// The text, cut.
        value: String,
    },
    /// The unit of work itself failed (a defect); nothing of it is kept.
    #[error("run a unit of work on the database: it panicked")]
    Panicked,
    /// The server is shutting down.
    #[error("reach the database: it is closed")]
    Closed,
    /// The file cannot be made or written.
    #[error("create the database file")]
    Create(#[source] std::io::Error),
    /// The operating system gave no thread.
    #[error("start the database's writer thread")]
    Thread(#[source] std::io::Error),
}

impl StoreError {
    /// A stored word that this version does not know.
    pub(super) fn unknown(what: &'static str, value: &str) -> Self {
        Self::Value {
            what,
            value: value.chars().take(80).collect(),
        }
    }
}

//! The device's memory of what it shall run: the newest desired document, durable before acted on.
//!
//! Owns `ledger/desired.json`. Refuses a document that is older than the stored one, or the same
//! generation with other contents: a control plane restored from a backup must say so with a
//! newer generation. Decides nothing else.

use std::io;
use std::path::{Path, PathBuf};

use parapet_device::{DesiredDocument, DeviceId, Generation, PROTOCOL_VERSION};
use thiserror::Error;

use crate::durable;

/// Largest desired document; ten applications with eight cameras each take a fiftieth of it.
pub(crate) const LARGEST_DOCUMENT: usize = 4 * 1024 * 1024;

/// Why a document is not taken.
#[derive(Debug, Error)]
pub(crate) enum LedgerError {
    #[error("read the stored document {path}; delete it to begin anew", path = .0.display())]
    Stored(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("read a desired document")]
    Parse(#[from] serde_json::Error),
    #[error("read a desired document: {0} bytes are more than {LARGEST_DOCUMENT}")]
    TooLarge(usize),
    #[error("take a document of version {0}: this agent speaks {PROTOCOL_VERSION}; update it")]
    Version(u32),
    #[error("take a document of {0}: this is {1}")]
    OtherDevice(DeviceId, DeviceId),
    #[error("take generation {offered}: {stored} is stored already")]
    Older {
        offered: Generation,
        stored: Generation,
    },
    #[error("take generation {0}: the stored one of that number has other contents")]
    Conflict(Generation),
    #[error("store the desired document")]
    Write(#[source] io::Error),
}

/// The stored document.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    device: Option<DeviceId>,
    stored: Option<DesiredDocument>,
}

impl Ledger {
    /// Opens the ledger in `directory`, for documents of `device` (any, without enrolment).
    pub(crate) fn open(directory: &Path, device: Option<DeviceId>) -> Result<Self, LedgerError> {
        let path = directory.join("desired.json");
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            LedgerError::Stored(path.clone(), error)
        };
        std::fs::create_dir_all(directory).map_err(|e| failed(e.into()))?;
        let stored = durable::read_if_there(&path)
            .map_err(|e| failed(e.into()))?
            .map(|bytes| serde_json::from_slice::<DesiredDocument>(&bytes))
            .transpose()
            .map_err(|e| failed(e.into()))?;
        // After an enrolment as another device the old document means nothing.
        let stored =
            stored.filter(|document| device.as_ref().is_none_or(|d| *d == document.device));
        Ok(Self {
            path,
            device,
            stored,
        })
    }

    /// The newest document.
    pub(crate) fn document(&self) -> Option<&DesiredDocument> {
        self.stored.as_ref()
    }

    /// Its generation; 0 without a document.
    pub(crate) fn generation(&self) -> Generation {
        self.stored
            .as_ref()
            .map_or(Generation(0), |document| document.generation)
    }

    /// Parses, checks and stores a document. `Ok(false)`: it is the stored one.
    pub(crate) fn offer(&mut self, bytes: &[u8]) -> Result<bool, LedgerError> {
        if bytes.len() > LARGEST_DOCUMENT {
            return Err(LedgerError::TooLarge(bytes.len()));
        }
        let document: DesiredDocument = serde_json::from_slice(bytes)?;
        if document.version != PROTOCOL_VERSION {
            return Err(LedgerError::Version(document.version));
        }
        if let Some(device) = self
            .device
            .as_ref()
            .filter(|device| **device != document.device)
        {
            return Err(LedgerError::OtherDevice(document.device, device.clone()));
        }
        if let Some(stored) = &self.stored {
            if document.generation < stored.generation {
                let (offered, stored) = (document.generation, stored.generation);
                return Err(LedgerError::Older { offered, stored });
            }
            if document.generation == stored.generation {
                return if document == *stored {
                    Ok(false)
                } else {
                    Err(LedgerError::Conflict(document.generation))
                };
            }
        }
        let bytes = serde_json::to_vec(&document)?;
        durable::replace(&self.path, &bytes, 0o600).map_err(LedgerError::Write)?;
        self.stored = Some(document);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(device: &str, generation: u64, instances: &str) -> Vec<u8> {
        format!(
            r#"{{"version":1,"device":"device-{device}","generation":{generation},"instances":[{instances}]}}"#
        )
        .into_bytes()
    }

    const INSTANCE: &str = r#"{"id":"applicationInstance-a","name":"a","cameras":[],"models":[],"applications":[],"displays":[]}"#;

    #[test]
    fn a_newer_document_is_taken_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), None).unwrap();
        assert_eq!(ledger.generation(), Generation(0));
        assert!(ledger.offer(&document("a", 3, "")).unwrap());
        assert!(
            !ledger.offer(&document("a", 3, "")).unwrap(),
            "the same again is no news"
        );
        assert!(ledger.offer(&document("a", 5, INSTANCE)).unwrap());
        let again = Ledger::open(dir.path(), None).unwrap();
        assert_eq!(again.generation(), Generation(5));
        assert_eq!(again.document(), ledger.document());
    }

    #[test]
    fn an_older_or_altered_document_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), None).unwrap();
        ledger.offer(&document("a", 3, "")).unwrap();
        let older = ledger.offer(&document("a", 2, INSTANCE));
        assert!(matches!(older, Err(LedgerError::Older { .. })), "{older:?}");
        let altered = ledger.offer(&document("a", 3, INSTANCE));
        assert!(
            matches!(altered, Err(LedgerError::Conflict(Generation(3)))),
            "{altered:?}"
        );
        assert_eq!(
            Ledger::open(dir.path(), None).unwrap().generation(),
            Generation(3)
        );
    }

    #[test]
    fn a_document_of_another_device_or_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let device = "device-a".parse().unwrap();
        let mut ledger = Ledger::open(dir.path(), Some(device)).unwrap();
        assert!(matches!(
            ledger.offer(&document("b", 1, "")),
            Err(LedgerError::OtherDevice(..))
        ));
        let newer = String::from_utf8(document("a", 1, ""))
            .unwrap()
            .replace("\"version\":1", "\"version\":2");
        assert!(matches!(
            ledger.offer(newer.as_bytes()),
            Err(LedgerError::Version(2))
        ));
        assert!(matches!(ledger.offer(b"{"), Err(LedgerError::Parse(_))));
        assert_eq!(ledger.generation(), Generation(0));
    }

    #[test]
    fn a_writer_killed_half_way_leaves_the_old_document() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), None).unwrap();
        ledger.offer(&document("a", 1, "")).unwrap();
        std::fs::write(dir.path().join("desired.json.new"), b"{\"ver").unwrap();
        let mut again = Ledger::open(dir.path(), None).unwrap();
        assert_eq!(again.generation(), Generation(1));
        assert!(
            again.offer(&document("a", 2, "")).unwrap(),
            "what it left is no obstacle"
        );
    }
}

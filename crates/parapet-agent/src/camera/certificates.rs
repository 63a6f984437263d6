//! Which certificate each camera has shown that is spoken to in TLS.
//!
//! Owns `cameras.json` in the state directory: fingerprints by `host:port`. Cameras sign their
//! certificates themselves, so that what a camera shows first is taken and kept (trust on first
//! use); another one is refused until an operator has the old one forgotten. A file that cannot be
//! read stops such cameras: to take it for empty would be to believe anybody.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use parapet_media::protocol::Fingerprint;
use thiserror::Error;

use crate::at_rest::{LARGEST, Place};
use crate::launcher::lock;

const FILE: &str = "cameras.json";

/// Why the kept certificates are not to be had.
#[derive(Debug, Error)]
pub enum CertificatesError {
    /// The file.
    #[error("read or write {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    /// Its contents.
    #[error(
        "read {path}: it is no list of cameras' certificates; delete it, and each camera's next \
         certificate is believed",
        path = .0.display()
    )]
    Damaged(PathBuf, #[source] serde_json::Error),
    /// Hundreds of cameras: more than is read again.
    #[error("keep another certificate: {path} is full; forget those of old cameras", path = .0.display())]
    Full(PathBuf),
}

/// The certificates of an appliance's cameras.
#[derive(Debug)]
pub(crate) struct CameraCertificates {
    data: PathBuf,
    writing: Mutex<()>,
}

impl CameraCertificates {
    /// Those below a state directory.
    pub(crate) fn below(data: &Path) -> Self {
        Self {
            data: data.to_owned(),
            writing: Mutex::default(),
        }
    }

    /// What the camera at `place` (`host:port`) has shown before. Read each time: an operator may
    /// have it forgotten while the appliance runs.
    pub(crate) fn of(&self, place: &str) -> Result<Option<Fingerprint>, CertificatesError> {
        Ok(Kept::read(&self.data)?.of.get(place).copied())
    }

    /// Keeps what it has shown first. What is kept already stays.
    pub(crate) fn keep(&self, place: &str, shown: Fingerprint) -> Result<(), CertificatesError> {
        let _alone = lock(&self.writing);
        let mut kept = Kept::read(&self.data)?;
        kept.of.entry(place.to_owned()).or_insert(shown);
        kept.write()
    }
}

/// The cameras below a state directory whose certificates are kept, with these.
pub fn known_cameras(data: &Path) -> Result<Vec<(String, String)>, CertificatesError> {
    let shown = |(place, of): (String, Fingerprint)| (place, of.to_string());
    Ok(Kept::read(data)?.of.into_iter().map(shown).collect())
}

/// Has the certificate of the camera at `place` (`host:port`) forgotten, also while the appliance
/// runs; `false` where none is kept.
pub fn forget_certificate(data: &Path, place: &str) -> Result<bool, CertificatesError> {
    let mut kept = Kept::read(data)?;
    if kept.of.remove(place).is_none() {
        return Ok(false);
    }
    kept.write().map(|()| true)
}

/// What the file holds. It stays the directory's owner's, whoever writes it.
struct Kept {
    directory: Place,
    of: BTreeMap<String, Fingerprint>,
}

impl Kept {
    fn read(data: &Path) -> Result<Self, CertificatesError> {
        let failed = |error| CertificatesError::File(data.join(FILE), error);
        let directory = Place::open(data).map_err(failed)?;
        let of = match directory.read(FILE).map_err(failed)? {
            None => BTreeMap::new(),
            Some(text) => serde_json::from_slice(&text)
                .map_err(|error| CertificatesError::Damaged(data.join(FILE), error))?,
        };
        Ok(Self { directory, of })
    }

    fn write(&self) -> Result<(), CertificatesError> {
        let path = self.directory.path(FILE);
        let text = match serde_json::to_vec_pretty(&self.of) {
            Ok(text) if text.len() as u64 > LARGEST => return Err(CertificatesError::Full(path)),
            Ok(text) => text,
            Err(error) => return Err(CertificatesError::File(path, error.into())),
        };
        let written = self.directory.replace(FILE, &text);
        written.map_err(|error| CertificatesError::File(path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Fingerprint = Fingerprint([1; 32]);
    const SECOND: Fingerprint = Fingerprint([2; 32]);

    #[test]
    fn what_a_camera_has_shown_first_is_kept_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let kept = CameraCertificates::below(dir.path());
        assert_eq!(kept.of("gate:322").unwrap(), None);
        kept.keep("gate:322", FIRST).unwrap();
        kept.keep("gate:322", SECOND).unwrap();
        kept.keep("yard:322", SECOND).unwrap();
        let again = CameraCertificates::below(dir.path());
        assert_eq!(again.of("gate:322").unwrap(), Some(FIRST));
        assert!(forget_certificate(dir.path(), "gate:322").unwrap());
        assert!(!forget_certificate(dir.path(), "gate:322").unwrap());
        assert_eq!(kept.of("gate:322").unwrap(), None);
        let listed = known_cameras(dir.path()).unwrap();
        assert_eq!(listed, [("yard:322".to_owned(), SECOND.to_string())]);
    }

    #[test]
    fn a_full_file_takes_no_more_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let kept = CameraCertificates::below(dir.path());
        let name = |number: usize| format!("{number:0>1000}:322");
        let full = (0..100).find(|number| kept.keep(&name(*number), FIRST).is_err());
        let full = full.expect("64 KiB hold no hundred of these");
        assert!(matches!(
            kept.keep(&name(full), FIRST),
            Err(CertificatesError::Full(_))
        ));
        assert_eq!(kept.of(&name(full - 1)).unwrap(), Some(FIRST));
        assert!(forget_certificate(dir.path(), &name(0)).unwrap());
        kept.keep(&name(full), FIRST).unwrap();
    }

    #[test]
    fn a_damaged_file_is_not_taken_for_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{\"gate:322\": 7}").unwrap();
        let kept = CameraCertificates::below(dir.path());
        assert!(matches!(
            kept.of("gate:322"),
            Err(CertificatesError::Damaged(..))
        ));
        assert!(kept.keep("yard:322", FIRST).is_err());
    }
}

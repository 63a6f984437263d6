//! Which certificate each camera has shown that is spoken to in TLS.
//!
//! Owns `cameras.json` in the state directory: fingerprints by `host:port`. Cameras sign their
//! certificates themselves, so that what a camera shows first is taken and kept (trust on first
//! use); another one is refused until an operator has the old one forgotten. A file that cannot be
//! read stops such cameras: to take it for empty would be to believe anybody.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use parapet_media::protocol::Fingerprint;
use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};
use thiserror::Error;

use crate::durable;
use crate::launcher::lock;

const FILE: &str = "cameras.json";
/// More cameras than any appliance has.
const MOST: usize = 4096;

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
    /// Too many.
    #[error("keep another certificate: {path} holds {MOST}; forget those of old cameras", path = .0.display())]
    Full(PathBuf),
}

type Kept = BTreeMap<String, Fingerprint>;

/// The certificates of an appliance's cameras.
#[derive(Debug)]
pub(crate) struct CameraCertificates {
    path: PathBuf,
    writing: Mutex<()>,
}

impl CameraCertificates {
    /// Those below a state directory.
    pub(crate) fn below(data: &Path) -> Self {
        Self {
            path: data.join(FILE),
            writing: Mutex::default(),
        }
    }

    /// What the camera at `place` (`host:port`) has shown before. Read each time: an operator may
    /// have it forgotten while the appliance runs.
    pub(crate) fn of(&self, place: &str) -> Result<Option<Fingerprint>, CertificatesError> {
        Ok(read(&self.path)?.get(place).copied())
    }

    /// Keeps what it has shown first. What is kept already stays.
    pub(crate) fn keep(&self, place: &str, shown: Fingerprint) -> Result<(), CertificatesError> {
        let _alone = lock(&self.writing);
        let mut kept = read(&self.path)?;
        if kept.len() >= MOST {
            return Err(CertificatesError::Full(self.path.clone()));
        }
        kept.entry(place.to_owned()).or_insert(shown);
        write(&self.path, &kept)
    }
}

/// The cameras below a state directory whose certificates are kept, with these.
pub fn known_cameras(data: &Path) -> Result<Vec<(String, String)>, CertificatesError> {
    let kept = read(&data.join(FILE))?;
    let shown = |(place, of): (String, Fingerprint)| (place, of.to_string());
    Ok(kept.into_iter().map(shown).collect())
}

/// Has the certificate of the camera at `place` (`host:port`) forgotten, also while the appliance
/// runs; `false` where none is kept.
pub fn forget_certificate(data: &Path, place: &str) -> Result<bool, CertificatesError> {
    let path = data.join(FILE);
    let mut kept = read(&path)?;
    if kept.remove(place).is_none() {
        return Ok(false);
    }
    let failed = |error| CertificatesError::File(path.clone(), error);
    // Whoever does this may be root, and the agent shall go on to read it.
    let owner = path.symlink_metadata().map_err(failed)?;
    write(&path, &kept)?;
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    chownat(
        CWD,
        &path,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|errno| failed(errno.into()))?;
    Ok(true)
}

fn read(path: &Path) -> Result<Kept, CertificatesError> {
    let bytes = durable::read_if_there(path)
        .map_err(|error| CertificatesError::File(path.to_owned(), error))?;
    match bytes {
        None => Ok(Kept::new()),
        Some(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| CertificatesError::Damaged(path.to_owned(), error)),
    }
}

fn write(path: &Path, kept: &Kept) -> Result<(), CertificatesError> {
    let failed = |error| CertificatesError::File(path.to_owned(), error);
    let text = serde_json::to_vec_pretty(kept).map_err(|error| failed(error.into()))?;
    durable::replace(path, &text, 0o600).map_err(failed)
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

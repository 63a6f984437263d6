//! The state directory as a whole, encrypted by the file system: how it is unlocked.
//!
//! Owns `DIR.unlock` beside the state directory `DIR`: the directory's master key, protected by
//! the TPM or a passphrase. Without that key in the kernel the directory's names and contents are
//! unreadable, and an agent does not start. How a directory becomes one is in
//! [`super::encrypt_data`].

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use parapet_sandbox::fscrypt::{self, Identifier, KEY_BYTES, KeyStatus, Policy};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::place::Place;
use super::protect::{self, Ask, ProtectError, Protected};
use super::settings::KeySettings;

/// Follows the state directory's name: its key.
pub(crate) const UNLOCK: &str = ".unlock";
/// Likewise: while it is made, the encrypted directory; after that, what it was made from.
pub(crate) const ENCRYPTING: &str = ".encrypting";
const VERSION: u32 = 1;

/// Why the state directory is not unlocked.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file or directory.
    #[error("look at {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    /// Encrypted, without its key.
    #[error(
        "use {data}: it is encrypted and locked. Unlock it as root, `parapet agent --unlock-data \
         --data {data}`, or by its unit, parapet-keys.service; where its key {unlock} is gone, put \
         that back, or empty the appliance with `parapet agent reset` and enrol it anew",
        data = .0.display(),
        unlock = .1.display()
    )]
    Locked(PathBuf, PathBuf),
    /// Its key.
    #[error("unlock {path}", path = .0.display())]
    Key(PathBuf, #[source] ProtectError),
    /// A file that is no key of this directory.
    #[error("use {path}: it is damaged or belongs to another directory", path = .0.display())]
    Damaged(PathBuf),
    /// The kernel.
    #[error("give the kernel the key of {path}", path = .0.display())]
    Kernel(PathBuf, #[source] io::Error),
}

/// How a state directory is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlocked {
    /// Not encrypted by the file system.
    Plain,
    /// Encrypted; it was unlocked before.
    Before,
    /// Encrypted, and unlocked just now.
    Now,
}

/// `DIR.unlock`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    version: u32,
    /// What the kernel calls the key by, in hexadecimal.
    pub(super) identifier: String,
    pub(super) key: Protected,
}

impl Stored {
    pub(super) fn new(identifier: Identifier, key: Protected) -> Self {
        Self {
            version: VERSION,
            identifier: hex::encode(identifier),
            key,
        }
    }
}

/// Where a state directory lies: the directory around it, and its name in there.
pub(super) struct Around {
    pub(super) place: Place,
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl Around {
    /// Links on the way there are followed: the operator made them.
    pub(super) fn of(data: &Path) -> Result<Self, DataError> {
        let failed = |error| DataError::File(data.to_owned(), error);
        let path = match data.canonicalize() {
            Ok(path) => path,
            // It may not be there yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let absolute = std::path::absolute(data).map_err(failed)?;
                let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name()) else {
                    return Err(failed(error));
                };
                above.canonicalize().map_err(failed)?.join(name)
            }
            Err(error) => return Err(failed(error)),
        };
        let (Some(above), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
        else {
            return Err(failed(io::Error::other(
                "name a directory below another one, in UTF-8",
            )));
        };
        Ok(Self {
            place: Place::open(above).map_err(failed)?,
            name: name.to_owned(),
            path: path.clone(),
        })
    }

    pub(super) fn sibling(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.name)
    }

    pub(super) fn stored(&self) -> Result<Option<Stored>, DataError> {
        let name = self.sibling(UNLOCK);
        let path = self.place.path(&name);
        let read = self.place.read(&name);
        let Some(text) = read.map_err(|error| DataError::File(path.clone(), error))? else {
            return Ok(None);
        };
        let stored: Option<Stored> = serde_json::from_slice(&text).ok();
        stored
            .filter(|stored| stored.version == VERSION)
            .map(Some)
            .ok_or(DataError::Damaged(path))
    }
}

/// How the directory at a path is encrypted; [`Policy::None`] where there is none.
pub(crate) fn policy_of(data: &Path) -> io::Result<Policy> {
    match File::open(data) {
        Ok(directory) => fscrypt::policy(directory.as_fd()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Policy::None),
        Err(error) => Err(error),
    }
}

/// Unlocks a state directory that is encrypted: by the TPM, or by a passphrase from a file or from
/// whoever may be asked.
pub(crate) fn unlock_data(
    data: &Path,
    settings: &KeySettings,
    ask: Ask,
) -> Result<Unlocked, DataError> {
    let looked = policy_of(data).map_err(|error| DataError::File(data.to_owned(), error))?;
    let Policy::Encrypted(identifier) = looked else {
        return Ok(Unlocked::Plain);
    };
    let directory = File::open(data).map_err(|error| DataError::File(data.to_owned(), error))?;
    let failed = |error| DataError::Kernel(data.to_owned(), error);
    let around = Around::of(data)?;
    let unlock = around.place.path(&around.sibling(UNLOCK));
    let is_root = rustix::process::geteuid().is_root();
    if fscrypt::key_status(directory.as_fd(), identifier).map_err(failed)? == KeyStatus::Present {
        // Whoever unlocked it may not have been us: then there is nothing to look after.
        if is_root && let Ok(Some(stored)) = around.stored() {
            seal_anew(&around, stored, settings);
        }
        return Ok(Unlocked::Before);
    }
    let stored = match around.stored() {
        Ok(Some(stored)) if is_root => stored,
        // The key is root's: an ordinary agent waits for root to give it to the kernel.
        Ok(_) => return Err(DataError::Locked(data.to_owned(), unlock)),
        Err(DataError::File(_, error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(DataError::Locked(data.to_owned(), unlock));
        }
        Err(error) => return Err(error),
    };
    if stored.identifier != hex::encode(identifier) {
        return Err(DataError::Damaged(unlock));
    }
    let key = protect::open(settings, &stored.key, ask)
        .map_err(|error| DataError::Key(data.to_owned(), error))?;
    let added = add(&directory, &key).map_err(failed)?;
    if added != Some(identifier) {
        if let Some(wrong) = added {
            fscrypt::remove_key(directory.as_fd(), wrong).map_err(failed)?;
        }
        return Err(DataError::Damaged(unlock));
    }
    seal_anew(&around, stored, settings);
    Ok(Unlocked::Now)
}

/// Has the TPM seal the key as the configuration wants it, where that has changed: before secure
/// boot is changed, `pcr7` is taken back for one start. The directory is unlocked in any case.
fn seal_anew(around: &Around, stored: Stored, settings: &KeySettings) {
    let sealed = match protect::sealed_anew(settings, &stored.key) {
        Ok(None) => return,
        Ok(Some(key)) => {
            let stored = Stored { key, ..stored };
            serde_json::to_vec(&stored)
                .map_err(io::Error::from)
                .and_then(|text| around.place.replace(&around.sibling(UNLOCK), &text))
                .map_err(|error| error.to_string())
        }
        Err(error) => Err(parapet_sandbox::failure::with_causes(&error)),
    };
    match sealed {
        Ok(()) => tracing::info!(
            pcr7 = settings.pcr7,
            "the TPM has sealed the key of the state directory anew"
        ),
        Err(error) => tracing::warn!(
            error,
            pcr7 = settings.pcr7,
            "the key of the state directory stays sealed as it was"
        ),
    }
}

/// Gives the kernel a key; `None` for one of another length.
pub(super) fn add(directory: &File, key: &[u8]) -> io::Result<Option<Identifier>> {
    if key.len() != KEY_BYTES {
        return Ok(None);
    }
    let mut exact = Zeroizing::new([0; KEY_BYTES]);
    exact.copy_from_slice(key);
    fscrypt::add_key(directory.as_fd(), &exact).map(Some)
}

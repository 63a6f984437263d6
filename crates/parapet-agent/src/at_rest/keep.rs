//! Where the device key itself lies.
//!
//! Owns `secrets.key.tpm` (what the TPM has sealed) and `secrets.key` (the key as it is, where no
//! TPM is used) below the device's directory. A key in a file goes over to the TPM at the first
//! start that finds one. A new key is made only where nothing is sealed yet: a TPM that does not
//! open it, or a file that is gone, is an error.
//!
//! The TPM is root's. `parapet agent` as root opens it before root is given up; for an agent that
//! is an ordinary user from the beginning a unit of root's does ([`hand_over`]).

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::place::Place;
use super::settings::{KeySettings, TpmUse};
use super::tpm::{NoTpm, Sealed, Tpm, TpmError};
use super::vault::{DeviceKey, HeldBy, KEY_BYTES, Vault, has_sealed_keys, key_id};
use crate::state::{self, LockError};

/// The device's directory in the state directory.
pub(crate) const DEVICE: &str = "device";
const FILE: &str = "secrets.key";
const SEALED: &str = "secrets.key.tpm";
/// What is handed over in place of a key that lies in a file.
const IN_FILE: &str = "file";

/// Why the device key is not to be had.
#[derive(Debug, Error)]
pub enum KeyError {
    /// A file.
    #[error("read or write {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    /// No TPM, and one is required.
    #[error("use keys.tpm = \"require\": {0}; see `parapet doctor`")]
    Required(#[source] NoTpm),
    /// The key is sealed, and the TPM is not there.
    #[error(
        "open {path}, the device key that a TPM has sealed: {cause}. Give this machine its TPM \
         back, with the package tpm2-tools, and start the agent as root or by its units \
         (parapet-keys.service)",
        path = path.display()
    )]
    SealedByTpm {
        /// The sealed key.
        path: PathBuf,
        /// Why it cannot be opened.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// A file that is no key.
    #[error(
        "read {path}: it is damaged; empty the appliance with `parapet agent reset` and enrol it \
         anew",
        path = .0.display()
    )]
    Damaged(PathBuf),
    /// Something was sealed by a key that is gone.
    #[error(
        "find {path}: the device key is gone, and with it what it sealed. Put it back; if that \
         cannot be, empty the appliance with `parapet agent reset` and enrol it anew",
        path = .0.display()
    )]
    Lost(PathBuf),
    /// What was handed over is another appliance's, or an earlier one's.
    #[error("use the device key of {path}: it is not this appliance's; restart parapet-keys.service", path = .0.display())]
    Foreign(PathBuf),
    /// The random source.
    #[error("make the device key: no random number")]
    Random,
    /// An agent runs.
    #[error("hold the state directory")]
    Lock(#[from] LockError),
}

/// `secrets.key.tpm`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    /// [`key_id`] of the key.
    id: String,
    tpm2: Sealed,
}

const VERSION: u32 = 1;

/// The device key's bytes, and what keeps them.
struct Opened {
    bytes: Zeroizing<Vec<u8>>,
    held_by: HeldBy,
}

/// Opens the device key of a state directory, and makes it at the first start. As root, where a
/// TPM keeps it. `handed_over` is the file that [`hand_over`] wrote, for who is not root.
pub(crate) fn open(
    data: &Path,
    settings: &KeySettings,
    handed_over: Option<&Path>,
) -> Result<Vault, KeyError> {
    let failed = |error| KeyError::File(data.join(DEVICE), error);
    let place = Place::open(data)
        .and_then(|data| data.make_below(DEVICE))
        .map_err(failed)?;
    let opened = match handed_over {
        Some(file) => taken_over(&place, settings, file)?,
        None => opened(&place, settings)?,
    };
    vault(data, &opened)
}

/// The same for somebody who only looks: nothing is made, moved or deleted. `None` where there is
/// no key yet.
pub(crate) fn peek(data: &Path, settings: &KeySettings) -> Result<Option<Vault>, KeyError> {
    let failed = |error| KeyError::File(data.join(DEVICE), error);
    let Some(place) = Place::open(data)
        .and_then(|data| data.below(DEVICE))
        .map_err(failed)?
    else {
        return Ok(None);
    };
    let opened = match stored(&place)? {
        Some(stored) => Opened {
            bytes: unsealed(&place, settings, &stored)?,
            held_by: HeldBy::Tpm,
        },
        None => match in_file(&place)? {
            None => return Ok(None),
            Some(bytes) => Opened {
                bytes,
                held_by: HeldBy::File,
            },
        },
    };
    vault(data, &opened).map(Some)
}

fn vault(data: &Path, opened: &Opened) -> Result<Vault, KeyError> {
    let directory = data.join(DEVICE);
    let damaged = || KeyError::Damaged(directory.join(FILE));
    let key = DeviceKey::new(&opened.bytes, opened.held_by).ok_or_else(damaged)?;
    Ok(Vault::new(directory, key))
}

/// What keeps the key is decided here: the way of a start.
fn opened(place: &Place, settings: &KeySettings) -> Result<Opened, KeyError> {
    let failed = |error| KeyError::File(place.path(FILE), error);
    place.finish_retiring(FILE).map_err(failed)?;
    if let Some(stored) = stored(place)? {
        let bytes = unsealed(place, settings, &stored)?;
        // Of a start that was cut off, or of an older agent that found none.
        if place.retire(FILE).map_err(failed)? {
            tracing::warn!("a device key in a plain file beside the sealed one is deleted");
        }
        if stored.tpm2.pcr7 != settings.pcr7 {
            let tpm = Tpm::find(settings).map_err(|why| sealed_by_tpm(place, why))?;
            seal(place, &tpm, &bytes, settings.pcr7)?;
            tracing::info!(
                pcr7 = settings.pcr7,
                "the TPM has sealed the device key anew"
            );
        }
        return Ok(Opened {
            bytes,
            held_by: HeldBy::Tpm,
        });
    }
    let kept = in_file(place)?;
    if kept.is_none() && has_sealed_keys(place).map_err(failed)? {
        return Err(KeyError::Lost(place.path(FILE)));
    }
    let is_new = kept.is_none();
    let bytes = match kept {
        Some(bytes) => bytes,
        None => fresh()?,
    };
    match by_tpm(place, settings, &bytes)? {
        Ok(()) => {
            place.retire(FILE).map_err(failed)?;
            tracing::info!(
                pcr7 = settings.pcr7,
                "the device key is sealed by this machine's TPM from now on"
            );
            Ok(Opened {
                bytes,
                held_by: HeldBy::Tpm,
            })
        }
        Err(why) => {
            if is_new {
                place.replace(FILE, &bytes).map_err(failed)?;
            }
            tracing::warn!(
                why,
                "the device key lies in a plain file beside what it seals: whoever takes the disk \
                 has the device and its cameras' passwords. Use a machine with a TPM 2.0 and \
                 install tpm2-tools, or encrypt the state directory (docs/hardening.md, \"Data at \
                 rest\")"
            );
            Ok(Opened {
                bytes,
                held_by: HeldBy::File,
            })
        }
    }
}

/// Has the TPM seal the key, if there is one to be used; else why not.
fn by_tpm(
    place: &Place,
    settings: &KeySettings,
    bytes: &[u8],
) -> Result<Result<(), String>, KeyError> {
    let is_required = settings.tpm == TpmUse::Require;
    if settings.tpm == TpmUse::Never {
        return Ok(Err("keys.tpm is \"never\"".to_owned()));
    }
    let tpm = match Tpm::find(settings) {
        Ok(tpm) => tpm,
        Err(why) if is_required => return Err(KeyError::Required(why)),
        Err(why) => return Ok(Err(parapet_sandbox::failure::with_causes(&why))),
    };
    match seal(place, &tpm, bytes, settings.pcr7) {
        Ok(()) => Ok(Ok(())),
        Err(KeyError::Tpm(why)) if !is_required => {
            Ok(Err(parapet_sandbox::failure::with_causes(&why)))
        }
        Err(error) => Err(error),
    }
}

/// Seals the key, sees whether it opens, and only then writes it down.
fn seal(place: &Place, tpm: &Tpm, bytes: &[u8], pcr7: bool) -> Result<(), KeyError> {
    let sealed = tpm.seal_and_try(bytes, pcr7)?;
    let stored = Stored {
        version: VERSION,
        id: key_id(bytes),
        tpm2: sealed,
    };
    let failed = |error| KeyError::File(place.path(SEALED), error);
    let text = serde_json::to_vec(&stored).map_err(|error| failed(error.into()))?;
    place.replace(SEALED, &text).map_err(failed)
}

fn stored(place: &Place) -> Result<Option<Stored>, KeyError> {
    let failed = |error| KeyError::File(place.path(SEALED), error);
    let Some(text) = place.read(SEALED).map_err(failed)? else {
        return Ok(None);
    };
    let stored: Option<Stored> = serde_json::from_slice(&text).ok();
    stored
        .filter(|stored| stored.version == VERSION)
        .map(Some)
        .ok_or_else(|| KeyError::Damaged(place.path(SEALED)))
}

fn unsealed(
    place: &Place,
    settings: &KeySettings,
    stored: &Stored,
) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if settings.tpm == TpmUse::Never {
        return Err(sealed_by_tpm(place, "keys.tpm is \"never\""));
    }
    let tpm = Tpm::find(settings).map_err(|why| sealed_by_tpm(place, why))?;
    let bytes = tpm.unseal(&stored.tpm2)?;
    if bytes.len() == KEY_BYTES && key_id(&bytes) == stored.id {
        Ok(bytes)
    } else {
        Err(KeyError::Damaged(place.path(SEALED)))
    }
}

fn sealed_by_tpm(
    place: &Place,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> KeyError {
    KeyError::SealedByTpm {
        path: place.path(SEALED),
        cause: cause.into(),
    }
}

fn in_file(place: &Place) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let failed = |error| KeyError::File(place.path(FILE), error);
    match place.read(FILE).map_err(failed)? {
        Some(bytes) if bytes.len() != KEY_BYTES => Err(KeyError::Damaged(place.path(FILE))),
        other => Ok(other),
    }
}

fn fresh() -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut bytes = Zeroizing::new(vec![0; KEY_BYTES]);
    rand::fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

/// As root, for an agent that is an ordinary user from the beginning: opens the device key and
/// leaves it in `file`, which has to be on memory and closed to others; for a key that is not
/// sealed by a TPM only the word that it is so.
pub(crate) fn hand_over(data: &Path, settings: &KeySettings, file: &Path) -> Result<(), KeyError> {
    let failed = |error| KeyError::File(file.to_owned(), error);
    let _lock = state::hold(data)?;
    let text = {
        let above = |error| KeyError::File(data.join(DEVICE), error);
        let place = Place::open(data)
            .and_then(|data| data.make_below(DEVICE))
            .map_err(above)?;
        let opened = opened(&place, settings)?;
        Zeroizing::new(match opened.held_by {
            HeldBy::Tpm => hex::encode(&*opened.bytes),
            HeldBy::File => IN_FILE.to_owned(),
        })
    };
    let (Some(directory), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    let name = name.to_string_lossy();
    let place = Place::open(directory).map_err(failed)?;
    place.replace(&name, text.as_bytes()).map_err(failed)
}

fn taken_over(place: &Place, settings: &KeySettings, file: &Path) -> Result<Opened, KeyError> {
    let failed = |error| KeyError::File(file.to_owned(), error);
    let foreign = || KeyError::Foreign(file.to_owned());
    let text = crate::durable::read_if_there(file)
        .and_then(|bytes| bytes.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map(Zeroizing::new)
        .map_err(failed)?;
    if text.as_slice() == IN_FILE.as_bytes() {
        return opened(place, settings);
    }
    let mut bytes = Zeroizing::new(vec![0; KEY_BYTES]);
    hex::decode_to_slice(&*text, &mut bytes).map_err(|_| foreign())?;
    // An appliance that was emptied meanwhile has another key.
    if stored(place)?.is_none_or(|stored| stored.id != key_id(&bytes)) {
        return Err(foreign());
    }
    Ok(Opened {
        bytes,
        held_by: HeldBy::Tpm,
    })
}

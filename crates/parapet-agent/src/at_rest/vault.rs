//! What the device key seals, and how it is found again.
//!
//! Owns `key.sealed`, `key.next.sealed` and `inbound/key.sealed` below the device's directory, and
//! opens what [`crate::secrets`] keeps beside them. Sealing is AES-256-GCM-SIV under a random
//! nonce; what a value is for is authenticated with it, so that a value in another's place does not
//! open.
//!
//! An appliance of before kept its private keys as they are (`key.pem` and so on). Where such a
//! file lies it counts, and [`Vault::migrate`] seals it: the sealed file is durable before the
//! plain one is put aside, overwritten and deleted, so that one of them is always whole.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::place::Place;

/// Bytes of the device key.
pub(super) const KEY_BYTES: usize = 32;

/// What keeps the device key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeldBy {
    /// The machine's TPM.
    Tpm,
    /// A file beside what it seals.
    File,
}

/// Why something sealed is not to be had.
#[derive(Debug, Error)]
pub(crate) enum VaultError {
    #[error("read or write {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error(
        "open {path}: the device key does not fit it, or it is damaged; empty the appliance with \
         `parapet agent reset` and enrol it anew",
        path = .0.display()
    )]
    Damaged(PathBuf),
    #[error("use the cipher that seals secrets")]
    Cipher,
}

/// A private key of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrivateKey {
    /// Of its certificate for the control plane.
    Device,
    /// Of the certificate that was asked for.
    Next,
    /// Of the authority for inbound ports.
    Inbound,
}

impl PrivateKey {
    pub(super) const ALL: [Self; 3] = [Self::Device, Self::Next, Self::Inbound];

    /// The directory below the device's own, where it lies in one.
    fn directory(self) -> Option<&'static str> {
        match self {
            Self::Device | Self::Next => None,
            Self::Inbound => Some("inbound"),
        }
    }

    fn sealed(self) -> &'static str {
        match self {
            Self::Device | Self::Inbound => "key.sealed",
            Self::Next => "key.next.sealed",
        }
    }

    /// Its name on an appliance of before.
    fn plain(self) -> &'static str {
        match self {
            Self::Device | Self::Inbound => "key.pem",
            Self::Next => "key.next.pem",
        }
    }

    /// Authenticated with it. No secret's ID has a colon.
    fn purpose(self) -> &'static str {
        match self {
            Self::Device => "private key: device",
            Self::Next => "private key: device, next",
            Self::Inbound => "private key: inbound ports",
        }
    }
}

/// The key that seals everything else.
pub(super) struct DeviceKey {
    cipher: LessSafeKey,
    held_by: HeldBy,
}

impl DeviceKey {
    pub(super) fn new(bytes: &[u8], held_by: HeldBy) -> Option<Self> {
        let cipher = UnboundKey::new(&AES_256_GCM_SIV, bytes).ok()?;
        Some(Self {
            cipher: LessSafeKey::new(cipher),
            held_by,
        })
    }
}

/// What tells one device key from another: not secret.
pub(super) fn key_id(bytes: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
    hex::encode(&hmac::sign(&key, b"parapet device key").as_ref()[..8])
}

/// The device's directory with the key to what is sealed in there.
#[derive(Clone)]
pub(crate) struct Vault {
    directory: PathBuf,
    key: Arc<DeviceKey>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("directory", &self.directory)
            .field("held_by", &self.key.held_by)
            .finish_non_exhaustive()
    }
}

impl Vault {
    pub(super) fn new(directory: PathBuf, key: DeviceKey) -> Self {
        Self {
            directory,
            key: Arc::new(key),
        }
    }

    /// With a key in a file, made where there is none.
    #[cfg(test)]
    pub(crate) fn in_file(directory: &Path) -> Self {
        let path = directory.join("secrets.key");
        if !path.exists() {
            let mut bytes = [0; KEY_BYTES];
            aws_lc_rs::rand::fill(&mut bytes).unwrap();
            std::fs::write(&path, bytes).unwrap();
        }
        let key = DeviceKey::new(&std::fs::read(path).unwrap(), HeldBy::File).unwrap();
        Self::new(directory.to_owned(), key)
    }

    /// The same key, with the directory as it is called from elsewhere.
    pub(crate) fn seen_as(&self, directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            key: Arc::clone(&self.key),
        }
    }

    /// The device's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What keeps the device key.
    pub(crate) fn held_by(&self) -> HeldBy {
        self.key.held_by
    }

    /// Nonce and sealed bytes. `purpose` has to be given again to open them.
    pub(crate) fn seal(&self, purpose: &str, bytes: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| VaultError::Cipher)?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(bytes.len() + 16));
        sealed.extend_from_slice(bytes);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.key
            .cipher
            .seal_in_place_append_tag(nonce_used, Aad::from(purpose), &mut *sealed)
            .map_err(|_| VaultError::Cipher)?;
        Ok([&nonce[..], &sealed[..]].concat())
    }

    /// What was sealed for this purpose; `None` for anything else.
    pub(crate) fn open(&self, purpose: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .key
            .cipher
            .open_in_place(nonce, Aad::from(purpose), &mut bytes)
            .ok()?
            .len();
        bytes.truncate(opened);
        Some(bytes)
    }

    /// A private key, as PEM; `None` where there is none.
    pub(crate) fn private_key(
        &self,
        which: PrivateKey,
    ) -> Result<Option<Zeroizing<String>>, VaultError> {
        let Some(place) = self.place_of(which)? else {
            return Ok(None);
        };
        let read = |name: &str| {
            let failed = |error| VaultError::File(place.path(name), error);
            place.read(name).map_err(failed)
        };
        let (bytes, name) = match read(which.plain())? {
            Some(bytes) => (bytes, which.plain()),
            None => match read(which.sealed())? {
                Some(sealed) => {
                    let damaged = || VaultError::Damaged(place.path(which.sealed()));
                    let bytes = self.open(which.purpose(), &sealed).ok_or_else(damaged)?;
                    (bytes, which.sealed())
                }
                None => return Ok(None),
            },
        };
        let text =
            std::str::from_utf8(&bytes).map_err(|_| VaultError::Damaged(place.path(name)))?;
        Ok(Some(Zeroizing::new(text.to_owned())))
    }

    /// Keeps a private key: durable when this returns.
    pub(crate) fn keep_private_key(&self, which: PrivateKey, pem: &str) -> Result<(), VaultError> {
        let failed = |error| VaultError::File(self.directory.clone(), error);
        let mut place = Place::open(&self.directory).map_err(failed)?;
        if let Some(directory) = which.directory() {
            place = place.make_below(directory).map_err(failed)?;
        }
        self.keep(&place, which, pem.as_bytes())
    }

    fn keep(&self, place: &Place, which: PrivateKey, pem: &[u8]) -> Result<(), VaultError> {
        let sealed = self.seal(which.purpose(), pem)?;
        place
            .replace(which.sealed(), &sealed)
            .map_err(|error| VaultError::File(place.path(which.sealed()), error))?;
        // Where one lies it would count.
        place
            .retire(which.plain())
            .map(drop)
            .map_err(|error| VaultError::File(place.path(which.plain()), error))
    }

    /// Overwrites and deletes a private key, if there is one.
    pub(crate) fn forget_private_key(&self, which: PrivateKey) -> Result<(), VaultError> {
        let Some(place) = self.place_of(which)? else {
            return Ok(());
        };
        for name in [which.plain(), which.sealed()] {
            place
                .retire(name)
                .map_err(|error| VaultError::File(place.path(name), error))?;
        }
        Ok(())
    }

    /// Seals the private keys that an appliance of before has left as they are. Gives their names.
    pub(crate) fn migrate(&self) -> Result<Vec<String>, VaultError> {
        let mut sealed = Vec::new();
        for which in PrivateKey::ALL {
            let Some(place) = self.place_of(which)? else {
                continue;
            };
            let name = which.plain();
            let failed = |error| VaultError::File(place.path(name), error);
            place.finish_retiring(name).map_err(failed)?;
            if let Some(pem) = place.read(name).map_err(failed)? {
                self.keep(&place, which, &pem)?;
                sealed.push(place.path(name).display().to_string());
            }
        }
        Ok(sealed)
    }

    fn place_of(&self, which: PrivateKey) -> Result<Option<Place>, VaultError> {
        let failed = |error| VaultError::File(self.directory.clone(), error);
        let place = Place::open(&self.directory).map_err(failed)?;
        match which.directory() {
            None => Ok(Some(place)),
            Some(name) => place.below(name).map_err(failed),
        }
    }
}

/// Whether there is anything that only the device key opens, and that cannot be fetched again.
pub(super) fn has_sealed_keys(device: &Place) -> io::Result<bool> {
    for which in PrivateKey::ALL {
        let place = match which.directory() {
            None => None,
            Some(name) => match device.below(name)? {
                None => continue,
                below => below,
            },
        };
        if place.as_ref().unwrap_or(device).has(which.sealed())? {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn vault(dir: &Path) -> Vault {
        let key = DeviceKey::new(&[7; KEY_BYTES], HeldBy::File).unwrap();
        Vault::new(dir.to_owned(), key)
    }

    #[test]
    fn a_private_key_is_sealed_on_disk_and_opens_for_its_purpose_only() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        assert!(vault.private_key(PrivateKey::Inbound).unwrap().is_none());
        for which in PrivateKey::ALL {
            vault.keep_private_key(which, "opensesame").unwrap();
            let pem = vault.private_key(which).unwrap().unwrap();
            assert_eq!(pem.as_str(), "opensesame");
        }
        let sealed = fs::read(dir.path().join("key.sealed")).unwrap();
        assert!(!sealed.windows(10).any(|bytes| bytes == b"opensesame"));
        fs::copy(
            dir.path().join("inbound/key.sealed"),
            dir.path().join("key.sealed"),
        )
        .unwrap();
        let swapped = vault.private_key(PrivateKey::Device);
        assert!(matches!(swapped, Err(VaultError::Damaged(_))));
        vault.forget_private_key(PrivateKey::Next).unwrap();
        assert!(vault.private_key(PrivateKey::Next).unwrap().is_none());
    }

    #[test]
    fn keys_of_an_older_appliance_are_sealed_and_overwritten_and_never_lost_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let vault = vault(dir.path());
        let plain = dir.path().join("key.pem");
        fs::write(&plain, "of before").unwrap();
        let seen = fs::File::open(&plain).unwrap();
        let pem = || vault.private_key(PrivateKey::Device).unwrap();
        assert_eq!(pem().unwrap().as_str(), "of before");
        assert_eq!(vault.migrate().unwrap().len(), 1);
        assert!(!plain.exists());
        let zeros = io::read_to_string(seen).unwrap();
        assert_eq!(zeros.as_bytes(), [0; 9]);
        assert_eq!(pem().unwrap().as_str(), "of before");
        assert!(vault.migrate().unwrap().is_empty(), "once is enough");
        // Cut off before the plain one was put aside: it is sealed again.
        fs::write(&plain, "of before").unwrap();
        // Cut off while it was overwritten.
        fs::write(dir.path().join("key.next.pem.wiping"), [0; 9]).unwrap();
        vault.migrate().unwrap();
        assert_eq!(pem().unwrap().as_str(), "of before");
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["key.sealed"]);
    }

    #[test]
    fn another_device_key_does_not_open_what_this_one_sealed() {
        let dir = tempfile::tempdir().unwrap();
        vault(dir.path())
            .keep_private_key(PrivateKey::Device, "secret")
            .unwrap();
        let other = DeviceKey::new(&[8; KEY_BYTES], HeldBy::File).unwrap();
        let other = Vault::new(dir.path().to_owned(), other);
        let refused = other.private_key(PrivateKey::Device).unwrap_err();
        assert!(refused.to_string().contains("parapet agent reset"));
        assert_ne!(key_id(&[7; KEY_BYTES]), key_id(&[8; KEY_BYTES]));
    }
}

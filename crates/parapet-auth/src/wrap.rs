//! Envelope encryption of stored secrets: AES-256-GCM-SIV under a master key kept apart.
//!
//! Owns the sealed form: one byte of format, the eight bytes of the master key's ID, the 12-byte
//! nonce, ciphertext and tag. The place of a secret (table, account, row, column, version) is
//! authenticated with it, and so are format and key ID: a sealed value copied to another row does
//! not open. Nonces are handed in; GCM-SIV forgives a repeated one.
//!
//! [`MasterKeys`] is a ring: one key seals, older ones still open. So a running server goes over to
//! a new key row by row. Format 1, which named no key, still opens with any key of the ring.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// First byte of a sealed value that names its key.
const FORMAT: u8 = 2;
/// First byte of the older form, which names no key.
const FORMAT_WITHOUT_KEY: u8 = 1;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of a master key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a key ID.
pub const KEY_ID_BYTES: usize = 8;
/// What a key's ID is computed over.
const KEY_ID_OF: &[u8] = b"parapet master key id";

/// Why a secret could not be sealed or opened. Says nothing about the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WrapError {
    /// The cipher refused to seal.
    #[error("seal a secret: the cipher refused")]
    Seal,
    /// Too short, or of a format this version does not know.
    #[error("open a sealed secret: it is cut short or of an unknown format")]
    Format,
    /// Sealed under a key that is not in the ring.
    #[error(
        "open a sealed secret: it needs the master key {0}, which is not here; add it to the source of master keys as an older key"
    )]
    UnknownKey(KeyId),
    /// Another master key, another place, or changed bytes.
    #[error("open a sealed secret: the master key does not fit, or the row was altered")]
    Open,
}

/// Where a secret is stored; a sealed value opens only there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    /// Table name.
    pub table: &'a str,
    /// Account that owns the row.
    pub account: &'a str,
    /// ID of the row.
    pub id: &'a str,
    /// Column name.
    pub column: &'a str,
    /// Version of the value.
    pub version: u64,
}

impl Label<'_> {
    /// Each part with its length before it, so that no two labels have the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        for part in [self.table, self.account, self.id, self.column] {
            // Writing to a String cannot fail.
            let _written = write!(text, "{}:{part};", part.len());
        }
        let _written = write!(text, "{}", self.version);
        text.into_bytes()
    }

    /// The same behind format and key, which are authenticated too.
    fn bytes_under(&self, key: KeyId) -> Vec<u8> {
        [&[FORMAT][..], &key.0, &self.bytes()].concat()
    }
}

/// Which master key: the first bytes of an HMAC under it. Not secret; written as 16 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    /// The first bytes of every value that is sealed under this key.
    #[must_use]
    pub fn sealed_prefix(&self) -> [u8; 1 + KEY_ID_BYTES] {
        let mut prefix = [FORMAT; 1 + KEY_ID_BYTES];
        prefix[1..].copy_from_slice(&self.0);
        prefix
    }

    /// The key that a sealed value names; `None` for the older form and for what is none.
    #[must_use]
    pub fn of_sealed(sealed: &[u8]) -> Option<Self> {
        let (format, rest) = sealed.split_first()?;
        let id = rest.first_chunk::<KEY_ID_BYTES>()?;
        (*format == FORMAT).then_some(Self(*id))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that wraps stored secrets. Its `Debug` shows the ID only; no `Clone`; erased when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; KEY_BYTES]);

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MasterKey").field(&self.id()).finish()
    }
}

impl MasterKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The name by which sealed values know this key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), KEY_ID_OF);
        let mut id = [0; KEY_ID_BYTES];
        // An HMAC-SHA256 has 32 bytes.
        id.copy_from_slice(&tag.as_ref()[..KEY_ID_BYTES]);
        KeyId(id)
    }

    /// Seals `plain` for the place that `label` names. `nonce` is random.
    pub fn wrap(
        &self,
        label: &Label<'_>,
        plain: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, WrapError> {
        let id = self.id();
        let cipher = self.cipher().ok_or(WrapError::Seal)?;
        let mut body = Zeroizing::new(plain.to_vec());
        let tag = cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label.bytes_under(id)),
                &mut body,
            )
            .map_err(|_| WrapError::Seal)?;
        Ok([&[FORMAT][..], &id.0, &nonce, &body, tag.as_ref()].concat())
    }

    /// Opens what [`wrap`](Self::wrap) sealed for the same place.
    pub fn unwrap(
        &self,
        label: &Label<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let (format, rest) = sealed.split_first().ok_or(WrapError::Format)?;
        match *format {
            FORMAT => {
                let (id, rest) = rest
                    .split_first_chunk::<KEY_ID_BYTES>()
                    .ok_or(WrapError::Format)?;
                let id = KeyId(*id);
                if id != self.id() {
                    return Err(WrapError::UnknownKey(id));
                }
                self.open(label.bytes_under(id), rest)
            }
            FORMAT_WITHOUT_KEY => self.open(label.bytes(), rest),
            _ => Err(WrapError::Format),
        }
    }

    /// Opens nonce, ciphertext and tag.
    fn open(&self, place: Vec<u8>, rest: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let (nonce, body) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(WrapError::Format)?;
        let cipher = self.cipher().ok_or(WrapError::Open)?;
        let mut plain = Zeroizing::new(body.to_vec());
        let length = cipher
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(place),
                &mut plain,
            )
            .map_err(|_| WrapError::Open)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM_SIV, &self.0)
            .ok()
            .map(LessSafeKey::new)
    }
}

/// The master keys in use: one seals, all open.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    current: Arc<MasterKey>,
    older: Vec<Arc<MasterKey>>,
}

impl From<MasterKey> for MasterKeys {
    fn from(key: MasterKey) -> Self {
        Self::new(key, Vec::new())
    }
}

impl MasterKeys {
    /// `current` seals and opens, `older` only open. A key that is named twice is there once.
    #[must_use]
    pub fn new(current: MasterKey, older: Vec<MasterKey>) -> Self {
        let mut ring = Self {
            current: Arc::new(current),
            older: Vec::new(),
        };
        for key in older {
            if !ring.ids().any(|id| id == key.id()) {
                ring.older.push(Arc::new(key));
            }
        }
        ring
    }

    /// The ring that follows: `next` seals with its current key, and every key of either ring opens.
    #[must_use]
    pub fn succeeded_by(&self, next: &Self) -> Self {
        let mut ring = next.clone();
        for key in std::iter::once(&self.current).chain(&self.older) {
            if !ring.ids().any(|id| id == key.id()) {
                ring.older.push(Arc::clone(key));
            }
        }
        ring
    }

    /// The same ring without these older keys. The key that seals always stays.
    #[must_use]
    pub fn without(&self, gone: &[KeyId]) -> Self {
        let older = self.older.iter();
        Self {
            current: Arc::clone(&self.current),
            older: older
                .filter(|key| !gone.contains(&key.id()))
                .cloned()
                .collect(),
        }
    }

    /// The key that seals.
    #[must_use]
    pub fn current(&self) -> &MasterKey {
        &self.current
    }

    /// IDs of the keys that only open.
    pub fn older_ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.older.iter().map(|key| key.id())
    }

    /// IDs of all keys, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        std::iter::once(self.current.id()).chain(self.older_ids())
    }

    /// Whether a sealed value is under the key that seals.
    #[must_use]
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        KeyId::of_sealed(sealed) == Some(self.current.id())
    }

    /// Seals `plain` for the place that `label` names, under the current key. `nonce` is random.
    pub fn wrap(
        &self,
        label: &Label<'_>,
        plain: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, WrapError> {
        self.current.wrap(label, plain, nonce)
    }

    /// Opens what was sealed for the same place under any key of the ring.
    pub fn unwrap(
        &self,
        label: &Label<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        // A value that names its key fails at once with every other; one that names none is tried
        // with each. The first error is the current key's, unless a later key came further.
        let mut refused = match self.current.unwrap(label, sealed) {
            Ok(plain) => return Ok(plain),
            Err(error) => error,
        };
        for key in &self.older {
            match key.unwrap(label, sealed) {
                Ok(plain) => return Ok(plain),
                Err(WrapError::UnknownKey(_)) => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Label<'_> = Label {
        table: "secrets",
        account: "123456789012",
        id: "secret-a",
        column: "value",
        version: 1,
    };

    #[test]
    fn a_secret_comes_back_at_its_own_place() {
        let key = MasterKey::new([7; 32]);
        let sealed = key.wrap(&HERE, b"hunter2", [1; 12]).unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(key.unwrap(&HERE, &sealed).unwrap().as_slice(), b"hunter2");
    }

    #[test]
    fn a_secret_opens_nowhere_else() {
        let key = MasterKey::new([7; 32]);
        let sealed = key.wrap(&HERE, b"hunter2", [1; 12]).unwrap();
        for other in [
            Label {
                table: "keys",
                ..HERE
            },
            Label {
                account: "123456789013",
                ..HERE
            },
            Label {
                id: "secret-b",
                ..HERE
            },
            Label {
                column: "other",
                ..HERE
            },
            Label { version: 2, ..HERE },
        ] {
            assert_eq!(
                key.unwrap(&other, &sealed).err(),
                Some(WrapError::Open),
                "{other:?}"
            );
        }
        assert_eq!(
            MasterKey::new([8; 32]).unwrap(&HERE, &sealed).err(),
            Some(WrapError::UnknownKey(key.id()))
        );
    }

    #[test]
    fn a_sealed_secret_that_was_changed_or_cut_does_not_open() {
        let key = MasterKey::new([7; 32]);
        let sealed = key.wrap(&HERE, b"hunter2", [1; 12]).unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(key.unwrap(&HERE, &changed).is_err(), "byte {index}");
            assert!(
                key.unwrap(&HERE, &sealed[..index]).is_err(),
                "cut at {index}"
            );
        }
    }

    #[test]
    fn parts_of_a_label_do_not_run_together() {
        let a = Label {
            id: "ab",
            column: "c",
            ..HERE
        };
        let b = Label {
            id: "a",
            column: "bc",
            ..HERE
        };
        assert_ne!(a.bytes(), b.bytes());
    }

    /// As the first versions sealed: no key ID, and none among the authenticated bytes.
    fn sealed_in_format_1(key: &MasterKey, plain: &[u8]) -> Vec<u8> {
        let mut body = plain.to_vec();
        let nonce = [3; NONCE_BYTES];
        let tag = key
            .cipher()
            .unwrap()
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(HERE.bytes()),
                &mut body,
            )
            .unwrap();
        [&[1][..], &nonce, &body, tag.as_ref()].concat()
    }

    #[test]
    fn a_value_of_the_older_form_opens_with_any_key_of_the_ring() {
        let old = MasterKey::new([7; 32]);
        let sealed = sealed_in_format_1(&old, b"hunter2");
        assert_eq!(old.unwrap(&HERE, &sealed).unwrap().as_slice(), b"hunter2");
        let ring = MasterKeys::from(old).succeeded_by(&MasterKey::new([8; 32]).into());
        assert_eq!(ring.unwrap(&HERE, &sealed).unwrap().as_slice(), b"hunter2");
        assert!(!ring.is_current(&sealed));
        assert_eq!(KeyId::of_sealed(&sealed), None);
    }

    #[test]
    fn a_ring_seals_with_its_current_key_and_opens_with_all() {
        let first = MasterKeys::from(MasterKey::new([7; 32]));
        let before = first.wrap(&HERE, b"before", [1; 12]).unwrap();
        let second = first.succeeded_by(&MasterKey::new([8; 32]).into());
        let after = second.wrap(&HERE, b"after", [1; 12]).unwrap();
        assert!(second.is_current(&after) && !second.is_current(&before));
        assert_eq!(second.unwrap(&HERE, &before).unwrap().as_slice(), b"before");
        assert_eq!(second.unwrap(&HERE, &after).unwrap().as_slice(), b"after");
        let alone = second.without(&[first.current().id(), second.current().id()]);
        assert_eq!(alone.unwrap(&HERE, &after).unwrap().as_slice(), b"after");
        assert_eq!(
            alone.unwrap(&HERE, &before).err(),
            Some(WrapError::UnknownKey(first.current().id()))
        );
    }

    #[test]
    fn an_altered_value_of_an_older_key_is_told_from_one_of_an_unknown_key() {
        let ring = MasterKeys::new(MasterKey::new([8; 32]), vec![MasterKey::new([7; 32])]);
        let mut sealed = MasterKey::new([7; 32]).wrap(&HERE, b"x", [1; 12]).unwrap();
        *sealed.last_mut().unwrap() ^= 1;
        assert_eq!(ring.unwrap(&HERE, &sealed).err(), Some(WrapError::Open));
    }

    #[test]
    fn going_back_to_an_older_key_keeps_each_key_once() {
        let ring = MasterKeys::from(MasterKey::new([7; 32]))
            .succeeded_by(&MasterKey::new([8; 32]).into())
            .succeeded_by(&MasterKey::new([7; 32]).into());
        let ids = [MasterKey::new([7; 32]).id(), MasterKey::new([8; 32]).id()];
        assert_eq!(ring.ids().collect::<Vec<_>>(), ids);
    }

    #[test]
    fn a_key_shows_its_id_and_nothing_of_itself() {
        let ring = MasterKeys::from(MasterKey::new([0xAB; 32]));
        let shown = format!("{ring:?} {:?}", ring.current());
        assert!(shown.contains(&ring.current().id().to_string()));
        assert!(!shown.to_lowercase().contains("abab") && !shown.contains("171"));
    }
}

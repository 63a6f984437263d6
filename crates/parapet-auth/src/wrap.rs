//! Envelope encryption of stored secrets: AES-256-GCM-SIV under a master key kept apart.
//!
//! Owns the sealed form: one byte of format, the 12-byte nonce, ciphertext and tag. The place of a
//! secret (table, account, row, column, version) is authenticated with it, so that a sealed value
//! copied to another row does not open. Nonces are handed in; GCM-SIV forgives a repeated one.

use std::fmt::Write as _;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// First byte of every sealed value.
const FORMAT: u8 = 1;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of a master key.
pub const KEY_BYTES: usize = 32;

/// Why a secret could not be sealed or opened. Says nothing about the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WrapError {
    /// The cipher refused to seal.
    #[error("seal a secret: the cipher refused")]
    Seal,
    /// Too short, or of a format this version does not know.
    #[error("open a sealed secret: it is cut short or of an unknown format")]
    Format,
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
}

/// The key that wraps all stored secrets. No `Debug`, no `Clone`; erased when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; KEY_BYTES]);

impl MasterKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Seals `plain` for the place that `label` names. `nonce` is random.
    pub fn wrap(
        &self,
        label: &Label<'_>,
        plain: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, WrapError> {
        let cipher = self.cipher().ok_or(WrapError::Seal)?;
        let mut body = Zeroizing::new(plain.to_vec());
        let tag = cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label.bytes()),
                &mut body,
            )
            .map_err(|_| WrapError::Seal)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + body.len() + 16);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what [`wrap`](Self::wrap) sealed for the same place.
    pub fn unwrap(
        &self,
        label: &Label<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        let (format, rest) = sealed.split_first().ok_or(WrapError::Format)?;
        let (nonce, body) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(WrapError::Format)?;
        if *format != FORMAT {
            return Err(WrapError::Format);
        }
        let cipher = self.cipher().ok_or(WrapError::Open)?;
        let mut plain = Zeroizing::new(body.to_vec());
        let length = cipher
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(label.bytes()),
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
            Some(WrapError::Open)
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
}

//! The keys that seal session tokens, and sealing and opening.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use super::claims::SessionClaims;
use crate::sigv4::SecretKey;

/// Bytes of a ring key.
pub const RING_KEY_BYTES: usize = 32;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 12;
/// Bytes of a cipher's tag.
const TAG_BYTES: usize = 16;
/// First byte of every token.
const VERSION: u8 = 1;
/// Version and key ID.
const HEAD_BYTES: usize = 5;
/// Longest token that is looked at. The largest that is made is smaller: session policies and tags
/// together are bounded by `PackedPolicyTooLarge`.
const TOKEN_BYTES: usize = 16 * 1024;
/// Characters of a secret access key.
const SECRET_CHARACTERS: usize = 40;

/// Why a session could not be sealed or opened. Says nothing about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SessionError {
    /// No token of ours: wrong form, a key that is not in the ring, or altered.
    #[error("open a session token: it is not one of this server, or was altered")]
    Invalid,
    /// Its time is over.
    #[error("open a session token: it has expired")]
    Expired,
    /// Claims that make too long a token.
    #[error("seal a session token: its policies and tags are too large")]
    TooLarge,
    /// The cipher refused.
    #[error("seal a session token: the cipher refused")]
    Seal,
}

/// One key of the ring. No `Debug` of its bytes; erased when dropped.
pub struct RingKey {
    id: u32,
    sealing: LessSafeKey,
    secrets: hmac::Key,
}

impl RingKey {
    /// From its ID, which is not secret and never used again for another key, and 32 random bytes.
    pub fn new(id: u32, mut bytes: [u8; RING_KEY_BYTES]) -> Result<Self, SessionError> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        bytes.zeroize();
        // One key, two uses: each has its own, so that neither says anything about the other.
        let mut sealing = hmac::sign(&root, b"parapet session token")
            .as_ref()
            .to_vec();
        let mut secrets = hmac::sign(&root, b"parapet session secret")
            .as_ref()
            .to_vec();
        let key = UnboundKey::new(&AES_256_GCM_SIV, &sealing).map_err(|_| SessionError::Seal);
        let result = key.map(|key| Self {
            id,
            sealing: LessSafeKey::new(key),
            secrets: hmac::Key::new(hmac::HMAC_SHA256, &secrets),
        });
        sealing.zeroize();
        secrets.zeroize();
        result
    }

    /// Which one.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The secret access key that belongs to a token: 40 characters, as the original's.
    fn secret(&self, access_key: &str, token: &[u8; 32]) -> SecretKey {
        let mut context = hmac::Context::with_key(&self.secrets);
        context.update(access_key.as_bytes());
        context.update(&[0]);
        context.update(token);
        let tag = context.sign();
        let mut text = STANDARD.encode(tag.as_ref());
        text.truncate(SECRET_CHARACTERS);
        SecretKey::new(text)
    }
}

impl fmt::Debug for RingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingKey({})", self.id)
    }
}

/// The current key and the older ones whose tokens still live.
#[derive(Debug)]
pub struct SessionRing {
    current: RingKey,
    older: Vec<RingKey>,
}

/// A new session: what `AssumeRole` and `GetSessionToken` answer with. No `Debug`.
pub struct SealedSession {
    /// The token.
    pub token: String,
    /// The secret access key.
    pub secret: SecretKey,
}

/// A token that this server made and whose time has not come: its claims, and the secret that its
/// holder signs with. No `Debug`.
pub struct OpenSession {
    /// What it says.
    pub claims: SessionClaims,
    /// What its holder signs with.
    pub secret: SecretKey,
    token: [u8; 32],
}

impl OpenSession {
    /// SHA-256 of the token's text.
    #[must_use]
    pub fn token_sha256(&self) -> &[u8; 32] {
        &self.token
    }
}

impl SessionRing {
    /// `current` seals; all of them open.
    #[must_use]
    pub fn new(current: RingKey, older: Vec<RingKey>) -> Self {
        Self { current, older }
    }

    /// Makes the token of a session. `nonce` is random.
    pub fn seal(
        &self,
        claims: &SessionClaims,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<SealedSession, SessionError> {
        let key = &self.current;
        let mut body = Zeroizing::new(serde_json::to_vec(claims).map_err(|_| SessionError::Seal)?);
        let head = head(key.id);
        let tag = key
            .sealing
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(head),
                &mut body,
            )
            .map_err(|_| SessionError::Seal)?;
        let token = URL_SAFE_NO_PAD.encode([&head, &nonce[..], &body, tag.as_ref()].concat());
        if token.len() > TOKEN_BYTES {
            return Err(SessionError::TooLarge);
        }
        let secret = key.secret(&claims.access_key, &sha256(&token));
        Ok(SealedSession { token, secret })
    }

    /// Opens a token at `now` (seconds since the epoch). Whether its subject still counts is asked
    /// elsewhere, and that the request was signed with its secret is proven by the signature.
    pub fn open(&self, token: &str, now: i64) -> Result<OpenSession, SessionError> {
        let opened = self.open_any(token)?;
        if now >= opened.claims.expires {
            return Err(SessionError::Expired);
        }
        Ok(opened)
    }

    fn open_any(&self, token: &str) -> Result<OpenSession, SessionError> {
        if token.len() > TOKEN_BYTES {
            return Err(SessionError::Invalid);
        }
        // Strict: no padding, no spare bits, so that a token has one text.
        let mut bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| SessionError::Invalid)?;
        if bytes.len() < HEAD_BYTES + NONCE_BYTES + TAG_BYTES {
            return Err(SessionError::Invalid);
        }
        let (head_bytes, rest) = bytes
            .split_first_chunk_mut::<HEAD_BYTES>()
            .ok_or(SessionError::Invalid)?;
        let (nonce, body) = rest
            .split_first_chunk_mut::<NONCE_BYTES>()
            .ok_or(SessionError::Invalid)?;
        let key = std::iter::once(&self.current)
            .chain(&self.older)
            .find(|key| head(key.id) == *head_bytes)
            .ok_or(SessionError::Invalid)?;
        let plain = key
            .sealing
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(*head_bytes),
                body,
            )
            .map_err(|_| SessionError::Invalid)?;
        let claims: SessionClaims =
            serde_json::from_slice(plain).map_err(|_| SessionError::Invalid)?;
        plain.zeroize();
        let hash = sha256(token);
        Ok(OpenSession {
            secret: key.secret(&claims.access_key, &hash),
            claims,
            token: hash,
        })
    }
}

fn head(id: u32) -> [u8; HEAD_BYTES] {
    let [a, b, c, d] = id.to_be_bytes();
    [VERSION, a, b, c, d]
}

fn sha256(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests;

//! Session tokens: temporary credentials that need no table to be verified.
//!
//! Owns the token's form. A token holds its own claims, sealed with AES-256-GCM-SIV under a key of
//! the [`SessionRing`], so that the server learns from the token alone whose session it is, what
//! narrows it and until when it lives; the secret key that belongs to it is derived from a ring key
//! and the token's hash, so that nothing about a session is stored
//! (`research/security.md` section 3.1). The ring is random and independent of the master key and
//! of every access key: other servers signed tokens with the root's secret, and whoever held that
//! could make tokens.
//!
//! It does not decide whether the session still counts: whether its user or role exists, is the
//! same one, and has not had its sessions revoked, says the server, which knows them.
//!
//! Form of a token: `base64url(version ‖ key ID ‖ nonce ‖ ciphertext ‖ tag)`, the first two
//! authenticated as associated data.

mod claims;
mod ring;

pub use claims::{Federation, SessionClaims, SessionPolicies, Subject};
pub use ring::{OpenSession, RING_KEY_BYTES, RingKey, SealedSession, SessionError, SessionRing};

/// What every temporary access key ID begins with; a long-term one begins with `AKIA`.
pub const SESSION_KEY_PREFIX: &str = "ASIA";

/// Whether an access key ID is one of a session, and so must come with a token.
#[must_use]
pub fn is_session_key(id: &str) -> bool {
    id.starts_with(SESSION_KEY_PREFIX)
}

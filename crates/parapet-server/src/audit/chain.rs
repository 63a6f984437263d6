//! The hash chain: what binds a record to its place.
//!
//! Pure. The hash of a record is SHA-256 over the hash before it, its sequence number (eight bytes,
//! big-endian) and its exact text. Before the first record stands a hash of the account alone, so
//! that a trail of another installation is not taken for this one. Nothing is parsed to verify a
//! hash: the text that was hashed is the text that is stored.

use std::fmt;

use aws_lc_rs::digest;
use thiserror::Error;

/// Names the construction; changes with it.
const GENESIS: &[u8] = b"parapet audit trail v1\n";

/// A hash of the chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChainHash(pub [u8; 32]);

/// Where a chain stands: its last number and the hash up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the last record; 0 before the first.
    pub sequence: i64,
    /// The hash up to and with it.
    pub hash: ChainHash,
}

/// Where a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// A record is missing, was added, or stands elsewhere.
    #[error("record {expected} is missing: record {found} stands in its place")]
    Order {
        /// The next number.
        expected: i64,
        /// The number that was found.
        found: i64,
    },
    /// The record or one before it was changed.
    #[error(
        "record {sequence} does not fit its hash: it, or what the chain held before it, was changed"
    )]
    Hash {
        /// Of the record.
        sequence: i64,
    },
}

impl ChainHash {
    /// What stands before the first record of an account.
    #[must_use]
    pub fn genesis(account: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(GENESIS);
        context.update(account.as_bytes());
        Self::finish(context)
    }

    /// The hash after a record.
    #[must_use]
    pub fn after(&self, sequence: i64, record: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0);
        context.update(&sequence.to_be_bytes());
        context.update(record.as_bytes());
        Self::finish(context)
    }

    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    fn finish(context: digest::Context) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Head {
    /// Before the first record of an account.
    #[must_use]
    pub fn genesis(account: &str) -> Self {
        Self {
            sequence: 0,
            hash: ChainHash::genesis(account),
        }
    }

    /// The head after one more record.
    #[must_use]
    pub fn append(&self, record: &str) -> Self {
        let sequence = self.sequence + 1;
        Self {
            sequence,
            hash: self.hash.after(sequence, record),
        }
    }

    /// The head after a record that says of itself where it stands, if it is right.
    pub fn follow(&self, sequence: i64, record: &str, hash: ChainHash) -> Result<Self, Fault> {
        let next = self.append(record);
        if sequence != next.sequence {
            return Err(Fault::Order {
                expected: next.sequence,
                found: sequence,
            });
        }
        if hash != next.hash {
            return Err(Fault::Hash { sequence });
        }
        Ok(next)
    }
}

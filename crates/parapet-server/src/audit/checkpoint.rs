//! Signed statements of where the trail stood: what makes a changed byte and a cut tail visible to
//! somebody who holds an older one.
//!
//! Pure. A checkpoint is one line of JSON; its Ed25519 signature covers the lines of
//! [`Checkpoint::signed_text`], which are rebuilt from its members, never the JSON itself. The
//! key's public half is a PEM file (`SubjectPublicKeyInfo`, RFC 8410) that OpenSSL reads too.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::chain::{ChainHash, Head};
use crate::store::Micros;

/// Says in each line what it is.
const TYPE: &str = "parapet-audit-checkpoint";
/// Of the line and of what is signed.
const VERSION: u32 = 1;
/// `SubjectPublicKeyInfo` of an Ed25519 key, before its 32 bytes (RFC 8410 section 4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// Longest line that is read as a checkpoint; log lines around it included.
const LINE_BYTES: usize = 16 * 1024;

/// Where a trail stood, signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose trail.
    pub account: String,
    /// Its last record and the chain's hash.
    pub head: Head,
    /// When.
    pub time: Micros,
    /// ID of the key that signed.
    pub key: String,
    /// Ed25519, 64 bytes.
    pub signature: Vec<u8>,
}

/// The form of a line. Members are never reordered: people compare lines.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    r#type: String,
    version: u32,
    account: String,
    sequence: i64,
    hash: String,
    time: String,
    time_micros: i64,
    key: String,
    signature: String,
}

/// Why a line is no checkpoint to rely on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// Another form.
    #[error("read a checkpoint: the line holds none of version {VERSION}")]
    Form,
    /// The public key's file.
    #[error("read the public key: write it as PEM, an Ed25519 key of 32 bytes")]
    PublicKey,
    /// Another key signed.
    #[error("verify the checkpoint of record {sequence}: key {key} signed it, not key {expected}")]
    OtherKey {
        /// Of the checkpoint.
        sequence: i64,
        /// In the checkpoint.
        key: String,
        /// Of the given public key.
        expected: String,
    },
    /// It was changed after it was signed.
    #[error("verify the checkpoint of record {sequence}: its signature does not hold")]
    Signature {
        /// Of the checkpoint.
        sequence: i64,
    },
}

/// The key that signs checkpoints.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// Its public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl SigningKey {
    /// From the 32 bytes of a seed; `None` if the library takes none.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }

    /// The half to give away.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs where a trail stands.
    #[must_use]
    pub fn sign(&self, account: &str, head: Head, now: Micros) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            account: account.to_owned(),
            head,
            time: now,
            key: self.public.id(),
            signature: Vec::new(),
        };
        let signature = self.pair.sign(checkpoint.signed_text().as_bytes());
        checkpoint.signature = signature.as_ref().to_vec();
        checkpoint
    }
}

impl PublicKey {
    /// Sixteen hexadecimal digits that name it.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(&digest::digest(&digest::SHA256, &self.0).as_ref()[..8])
    }

    /// `-----BEGIN PUBLIC KEY-----`.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let der = [&SPKI[..], &self.0].concat();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        )
    }

    /// From a PEM file; text around the PEM does not matter.
    pub fn from_pem(text: &str) -> Result<Self, CheckpointError> {
        let read = || {
            let body = text
                .split("-----BEGIN PUBLIC KEY-----")
                .nth(1)?
                .split("-----END PUBLIC KEY-----")
                .next()?;
            let body: String = body.split_whitespace().collect();
            let der = STANDARD.decode(body).ok()?;
            Some(Self(der.strip_prefix(&SPKI[..])?.try_into().ok()?))
        };
        read().ok_or(CheckpointError::PublicKey)
    }
}

impl Checkpoint {
    /// What is signed.
    #[must_use]
    pub fn signed_text(&self) -> String {
        format!(
            "{TYPE} v{VERSION}\n{}\n{}\n{}\n{}\n",
            self.account, self.head.sequence, self.head.hash, self.time.0
        )
    }

    /// One line of JSON, without a line end.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Line {
            r#type: TYPE.to_owned(),
            version: VERSION,
            account: self.account.clone(),
            sequence: self.head.sequence,
            hash: self.head.hash.to_string(),
            time: self.time.rfc3339(),
            time_micros: self.time.0,
            key: self.key.clone(),
            signature: STANDARD.encode(&self.signature),
        })
    }

    /// Finds the checkpoint in a line, which may be a log's: the JSON may stand behind other text
    /// and be a text inside of JSON itself.
    pub fn from_line(line: &str) -> Result<Self, CheckpointError> {
        let read = || {
            if line.len() > LINE_BYTES {
                return None;
            }
            let plain = format!("{{\"type\":\"{TYPE}\"");
            let quoted = plain.replace('"', "\\\"");
            let unquoted;
            let text = if let Some(at) = line.find(&plain) {
                &line[at..]
            } else {
                unquoted = line[line.find(&quoted)?..].replace("\\\"", "\"");
                &unquoted
            };
            let line: Line = serde_json::Deserializer::from_str(text)
                .into_iter()
                .next()?
                .ok()?;
            if line.r#type != TYPE || line.version != VERSION {
                return None;
            }
            Some(Self {
                account: line.account,
                head: Head {
                    sequence: line.sequence,
                    hash: ChainHash::from_hex(&line.hash)?,
                },
                time: Micros(line.time_micros),
                key: line.key,
                signature: STANDARD.decode(line.signature).ok()?,
            })
        };
        read().ok_or(CheckpointError::Form)
    }

    /// Whether this key signed it as it is.
    pub fn verify(&self, key: &PublicKey) -> Result<(), CheckpointError> {
        let sequence = self.head.sequence;
        if self.key != key.id() {
            return Err(CheckpointError::OtherKey {
                sequence,
                key: self.key.chars().take(32).collect(),
                expected: key.id(),
            });
        }
        UnparsedPublicKey::new(&ED25519, &key.0)
            .verify(self.signed_text().as_bytes(), &self.signature)
            .map_err(|_| CheckpointError::Signature { sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed(&[byte; 32]).expect("a key")
    }

    fn checkpoint() -> Checkpoint {
        let head = Head::genesis("123456789012").append("{}");
        key(1).sign("123456789012", head, Micros(1_790_000_000_123_456))
    }

    #[test]
    fn a_checkpoint_survives_its_line_and_the_log_around_it() {
        let checkpoint = checkpoint();
        let line = checkpoint.to_line().expect("a line");
        let in_syslog = format!("<109>1 2026-11-25T16:00:00Z host parapet 1 checkpoint - {line}\n");
        let in_json = serde_json::json!({ "fields": { "checkpoint": line } }).to_string();
        for text in [line.as_str(), &in_syslog, &in_json] {
            let read = Checkpoint::from_line(text).expect(text);
            assert_eq!(read, checkpoint);
            read.verify(key(1).public()).expect("good");
        }
        assert_eq!(
            Checkpoint::from_line("{\"type\":\"other\"}"),
            Err(CheckpointError::Form)
        );
    }

    #[test]
    fn every_member_is_signed() {
        let good = checkpoint();
        let mut changed = Vec::new();
        let mut with = |change: fn(&mut Checkpoint)| {
            let mut other = good.clone();
            change(&mut other);
            changed.push(other);
        };
        with(|c| c.account = "210987654321".to_owned());
        with(|c| c.head.sequence += 1);
        with(|c| c.head.hash.0[31] ^= 1);
        with(|c| c.time.0 += 1);
        with(|c| c.signature[0] ^= 1);
        with(|c| c.signature.clear());
        for other in changed {
            assert!(
                matches!(
                    other.verify(key(1).public()),
                    Err(CheckpointError::Signature { .. })
                ),
                "{other:?}"
            );
        }
        assert!(matches!(
            good.verify(key(2).public()),
            Err(CheckpointError::OtherKey { .. })
        ));
    }

    #[test]
    fn a_public_key_survives_its_file() {
        let pem = key(1).public().to_pem();
        assert_eq!(
            PublicKey::from_pem(&format!("# ours\n{pem}")).as_ref(),
            Ok(key(1).public())
        );
        assert!(PublicKey::from_pem("nothing").is_err());
        assert!(PublicKey::from_pem(&pem.replace("MCow", "MCox")).is_err());
    }
}

//! Identifiers that only their parser makes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("bad {kind} {value:?}: {rule}")]
pub struct BadId {
    /// What the text should have been.
    pub kind: &'static str,
    /// The text, cut to 80 characters.
    pub value: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// A text identifier: letters, digits, `-`, `_`, within a length, optionally with a prefix.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, prefix = $prefix:literal, max = $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text of the identifier.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = |rule| BadId { kind: $kind, value: text.chars().take(80).collect(), rule };
                if !text.starts_with($prefix) || text.len() == $prefix.len() {
                    return Err(bad(concat!("starts with '", $prefix, "' and goes on after it")));
                }
                if text.len() > $max {
                    return Err(bad(concat!("at most ", $max, " characters")));
                }
                if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
                    return Err(bad("letters, digits, '-' and '_' only"));
                }
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;

            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// `device-<26 characters of base32>` (`spec/api.md` section 2).
    DeviceId, "device ID", prefix = "device-", max = 255
);
text_id!(
    /// `applicationInstance-<26 characters of base32>` (`spec/api.md` section 2).
    InstanceId, "application instance ID", prefix = "applicationInstance-", max = 255
);
text_id!(
    /// A node's name in the effective graph: what the API calls `NodeInstanceId`. Names files and
    /// directories on the appliance, so it holds no separator and no dot.
    NodeName, "node name", prefix = "", max = 128
);
text_id!(
    /// Reference to a secret of the control plane. Names nothing and reveals nothing.
    SecretId, "secret ID", prefix = "secret-", max = 64
);

/// SHA-256 of a blob, 64 lower-case hexadecimal digits; the blob's only name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobDigest([u8; 32]);

impl BlobDigest {
    /// From the raw output of SHA-256.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for BlobDigest {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let mut bytes = [0; 32];
        let lower = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(BadId {
                kind: "blob digest",
                value: text.chars().take(80).collect(),
                rule: "64 lower-case hexadecimal digits",
            });
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for BlobDigest {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<BlobDigest> for String {
    fn from(digest: BlobDigest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobDigest({self})")
    }
}

/// Counts a device's desired documents from 1; 0 stands for "none yet".
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Wall time of a frame: seconds and microseconds since the epoch, as `media.time_stamp` gives it
/// (`spec/sdk.md` 2.4). On the wire `[seconds, microseconds]`.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(from = "(u64, u32)", into = "(u64, u32)")]
pub struct TimeStamp {
    micros: u64,
}

impl TimeStamp {
    /// From microseconds since the epoch.
    #[must_use]
    pub fn from_micros(micros: u64) -> Self {
        Self { micros }
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub fn as_micros(self) -> u64 {
        self.micros
    }
}

impl From<(u64, u32)> for TimeStamp {
    fn from((seconds, micros): (u64, u32)) -> Self {
        Self {
            micros: seconds
                .saturating_mul(1_000_000)
                .saturating_add(u64::from(micros)),
        }
    }
}

impl From<TimeStamp> for (u64, u32) {
    fn from(time: TimeStamp) -> Self {
        let below_a_million = (time.micros % 1_000_000) as u32;
        (time.micros / 1_000_000, below_a_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_keeps_its_text() -> Result<(), BadId> {
        let id: DeviceId = "device-k3q7w2n5c6mxtzv4rjdafu2yhe".parse()?;
        assert_eq!(id.as_str(), "device-k3q7w2n5c6mxtzv4rjdafu2yhe");
        Ok(())
    }

    #[test]
    fn a_path_is_no_node_name() {
        for text in ["", "..", "a/b", "a.b", "a b", "ä"] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_digest_is_lower_case_hexadecimal() {
        let text = "9b3f0c11".repeat(8);
        assert_eq!(
            text.parse::<BlobDigest>().map(|d| d.to_string()),
            Ok(text.clone())
        );
        assert!(text.to_uppercase().parse::<BlobDigest>().is_err());
        assert!(text[1..].parse::<BlobDigest>().is_err());
    }

    #[test]
    fn a_time_stamp_travels_as_two_numbers() -> Result<(), serde_json::Error> {
        let time = TimeStamp::from_micros(1_700_000_000_000_042);
        assert_eq!(serde_json::to_string(&time)?, "[1700000000,42]");
        assert_eq!(serde_json::from_str::<TimeStamp>("[1700000000,42]")?, time);
        Ok(())
    }
}

//! Identifiers of the API (`spec/api.md` section 2). Randomness is the caller's.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::rule;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("read {kind} {value:?}: needs {prefix:?} and 26 characters of lower-case base32")]
pub struct BadId {
    kind: &'static str,
    prefix: &'static str,
    value: String,
}

/// 26 characters of lower-case base32 for a random 128-bit value.
#[must_use]
pub fn suffix(random: u128) -> String {
    BASE32_NOPAD
        .encode(&random.to_be_bytes())
        .to_ascii_lowercase()
}

fn is_suffix(text: &str) -> bool {
    let lower = text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    // Decoding also refuses spare bits in the last character, so that each value has one spelling.
    lower
        && BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .is_ok_and(|bytes| bytes.len() == 16)
}

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The identifier for a random 128-bit value.
            #[must_use]
            pub fn from_random(random: u128) -> Self {
                Self(format!("{}{}", $prefix, suffix(random)))
            }

            /// Its text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                match text.strip_prefix($prefix) {
                    Some(rest) if is_suffix(rest) => Ok(Self(text.to_owned())),
                    _ => Err(BadId {
                        kind: $kind,
                        prefix: $prefix,
                        value: text.chars().take(80).collect(),
                    }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

opaque_id!(
    /// `device-…`.
    DeviceId, "device ID", "device-"
);
opaque_id!(
    /// `package-…`.
    PackageId, "package ID", "package-"
);
opaque_id!(
    /// `applicationInstance-…`.
    ApplicationInstanceId, "application instance ID", "applicationInstance-"
);
opaque_id!(
    /// `secret-…`: names a camera's credentials between control plane and device.
    SecretId, "secret ID", "secret-"
);

/// What callers send as `PackageId`: an ID, or the alias `packageName/<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageIdentifier {
    /// An ID; whether it names anything is for the registry to say.
    Id(String),
    /// The package of this name in the caller's account.
    Name(String),
}

impl PackageIdentifier {
    /// Reads a label that already has the pattern of `NodePackageId`.
    #[must_use]
    pub fn from_label(label: &str) -> Self {
        match label.strip_prefix("packageName/") {
            Some(name) if rule::PACKAGE_NAME.check(name).is_ok() => Self::Name(name.to_owned()),
            _ => Self::Id(label.to_owned()),
        }
    }
}

impl fmt::Display for PackageIdentifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Name(name) => write!(f, "packageName/{name}"),
        }
    }
}

/// A node's ID: `<package>-<version>-<first 8 of patch>-<interface>`.
#[must_use]
pub fn node_id(package: &str, version: &str, patch: &str, interface: &str) -> String {
    let short: String = patch.chars().take(8).collect();
    format!("{package}-{version}-{short}-{interface}")
}

/// The ID of a template job: a UUID (version 4) for a random 128-bit value.
#[must_use]
pub fn job_id(random: u128) -> String {
    let value = (random & !(0xf000_u128 << 64) & !(0xc000_u128 << 48))
        | (0x4000_u128 << 64)
        | (0x8000_u128 << 48);
    let hex = format!("{value:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_character_of_a_suffix_is_one_of_eight() {
        for random in 0..64 {
            let id = DeviceId::from_random(random);
            assert_eq!(id.as_str().len(), "device-".len() + 26);
            assert!(
                id.as_str()
                    .ends_with(['a', 'e', 'i', 'm', 'q', 'u', 'y', '4']),
                "{id}"
            );
        }
    }

    #[test]
    fn a_text_of_another_form_is_no_id() {
        for text in [
            "",
            "device-",
            "package-k3q7w2n5c6mxtzv4rjdafu2yhe",
            "device-K3Q7W2N5C6MXTZV4RJDAFU2YHE",
            "device-k3q7w2n5c6mxtzv4rjdafu2yhz",
        ] {
            assert!(text.parse::<DeviceId>().is_err(), "{text:?}");
        }
        assert!(
            "device-k3q7w2n5c6mxtzv4rjdafu2yhe"
                .parse::<DeviceId>()
                .is_ok()
        );
    }

    #[test]
    fn a_job_id_is_a_uuid() {
        assert_eq!(job_id(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(job_id(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn an_alias_is_told_from_an_id() {
        let name = |text: &str| PackageIdentifier::Name(text.to_owned());
        let id = |text: &str| PackageIdentifier::Id(text.to_owned());
        assert_eq!(
            PackageIdentifier::from_label("packageName/A_B"),
            name("A_B")
        );
        assert_eq!(
            PackageIdentifier::from_label("packageName/a/b"),
            id("packageName/a/b")
        );
        assert_eq!(PackageIdentifier::from_label("package-x"), id("package-x"));
    }

    proptest! {
        #[test]
        fn an_id_is_read_as_it_is_written(random: u128) {
            let id = ApplicationInstanceId::from_random(random);
            prop_assert_eq!(id.as_str().parse::<ApplicationInstanceId>(), Ok(id.clone()));
        }

        #[test]
        fn no_text_crashes_the_parser(text: String) {
            let _ = text.parse::<PackageId>();
            let _ = format!("package-{text}").parse::<PackageId>();
        }
    }
}

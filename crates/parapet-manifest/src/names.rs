//! Names and references of the manifests (`spec/manifests.md` section 1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `<owner>::<package>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackageRef {
    /// 12-digit account, or `panorama`.
    pub owner: String,
    /// Name of the package.
    pub package: String,
}

impl FromStr for PackageRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "<owner>::<package>, the owner without '-'";
        let (owner, package) = text.split_once("::").ok_or(RULE)?;
        let owner_ok = !owner.is_empty() && owner.bytes().all(|b| is_word(b) || b == b'$');
        let package_ok = !package.is_empty() && package.bytes().all(|b| is_word(b) || b == b'-');
        if !owner_ok || !package_ok || text.len() > 255 {
            return Err(RULE);
        }
        Ok(Self {
            owner: owner.to_owned(),
            package: package.to_owned(),
        })
    }
}

impl fmt::Display for PackageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.owner, self.package)
    }
}

/// `<owner>::<package>.<interface>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InterfaceRef {
    /// The package.
    pub package: PackageRef,
    /// The interface in it.
    pub interface: String,
}

impl FromStr for InterfaceRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "boolean, float32, int32, string or <owner>::<package>.<interface>";
        let (owner, rest) = text.split_once("::").ok_or(RULE)?;
        let (package, interface) = rest.split_once('.').ok_or(RULE)?;
        let word = |b: u8| is_word(b) || b == b'-';
        let owner_ok = !owner.is_empty() && owner.bytes().all(|b| word(b) || b == b'$');
        let rest_ok = [package, interface]
            .iter()
            .all(|part| !part.is_empty() && part.len() <= 128 && part.bytes().all(word));
        if !owner_ok || !rest_ok || owner.len() > 128 {
            return Err(RULE);
        }
        let package = PackageRef {
            owner: owner.to_owned(),
            package: package.to_owned(),
        };
        Ok(Self {
            package,
            interface: interface.to_owned(),
        })
    }
}

impl fmt::Display for InterfaceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.package, self.interface)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// A name's rule: characters and length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameRule {
    allowed: fn(u8) -> bool,
    max: usize,
    pub(crate) words: &'static str,
}

pub(crate) const PACKAGE_NAME: NameRule = NameRule {
    allowed: |b| is_word(b) || b == b'-',
    max: 128,
    words: "1 to 128 letters, digits, '-' and '_'",
};
pub(crate) const INTERFACE_NAME: NameRule = PACKAGE_NAME;
pub(crate) const NODE_NAME: NameRule = NameRule {
    allowed: |b| is_word(b) || b == b'-' || b == b'$',
    max: 128,
    words: "1 to 128 letters, digits, '$', '-' and '_'",
};
pub(crate) const ASSET_NAME: NameRule = NameRule {
    allowed: |b| is_word(b) || b == b'-' || b == b'$',
    max: 255,
    words: "1 to 255 letters, digits, '$', '-' and '_'",
};
pub(crate) const PORT_NAME: NameRule = NameRule {
    allowed: |b| is_word(b) || b == b'$',
    max: 50,
    words: "1 to 50 letters, digits, '$' and '_'",
};
/// A file name below the binary prefix, the name of a driver, or a placeholder.
pub(crate) const URI: NameRule = NameRule {
    allowed: |b| b.is_ascii_graphic(),
    max: 255,
    words: "1 to 255 characters without blanks",
};

impl NameRule {
    pub(crate) fn admits(&self, text: &str) -> bool {
        !text.is_empty() && text.len() <= self.max && text.bytes().all(self.allowed)
    }
}

/// `<number>.<number>`, at most 255 characters.
#[must_use]
pub fn is_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 255
        && text
            .split_once('.')
            .is_some_and(|(major, minor)| number(major) && number(minor))
}

/// Whether a node of this name can be reported by the API: no `$`.
pub(crate) fn is_node_instance_id(text: &str) -> bool {
    PACKAGE_NAME.admits(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_as_it_is_written() {
        for text in [
            "210987654321::GATE_CODE",
            "panorama::abstract_rtsp_media_source",
            "$o::a-b",
        ] {
            assert_eq!(
                text.parse::<PackageRef>().map(|r| r.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in ["210987654321::gate-east.gate-east", "a-b::c.d"] {
            assert_eq!(
                text.parse::<InterfaceRef>().map(|r| r.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn a_reference_of_another_form_is_refused() {
        for text in [
            "",
            "X",
            "gate-owner::X",
            "::X",
            "a::",
            "a::b.c",
            "a:b",
            "a::b c",
        ] {
            assert!(text.parse::<PackageRef>().is_err(), "{text:?}");
        }
        for text in [
            "", "double", "a::b", "a::b.", "a::.c", "a::b.c.d", "a:: b.c",
        ] {
            assert!(text.parse::<InterfaceRef>().is_err(), "{text:?}");
        }
    }
}

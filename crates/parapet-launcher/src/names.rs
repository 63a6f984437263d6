//! Names in requests: parsed once, so that none can be a path.

use std::fmt;

use thiserror::Error;

/// Longest name; a file name may have 255 bytes.
const MAX_NAME: usize = 200;

/// A name that is none.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("use {field} {value:?}: {remedy}")]
pub(crate) struct NameError {
    field: &'static str,
    value: String,
    remedy: &'static str,
}

/// An instance or node: letters, digits, `-`, `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn parse(field: &'static str, value: String) -> Result<Self, NameError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=MAX_NAME).contains(&value.len()) && value.bytes().all(plain) {
            Ok(Self(value))
        } else {
            let remedy = "give 1 to 200 letters, digits, '-' or '_'";
            Err(NameError {
                field,
                value: cut(value),
                remedy,
            })
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image: its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image(String);

impl Image {
    pub(crate) fn parse(value: String) -> Result<Self, NameError> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if value.len() == 64 && value.bytes().all(digit) {
            Ok(Self(value))
        } else {
            let remedy = "give 64 hexadecimal digits in lower case";
            Err(NameError {
                field: "image",
                value: cut(value),
                remedy,
            })
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn cut(mut value: String) -> String {
    value.truncate(value.floor_char_boundary(80));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_name_passes() {
        let name = Name::parse("node", "people_counter-1".to_owned());
        assert_eq!(
            name.map(|name| name.as_str().to_owned()),
            Ok("people_counter-1".to_owned())
        );
    }

    #[test]
    fn nothing_that_could_be_a_path_is_a_name() {
        for wrong in [
            "",
            ".",
            "..",
            "a/b",
            "/etc",
            "a\0b",
            "a b",
            "ä",
            &"x".repeat(201),
        ] {
            assert!(Name::parse("node", wrong.to_owned()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_image_is_a_hash_and_nothing_else() {
        assert!(Image::parse("0f".repeat(32)).is_ok());
        for wrong in [
            "0F".repeat(32),
            "0f".repeat(31),
            format!("../{}", "a".repeat(61)),
        ] {
            assert!(Image::parse(wrong.clone()).is_err(), "{wrong:?}");
        }
    }
}

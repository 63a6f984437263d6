//! JSON as policies need it: duplicate keys are seen, numbers keep their digits, depth is bounded.
//!
//! `serde_json` keeps the last of two equal keys and reads numbers as floating point; both would
//! change what a policy says without a word.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A document of this shape needs five levels: document, statements, statement, `Condition`,
/// operator, values.
const DEPTH: usize = 8;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, digit for digit as it was written.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Node>),
    /// An object with its keys in the order they were written, each once.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Reads a whole text.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        Self::from_raw(serde_json::from_str(text)?, DEPTH)
    }

    fn from_raw(raw: &RawValue, depth: usize) -> Result<Self, serde_json::Error> {
        let text = raw.get();
        let Some(depth) = depth.checked_sub(1) else {
            return Err(serde_json::Error::custom(format!(
                "it is nested more than {DEPTH} levels deep"
            )));
        };
        Ok(match text.as_bytes().first() {
            Some(b'{') => {
                let Entries(entries) = serde_json::from_str(text)?;
                let read = |(key, raw)| Ok((key, Self::from_raw(raw, depth)?));
                Self::Map(entries.into_iter().map(read).collect::<Result<_, _>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                let read = |raw: &RawValue| Self::from_raw(raw, depth);
                Self::List(items.into_iter().map(read).collect::<Result<_, _>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(text)?),
            Some(b't' | b'f') => Self::Bool(serde_json::from_str(text)?),
            Some(b'n') => Self::Null,
            _ => Self::Number(text.to_owned()),
        })
    }

    /// What it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Map(_) => "an object",
        }
    }
}

/// The entries of an object, values unread.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut entries: Vec<(String, &RawValue)> = Vec::new();
                let mut seen = std::collections::BTreeSet::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if !seen.insert(key.clone()) {
                        let short: String = key.chars().take(60).collect();
                        return Err(M::Error::custom(format!(
                            "the key {short:?} is there twice"
                        )));
                    }
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let node = Node::read(r#"{"a": [1.10, -0, 12345678901234567890123]}"#).unwrap();
        let Node::Map(entries) = node else {
            panic!("no object")
        };
        let numbers = ["1.10", "-0", "12345678901234567890123"];
        let numbers = numbers.map(|text| Node::Number(text.to_owned())).to_vec();
        assert_eq!(entries, [("a".to_owned(), Node::List(numbers))]);
    }

    /// Attack P3.
    #[test]
    fn duplicate_keys_are_refused_at_every_level() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"c":1,"\u0063":2}}]"#] {
            let error = Node::read(text).unwrap_err().to_string();
            assert!(error.contains("is there twice"), "{error}");
        }
    }

    /// Attack P3.
    #[test]
    fn ten_thousand_nested_arrays_are_refused() {
        let text = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        let error = Node::read(&text).unwrap_err().to_string();
        assert!(error.contains("nested"), "{error}");
        assert!(Node::read(&"[".repeat(10_000)).is_err());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "[1,]", "{\"a\":}", "01", "nul", "{} {}", "'a'"] {
            assert!(Node::read(text).is_err(), "{text}");
        }
    }
}

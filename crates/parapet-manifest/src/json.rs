//! Strict reading of JSON objects: every member is asked for by name, every other one is refused,
//! and an error names its path.

use serde_json::{Map, Value};

use crate::ENVELOPE_VERSION;
use crate::error::{Document, ManifestError};
use crate::names::NameRule;

type Outcome<T> = Result<T, ManifestError>;

/// Characters of a value that an error repeats.
const SHOWN: usize = 80;
/// Elements of a list; the longest real ones have a few dozen.
const MAX_ELEMENTS: usize = 2000;

/// Parses a text of at most `limit` bytes. The parser itself bounds the depth.
pub(crate) fn parse(document: Document, text: &str, limit: usize) -> Outcome<Value> {
    if text.len() > limit {
        return Err(ManifestError::TooLarge {
            document,
            bytes: text.len(),
            limit,
        });
    }
    serde_json::from_str(text).map_err(|error| ManifestError::NotJson {
        document,
        line: error.line(),
        column: error.column(),
        message: without_place(&error),
    })
}

/// The parser's words without the place, which the error says itself.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ")
        .map_or(text.clone(), |(words, _)| words.to_owned())
}

/// An object and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Object<'a> {
    pub(crate) document: Document,
    pub(crate) path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The root of a document: exactly one member, of the given name.
    pub(crate) fn root(document: Document, name: &str, value: &'a Value) -> Outcome<Self> {
        let map = value.as_object().ok_or(ManifestError::Root { document })?;
        let (1, Some(inner)) = (map.len(), map.get(name)) else {
            return Err(ManifestError::Root { document });
        };
        Self::of(document, name.to_owned(), inner)
    }

    fn of(document: Document, path: String, value: &'a Value) -> Outcome<Self> {
        match value {
            Value::Object(map) => Ok(Self {
                document,
                path,
                map,
            }),
            other => Err(wrong_type(document, path, other, "an object")),
        }
    }

    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}.{}", self.path, shown(name))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    /// Refuses members that are not named.
    pub(crate) fn only(&self, known: &[&str]) -> Outcome<()> {
        match self.map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(ManifestError::UnknownMember {
                document: self.document,
                path: self.at(name),
            }),
            None => Ok(()),
        }
    }

    /// Checks `envelopeVersion`.
    pub(crate) fn envelope(&self) -> Outcome<()> {
        let value = self.needed_text("envelopeVersion")?;
        if value == ENVELOPE_VERSION {
            return Ok(());
        }
        let path = self.at("envelopeVersion");
        Err(ManifestError::Envelope {
            document: self.document,
            path,
            value: shown(value),
        })
    }

    pub(crate) fn text(&self, name: &str) -> Outcome<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(name, other, "a string")),
        }
    }

    pub(crate) fn needed_text(&self, name: &str) -> Outcome<&'a str> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    pub(crate) fn name(&self, name: &str, rule: NameRule) -> Outcome<Option<String>> {
        match self.text(name)? {
            Some(text) if !rule.admits(text) => Err(self.broken(name, text, rule.words)),
            other => Ok(other.map(str::to_owned)),
        }
    }

    pub(crate) fn needed_name(&self, name: &str, rule: NameRule) -> Outcome<String> {
        self.name(name, rule)?.ok_or_else(|| self.missing(name))
    }

    /// A text for people, at most 255 characters.
    pub(crate) fn description(&self) -> Outcome<Option<String>> {
        self.bounded("description", 0, 255)
    }

    pub(crate) fn bounded(&self, name: &str, min: usize, max: usize) -> Outcome<Option<String>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let length = text.chars().count();
        if length < min || length > max {
            return Err(self.broken(name, text, &format!("{min} to {max} characters")));
        }
        Ok(Some(text.to_owned()))
    }

    pub(crate) fn boolean(&self, name: &str) -> Outcome<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_type(name, other, "true or false")),
        }
    }

    /// An integer within bounds. `2.0` is one, as JSON Schema has it.
    pub(crate) fn integer(&self, name: &str, min: i64, max: i64) -> Outcome<Option<i64>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        if !value.is_number() {
            return Err(self.wrong_type(name, value, "an integer"));
        }
        match integer(value) {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
            _ => {
                let rule = format!("an integer from {min} to {max}");
                Err(self.broken(name, &value.to_string(), &rule))
            }
        }
    }

    pub(crate) fn object(&self, name: &str) -> Outcome<Option<Object<'a>>> {
        self.get(name)
            .map(|value| Self::of(self.document, self.at(name), value))
            .transpose()
    }

    /// The elements of a list and where each stands.
    pub(crate) fn list(&self, name: &str) -> Outcome<Option<Vec<(String, &'a Value)>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(items)) if items.len() > MAX_ELEMENTS => {
                let rule = format!("at most {MAX_ELEMENTS} elements");
                Err(self.broken(name, &format!("{} elements", items.len()), &rule))
            }
            Some(Value::Array(items)) => {
                let path = self.at(name);
                let numbered = items.iter().enumerate();
                Ok(Some(
                    numbered
                        .map(|(at, item)| (format!("{path}[{at}]"), item))
                        .collect(),
                ))
            }
            Some(other) => Err(self.wrong_type(name, other, "a list")),
        }
    }

    /// The objects of a list; none when it is missing.
    pub(crate) fn objects(&self, name: &str) -> Outcome<Vec<Object<'a>>> {
        let items = self.list(name)?.unwrap_or_default();
        items
            .into_iter()
            .map(|(path, item)| Self::of(self.document, path, item))
            .collect()
    }

    /// The objects of a list that must be there and hold one at least.
    pub(crate) fn needed_objects(&self, name: &str) -> Outcome<Vec<Object<'a>>> {
        if self.get(name).is_none() {
            return Err(self.missing(name));
        }
        let objects = self.objects(name)?;
        if objects.is_empty() {
            return Err(self.broken(name, "[]", "at least one element"));
        }
        Ok(objects)
    }

    pub(crate) fn texts(&self, name: &str) -> Outcome<Vec<String>> {
        let items = self.list(name)?.unwrap_or_default();
        items
            .into_iter()
            .map(|(path, item)| match item {
                Value::String(text) => Ok(text.clone()),
                other => Err(wrong_type(self.document, path, other, "a string")),
            })
            .collect()
    }

    pub(crate) fn missing(&self, name: &str) -> ManifestError {
        ManifestError::Missing {
            document: self.document,
            path: self.at(name),
        }
    }

    pub(crate) fn broken(&self, name: &str, value: &str, rule: &str) -> ManifestError {
        ManifestError::Rule {
            document: self.document,
            path: self.at(name),
            value: shown(value),
            rule: rule.to_owned(),
        }
    }

    pub(crate) fn duplicate(&self, name: &str, value: &str) -> ManifestError {
        ManifestError::Duplicate {
            document: self.document,
            path: self.at(name),
            value: shown(value),
        }
    }

    pub(crate) fn wrong_type(
        &self,
        name: &str,
        value: &Value,
        needed: &'static str,
    ) -> ManifestError {
        wrong_type(self.document, self.at(name), value, needed)
    }
}

/// The integer that a JSON number is, if it is one.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        // Within 2^53 a double is exact, so that the conversion back says whether it is whole.
        (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
    })
}

fn wrong_type(
    document: Document,
    path: String,
    value: &Value,
    needed: &'static str,
) -> ManifestError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    ManifestError::WrongType {
        document,
        path,
        found,
        needed,
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

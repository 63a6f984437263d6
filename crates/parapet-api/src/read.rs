//! Reads a request's members and collects what is wrong with them, so that one answer names all.
//!
//! A member that is missing or breaks its rule leaves a fault and a placeholder; [`Reader::finish`]
//! gives the value out only when there is no fault, so no placeholder is ever seen outside.
//! Unknown members are passed over and `null` counts as absent (`spec/api.md` section 1).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Tags;
use crate::enums::{ValidationExceptionReason, WireEnum};
use crate::error::{FieldFault, ValidationException};
use crate::path::decode;
use crate::rule::{self, Rule};

/// Faults that one answer names.
const MAX_FAULTS: usize = 32;
/// Characters of a value that an answer repeats.
const SHOWN: usize = 80;
/// Longest query that is read: a token of 4,096 characters, all percent-encoded, and filters; or
/// fifty tag keys likewise.
const MAX_QUERY_BYTES: usize = 64 << 10;
/// `Tags` of a resource.
const MAX_TAGS: usize = 50;

/// A routed request before its members are read.
#[derive(Debug)]
pub(crate) struct Parts {
    labels: Vec<(&'static str, String)>,
    query: Vec<(String, String)>,
    body: Map<String, Value>,
}

impl Parts {
    pub(crate) fn new(
        labels: Vec<(&'static str, String)>,
        query: &str,
        body: &[u8],
    ) -> Result<Self, ValidationException> {
        let cannot = |message: String| {
            ValidationException::new(ValidationExceptionReason::CannotParse, message)
        };
        if query.len() > MAX_QUERY_BYTES {
            return Err(cannot(format!(
                "the query is longer than {MAX_QUERY_BYTES} bytes"
            )));
        }
        if body.len() > crate::MAX_BODY_BYTES {
            let limit = crate::MAX_BODY_BYTES;
            return Err(cannot(format!("the body is longer than {limit} bytes")));
        }
        let query = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                decode(name).zip(decode(value))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| cannot("the query is not percent-encoded UTF-8".to_owned()))?;
        let body = if body.iter().all(u8::is_ascii_whitespace) {
            Map::new()
        } else {
            match serde_json::from_slice(body) {
                Ok(Value::Object(members)) => members,
                Ok(_) => return Err(cannot("the body is not a JSON object".to_owned())),
                Err(error) => return Err(cannot(format!("the body is not JSON: {error}"))),
            }
        };
        Ok(Self {
            labels,
            query,
            body,
        })
    }
}

/// An object of the body and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Members<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn at(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

/// Reads members and collects faults.
pub(crate) struct Reader<'a> {
    parts: &'a Parts,
    faults: Vec<FieldFault>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(parts: &'a Parts) -> Self {
        Self {
            parts,
            faults: Vec::new(),
        }
    }

    /// The value, if nothing was wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, ValidationException> {
        if self.faults.is_empty() {
            Ok(value)
        } else {
            Err(ValidationException::fields(self.faults))
        }
    }

    pub(crate) fn fault(&mut self, name: impl Into<String>, message: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(FieldFault {
                name: name.into(),
                message: message.into(),
            });
        }
    }

    fn checked(&mut self, name: &str, text: &str, rule: Rule) -> String {
        if let Err(words) = rule.check(text) {
            self.fault(name, format!("{:?} {words}", shown(text)));
        }
        text.to_owned()
    }

    /// A label of the path. The router has found it, so it is there.
    pub(crate) fn label(&mut self, name: &'static str, rule: Rule) -> String {
        let parts = self.parts;
        let text = parts
            .labels
            .iter()
            .find(|(label, _)| *label == name)
            .map(|(_, text)| text);
        self.checked(name, text.map_or("", String::as_str), rule)
    }

    fn query(&self, wire: &str) -> Option<&'a str> {
        let found = self.parts.query.iter().find(|(name, _)| name == wire);
        found.map(|(_, value)| value.as_str())
    }

    /// A text in the query. One that is empty counts as absent where the rule needs a character.
    pub(crate) fn query_text(&mut self, wire: &str, rule: Rule) -> Option<String> {
        let text = self.query(wire)?;
        (!text.is_empty() || rule.min == 0).then(|| self.checked(wire, text, rule))
    }

    pub(crate) fn query_choice<E: WireEnum>(&mut self, wire: &str) -> Option<E> {
        let text = self.query(wire).filter(|text| !text.is_empty())?;
        self.choice_of(wire, text)
    }

    pub(crate) fn query_boolean(&mut self, wire: &str) -> Option<bool> {
        match self.query(wire)? {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                self.fault(wire, format!("{:?} needs true or false", shown(other)));
                None
            }
        }
    }

    /// `MaxResults`, whatever its case here.
    pub(crate) fn max_results(&mut self, wire: &str) -> Option<u32> {
        let text = self.query(wire).filter(|text| !text.is_empty())?;
        match text.parse::<u32>() {
            Ok(number) if number <= 25 => Some(number),
            _ => {
                self.fault(wire, format!("{:?} needs a number of 0 to 25", shown(text)));
                None
            }
        }
    }

    pub(crate) fn next_token(&mut self, wire: &str) -> Option<String> {
        self.query_text(wire, rule::NEXT_TOKEN)
    }

    /// A parameter that may be repeated.
    pub(crate) fn query_list(&mut self, wire: &str, rule: Rule, max: usize) -> Vec<String> {
        let parts = self.parts;
        let values: Vec<&str> = parts
            .query
            .iter()
            .filter(|(name, _)| name == wire)
            .map(|(_, value)| value.as_str())
            .collect();
        if values.is_empty() || values.len() > max {
            self.fault(wire, format!("needs 1 to {max} values"));
            return Vec::new();
        }
        values
            .into_iter()
            .map(|text| self.checked(wire, text, rule))
            .collect()
    }

    /// The body's members.
    pub(crate) fn body(&self) -> Members<'a> {
        Members {
            map: &self.parts.body,
            path: String::new(),
        }
    }

    pub(crate) fn text(&mut self, from: &Members<'a>, name: &str, rule: Rule) -> Option<String> {
        match from.get(name)? {
            Value::String(text) => Some(self.checked(&from.at(name), text, rule)),
            other => {
                self.wrong_type(&from.at(name), other, "a string");
                None
            }
        }
    }

    pub(crate) fn needed_text(&mut self, from: &Members<'a>, name: &str, rule: Rule) -> String {
        self.need(from, name);
        self.text(from, name, rule).unwrap_or_default()
    }

    pub(crate) fn boolean(&mut self, from: &Members<'a>, name: &str) -> Option<bool> {
        match from.get(name)? {
            Value::Bool(value) => Some(*value),
            other => {
                self.wrong_type(&from.at(name), other, "true or false");
                None
            }
        }
    }

    pub(crate) fn choice<E: WireEnum>(&mut self, from: &Members<'a>, name: &str) -> Option<E> {
        match from.get(name)? {
            Value::String(text) => self.choice_of(&from.at(name), text),
            other => {
                self.wrong_type(&from.at(name), other, "a string");
                None
            }
        }
    }

    /// A choice that must be there; `None` leaves a fault.
    pub(crate) fn needed_choice<E: WireEnum>(
        &mut self,
        from: &Members<'a>,
        name: &str,
    ) -> Option<E> {
        self.need(from, name);
        self.choice(from, name)
    }

    pub(crate) fn object(&mut self, from: &Members<'a>, name: &str) -> Option<Members<'a>> {
        self.as_object(from.get(name)?, from.at(name))
    }

    pub(crate) fn needed_object(&mut self, from: &Members<'a>, name: &str) -> Option<Members<'a>> {
        self.need(from, name);
        self.object(from, name)
    }

    fn as_object(&mut self, value: &'a Value, path: String) -> Option<Members<'a>> {
        match value {
            Value::Object(map) => Some(Members { map, path }),
            other => {
                self.wrong_type(&path, other, "an object");
                None
            }
        }
    }

    /// The elements of a list and where each stands.
    fn elements(
        &mut self,
        from: &Members<'a>,
        name: &str,
        max: usize,
    ) -> Option<Vec<(&'a Value, String)>> {
        let path = from.at(name);
        match from.get(name)? {
            Value::Array(items) if items.len() <= max => {
                let places = items.iter().enumerate();
                Some(
                    places
                        .map(|(at, item)| (item, format!("{path}[{at}]")))
                        .collect(),
                )
            }
            Value::Array(items) => {
                self.fault(
                    path,
                    format!("has {} elements, needs at most {max}", items.len()),
                );
                None
            }
            other => {
                self.wrong_type(&path, other, "a list");
                None
            }
        }
    }

    pub(crate) fn objects(
        &mut self,
        from: &Members<'a>,
        name: &str,
        max: usize,
    ) -> Option<Vec<Members<'a>>> {
        let elements = self.elements(from, name, max)?;
        Some(
            elements
                .into_iter()
                .filter_map(|(item, path)| self.as_object(item, path))
                .collect(),
        )
    }

    pub(crate) fn texts(
        &mut self,
        from: &Members<'a>,
        name: &str,
        rule: Rule,
        max: usize,
    ) -> Option<Vec<String>> {
        let mut texts = Vec::new();
        for (item, path) in self.elements(from, name, max)? {
            match item {
                Value::String(text) => texts.push(self.checked(&path, text, rule)),
                other => self.wrong_type(&path, other, "a string"),
            }
        }
        Some(texts)
    }

    pub(crate) fn tags(&mut self, from: &Members<'a>, name: &str) -> Option<Tags> {
        let members = self.object(from, name)?;
        if members.map.len() > MAX_TAGS {
            let count = members.map.len();
            self.fault(
                &members.path,
                format!("has {count} tags, needs at most {MAX_TAGS}"),
            );
            return None;
        }
        let mut tags = Tags::new();
        for (key, value) in members.map {
            let path = members.at(&shown(key));
            let key = self.checked(&path, key, rule::TAG_KEY);
            match value {
                Value::String(text) => {
                    let value = self.checked(&path, text, rule::TAG_VALUE);
                    tags.insert(key, value);
                }
                other => self.wrong_type(&path, other, "a string"),
            }
        }
        Some(tags)
    }

    /// A map whose values are never shown.
    pub(crate) fn sensitive_map(
        &mut self,
        from: &Members<'a>,
        name: &str,
        rule: Rule,
        max: usize,
    ) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let Some(members) = self.needed_object(from, name) else {
            return map;
        };
        if members.map.len() > max {
            self.fault(&members.path, format!("needs at most {max} members"));
            return map;
        }
        for (key, value) in members.map {
            let path = members.at(&shown(key));
            let key = self.checked(&path, key, rule);
            match value {
                Value::String(text) => {
                    if let Err(words) = rule.check(text) {
                        self.fault(path, format!("the value {words}"));
                    }
                    map.insert(key, text.clone());
                }
                _ => self.fault(path, "needs a string"),
            }
        }
        map
    }

    pub(crate) fn need(&mut self, from: &Members<'a>, name: &str) {
        if from.get(name).is_none() {
            self.fault(from.at(name), "is missing");
        }
    }

    fn choice_of<E: WireEnum>(&mut self, path: &str, text: &str) -> Option<E> {
        let value = E::from_wire(text);
        if value.is_none() {
            let known: Vec<&str> = E::ALL.iter().map(|value| value.as_str()).collect();
            self.fault(
                path,
                format!("{:?} needs one of {}", shown(text), known.join(", ")),
            );
        }
        value
    }

    fn wrong_type(&mut self, path: &str, value: &Value, needed: &str) {
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "a truth value",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.fault(path, format!("is {is}, needs {needed}"));
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

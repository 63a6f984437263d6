//! A form in: parameters by name, lists, tags.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::failure::{Code, Failure};
use super::text::{Text, fault};

/// Most parameters: the longest list that any operation takes, with its keys and values.
const PARAMETERS: usize = 1_024;
/// Most items of any list.
const ITEMS: usize = 400;
/// Most tags of one request and of one entity.
pub(crate) const TAGS: usize = 50;

/// A tag's key.
pub(crate) const TAG_KEY: Text = Text {
    min: 1,
    max: 128,
    pattern: r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+",
    fits: is_tag,
};
/// A tag's value.
pub(crate) const TAG_VALUE: Text = Text {
    min: 0,
    max: 256,
    pattern: r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*",
    fits: is_tag,
};

fn is_tag(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c))
}

/// The parameters of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    parameters: BTreeMap<String, String>,
}

impl Form {
    /// Reads `a=b&c=d`. A name that comes twice is refused: two readers could read two values.
    pub fn parse(form: &[u8]) -> Result<Self, Failure> {
        let mut parameters = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(form) {
            if parameters.len() == PARAMETERS {
                return Err(Failure::refused(
                    Code::MalformedQueryString,
                    format!("The request has more than {PARAMETERS} parameters."),
                ));
            }
            match parameters.entry(name.into_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(value.into_owned());
                }
                Entry::Occupied(entry) => {
                    let name: String = entry.key().chars().take(128).collect();
                    return Err(Failure::refused(
                        Code::MalformedQueryString,
                        format!("The parameter {name} is given twice; send it once."),
                    ));
                }
            }
        }
        Ok(Self { parameters })
    }

    /// The value of `Action`.
    #[must_use]
    pub fn action(&self) -> &str {
        self.raw("Action").unwrap_or_default()
    }

    /// All parameters, for the audit trail, which masks them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A parameter as it came.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// A parameter that need not be there.
    pub fn optional(&self, name: &str, rule: &Text) -> Result<Option<String>, Failure> {
        let Some(value) = self.raw(name) else {
            return Ok(None);
        };
        rule.check(name, value)?;
        Ok(Some(value.to_owned()))
    }

    /// A parameter that must be there.
    pub fn required(&self, name: &str, rule: &Text) -> Result<String, Failure> {
        self.optional(name, rule)?.ok_or_else(|| missing(name))
    }

    /// A whole number from `min` to `max`.
    pub fn number(&self, name: &str, min: u32, max: u32) -> Result<Option<u32>, Failure> {
        let Some(text) = self.raw(name) else {
            return Ok(None);
        };
        let number: u32 = text
            .parse()
            .map_err(|_| fault(name, text, "Member must be a whole number"))?;
        if number < min {
            let rule = format!("Member must have value greater than or equal to {min}");
            return Err(fault(name, text, &rule));
        }
        if number > max {
            let rule = format!("Member must have value less than or equal to {max}");
            return Err(fault(name, text, &rule));
        }
        Ok(Some(number))
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.raw(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(fault(name, other, "Member must be true or false")),
        }
    }

    /// One of a few words.
    pub fn choice<'w>(&self, name: &str, words: &[&'w str]) -> Result<Option<&'w str>, Failure> {
        let Some(value) = self.raw(name) else {
            return Ok(None);
        };
        match words.iter().find(|word| **word == value) {
            Some(word) => Ok(Some(word)),
            None => Err(fault(
                name,
                value,
                &format!("Member must satisfy enum value set: [{}]", words.join(", ")),
            )),
        }
    }

    /// A list of texts: `name.member.1` and so on, without a gap. `name` alone, empty, is how
    /// clients send an empty list.
    pub fn list(&self, name: &str, rule: &Text) -> Result<Vec<String>, Failure> {
        let mut items = Vec::new();
        while let Some(value) = self.raw(&format!("{name}.member.{}", items.len() + 1)) {
            if items.len() == ITEMS {
                return Err(too_many(name, ITEMS));
            }
            rule.check(&format!("{name}.{}.member", items.len() + 1), value)?;
            items.push(value.to_owned());
        }
        Ok(items)
    }

    /// How many structures a list has: those with any `name.member.N.…`.
    #[must_use]
    pub fn structures(&self, name: &str) -> usize {
        (1..=ITEMS)
            .take_while(|n| {
                let prefix = format!("{name}.member.{n}.");
                self.parameters
                    .range(prefix.clone()..)
                    .next()
                    .is_some_and(|(key, _)| key.starts_with(&prefix))
            })
            .count()
    }

    /// Tags: `name.member.N.Key` and `.Value`. Keys that differ in case alone are one key, which
    /// must not come twice; `aws:` is reserved.
    pub fn tags(&self, name: &str) -> Result<BTreeMap<String, String>, Failure> {
        let mut tags = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for number in 1..=self.structures(name) {
            if number > TAGS {
                return Err(too_many(name, TAGS));
            }
            let at = format!("{name}.member.{number}");
            let key = self.required(&format!("{at}.Key"), &TAG_KEY)?;
            let value = self
                .optional(&format!("{at}.Value"), &TAG_VALUE)?
                .ok_or_else(|| missing(&format!("{at}.Value")))?;
            reserved(&key)?;
            if !seen.insert(key.to_lowercase()) {
                return Err(Failure::input(
                    "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
                ));
            }
            tags.insert(key, value);
        }
        Ok(tags)
    }

    /// Keys of tags: `name.member.N`.
    pub fn tag_keys(&self, name: &str) -> Result<Vec<String>, Failure> {
        let keys = self.list(name, &TAG_KEY)?;
        if keys.len() > TAGS {
            return Err(too_many(name, TAGS));
        }
        for key in &keys {
            reserved(key)?;
        }
        Ok(keys)
    }
}

fn reserved(key: &str) -> Result<(), Failure> {
    match key.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("aws:") => Err(Failure::input(
            "The tag keys that begin with aws: are reserved; choose another key.",
        )),
        _ => Ok(()),
    }
}

fn too_many(name: &str, most: usize) -> Failure {
    Failure::validation(format!(
        "1 validation error detected: Value at '{name}' failed to satisfy constraint: Member must \
         have length less than or equal to {most}"
    ))
}

/// A parameter that must be there is not.
fn missing(name: &str) -> Failure {
    let mut member = name.to_owned();
    if let Some(first) = member.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    Failure::validation(format!(
        "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member \
         must not be null"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes()).expect("a form")
    }

    #[test]
    fn lists_and_tags_are_read_by_their_numbers() {
        let form = form(
            "Action=TagUser&UserName=ann&Tags.member.1.Key=team&Tags.member.1.Value=red%20one\
             &Tags.member.2.Key=x&Tags.member.2.Value=&TagKeys.member.1=a&TagKeys.member.2=b",
        );
        assert_eq!(form.action(), "TagUser");
        assert_eq!(
            form.tags("Tags").expect("tags"),
            BTreeMap::from([
                ("team".to_owned(), "red one".to_owned()),
                ("x".to_owned(), String::new())
            ])
        );
        assert_eq!(form.tag_keys("TagKeys").expect("keys"), ["a", "b"]);
        assert!(
            form.list("Nothing", &Text::any(0, 9))
                .expect("none")
                .is_empty()
        );
    }

    #[test]
    fn a_parameter_that_comes_twice_is_refused() {
        let refused = Form::parse(b"UserName=a&UserName=b").expect_err("refused");
        assert_eq!(refused.code(), Code::MalformedQueryString);
    }

    #[test]
    fn a_form_is_bounded() {
        let many = (0..2_000).map(|n| format!("p{n}=1")).collect::<Vec<_>>();
        assert!(Form::parse(many.join("&").as_bytes()).is_err());
        let tags = (1..=51)
            .map(|n| format!("Tags.member.{n}.Key=k{n}&Tags.member.{n}.Value=v"))
            .collect::<Vec<_>>();
        assert!(form(&tags.join("&")).tags("Tags").is_err());
    }

    /// Attack P2: a wildcard or a variable is no tag.
    #[test]
    fn tags_hold_no_wildcards_no_reserved_keys_and_no_key_twice() {
        for tags in [
            "Tags.member.1.Key=team&Tags.member.1.Value=*",
            "Tags.member.1.Key=team&Tags.member.1.Value=${*}",
            "Tags.member.1.Key=AWS:x&Tags.member.1.Value=v",
            "Tags.member.1.Key=a&Tags.member.1.Value=v&Tags.member.2.Key=A&Tags.member.2.Value=w",
            "Tags.member.1.Key=a",
            "Tags.member.1.Value=a",
        ] {
            assert!(form(tags).tags("Tags").is_err(), "{tags}");
        }
    }

    #[test]
    fn numbers_flags_and_choices_say_what_they_take() {
        let form = form("MaxItems=1001&SetAsDefault=yes&Status=Gone");
        for (refused, told) in [
            (
                form.number("MaxItems", 1, 1000).map(|_| ()),
                "less than or equal to 1000",
            ),
            (form.flag("SetAsDefault").map(|_| ()), "true or false"),
            (
                form.choice("Status", &["Active", "Inactive"]).map(|_| ()),
                "[Active, Inactive]",
            ),
            (
                form.required("UserName", &Text::name(64)).map(|_| ()),
                "must not be null",
            ),
        ] {
            let message = refused.expect_err(told).to_string();
            assert!(message.contains(told), "{message}");
        }
    }
}

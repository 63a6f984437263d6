//! What a token says of its holder.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// Longest text of a claim that becomes a condition key, in characters.
const CLAIM_CHARACTERS: usize = 255;
/// Most session tags, as `AssumeRole` has it.
const TAGS: usize = 50;

/// Somebody whom an issuer vouches for, once the token was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// `iss`.
    pub issuer: String,
    /// `sub`: who, in the issuer's words.
    pub subject: String,
    /// For whom the token was made: `azp` where there is one, else the expected one of `aud`.
    pub audience: String,
    /// `exp`, seconds since the epoch.
    pub expires: i64,
    /// How the holder proved who it is (`amr`).
    pub methods: Vec<String>,
    /// Claim `https://aws.amazon.com/source_identity`.
    pub source_identity: Option<String>,
    /// Session tags from the claim `https://aws.amazon.com/tags`.
    pub tags: BTreeMap<String, String>,
    /// Which of them go on into sessions opened from this one.
    pub transitive: Vec<String>,
}

/// The claims as they came. Numbers and lists are taken in the forms that the RFC allows.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    #[serde(deserialize_with = "one_or_many")]
    pub(super) aud: Vec<String>,
    #[serde(default)]
    pub(super) azp: Option<String>,
    #[serde(deserialize_with = "seconds")]
    pub(super) exp: i64,
    #[serde(deserialize_with = "seconds")]
    pub(super) iat: i64,
    #[serde(default, deserialize_with = "optional_seconds")]
    pub(super) nbf: Option<i64>,
    #[serde(default, deserialize_with = "one_or_many")]
    amr: Vec<String>,
    #[serde(default, rename = "https://aws.amazon.com/source_identity")]
    source_identity: Option<String>,
    #[serde(default, rename = "https://aws.amazon.com/tags")]
    tags: Tags,
}

#[derive(Default, Deserialize)]
struct Tags {
    #[serde(default)]
    principal_tags: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    transitive_tag_keys: Vec<String>,
}

impl Claims {
    /// Why the claims cannot be used, if so.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let short = |text: &str| (1..=CLAIM_CHARACTERS).contains(&text.chars().count());
        if !short(&self.sub) {
            return Some("sub is 1 to 255 characters");
        }
        if self.aud.is_empty() || !self.aud.iter().chain(&self.azp).all(|it| short(it)) {
            return Some("aud and azp are 1 to 255 characters");
        }
        if !self.amr.iter().all(|it| short(it)) || self.amr.len() > TAGS {
            return Some("amr is a short list");
        }
        if self.tags.principal_tags.len() > TAGS
            || self.tags.principal_tags.values().any(|it| it.len() != 1)
        {
            return Some("principal_tags are 50 keys with one value each at most");
        }
        let known = |key: &String| self.tags.principal_tags.contains_key(key);
        if !self.tags.transitive_tag_keys.iter().all(known) {
            return Some("transitive_tag_keys name keys of principal_tags");
        }
        None
    }

    pub(super) fn into_identity(self, audience: String) -> WebIdentity {
        let tags = self.tags.principal_tags.into_iter();
        WebIdentity {
            issuer: self.iss,
            subject: self.sub,
            audience,
            expires: self.exp,
            methods: self.amr,
            source_identity: self.source_identity,
            tags: tags
                .filter_map(|(key, values)| Some((key, values.into_iter().next()?)))
                .collect(),
            transitive: self.tags.transitive_tag_keys,
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// A `NumericDate`, which may have a fraction.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    // Up to the year 9999, so that no later sum overflows.
    number
        .as_i64()
        .or_else(|| number.as_f64().map(|value| value.floor() as i64))
        .filter(|value| (0..253_402_300_800).contains(value))
        .ok_or_else(|| serde::de::Error::custom("a time is seconds since the epoch"))
}

fn optional_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    seconds(deserializer).map(Some)
}

//! What must not stand in a trail: secrets, wherever a request or an answer may carry them.
//!
//! Pure. Names decide: the value of a member whose name speaks of a secret is replaced, and in
//! every text credentials in URLs, values behind such names, and tokens are cut out ([`text`]). A
//! text that is JSON itself (a manifest, a policy) is masked as JSON. All is bounded: depth,
//! entries, length of a text, and the whole ([`parameters`]). Rather too much is masked than too
//! little: what was asked is still told by the operation, its resources and the other members.

mod text;

use serde_json::{Map, Value};

use super::record::bounded;

pub use text::text;

/// Stands where something was masked.
pub const MASKED: &str = "***";
/// Largest parameters that are kept, in bytes of JSON.
pub const PARAMETERS_BYTES: usize = 8 * 1024;
/// Longest text inside of parameters, in characters.
const TEXT_CHARS: usize = 2_048;
/// Longest JSON inside of a text: a policy of the largest size stays whole.
const DOCUMENT_CHARS: usize = 6_144;
/// Longest name of a member, in characters.
const KEY_CHARS: usize = 128;
/// Members and elements at one level that are kept.
const ENTRIES: usize = 64;
/// Levels that are kept; also of JSON inside of texts.
const DEPTH: usize = 12;
/// Longest text that is looked at as JSON: a manifest has 64 kB at most.
const JSON_BYTES: usize = 128 * 1024;

/// Words in a name whose value is a secret, without case and punctuation.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "signature",
    "credential",
    "privatekey",
    "apikey",
    "cookie",
    "assertion",
    // TOTP: `Base32StringSeed`, `QRCodePNG`, `AuthenticationCode1`, and the code of a sign-in.
    "seed",
    "qrcode",
    "authenticationcode",
    "mfacode",
    // `ProvisionDevice` answers an archive that holds the claim's key.
    "certificates",
];

/// Names that hold one of the words and no secret.
const HARMLESS: &[&str] = &[
    "nexttoken",
    "clienttoken",
    "clientrequesttoken",
    "continuationtoken",
    "nextcontinuationtoken",
    "tokenissuetime",
    "signatureversion",
    "signaturealgorithm",
    "signaturemethod",
    "secretsmanager",
];

/// Masked and bounded members of a request or an answer.
#[must_use]
pub fn parameters(value: &Value) -> Value {
    fit(masked(value, DEPTH))
}

/// The same from the fields of a form, in their order.
pub fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    let members: Map<String, Value> = fields
        .into_iter()
        .take(ENTRIES)
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect();
    if members.is_empty() {
        return Value::Null;
    }
    parameters(&Value::Object(members))
}

/// Whether a member of this name holds a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    WORDS.iter().any(|word| plain.contains(word))
        && !HARMLESS.iter().any(|harmless| plain == *harmless)
}

fn masked(value: &Value, depth: usize) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        Value::String(string) => Value::from(masked_string(string, depth)),
        Value::Array(_) | Value::Object(_) if depth == 0 => Value::from("[too deep]"),
        Value::Array(elements) => {
            let mut kept: Vec<Value> = elements
                .iter()
                .take(ENTRIES)
                .map(|element| masked(element, depth - 1))
                .collect();
            if let Some(more @ 1..) = elements.len().checked_sub(ENTRIES) {
                kept.push(Value::from(format!("[{more} more]")));
            }
            Value::Array(kept)
        }
        Value::Object(members) => Value::Object(masked_object(members, depth - 1)),
    }
}

fn masked_object(members: &Map<String, Value>, depth: usize) -> Map<String, Value> {
    let mut kept = Map::new();
    // `{"name": "password", "value": …}`, as manifests and tags write it.
    let named_secret = members
        .iter()
        .any(|(key, value)| is_name(key) && value.as_str().is_some_and(is_secret));
    for (key, value) in members.iter().take(ENTRIES) {
        let value = if key.eq_ignore_ascii_case("TemplateParameters") {
            template(value)
        } else if (named_secret && key.eq_ignore_ascii_case("value")) || is_secret(key) {
            secret(value, depth)
        } else {
            masked(value, depth)
        };
        kept.insert(bounded(&text(key), KEY_CHARS), value);
    }
    if let Some(more @ 1..) = members.len().checked_sub(ENTRIES) {
        kept.insert("…".to_owned(), Value::from(format!("[{more} more]")));
    }
    kept
}

fn is_name(key: &str) -> bool {
    key.eq_ignore_ascii_case("name") || key.eq_ignore_ascii_case("key")
}

/// A member whose name speaks of a secret. What has members of its own (`Credentials`) shows those
/// that are harmless.
fn secret(value: &Value, depth: usize) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::Object(members) if depth > 0 => Value::Object(masked_object(members, depth - 1)),
        _ => Value::from(MASKED),
    }
}

/// `TemplateParameters` of `CreateNodeFromTemplateJob`: sensitive by the model; only the address of
/// the stream is told, without credentials.
fn template(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return Value::from(MASKED);
    };
    members
        .iter()
        .take(ENTRIES)
        .map(|(key, value)| {
            let shown = match value {
                Value::String(url) if key.eq_ignore_ascii_case("StreamUrl") => {
                    bounded(&text(url), TEXT_CHARS)
                }
                _ => MASKED.to_owned(),
            };
            (bounded(&text(key), KEY_CHARS), Value::from(shown))
        })
        .collect::<Map<_, _>>()
        .into()
}

fn masked_string(string: &str, depth: usize) -> String {
    if string.len() > JSON_BYTES {
        return format!("[{} bytes]", string.len());
    }
    let looks_like_json = matches!(string.trim_start().as_bytes().first(), Some(b'{' | b'['));
    if looks_like_json
        && depth > 0
        && let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(string)
    {
        return bounded(&masked(&inner, depth - 1).to_string(), DOCUMENT_CHARS);
    }
    bounded(&text(string), TEXT_CHARS)
}

/// Cuts the largest members until the whole is within its bound.
fn fit(mut value: Value) -> Value {
    let size = |value: &Value| value.to_string().len();
    let whole = size(&value);
    if whole <= PARAMETERS_BYTES {
        return value;
    }
    if let Value::Object(members) = &mut value {
        let mut sizes: Vec<(String, usize)> = members
            .iter()
            .map(|(key, value)| (key.clone(), size(value)))
            .collect();
        sizes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let mut left = whole;
        for (key, bytes) in sizes {
            if left <= PARAMETERS_BYTES {
                break;
            }
            let marker = Value::from(format!("[cut: {bytes} bytes]"));
            left = left - bytes + size(&marker);
            members.insert(key, marker);
        }
        if left <= PARAMETERS_BYTES {
            return value;
        }
    }
    Value::from(format!("[cut: {whole} bytes]"))
}

#[cfg(test)]
mod tests;

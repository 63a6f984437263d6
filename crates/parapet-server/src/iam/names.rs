//! Constraints of IAM's parameters, from its model (`botocore/data/iam/2010-05-08/service-2.json`).

use crate::query::{Failure, Form, Text};

/// Names of users.
pub(super) const USER: Text = Text::name(64);
/// Names of groups.
pub(super) const GROUP: Text = Text::name(128);
/// Names of roles.
pub(super) const ROLE: Text = Text::name(64);
/// Names of policies, managed and inline.
pub(super) const POLICY: Text = Text::name(128);
/// Names of virtual devices.
pub(super) const MFA: Text = Text::name(226);
/// Names of services.
pub(super) const SERVICE: Text = Text::name(128);
/// Ends of the names of service-linked roles.
pub(super) const SUFFIX: Text = Text::name(64);
/// ARNs.
pub(super) const ARN: Text = Text::any(20, 2048);
/// Descriptions of roles and policies.
pub(super) const DESCRIPTION: Text = Text {
    min: 0,
    max: 1000,
    pattern: r"[\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*",
    fits: |text| {
        text.chars()
            .all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{a1}'..='\u{ff}'))
    },
};
/// Policy documents, before they are read.
pub(super) const DOCUMENT: Text = Text {
    min: 1,
    max: 131_072,
    pattern: r"[\u0009\u000A\u000D\u0020-\u00FF]+",
    fits: |text| {
        text.chars()
            .all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}'))
    },
};
/// IDs of access keys.
pub(super) const ACCESS_KEY: Text = Text {
    min: 16,
    max: 128,
    pattern: r"[\w]+",
    fits: |text| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
};
/// Serial numbers of second factors.
pub(super) const SERIAL: Text = Text {
    min: 9,
    max: 256,
    pattern: r"[\w+=/:,.@-]+",
    fits: |text| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_+=/:,.@-".contains(c))
    },
};
/// One-time codes.
pub(super) const CODE: Text = Text {
    min: 6,
    max: 6,
    pattern: r"[\d]+",
    fits: |text| text.chars().all(|c| c.is_ascii_digit()),
};
/// URLs of identity providers.
pub(super) const URL: Text = Text::any(1, 255);
/// Audiences.
pub(super) const CLIENT_ID: Text = Text::any(1, 255);
/// SHA-1 of a certificate, in hexadecimal.
pub(super) const THUMBPRINT: Text = Text::any(40, 40);
/// Versions of managed policies.
pub(super) const VERSION: Text = Text {
    min: 2,
    max: 12,
    pattern: r"v[1-9][0-9]*(\.[A-Za-z0-9-]*)?",
    fits: |text| version(text).is_some(),
};
/// Aliases of accounts.
pub(super) const ALIAS: Text = Text {
    min: 3,
    max: 63,
    pattern: r"[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]",
    fits: |text| {
        let inner = text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        inner && !text.starts_with('-') && !text.ends_with('-') && !text.contains("--")
    },
};
const PATH: Text = Text {
    min: 1,
    max: 512,
    pattern: r"(\u002F)|(\u002F[\u0021-\u007E]+\u002F)",
    fits: |text| {
        text == "/"
            || text.len() > 2
                && text.starts_with('/')
                && text.ends_with('/')
                && text.chars().all(|c| ('!'..='~').contains(&c))
    },
};
const PATH_PREFIX: Text = Text {
    min: 1,
    max: 512,
    pattern: r"\u002F[\u0021-\u007E]*",
    fits: |text| text.starts_with('/') && text.chars().all(|c| ('!'..='~').contains(&c)),
};

/// The path under which something is made; `/` if none is given.
pub(super) fn path(form: &Form) -> Result<String, Failure> {
    Ok(form
        .optional("Path", &PATH)?
        .unwrap_or_else(|| "/".to_owned()))
}

/// The path to which something moves.
pub(super) fn new_path(form: &Form) -> Result<Option<String>, Failure> {
    form.optional("NewPath", &PATH)
}

/// Only what has such a path is listed.
pub(super) fn path_prefix(form: &Form) -> Result<String, Failure> {
    Ok(form
        .optional("PathPrefix", &PATH_PREFIX)?
        .unwrap_or_else(|| "/".to_owned()))
}

/// The number of a version, `v3`.
pub(super) fn version(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('v')?;
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

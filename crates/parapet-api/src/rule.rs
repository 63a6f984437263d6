//! Constraints of scalars (`spec/api.md` section 9): length in characters and pattern.
//!
//! All but a few patterns are one class of characters, so they are written as such: no regular
//! expression, no back-tracking.

use std::net::Ipv4Addr;

/// A text's constraint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) pattern: Pattern,
}

/// A text's pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// No pattern.
    Any,
    /// `^.*$`: one line.
    Line,
    /// `^[a-zA-Z0-9\-\_]+$`
    Name,
    /// `^[a-zA-Z0-9\-\_\/]+$`
    NameOrAlias,
    /// `^[a-zA-Z0-9\-\_\.]+$`
    NodeId,
    /// `^[a-z0-9]+$`
    LowerAlphanumeric,
    /// `^[0-9a-z\_]+$`
    Owner,
    /// `^([0-9]+)\.([0-9]+)$`
    Version,
    /// `^arn:[a-z0-9][-.a-z0-9]{0,62}:iam::[0-9]{12}:role/.+$`
    RoleArn,
    /// Four decimal octets, optionally with a port.
    IpAddress,
    /// The same, or a host name in lower case with at least one dot.
    IpAddressOrServerName,
}

const fn rule(min: usize, max: usize, pattern: Pattern) -> Rule {
    Rule { min, max, pattern }
}

pub(crate) const DESCRIPTION: Rule = rule(0, 255, Pattern::Line);
pub(crate) const FREE_TEXT: Rule = rule(0, 255, Pattern::Any);
pub(crate) const INSTANCE_ID: Rule = rule(1, 255, Pattern::Name);
pub(crate) const INSTANCE_NAME: Rule = rule(1, 255, Pattern::Name);
pub(crate) const DEVICE_ID: Rule = rule(1, 255, Pattern::Name);
pub(crate) const DEVICE_NAME: Rule = rule(1, 255, Pattern::Name);
pub(crate) const JOB_ID: Rule = rule(1, 255, Pattern::Name);
pub(crate) const LINE_255: Rule = rule(1, 255, Pattern::Line);
pub(crate) const NEXT_TOKEN: Rule = rule(1, 4096, Pattern::Line);
pub(crate) const NODE_ID: Rule = rule(1, 255, Pattern::NodeId);
pub(crate) const NODE_INSTANCE_ID: Rule = rule(1, 128, Pattern::Name);
pub(crate) const NODE_NAME: Rule = rule(1, 128, Pattern::Name);
pub(crate) const PACKAGE_ID: Rule = rule(1, 255, Pattern::NameOrAlias);
pub(crate) const PACKAGE_NAME: Rule = rule(1, 128, Pattern::Name);
pub(crate) const PACKAGE_VERSION: Rule = rule(1, 255, Pattern::Version);
pub(crate) const PATCH_VERSION: Rule = rule(1, 255, Pattern::LowerAlphanumeric);
pub(crate) const OWNER: Rule = rule(1, 12, Pattern::Owner);
pub(crate) const RESOURCE_ARN: Rule = rule(1, 2048, Pattern::Line);
pub(crate) const ROLE_ARN: Rule = rule(1, 255, Pattern::RoleArn);
pub(crate) const TAG_KEY: Rule = rule(1, 128, Pattern::Line);
pub(crate) const TAG_VALUE: Rule = rule(0, 256, Pattern::Line);
pub(crate) const IP_ADDRESS: Rule = rule(1, 255, Pattern::IpAddress);
pub(crate) const NTP_SERVER: Rule = rule(1, 255, Pattern::IpAddressOrServerName);
/// The pattern forbids line breaks, but existing callers send pretty-printed payloads.
pub(crate) const MANIFEST_PAYLOAD: Rule = rule(1, 51_200, Pattern::Any);
pub(crate) const OVERRIDES_PAYLOAD: Rule = rule(0, 51_200, Pattern::Any);

impl Rule {
    /// The rule in words, when the text breaks it.
    pub(crate) fn check(&self, text: &str) -> Result<(), String> {
        // Bytes first: a text of a megabyte is not counted character by character.
        let length = if text.len() > self.max * 4 {
            usize::MAX
        } else {
            text.chars().count()
        };
        if length < self.min || length > self.max {
            return Err(format!("needs {} to {} characters", self.min, self.max));
        }
        if !self.pattern.matches(text) {
            return Err(self.pattern.words().to_owned());
        }
        Ok(())
    }
}

impl Pattern {
    fn matches(self, text: &str) -> bool {
        let all = |allowed: fn(u8) -> bool| text.bytes().all(allowed);
        match self {
            Self::Any => true,
            Self::Line => !text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']),
            Self::Name => all(is_name),
            Self::NameOrAlias => all(|b| is_name(b) || b == b'/'),
            Self::NodeId => all(|b| is_name(b) || b == b'.'),
            Self::LowerAlphanumeric => all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()),
            Self::Owner => all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            Self::Version => is_version(text),
            Self::RoleArn => is_role_arn(text),
            Self::IpAddress => is_ip_address(text),
            Self::IpAddressOrServerName => is_ip_address(text) || is_server_name(text),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Any => "any text",
            Self::Line => "needs one line without line breaks",
            Self::Name => "may hold letters, digits, '-' and '_' only",
            Self::NameOrAlias => "may hold letters, digits, '-', '_' and '/' only",
            Self::NodeId => "may hold letters, digits, '-', '_' and '.' only",
            Self::LowerAlphanumeric => "may hold lower-case letters and digits only",
            Self::Owner => "may hold lower-case letters, digits and '_' only",
            Self::Version => "needs two numbers with a dot between them, such as 1.0",
            Self::RoleArn => "needs the ARN of a role, arn:aws:iam::<account>:role/<name>",
            Self::IpAddress => "needs four numbers of 0 to 255 with dots, such as 10.0.0.2",
            Self::IpAddressOrServerName => {
                "needs an IP address or a host name in lower case, such as 0.pool.ntp.org"
            }
        }
    }
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(major, minor)| number(major) && number(minor))
}

fn is_role_arn(text: &str) -> bool {
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (scheme, partition, service) = (next(), next(), next());
    let (region, account, resource) = (next(), next(), next());
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let partition_ok = partition.bytes().next().is_some_and(lower)
        && partition.len() <= 63
        && partition
            .bytes()
            .all(|b| lower(b) || b == b'-' || b == b'.');
    scheme == "arn"
        && partition_ok
        && service == "iam"
        && region.is_empty()
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && resource
            .strip_prefix("role/")
            .is_some_and(|name| !name.is_empty())
        && Pattern::Line.matches(resource)
}

fn is_ip_address(text: &str) -> bool {
    let (address, port) = text
        .split_once(':')
        .map_or((text, None), |(a, p)| (a, Some(p)));
    let port_ok = port.is_none_or(|port| {
        !port.starts_with('0')
            && port.bytes().all(|b| b.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    });
    port_ok && address.parse::<Ipv4Addr>().is_ok()
}

fn is_server_name(text: &str) -> bool {
    let label = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && !part.contains("--")
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.rsplit_once('.').is_some_and(|(rest, top)| {
        top.len() >= 2 && top.bytes().all(|b| b.is_ascii_lowercase()) && rest.split('.').all(label)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_what_it_names_and_nothing_else() {
        let table: &[(Pattern, &[&str], &[&str])] = &[
            (
                Pattern::Name,
                &["a", "A-_9"],
                &["a b", "a.b", "ä", "a/b", "a\n"],
            ),
            (Pattern::NameOrAlias, &["packageName/X"], &["a:b"]),
            (Pattern::NodeId, &["P-1.0-9b3f0c11-interface"], &["a/b"]),
            (Pattern::LowerAlphanumeric, &["9b3f"], &["9B3F", "-"]),
            (Pattern::Owner, &["123456789012", "panorama"], &["Panorama"]),
            (
                Pattern::Version,
                &["1.0", "12.345"],
                &["1", "1.", ".0", "1.0.0", "a.b", "1.0 "],
            ),
            (
                Pattern::RoleArn,
                &[
                    "arn:aws:iam::123456789012:role/service-role/gate",
                    "arn:aws-cn:iam::123456789012:role/x",
                ],
                &[
                    "arn:aws:iam::123456789012:role/",
                    "arn:aws:iam::12345678901:role/x",
                    "arn:aws:iam:x:123456789012:role/x",
                    "role/x",
                ],
            ),
            (
                Pattern::IpAddress,
                &["10.0.0.2", "255.255.255.255:65535"],
                &[
                    "256.0.0.1",
                    "1.2.3",
                    "1.2.3.4/24",
                    "1.2.3.4:0",
                    "1.2.3.4:65536",
                    "1.2.3.4:",
                    "01.2.3.4",
                ],
            ),
            (
                Pattern::IpAddressOrServerName,
                &["0.pool.ntp.org", "10.0.0.2:123"],
                &["localhost", "a..org", "-a.org", "a.org:123", "A.org"],
            ),
            (Pattern::Line, &["", "ä b"], &["a\nb"]),
        ];
        for (pattern, good, bad) in table {
            for text in *good {
                assert!(pattern.matches(text), "{pattern:?} {text:?}");
            }
            for text in *bad {
                assert!(!pattern.matches(text), "{pattern:?} {text:?}");
            }
        }
    }

    #[test]
    fn a_length_is_counted_in_characters() {
        assert!(TAG_KEY.check(&"ä".repeat(128)).is_ok());
        assert!(TAG_KEY.check(&"ä".repeat(129)).is_err());
        assert!(TAG_KEY.check("").is_err());
        assert!(DESCRIPTION.check("").is_ok());
    }
}

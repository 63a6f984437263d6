//! The canonical request: the one text that both sides hash.

use std::fmt::Write as _;

use aws_lc_rs::digest;

use super::error::AuthError;
use super::request::RequestHead;

/// Most parameters of a query.
const PARAMETERS: usize = 1_000;

/// How a service's path becomes canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathRule {
    /// S3: as on the wire; what should have been escaped is.
    Wire,
    /// All others: the wire's path escaped once more.
    Escaped,
    /// As `Escaped`, after dot segments and empty segments are resolved: what signers do.
    Normalised,
}

/// The canonical request of `head` over the headers `signed` (sorted, lower case).
pub(super) fn request(
    head: &RequestHead<'_>,
    rule: PathRule,
    signed: &[&str],
    payload: &str,
) -> Result<String, AuthError> {
    let mut text = String::with_capacity(512);
    let _written = writeln!(text, "{}", head.method);
    let _written = writeln!(text, "{}", path(head.path, rule));
    let _written = writeln!(text, "{}", query(head.query)?);
    for name in signed {
        let mut values = head
            .headers()
            .filter(|(n, _)| n == name)
            .map(|(_, value)| value)
            .peekable();
        if values.peek().is_none() {
            return Err(AuthError::header(
                name,
                "is named in SignedHeaders but missing",
            ));
        }
        let _written = write!(text, "{name}:");
        for (index, value) in values.enumerate() {
            if index > 0 {
                text.push(',');
            }
            collapse(value, &mut text);
        }
        text.push('\n');
    }
    let _written = write!(text, "\n{}\n{payload}", signed.join(";"));
    Ok(text)
}

/// Lower-case hexadecimal SHA-256.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// A value without blanks around it and with one blank for each run of them inside.
fn collapse(value: &str, text: &mut String) {
    for (index, word) in value.split_ascii_whitespace().enumerate() {
        if index > 0 {
            text.push(' ');
        }
        text.push_str(word);
    }
}

pub(super) fn path(raw: &str, rule: PathRule) -> String {
    let raw = if raw.is_empty() { "/" } else { raw };
    let mut text = String::with_capacity(raw.len() + 16);
    match rule {
        PathRule::Wire => escape(
            raw.as_bytes(),
            |byte| byte == b'/' || byte == b'%',
            &mut text,
        ),
        PathRule::Escaped => escape(raw.as_bytes(), |byte| byte == b'/', &mut text),
        PathRule::Normalised => {
            escape(normalised(raw).as_bytes(), |byte| byte == b'/', &mut text);
        }
    }
    text
}

/// Whether a path has parts that a signer resolves and a router may not: then the verified path
/// would not be the routed one.
pub(super) fn is_ambiguous(raw: &str) -> bool {
    !raw.starts_with('/')
        || raw.split('/').skip(1).enumerate().any(|(index, segment)| {
            let lower = segment.to_ascii_lowercase().replace("%2e", ".");
            lower == "." || lower == ".." || (segment.is_empty() && !is_last(raw, index))
        })
}

/// Whether the segment of this index is the last one (a trailing slash is no empty segment).
fn is_last(raw: &str, index: usize) -> bool {
    raw.split('/').skip(1).count() == index + 1
}

fn normalised(raw: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let directory = raw.ends_with('/') || raw.ends_with("/.") || raw.ends_with("/..");
    let tail = if directory && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{tail}", kept.join("/"))
}

/// The parameters, decoded once, escaped strictly, sorted; without the signature itself.
fn query(raw: &str) -> Result<String, AuthError> {
    let mut pairs = parameters(raw)?
        .into_iter()
        .filter(|(name, _)| name != b"X-Amz-Signature")
        .map(|(name, value)| {
            let (mut escaped_name, mut escaped_value) = (String::new(), String::new());
            escape(&name, |_| false, &mut escaped_name);
            escape(&value, |_| false, &mut escaped_value);
            (escaped_name, escaped_value)
        })
        .collect::<Vec<_>>();
    pairs.sort();
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"));
    Ok(pairs.collect::<Vec<_>>().join("&"))
}

/// Name and value of a query's parameter, decoded.
pub(super) type Parameter = (Vec<u8>, Vec<u8>);

/// A query's parameters, decoded; a `+` is a plus, an empty name is kept.
pub(super) fn parameters(raw: &str) -> Result<Vec<Parameter>, AuthError> {
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    if raw.bytes().filter(|&byte| byte == b'&').count() >= PARAMETERS {
        return Err(AuthError::HeadTooLarge);
    }
    let pairs = raw.split('&').filter(|part| !part.is_empty());
    Ok(pairs
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (unescape(name), unescape(value))
        })
        .collect())
}

fn unescape(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

/// Escapes all but the unreserved characters of RFC 3986 and what `keep` names.
fn escape(bytes: &[u8], keep: impl Fn(u8) -> bool, text: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep(byte) {
            text.push(char::from(byte));
        } else {
            let _written = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_path_is_escaped_once_more_but_not_for_s3() {
        let arn = "/tags/arn%3Aaws%3Ax%2Fdevice-a";
        assert_eq!(
            path(arn, PathRule::Escaped),
            "/tags/arn%253Aaws%253Ax%252Fdevice-a"
        );
        assert_eq!(path("/b/a//b/../c%20d", PathRule::Wire), "/b/a//b/../c%20d");
        assert_eq!(path("/b/a+b(1)", PathRule::Wire), "/b/a%2Bb%281%29");
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_ambiguous() {
        for raw in [
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "a",
            "",
        ] {
            assert!(is_ambiguous(raw), "{raw}");
        }
        for raw in ["/", "/a", "/a/", "/a/b.c", "/a..b/...", "/tags/x%2Fy"] {
            assert!(!is_ambiguous(raw), "{raw}");
        }
    }

    #[test]
    fn a_query_is_sorted_and_keeps_its_plus() {
        assert_eq!(
            query("b=2&a=%7e+x&a=1&c&X-Amz-Signature=ff").unwrap(),
            "a=1&a=~%2Bx&b=2&c="
        );
        assert!(query(&"a&".repeat(2_000)).is_err());
    }
}

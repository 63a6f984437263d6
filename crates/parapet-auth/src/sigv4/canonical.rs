//! The canonical request: the one text that both sides hash.

use std::borrow::Cow;

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

/// Appends the canonical request of `head` over the headers `signed` (sorted, lower case, each
/// once). One pass over each part; escaped bytes go straight into `text`.
pub(super) fn request<'s>(
    head: &RequestHead<'_>,
    rule: PathRule,
    signed: impl Iterator<Item = &'s str> + Clone,
    payload: &str,
    text: &mut String,
) -> Result<(), AuthError> {
    text.push_str(head.method);
    text.push('\n');
    path(head.path, rule, text);
    text.push('\n');
    query(head.query, text)?;
    text.push('\n');
    // The head's headers are sorted by name as well, so the two lists are walked side by side.
    let mut headers = head.headers().peekable();
    for name in signed.clone() {
        while headers.next_if(|(known, _)| *known < name).is_some() {}
        let mut found = false;
        while let Some((_, value)) = headers.next_if(|(known, _)| *known == name) {
            if found {
                text.push(',');
            } else {
                text.push_str(name);
                text.push(':');
            }
            found = true;
            collapse(value, text);
        }
        if !found {
            return Err(AuthError::header(
                name,
                "is named in SignedHeaders but missing",
            ));
        }
        text.push('\n');
    }
    for (index, name) in signed.enumerate() {
        text.push(if index == 0 { '\n' } else { ';' });
        text.push_str(name);
    }
    text.push('\n');
    text.push_str(payload);
    Ok(())
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

fn path(raw: &str, rule: PathRule, text: &mut String) {
    let raw = if raw.is_empty() { "/" } else { raw };
    match rule {
        PathRule::Wire => {
            let keep = |byte| byte == b'/' || byte == b'%';
            raw.bytes().for_each(|byte| escape(byte, keep, text));
        }
        PathRule::Escaped => {
            let keep = |byte| byte == b'/';
            raw.bytes().for_each(|byte| escape(byte, keep, text));
        }
        PathRule::Normalised => path(&normalised(raw), PathRule::Escaped, text),
    }
}

/// Whether a path has parts that a signer resolves and a router may not, or that other programs
/// read as another character: then the verified path would not be the routed one.
pub(super) fn is_ambiguous(raw: &str) -> bool {
    let Some(segments) = raw.strip_prefix('/') else {
        return true;
    };
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        // A trailing slash makes no empty segment.
        if (segment.is_empty() && segments.peek().is_some()) || is_dots(segment) {
            return true;
        }
    }
    // A backslash is a slash to some, a NUL the end of the text.
    raw.contains('\\')
        || raw.as_bytes().windows(3).any(|three| {
            three[0] == b'%'
                && ((three[1] == b'0' && three[2] == b'0')
                    || (three[1] == b'5' && three[2].eq_ignore_ascii_case(&b'c')))
        })
}

/// `.` or `..`, each dot also in its escaped form.
fn is_dots(segment: &str) -> bool {
    let mut rest = segment.as_bytes();
    let mut dots = 0;
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
        dots += 1;
    }
    (1..=2).contains(&dots)
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
fn query(raw: &str, text: &mut String) -> Result<(), AuthError> {
    if raw.is_empty() {
        return Ok(());
    }
    check_count(raw)?;
    // All escaped parameters one after the other, and where each begins, has its middle and ends.
    let mut escaped = String::with_capacity(raw.len() + 16);
    let mut places = Vec::new();
    for (name, value) in split(raw) {
        let start = escaped.len();
        unescaped(name).for_each(|byte| escape(byte, |_| false, &mut escaped));
        if &escaped[start..] == "X-Amz-Signature" {
            escaped.truncate(start);
            continue;
        }
        let middle = escaped.len();
        unescaped(value).for_each(|byte| escape(byte, |_| false, &mut escaped));
        places.push((start, middle, escaped.len()));
    }
    places.sort_unstable_by(|a, b| {
        let of = |&(start, middle, end): &(usize, usize, usize)| {
            (&escaped[start..middle], &escaped[middle..end])
        };
        of(a).cmp(&of(b))
    });
    for (index, (start, middle, end)) in places.into_iter().enumerate() {
        if index > 0 {
            text.push('&');
        }
        text.push_str(&escaped[start..middle]);
        text.push('=');
        text.push_str(&escaped[middle..end]);
    }
    Ok(())
}

/// Name and value of a query's parameter, decoded.
pub(super) type Parameter<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// A query's parameters, decoded; a `+` is a plus, an empty name is kept.
pub(super) fn parameters(raw: &str) -> Result<Vec<Parameter<'_>>, AuthError> {
    check_count(raw)?;
    let decode = |text| Cow::from(percent_encoding::percent_decode_str(text));
    Ok(split(raw)
        .map(|(name, value)| (decode(name), decode(value)))
        .collect())
}

fn check_count(raw: &str) -> Result<(), AuthError> {
    if raw.bytes().filter(|&byte| byte == b'&').count() >= PARAMETERS {
        return Err(AuthError::HeadTooLarge);
    }
    Ok(())
}

fn split(raw: &str) -> impl Iterator<Item = (&str, &str)> {
    raw.split('&')
        .filter(|part| !part.is_empty())
        .map(|part| part.split_once('=').unwrap_or((part, "")))
}

fn unescaped(text: &str) -> impl Iterator<Item = u8> {
    percent_encoding::percent_decode_str(text)
}

/// Escapes all but the unreserved characters of RFC 3986 and what `keep` names.
fn escape(byte: u8, keep: impl Fn(u8) -> bool, text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep(byte) {
        text.push(char::from(byte));
    } else {
        text.push('%');
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(raw: &str, rule: PathRule) -> String {
        let mut text = String::new();
        super::path(raw, rule, &mut text);
        text
    }

    fn query(raw: &str) -> Result<String, AuthError> {
        let mut text = String::new();
        super::query(raw, &mut text).map(|()| text)
    }

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
            "/a%00b",
            "/a\\b",
            "/a%5Cb",
            "/%5cb",
            "a",
            "",
        ] {
            assert!(is_ambiguous(raw), "{raw}");
        }
        for raw in [
            "/",
            "/a",
            "/a/",
            "/a/b.c",
            "/a..b/...",
            "/tags/x%2Fy",
            "/a;b",
            "/a%2e",
            "/...",
        ] {
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

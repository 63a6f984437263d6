//! Secrets inside of a text: credentials in URLs, values behind telling names, tokens.

use percent_encoding::percent_decode_str;

use super::{MASKED, is_secret};

/// Ends a value that stands without quotes behind `=`.
const ENDS: &[char] = &['&', ';', ',', '"', '\'', '<', '>', '}', ']', ')', '#'];
/// Schemes of the header `Authorization` whose next word is a secret.
const SCHEMES: &[&str] = &["basic", "bearer", "digest", "negotiate"];

/// The text without the secrets that can be told by their looks.
#[must_use]
pub fn text(input: &str) -> String {
    let output = without_url_credentials(input);
    let output = without_named_values(&output);
    without_tokens(&output)
}

/// `scheme://user:password@host` becomes `scheme://***@host`.
fn without_url_credentials(input: &str) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        output.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '\\'))
            .unwrap_or(after.len());
        let url = &after[..end];
        let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
        // A password may hold a slash that should have been encoded: then what looks like the
        // authority ends inside of it, behind a colon that no port follows.
        let broken = !authority.contains('@')
            && !authority.starts_with('[')
            && authority
                .split_once(':')
                .is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit()));
        let searched = if broken { url } else { authority };
        let kept = match searched.rfind('@') {
            Some(at) => {
                output.push_str(MASKED);
                &url[at..]
            }
            None => url,
        };
        output.push_str(kept);
        rest = &after[end..];
    }
    output.push_str(rest);
    output
}

/// `password=x`, `"password": "x"`, `X-Amz-Signature=x` lose their values.
fn without_named_values(input: &str) -> String {
    let mut output = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find(['=', ':']) {
        let (before, after) = rest.split_at(at + 1);
        output.push_str(before);
        rest = after;
        if !is_secret(&name_at_end(&before[..at])) {
            continue;
        }
        let is_colon = before.ends_with(':');
        let value = rest.trim_start_matches([' ', '\t', '\\']);
        output.push_str(&rest[..rest.len() - value.len()]);
        let length = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => quoted_length(value, quote),
            // `Authorization: Basic x`: all of the line.
            _ if is_colon => value.find(['\r', '\n']).unwrap_or(value.len()),
            _ => value
                .find(|c: char| c.is_whitespace() || ENDS.contains(&c))
                .unwrap_or(value.len()),
        };
        if length > 0 {
            output.push_str(MASKED);
        }
        rest = &value[length..];
    }
    output.push_str(rest);
    output
}

/// The name that a text ends with, decoded; quotes and blanks behind it do not matter.
fn name_at_end(before: &str) -> String {
    let trimmed = before.trim_end_matches([' ', '\t', '"', '\'', '\\']);
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '%' | '[' | ']');
    let start = trimmed
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_part(*c))
        .last()
        .map_or(trimmed.len(), |(index, _)| index);
    percent_decode_str(&trimmed[start..])
        .decode_utf8_lossy()
        .into_owned()
}

/// Length of a quoted value with its quotes; of all that follows when the end is missing.
fn quoted_length(value: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in value.char_indices().skip(1) {
        if c == quote && !escaped {
            return index + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    value.len()
}

/// `Bearer x`, `Basic x`, and JSON web tokens wherever they stand.
fn without_tokens(input: &str) -> String {
    let mut output = String::with_capacity(input.len());
    let mut after_scheme = false;
    for word in input.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        if bare.is_empty() {
            output.push_str(word);
            continue;
        }
        if after_scheme || holds_web_token(bare) {
            output.push_str(MASKED);
            output.push_str(&word[bare.len()..]);
        } else {
            output.push_str(word);
        }
        let scheme = bare.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        after_scheme = SCHEMES.iter().any(|s| scheme.eq_ignore_ascii_case(s));
    }
    output
}

/// Two parts of base64url that begin as JSON objects do, with a dot between them.
fn holds_web_token(word: &str) -> bool {
    word.match_indices("eyJ").any(|(at, _)| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let header = &word[at..];
        let end = header.find(|c| !is_part(c)).unwrap_or(header.len());
        header[end..].starts_with(".eyJ")
    })
}

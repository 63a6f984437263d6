//! Policy documents from files: read by the engine that will judge by them, before they are sent.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, ensure};
use parapet_auth::{Policy, PolicyError, PolicyKind};
use serde_json::Value;

/// Largest file that is read: more than any kind's quota with white space.
const FILE_BYTES: u64 = 128 * 1024;
/// Lines of a faulty element that are shown.
const SHOWN_LINES: usize = 12;

/// The document in a file, if it is one that would be honoured.
pub(super) fn read(file: &Path, kind: PolicyKind) -> Result<String> {
    let length = std::fs::metadata(file)
        .with_context(|| format!("read --file {}", file.display()))?
        .len();
    ensure!(
        length <= FILE_BYTES,
        "read --file {}: it has {length} bytes, {FILE_BYTES} is the most",
        file.display()
    );
    let text =
        std::fs::read_to_string(file).with_context(|| format!("read --file {}", file.display()))?;
    check(&text, kind).with_context(|| file.display().to_string())?;
    Ok(text)
}

/// Refuses what the control plane would refuse, and shows the element at fault.
fn check(text: &str, kind: PolicyKind) -> Result<()> {
    let Err(error) = Policy::parse(text, kind) else {
        return Ok(());
    };
    let shown = match &error {
        PolicyError::Element { at, .. } => serde_json::from_str(text)
            .ok()
            .and_then(|document: Value| shown(&document, at)),
        _ => None,
    };
    let error = anyhow!(error);
    match shown {
        Some(shown) => Err(anyhow!("{error:#}\n{shown}")),
        None => Err(error),
    }
}

/// The element at a place like `Statement[0].Condition.StringEquals`, as far as it leads. A name
/// may have dots itself, so the longest that fits is taken.
fn shown(document: &Value, at: &str) -> Option<String> {
    let (mut value, mut around) = (document, document);
    let mut rest = at;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let (index, tail) = tail.split_once(']')?;
            // One statement may stand without a list around it.
            match (value, index.parse::<usize>()) {
                (Value::Array(items), Ok(index)) => value = items.get(index)?,
                (Value::Object(_), Ok(0)) => {}
                _ => break,
            }
            rest = tail;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let Value::Object(members) = value else { break };
        let fits = |name: &&String| {
            rest.strip_prefix(name.as_str())
                .is_some_and(|tail| tail.is_empty() || tail.starts_with(['.', '[']))
        };
        let Some(name) = members.keys().filter(fits).max_by_key(|name| name.len()) else {
            break;
        };
        around = value;
        value = members.get(name)?;
        rest = rest.get(name.len()..)?;
    }
    // A word alone says little: what it stands in is shown.
    if !value.is_object() && !value.is_array() {
        value = around;
    }
    let text = format!("{value:#}");
    let mut lines: Vec<String> = text
        .lines()
        .take(SHOWN_LINES)
        .map(|line| format!("    {line}"))
        .collect();
    if text.lines().count() > SHOWN_LINES {
        lines.push("    …".to_owned());
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        check(text, PolicyKind::Managed)
            .err()
            .map(|error| format!("{error:#}"))
            .unwrap_or_default()
    }

    #[test]
    fn a_fault_is_told_with_its_place_and_the_element_there() {
        let told = refused(
            r#"{"Version":"2012-10-17","Statement":[
                {"Effect":"Allow","Action":"s3:*","Resource":"*"},
                {"Effect":"Allow","Action":"s3:*","Resource":"*",
                 "Condition":{"StringLikes":{"aws:SourceIp":"10.0.0.1"}}}]}"#,
        );
        assert!(told.contains("Statement[1].Condition"), "{told}");
        assert!(told.contains("\"aws:SourceIp\": \"10.0.0.1\""), "{told}");
        assert!(!told.contains("Effect\": \"Allow"), "{told}");
    }

    #[test]
    fn a_statement_without_a_list_around_it_is_found() {
        let told = refused(
            r#"{"Version":"2012-10-17","Statement":{"Effect":"Perhaps","Action":"*","Resource":"*"}}"#,
        );
        assert!(told.contains("\"Perhaps\""), "{told}");
    }

    #[test]
    fn text_that_is_no_json_is_told_with_line_and_column() {
        let told = refused("{\"Version\":\"2012-10-17\",\n");
        assert!(told.contains("line 2"), "{told}");
    }

    #[test]
    fn a_good_policy_passes() {
        assert_eq!(refused(Policy::ADMINISTRATOR), "");
    }
}

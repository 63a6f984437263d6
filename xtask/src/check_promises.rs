//! Whether each row of `docs/security.md` names a test that is there, or says what it waits for.
//!
//! A promise is a row of a table whose last column is headed `Proof`. It holds names of tests
//! between back-ticks, each the name of a function in the Rust or Python sources, or `to come:` and
//! with what. A row with neither, or with a name that no source has, is a fault.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

/// The page, from the root of the workspace.
const PAGE: &str = "docs/security.md";
/// Where tests are.
const SOURCES: [&str; 5] = ["crates", "xtask", "tests", "python", "examples"];
/// Heading of the column.
const COLUMN: &str = "Proof";

pub(crate) fn run() -> Result<Vec<String>> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let page = std::fs::read_to_string(root.join(PAGE)).with_context(|| format!("read {PAGE}"))?;
    let mut tests = BTreeSet::new();
    for source in SOURCES {
        collect(&root.join(source), &mut tests)?;
    }
    Ok(faults(&page, &tests))
}

fn faults(page: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut in_table, mut rows) = (false, 0);
    for (number, line) in page.lines().enumerate() {
        let Some(cells) = cells(line) else {
            in_table = false;
            continue;
        };
        let proof = cells.last().copied().unwrap_or_default();
        if proof == COLUMN {
            in_table = true;
        } else if in_table && !proof.starts_with("---") {
            rows += 1;
            let place = format!("{PAGE} line {}", number + 1);
            let named: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
            for name in &named {
                if !tests.contains(*name) {
                    faults.push(format!(
                        "{place} names the test {name}, which no source has"
                    ));
                }
            }
            if named.is_empty() && !is_dated(proof) {
                faults.push(format!(
                    "{place} promises something without a proof: name a test, or write \"to come: \
                     with what\""
                ));
            }
        }
    }
    if rows == 0 {
        faults.push(format!("{PAGE} has no table with a column {COLUMN}"));
    }
    faults
}

/// Whether a row says what it waits for.
fn is_dated(proof: &str) -> bool {
    proof
        .split_once("to come: ")
        .is_some_and(|(_, with)| !with.trim().is_empty())
}

/// The cells of a table's row.
fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(row.split('|').map(str::trim).collect())
}

/// Names of all functions that may be tests.
fn collect(folder: &Path, tests: &mut BTreeSet<String>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.context("read a folder of sources")?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if path.is_dir() {
            if !matches!(name, Some("target" | "node_modules")) {
                collect(&path, tests)?;
            }
            continue;
        }
        let keyword = match path.extension().and_then(|it| it.to_str()) {
            Some("rs") => "fn ",
            Some("py") => "def ",
            _ => continue,
        };
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once(keyword) {
                let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
                tests.insert(rest[..end].to_owned());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(proof: &str) -> Vec<String> {
        let page = format!("| Promise | Proof |\n|---|---|\n| something | {proof} |\n");
        faults(&page, &BTreeSet::from(["a_test_of_it".to_owned()]))
    }

    #[test]
    fn a_promise_names_its_test_or_what_it_waits_for() {
        assert!(of("`a_test_of_it`").is_empty());
        assert!(of("to come: the zones").is_empty());
        assert!(of("`a_test_of_it`, and more to come: the zones").is_empty());
    }

    #[test]
    fn a_promise_with_neither_is_a_fault() {
        for proof in [
            "",
            "yes",
            "`a_test_of_something_else`",
            "to come",
            "to come: ",
        ] {
            assert_eq!(of(proof).len(), 1, "{proof}");
        }
        assert_eq!(faults("no table", &BTreeSet::new()).len(), 1);
    }

    #[test]
    fn every_promise_of_the_security_page_is_kept_or_dated() -> Result<()> {
        assert_eq!(run()?, Vec::<String>::new());
        Ok(())
    }
}

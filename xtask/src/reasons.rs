//! Whether every dependency has its reason in `docs/dependencies.md`, and nothing else stands there.
//!
//! Three lists have to agree: what the crates of the workspace use, what the root `Cargo.toml`
//! offers them, and the first column of the page's table.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The page, from the root of the workspace.
const PAGE: &str = "docs/dependencies.md";

#[derive(Deserialize)]
struct Manifest {
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Workspace {
    dependencies: toml::Table,
}

/// What is missing or left over. `used` are the direct dependencies of the workspace's crates,
/// its own crates among them.
pub(crate) fn run(used: &BTreeSet<&str>) -> Result<Vec<String>> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |name: &str| {
        std::fs::read_to_string(format!("{root}/{name}")).with_context(|| format!("read {name}"))
    };
    faults(&read("Cargo.toml")?, &read(PAGE)?, used)
}

fn faults(manifest: &str, page: &str, used: &BTreeSet<&str>) -> Result<Vec<String>> {
    let manifest: Manifest = toml::from_str(manifest).context("read the root Cargo.toml")?;
    let explained = explained(page);
    let mut faults = Vec::new();
    let mut offered = BTreeSet::new();
    for (name, entry) in &manifest.workspace.dependencies {
        if !used.contains(name.as_str()) {
            faults.push(format!(
                "{name} is offered by the root Cargo.toml and used by no crate"
            ));
        }
        // Crates of the workspace itself need no reason.
        if entry.get("path").is_none() {
            offered.insert(name.as_str());
        }
    }
    for name in &offered {
        if !explained.contains(name) {
            faults.push(format!("{name} has no line in {PAGE}: say why it is here"));
        }
    }
    for name in explained.difference(&offered) {
        faults.push(format!("{PAGE} explains {name}, which is no dependency"));
    }
    Ok(faults)
}

/// The names between back-ticks in the first column of the table.
fn explained(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix('|')?.split('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace.dependencies]\n\
                            parapet-media = { path = \"crates/parapet-media\" }\n\
                            serde = \"1\"\n\
                            toml = { version = \"1\" }\n";
    const PAGE_OF_BOTH: &str = "# Dependencies\n\n| Crate | Why |\n|---|---|\n\
                                | `serde`, `toml` 1 | formats, as `json` |\n\nAnd `numpy`.\n";

    fn used() -> BTreeSet<&'static str> {
        BTreeSet::from(["parapet-media", "serde", "toml"])
    }

    #[test]
    fn three_lists_that_agree_have_no_fault() {
        let none: [String; 0] = [];
        assert_eq!(faults(MANIFEST, PAGE_OF_BOTH, &used()).unwrap(), none);
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let page = PAGE_OF_BOTH.replace(", `toml` 1", "");
        assert_eq!(
            faults(MANIFEST, &page, &used()).unwrap(),
            ["toml has no line in docs/dependencies.md: say why it is here"]
        );
    }

    #[test]
    fn a_reason_without_its_dependency_is_found() {
        let page = PAGE_OF_BOTH.replace("`serde`", "`serde`, `nom`");
        assert_eq!(
            faults(MANIFEST, &page, &used()).unwrap(),
            ["docs/dependencies.md explains nom, which is no dependency"]
        );
    }

    #[test]
    fn a_dependency_that_no_crate_uses_is_found_even_if_explained() {
        let mut used = used();
        used.remove("serde");
        assert_eq!(
            faults(MANIFEST, PAGE_OF_BOTH, &used).unwrap(),
            ["serde is offered by the root Cargo.toml and used by no crate"]
        );
    }
}

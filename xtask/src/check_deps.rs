//! Which crate of the workspace may use which, and what the pure ones must never use.
//!
//! The table is the one of `ARCHITECTURE.md`; a crate that is missing here fails the check, so
//! that a new room has to say where it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Crate, and the crates of the workspace that it may use outside its tests.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "parapet",
        &[
            "parapet-agent",
            "parapet-auth",
            "parapet-device",
            "parapet-doctor",
            "parapet-server",
        ],
    ),
    (
        "parapet-doctor",
        &["parapet-agent", "parapet-device", "parapet-sandbox"],
    ),
    (
        "parapet-server",
        &[
            "parapet-api",
            "parapet-auth",
            "parapet-device",
            "parapet-manifest",
            "parapet-plan",
        ],
    ),
    (
        "parapet-agent",
        &[
            "parapet-device",
            "parapet-media",
            "parapet-plan",
            "parapet-sandbox",
        ],
    ),
    ("parapet-plan", &["parapet-device", "parapet-manifest"]),
    ("parapet-media", &[]),
    ("parapet-launcher", &["parapet-sandbox"]),
    ("parapet-ingest", &["parapet-media", "parapet-sandbox"]),
    ("parapet-codec", &["parapet-media", "parapet-sandbox"]),
    ("parapet-infer", &["parapet-media", "parapet-sandbox"]),
    ("parapet-sandbox", &[]),
    ("parapet-device", &[]),
    ("parapet-auth", &[]),
    ("parapet-api", &[]),
    ("parapet-manifest", &[]),
    ("parapet-virtual-camera", &[]),
    ("parapet-fuzz", &[]),
    ("parapet-testkit", &[]),
    ("xtask", &[]),
];

/// Crates without clock, randomness, threads, files or sockets.
const PURE: &[&str] = &[
    "parapet-plan",
    "parapet-auth",
    "parapet-api",
    "parapet-manifest",
];

/// What a pure crate must not depend on, at any depth.
const IMPURE: &[&str] = &[
    "tokio", "nix", "rustix", "hyper", "reqwest", "rusqlite", "rand",
];

/// Everywhere: one crypto library, one TLS.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: Vec<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    optional: bool,
}

/// All breaches of the table, empty when there is none.
pub(crate) fn run() -> Result<Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .context("run cargo metadata")?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let mut faults = faults(&metadata);
    faults.extend(crate::reasons::run(&direct(&metadata))?);
    for banned in BANNED {
        if is_built(banned)? {
            faults.push(format!(
                "{banned} is built: aws-lc-rs and rustls are the ones we use"
            ));
        }
    }
    Ok(faults)
}

/// Whether any build of the workspace, on any platform, contains the crate. The lock file is not
/// asked: it also names what no chosen feature builds.
fn is_built(name: &str) -> Result<bool> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--workspace",
            "--locked",
            "--target",
            "all",
            "--prefix",
            "none",
            "-i",
        ])
        .arg(name)
        .output()
        .context("run cargo tree")?;
    // A crate that is in no lock file at all is an error to cargo, and fine here.
    Ok(output.status.success() && !output.stdout.is_empty())
}

fn faults(metadata: &Metadata) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let members: BTreeMap<&str, &Package> = metadata
        .packages
        .iter()
        .filter(|package| metadata.workspace_members.contains(&package.id))
        .map(|package| (package.name.as_str(), package))
        .collect();
    let mut faults = Vec::new();
    for (name, package) in &members {
        let Some(may_use) = allowed.get(name) else {
            faults.push(format!("{name} is not in the table: say what it may use"));
            continue;
        };
        for dependency in normal(package).filter(|name| members.contains_key(name)) {
            if !may_use.contains(&dependency) {
                faults.push(format!(
                    "{name} uses {dependency}, which the table does not allow"
                ));
            }
        }
    }
    let by_name: BTreeMap<&str, &Package> = metadata
        .packages
        .iter()
        .map(|package| (package.name.as_str(), package))
        .collect();
    for pure in PURE {
        for name in reachable(pure, &by_name) {
            if IMPURE.contains(&name) {
                faults.push(format!("{pure} is pure and reaches {name}"));
            }
        }
    }
    faults
}

/// Names of the dependencies that are part of the built crate.
fn normal(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.is_none() && !dependency.optional)
        .map(|dependency| dependency.name.as_str())
}

/// What the crates of the workspace use themselves, tests and build scripts included.
fn direct(metadata: &Metadata) -> BTreeSet<&str> {
    metadata
        .packages
        .iter()
        .filter(|package| metadata.workspace_members.contains(&package.id))
        .flat_map(|package| &package.dependencies)
        .map(|dependency| dependency.name.as_str())
        .collect()
}

fn reachable<'a>(from: &'a str, by_name: &BTreeMap<&'a str, &'a Package>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        if let Some(package) = by_name.get(name)
            && seen.insert(name)
        {
            open.extend(normal(package));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(edges: &[(&str, &[&str])]) -> Metadata {
        let packages: Vec<Package> = edges
            .iter()
            .map(|(name, uses)| Package {
                id: (*name).to_owned(),
                name: (*name).to_owned(),
                dependencies: uses
                    .iter()
                    .map(|name| Dependency {
                        name: (*name).to_owned(),
                        kind: None,
                        optional: false,
                    })
                    .collect(),
            })
            .collect();
        let workspace_members = packages
            .iter()
            .map(|package| package.id.clone())
            .filter(|id| id.starts_with("parapet") || id == "unheard-of")
            .collect();
        Metadata {
            packages,
            workspace_members,
        }
    }

    #[test]
    fn an_arrow_against_the_direction_is_found() {
        let faults = faults(&metadata(&[
            ("parapet-media", &["parapet-agent"]),
            ("parapet-agent", &["parapet-media"]),
        ]));
        assert_eq!(
            faults,
            ["parapet-media uses parapet-agent, which the table does not allow"]
        );
    }

    #[test]
    fn a_pure_crate_that_reaches_a_socket_is_found() {
        let faults = faults(&metadata(&[
            ("parapet-plan", &["harmless"]),
            ("harmless", &["tokio"]),
            ("tokio", &[]),
        ]));
        assert_eq!(faults, ["parapet-plan is pure and reaches tokio"]);
    }

    #[test]
    fn a_room_without_a_place_is_found() {
        let faults = faults(&metadata(&[("unheard-of", &[])]));
        assert_eq!(
            faults,
            ["unheard-of is not in the table: say what it may use"]
        );
    }
}

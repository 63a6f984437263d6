//! Parapet's processes, and the network that each of them has.

use std::collections::{BTreeMap, BTreeSet};
use std::os::linux::fs::MetadataExt;
use std::path::Path;

use super::read;
use crate::facts::{Known, Place, Process, Role, Unknown};

/// Users of one instance, and of all workers together (`docs/sandbox.md`).
const RANGE: u32 = 65_536;
/// Ranges of an installation: the first is the agent's and the workers'.
const RANGES: u32 = 256;

/// One line of the kernel's table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    pid: u32,
    parent: u32,
    user: u32,
    name: String,
}

/// All processes of the installation whose first user is `id_base`, whose agent is `agent`.
pub(crate) fn processes(
    id_base: u32,
    agent: Option<u32>,
    cameras: Option<u64>,
) -> Known<Vec<Process>> {
    let mut rows = Vec::new();
    for name in read::names("/proc")? {
        if let Ok(pid) = name.parse::<u32>() {
            // A process that has ended meanwhile is none.
            rows.extend(row(pid));
        }
    }
    let host = network_of(Path::new("/proc/self"))?;
    Ok(roles(&rows, id_base, agent)
        .into_iter()
        .map(|(row, role)| Process {
            pid: row.pid,
            user: row.user,
            role,
            place: network_of(Path::new(&format!("/proc/{}", row.pid))).map(
                |number| match number {
                    number if number == host => Place::Host,
                    number if Some(number) == cameras => Place::Cameras,
                    number => Place::Own(number),
                },
            ),
        })
        .collect())
}

/// The kernel's number of a process's network namespace.
fn network_of(process: &Path) -> Known<u64> {
    number(&process.join("ns/net"))
}

/// The kernel's number of a namespace by one of its names.
pub(crate) fn number(path: &Path) -> Known<u64> {
    std::fs::metadata(path)
        .map(|metadata| metadata.st_ino())
        .map_err(|error| {
            Unknown::because(format!("{} cannot be looked at: {error}", path.display()))
        })
}

fn row(pid: u32) -> Option<Row> {
    let status = read::file(format!("/proc/{pid}/status")).ok()?;
    parse(pid, &status)
}

fn parse(pid: u32, status: &str) -> Option<Row> {
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.strip_prefix(name)?.trim())
    };
    Some(Row {
        pid,
        parent: field("PPid:")?.parse().ok()?,
        user: field("Uid:")?.split_whitespace().next()?.parse().ok()?,
        name: field("Name:")?.to_owned(),
    })
}

/// What each process is. A user says more than a name, which a process chooses itself.
fn roles(rows: &[Row], id_base: u32, agent: Option<u32>) -> Vec<(Row, Role)> {
    let names: BTreeMap<u32, &str> = rows
        .iter()
        .map(|row| (row.pid, row.name.as_str()))
        .collect();
    let parents: BTreeMap<u32, u32> = rows.iter().map(|row| (row.pid, row.parent)).collect();
    // The kernel cuts names to 15 characters.
    let is_launcher = |pid: u32| {
        names
            .get(&pid)
            .is_some_and(|name| *name == "parapet-launche")
    };
    let launched = |pid: u32| {
        let mut seen = BTreeSet::new();
        let mut at = pid;
        while let Some(parent) = parents.get(&at) {
            if !seen.insert(at) {
                return false;
            }
            if is_launcher(*parent) {
                return true;
            }
            at = *parent;
        }
        false
    };
    let own = id_base.saturating_add(RANGE);
    let end = id_base.saturating_add(RANGE * RANGES);
    rows.iter()
        .filter_map(|row| {
            let by_name = || match row.name.as_str() {
                "parapet-ingest" => Some(Role::Ingest),
                "parapet-codec" => Some(Role::Codec),
                "parapet-infer" => Some(Role::Infer),
                _ => None,
            };
            let role = if (own..end).contains(&row.user) {
                Some(Role::Application)
            } else if row.user == id_base || Some(row.pid) == agent {
                Some(Role::Agent)
            } else if (id_base..own).contains(&row.user) {
                // A worker that has not become its program yet, or one that lies about its name.
                by_name().or(Some(Role::Codec))
            } else if is_launcher(row.pid) && !launched(row.pid) {
                Some(Role::Launcher)
            } else if launched(row.pid) {
                by_name().or(Some(Role::Application))
            } else {
                None
            };
            role.map(|role| (row.clone(), role))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u32 = 0x5000_0000;

    fn row(pid: u32, parent: u32, user: u32, name: &str) -> Row {
        let name = name.to_owned();
        Row {
            pid,
            parent,
            user,
            name,
        }
    }

    #[test]
    fn a_process_is_known_by_its_user_and_not_by_the_name_it_chose() {
        let rows = [
            row(1, 0, 0, "init"),
            row(10, 1, BASE, "parapet"),
            row(11, 10, 0, "parapet-launche"),
            row(12, 11, BASE + 1, "parapet-ingest"),
            row(13, 11, BASE + RANGE, "parapet-launche"),
            row(14, 13, BASE + RANGE + 1000, "parapet-ingest"),
            row(15, 1, 1000, "parapet-codec"),
        ];
        let seen: Vec<(u32, Role)> = roles(&rows, BASE, Some(10))
            .into_iter()
            .map(|(row, role)| (row.pid, role))
            .collect();
        assert_eq!(
            seen,
            [
                (10, Role::Agent),
                (11, Role::Launcher),
                (12, Role::Ingest),
                (13, Role::Application),
                (14, Role::Application),
            ]
        );
    }

    #[test]
    fn without_users_the_tree_tells() {
        let rows = [
            row(10, 1, 1000, "parapet"),
            row(11, 10, 1000, "parapet-launche"),
            row(12, 11, 1000, "parapet-codec"),
            row(13, 11, 1000, "parapet-launche"),
            row(14, 13, 1000, "python3"),
            row(15, 1, 1000, "python3"),
        ];
        let seen: Vec<(u32, Role)> = roles(&rows, BASE, Some(10))
            .into_iter()
            .map(|(row, role)| (row.pid, role))
            .collect();
        assert_eq!(
            seen,
            [
                (10, Role::Agent),
                (11, Role::Launcher),
                (12, Role::Codec),
                (13, Role::Application),
                (14, Role::Application),
            ]
        );
    }

    #[test]
    fn the_kernels_status_is_read() {
        let seen = parse(7, "Name:\tparapet-codec\nPPid:\t3\nUid:\t5\t5\t5\t5\n");
        assert_eq!(seen, Some(row(7, 3, 5, "parapet-codec")));
        assert_eq!(parse(7, "Name:\tx\n"), None);
    }
}

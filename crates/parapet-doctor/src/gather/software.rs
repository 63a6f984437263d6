//! Versions: Parapet's own, the kernel's, and what the distribution would renew. Read-only: no list
//! is fetched, no cache is written.

use std::cmp::Ordering;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::read::{self, output};
use crate::facts::{Kernel, Known, Software, Unknown, Updates};
use crate::report::plain;

/// `apt-get` on a slow device needs a while to read its lists.
const LIMIT: Duration = Duration::from_mins(1);
const LISTS: &str = "/var/lib/apt/lists";

/// Looks at versions.
pub(crate) fn software() -> Software {
    Software {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        built: built(),
        updates: updates(),
        kernel: kernel(Path::new("/")),
    }
}

/// The executable's date: packages keep that of their making.
fn built() -> Known<i64> {
    let failed = |error| Unknown::because(format!("the executable's date cannot be read: {error}"));
    let path = std::env::current_exe().map_err(failed)?;
    let made = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    Ok(seconds(made.map_err(failed)?))
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn updates() -> Known<Updates> {
    let mut listed = None;
    for name in read::names(LISTS)? {
        if name.ends_with("InRelease") || name.ends_with("_Release") {
            let made = std::fs::metadata(Path::new(LISTS).join(name)).and_then(|m| m.modified());
            if let Ok(made) = made {
                listed = listed.max(Some(seconds(made)));
            }
        }
    }
    let listed = listed.ok_or_else(|| {
        Unknown::because("there are no lists of packages of apt here: whether the distribution has updates is not known")
    })?;
    // Simulated: nothing is locked, fetched or installed; with empty names no cache is written.
    let text = output(
        "apt-get",
        &[
            "--simulate",
            "--option=Debug::NoLocking=true",
            "--option=Dir::Cache::pkgcache=",
            "--option=Dir::Cache::srcpkgcache=",
            "dist-upgrade",
        ],
        LIMIT,
    )?;
    let (pending, security) = parse(&text);
    Ok(Updates {
        pending,
        security,
        listed,
    })
}

/// `Inst NAME [OLD] (NEW ORIGIN [ARCHITECTURE])`
fn parse(text: &str) -> (Vec<String>, Vec<String>) {
    let (mut pending, mut security) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("Inst ") else {
            continue;
        };
        let Some((name, rest)) = rest.split_once(' ') else {
            continue;
        };
        let name = plain(name);
        let origin = rest.split_once('(').map_or("", |(_, origin)| origin);
        if origin.to_ascii_lowercase().contains("-security") {
            security.push(name.clone());
        }
        pending.push(name);
    }
    (pending, security)
}

fn kernel(root: &Path) -> Known<Kernel> {
    let running = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut installed = read::names(root.join("lib/modules"))?;
    installed.extend(
        read::names(root.join("boot"))?
            .iter()
            .filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned)),
    );
    let restart_asked =
        root.join("run/reboot-required").exists() || root.join("var/run/reboot-required").exists();
    if installed.is_empty() && !restart_asked {
        return Err(Unknown::because(
            "neither /boot nor /lib/modules tells which kernels are installed",
        ));
    }
    Ok(newest(&running, installed, restart_asked))
}

fn newest(running: &str, installed: Vec<String>, restart_asked: bool) -> Kernel {
    // Another flavour (-rt, -cloud-amd64) is another kernel and no newer one.
    let flavour = |release: &str| {
        let at = release
            .find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(release.len());
        release[at..].to_owned()
    };
    let own = flavour(running);
    let newer = installed
        .into_iter()
        .filter(|release| flavour(release) == own)
        .filter(|release| by_version(release, running) == Ordering::Greater)
        .max_by(|a, b| by_version(a, b))
        .map(|release| plain(&release));
    Kernel {
        running: plain(running),
        newer,
        restart_asked,
    }
}

/// Compares numbers as numbers and the rest as text.
fn by_version(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            let number = rest[..digits].parse().unwrap_or(0);
            rest = &rest[digits..];
            let word = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            parts.push((number, rest[..word].to_owned()));
            rest = &rest[word..];
        }
        parts
    };
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_updates_are_read_and_those_that_repair_weaknesses_told_apart() {
        let text = "Reading package lists...\n\
             Inst libssl3 [3.0.1] (3.0.2 Debian-Security:12/stable-security [amd64])\n\
             Inst bash [5.2] (5.3 Debian:12.9/stable [amd64])\n\
             Conf bash (5.3 Debian:12.9/stable [amd64])\n";
        let (pending, security) = parse(text);
        assert_eq!(pending, ["libssl3", "bash"]);
        assert_eq!(security, ["libssl3"]);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(
            by_version("6.1.0-9-amd64", "6.1.0-21-amd64"),
            Ordering::Less
        );
        assert_eq!(by_version("6.10", "6.9"), Ordering::Greater);
        assert_eq!(by_version("6.1", "6.1"), Ordering::Equal);
    }

    #[test]
    fn a_newer_kernel_of_the_same_flavour_is_found() {
        let installed = ["6.1.0-9-amd64", "6.1.0-21-amd64", "6.9.0-1-rt-amd64"];
        let installed = installed.map(str::to_owned).to_vec();
        let seen = newest("6.1.0-9-amd64", installed.clone(), false);
        assert_eq!(seen.newer.as_deref(), Some("6.1.0-21-amd64"));
        let seen = newest("6.1.0-21-amd64", installed, false);
        assert_eq!(seen.newer, None);
    }
}

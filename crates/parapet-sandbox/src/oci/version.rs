//! Which OCI runtime a program says it is, and whether that one is good enough.
//!
//! Pure: reads what `RUNTIME --version` wrote. The least versions are those in which the escapes of
//! 2025 and 2026 are closed (runc: CVE-2025-31133, CVE-2025-52565, CVE-2025-52881, CVE-2026-41579;
//! crun: CVE-2026-47766), with a step for what came after.

use std::fmt;

use thiserror::Error;

/// Three numbers, and whether they are still to be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    numbers: [u32; 3],
    /// After all: a candidate comes before its release.
    released: bool,
}

impl Version {
    const fn of(numbers: [u32; 3]) -> Self {
        Self {
            numbers,
            released: true,
        }
    }

    /// `1.5.1`, `v1.5.1`, `1.1.5+ds1`, `1.6.0-rc.1`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (plain, built) = text.split_once('+').unwrap_or((text, ""));
        let (numbers, candidate) = match plain.find(['-', '~']) {
            Some(end) => (&plain[..end], true),
            None => (plain, built.contains("rc")),
        };
        let mut parts = numbers.split('.');
        let mut number = || {
            let part = parts.next()?;
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let numbers = [number()?, number()?, number()?];
        parts.next().is_none().then_some(Self {
            numbers,
            released: !candidate,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        let candidate = if self.released { "" } else { " (a candidate)" };
        write!(f, "{major}.{minor}.{patch}{candidate}")
    }
}

/// The runtimes whose ways are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The reference, in Go.
    Runc,
    /// The one in C.
    Crun,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Runc, Self::Crun];

    fn name(self) -> &'static str {
        match self {
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }

    /// Older ones have holes that are known.
    fn least(self) -> Version {
        match self {
            Self::Runc => Version::of([1, 5, 1]),
            Self::Crun => Version::of([1, 29, 1]),
        }
    }
}

/// A runtime that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Which one.
    pub kind: Kind,
    /// Its version.
    pub version: Version,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.version)
    }
}

/// Why a runtime may not be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum VersionError {
    /// It has holes that are known.
    #[error(
        "it is {found}, and {name} before {least} lets a container out: install {name} {least} or \
         later, or set applications.runtime to \"own\""
    )]
    Old {
        /// Its name.
        name: &'static str,
        /// As it says.
        found: Known,
        /// What is needed.
        least: Version,
    },
    /// gVisor.
    #[error(
        "it is runsc {found}, which makes all of its namespaces itself and cannot be put into \
         ours; use runc or crun, or set applications.runtime to \"own\""
    )]
    Gvisor {
        /// As it says, shortened.
        found: String,
    },
    /// Nobody knows it.
    #[error(
        "its version is {said:?}: use runc 1.5.1 or crun 1.29.1 or later, or set \
         applications.runtime to \"own\""
    )]
    Unknown {
        /// As it says, shortened.
        said: String,
    },
}

/// Judges what a runtime said of itself.
pub(super) fn judge(said: &[u8]) -> Result<Known, VersionError> {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().next().unwrap_or_default();
    let short = |text: &str| -> String { text.chars().take(80).collect() };
    let unknown = || VersionError::Unknown { said: short(line) };
    let (name, version) = line.split_once(" version ").ok_or_else(unknown)?;
    if name == "runsc" {
        return Err(VersionError::Gvisor {
            found: short(version),
        });
    }
    let kind = Kind::ALL
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(unknown)?;
    let version = Version::parse(version.trim()).ok_or_else(unknown)?;
    let known = Known { kind, version };
    let least = kind.least();
    if version < least {
        return Err(VersionError::Old {
            name: kind.name(),
            found: known,
            least,
        });
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(said: &str) -> Result<String, String> {
        judge(said.as_bytes())
            .map(|known| known.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn new_enough_runtimes_are_known() {
        for (said, known) in [
            ("runc version 1.5.1\ncommit: v1.5.1-0-g1\n", "runc 1.5.1"),
            ("runc version 1.10.0+ds1\n", "runc 1.10.0"),
            ("runc version 2.0.0-rc.1\n", "runc 2.0.0 (a candidate)"),
            ("crun version 1.29.1\ncommit: 1\n", "crun 1.29.1"),
            ("crun version 1.30.0\n", "crun 1.30.0"),
        ] {
            assert_eq!(told(said), Ok(known.to_owned()), "{said}");
        }
    }

    #[test]
    fn older_ones_are_refused_with_what_was_found_and_wanted() {
        for (said, found, wanted) in [
            ("runc version 1.1.5+ds1\ncommit: 1\n", "runc 1.1.5", "1.5.1"),
            ("runc version 1.5.0\n", "runc 1.5.0", "1.5.1"),
            ("runc version 1.5.1-rc.1\n", "a candidate", "1.5.1"),
            ("runc version 1.5.1~rc2\n", "a candidate", "1.5.1"),
            ("runc version 1.5.1+rc2\n", "a candidate", "1.5.1"),
            ("crun version 1.8.1\ncommit: 1\n", "crun 1.8.1", "1.29.1"),
        ] {
            let refused = told(said).unwrap_err();
            for part in [found, wanted, "install", "\"own\""] {
                assert!(refused.contains(part), "{part} in {refused}");
            }
        }
    }

    #[test]
    fn what_is_unknown_is_refused_in_its_own_words_shortened() {
        for said in [
            "",
            "runc",
            "runc version",
            "runc version unknown",
            "runc version 1.5",
            "runc version 1.5.1.2",
            "runc version +1.5.1",
            "runc version 1.5.99999999999",
            "youki version 0.7.0",
            "Runc version 1.5.1",
            "\u{fffd}\u{0} version 9.9.9",
        ] {
            let refused = told(said).unwrap_err();
            assert!(refused.contains("its version is"), "{said}: {refused}");
        }
        assert!(told(&"x".repeat(100_000)).unwrap_err().len() < 300);
        let gvisor = told("runsc version release-20260101.0\nspec: 1.1.0\n").unwrap_err();
        assert!(
            gvisor.contains("namespaces") && gvisor.contains("runc or crun"),
            "{gvisor}"
        );
    }
}

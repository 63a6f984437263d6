//! What the doctor says: findings, their levels, and the object for auditors.
//!
//! The object's form is described in `docs/doctor.md`; members are added to it, never taken away
//! or given another meaning, without a new [`FORM`].

use std::collections::BTreeMap;

use serde::Serialize;

use crate::facts::Facts;

/// Version of the object.
pub const FORM: u32 = 1;
/// Most lines of evidence of a finding; the rest is counted.
pub(crate) const MOST_EVIDENCE: usize = 64;

/// How good or bad something is. The order is that of urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Could not be found out; the finding says what was missing.
    Unknown,
    /// Weaker than it could be.
    Warning,
    /// A hole, or something about to fail.
    Failure,
}

impl Level {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Unknown, Self::Warning, Self::Failure];

    /// As it is written in the object.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// What one check says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name of the check: `zones.level`.
    pub id: &'static str,
    /// What it belongs to: `zones`, `reach`, `cameras`, `time`, `software`, `data`, `host`.
    pub group: &'static str,
    /// How good or bad it is.
    pub level: Level,
    /// What is checked.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What was found, or what was missing to know.
    pub found: String,
    /// What to do; `None` when all is well.
    pub remedy: Option<&'static str>,
    /// Single observations.
    pub evidence: Vec<String>,
    /// Whether the operator accepts it as it is; it then does not count for the exit code.
    pub accepted: bool,
}

/// Whose host it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostName {
    /// Its name.
    pub name: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Its processor architecture.
    pub machine: String,
}

/// The object for auditors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`FORM`].
    pub version: u32,
    /// Version of Parapet that looked.
    pub software: String,
    /// When, in UTC, as RFC 3339.
    pub time: String,
    /// Where.
    pub host: HostName,
    /// Whether it looked as root; anybody else sees less.
    pub root: bool,
    /// How many findings have each level, accepted ones included.
    pub summary: BTreeMap<&'static str, usize>,
    /// In the order of the table of checks.
    pub findings: Vec<Finding>,
}

impl Report {
    pub(crate) fn of(facts: &Facts, findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|f| f.level == level).count();
        let summary = Level::ALL
            .into_iter()
            .map(|level| (level.name(), count(level)))
            .collect();
        let time = jiff::Timestamp::from_second(facts.now).unwrap_or_default();
        Self {
            version: FORM,
            software: facts.software.version.clone(),
            time: time.to_string(),
            host: HostName {
                name: facts.host.name.clone(),
                kernel: facts.host.kernel.clone(),
                machine: facts.host.machine.clone(),
            },
            root: facts.is_root,
            summary,
            findings,
        }
    }

    /// The most urgent level among those that nobody has accepted.
    #[must_use]
    pub fn worst(&self) -> Level {
        let open = self.findings.iter().filter(|finding| !finding.accepted);
        open.map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    /// The exit code: 0 all is well, 1 a failure, 3 a warning or something that is not known.
    /// 2 is wrong usage.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            Level::Ok => 0,
            Level::Failure => 1,
            Level::Warning | Level::Unknown => 3,
        }
    }
}

/// A text that somebody else wrote, on one line, without control characters, and bounded.
pub(crate) fn plain(text: &str) -> String {
    plain_to(text, 160)
}

/// Likewise, with another bound: sentences of the agent are longer than names.
pub(crate) fn plain_to(text: &str, most: usize) -> String {
    let mut clean = String::new();
    for character in text.chars().take(most) {
        if character.is_control() || is_format(character) {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    if text.chars().nth(most).is_some() {
        clean.push('…');
    }
    clean
}

/// Characters that turn the direction of a line or hide in it.
fn is_format(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_camera_calls_itself_cannot_paint_the_terminal() {
        let seen = plain("cam\u{1b}[2J\r\n\u{202e}era");
        assert_eq!(seen, "cam\\u{1b}[2J\\r\\n\\u{202e}era");
        assert!(plain(&"x".repeat(100_000)).len() < 200);
    }
}

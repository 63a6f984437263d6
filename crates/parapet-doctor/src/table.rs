//! The report for people: grouped, a line a check, more where there is something to do.

use std::fmt::Write as _;

use crate::report::{Level, Report};

const RESET: &str = "\u{1b}[0m";

/// The report as text, with colours where the reader is a terminal.
#[must_use]
pub fn table(report: &Report, with_colours: bool) -> String {
    let mut text = String::new();
    let mut group = "";
    let width = |of: fn(&str) -> usize| report.findings.iter().map(|f| of(f.id)).max();
    let width = width(str::len).unwrap_or(0);
    for finding in &report.findings {
        if finding.group != group {
            group = finding.group;
            let _ = writeln!(
                text,
                "{}{}",
                if text.is_empty() { "" } else { "\n" },
                heading(group)
            );
        }
        let (begin, end) = match (with_colours, finding.level) {
            (true, Level::Ok) => ("\u{1b}[32m", RESET),
            (true, Level::Warning) => ("\u{1b}[33m", RESET),
            (true, Level::Failure) => ("\u{1b}[1;31m", RESET),
            (true, Level::Unknown) => ("\u{1b}[35m", RESET),
            (false, _) => ("", ""),
        };
        let _ = writeln!(
            text,
            "  {begin}{:<7}{end}  {:<width$}  {}: {}",
            finding.level.name(),
            finding.id,
            finding.title,
            finding.found
        );
        let Some(remedy) = finding.remedy else {
            continue;
        };
        if finding.level == Level::Unknown && finding.evidence.is_empty() {
            // What was missing to know it says what to do.
            continue;
        }
        let indent = " ".repeat(11);
        for line in finding.evidence.iter().take(8) {
            let _ = writeln!(text, "{indent}- {line}");
        }
        if finding.evidence.len() > 8 {
            let more = finding.evidence.len() - 8;
            let _ = writeln!(text, "{indent}- and {more} more: see --json");
        }
        if finding.accepted {
            let _ = writeln!(text, "{indent}accepted by the operator");
            continue;
        }
        let _ = writeln!(text, "{indent}why: {}", finding.why);
        let _ = writeln!(text, "{indent}do:  {remedy}");
    }
    let count = |level: Level| report.summary.get(level.name()).copied().unwrap_or(0);
    let accepted = report.findings.iter().filter(|f| f.accepted).count();
    let _ = write!(
        text,
        "\n{} checks: {} ok, {} warning, {} failure, {} unknown",
        report.findings.len(),
        count(Level::Ok),
        count(Level::Warning),
        count(Level::Failure),
        count(Level::Unknown),
    );
    if accepted > 0 {
        let _ = write!(text, "; {accepted} accepted");
    }
    if !report.root {
        text.push_str("; not as root, which sees more");
    }
    text.push('\n');
    text
}

fn heading(group: &str) -> &'static str {
    match group {
        "zones" => "Zones",
        "reach" => "Who reaches whom",
        "cameras" => "Cameras",
        "time" => "Time and certificates",
        "software" => "Software",
        "data" => "Data",
        _ => "Host",
    }
}

//! Processes as the kernel lists them.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A process of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its ID.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Name of its executable, as the kernel keeps it: 15 characters.
    pub name: String,
    /// Its command line, words separated by blanks.
    pub command: String,
}

/// All processes, zombies left out.
#[must_use]
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// The processes below `pid`: children, their children, and so on.
#[must_use]
pub fn below(pid: i32) -> Vec<Process> {
    let all = all();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

/// Kills a process as a power cut would: no signal it could handle.
pub fn kill(process: &Process) -> Result<()> {
    let pid = Pid::from_raw(process.pid).context("kill a process: it has no ID")?;
    kill_process(pid, Signal::KILL).with_context(|| format!("kill {process:?}"))
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold blanks and parentheses itself.
    let (head, tail) = stat.rsplit_once(") ")?;
    let name = head.split_once(" (")?.1.to_owned();
    let mut fields = tail.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    (state != "Z").then(|| Process {
        pid,
        parent,
        name,
        command: command.replace('\0', " "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_below_its_parent() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep is there");
        let found = below(std::process::id().cast_signed());
        assert!(
            found
                .iter()
                .any(|process| process.command.starts_with("sleep 60")),
            "{found:?}"
        );
        child
            .kill()
            .and_then(|()| child.wait())
            .expect("sleep can be killed");
    }
}

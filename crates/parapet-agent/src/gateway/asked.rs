//! Whom an application has asked for: what the report lists, so that an old application can be
//! watched once and then be allowed its hosts one by one.

use std::collections::BTreeMap;

use parapet_device::NodeName;
use parapet_device::reported::Asked as Line;

/// Entries of an instance's report, and of one node's memory.
pub(crate) const MOST: usize = 64;

/// What one code node has asked for. Bounded: the rarest gives way, the oldest of those first.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    entries: BTreeMap<(String, u16), Entry>,
    clock: u64,
    /// Whether what was refused is shown.
    learns: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    allowed: bool,
    count: u64,
    last: u64,
}

impl Asked {
    /// Whether the node learns. One that learns no more forgets what was refused.
    pub(super) fn set_learns(&mut self, learns: bool) {
        self.learns = learns;
        if !learns {
            self.entries.retain(|_, entry| entry.allowed);
        }
    }

    /// Counts a question for a name (port 0) or a call.
    pub(super) fn record(&mut self, host: &str, port: u16, allowed: bool) {
        if !allowed && !self.learns {
            return;
        }
        self.clock += 1;
        let last = self.clock;
        if port != 0 {
            // The call says all that the question for the name said.
            self.entries.remove(&(host.to_owned(), 0));
        } else if self
            .entries
            .keys()
            .any(|(known, port)| known == host && *port != 0)
        {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&(host.to_owned(), port)) {
            entry.allowed = allowed;
            entry.count += 1;
            entry.last = last;
            return;
        }
        if self.entries.len() >= MOST {
            let rarest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| (entry.count, entry.last))
                .map(|(key, _)| key.clone());
            rarest.map(|key| self.entries.remove(&key));
        }
        let entry = Entry {
            allowed,
            count: 1,
            last,
        };
        self.entries.insert((host.to_owned(), port), entry);
    }

    /// For the report, the most frequent first.
    pub(crate) fn list(&self, node: &NodeName) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.allowed || self.learns)
            .map(|((host, port), entry)| Line {
                node: node.clone(),
                host: host.clone(),
                port: *port,
                allowed: entry.allowed,
                count: entry.count,
            })
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.count));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(asked: &Asked) -> Vec<(String, u16, bool, u64)> {
        let lines = asked.list(&"logic".parse().unwrap());
        let plain = |line: Line| (line.host, line.port, line.allowed, line.count);
        lines.into_iter().map(plain).collect()
    }

    #[test]
    fn what_was_refused_shows_while_the_node_learns() {
        let mut asked = Asked::default();
        asked.record("no.test", 443, false);
        asked.record("yes.test", 443, true);
        assert_eq!(list(&asked), [("yes.test".to_owned(), 443, true, 1)]);
        asked.set_learns(true);
        asked.record("no.test", 0, false);
        asked.record("no.test", 0, false);
        assert_eq!(list(&asked)[0], ("no.test".to_owned(), 0, false, 2));
        asked.record("no.test", 8443, false);
        asked.record("no.test", 0, false);
        assert_eq!(list(&asked).len(), 2, "the call tells more than the name");
        asked.set_learns(false);
        assert_eq!(list(&asked).len(), 1);
    }

    #[test]
    fn a_flood_of_names_leaves_what_is_asked_often() {
        let mut asked = Asked::default();
        asked.set_learns(true);
        for _ in 0..3 {
            asked.record("often.test", 443, false);
        }
        for number in 0..10_000 {
            asked.record(&format!("x{number}.test"), 0, false);
        }
        let lines = list(&asked);
        assert_eq!(lines.len(), MOST);
        assert_eq!(lines[0].0, "often.test");
        assert!(lines.iter().any(|line| line.0 == "x9999.test"));
    }
}

//! Refusals that anybody can cause, counted so that the trail itself is no way to fill the disk.
//!
//! Pure: time is an argument. In each interval the first refusal of a kind from an address under a
//! name (a key, a device) is recorded whole; its repetitions are counted, and told by one more
//! record when the interval ends. The table is bounded: what has no place in it any more is counted
//! together. So a flood of any size costs at most `2 * PLACES + 1` records an interval.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::record::bounded;
use crate::store::Micros;

/// How long refusals are counted together.
pub(super) const INTERVAL: Duration = Duration::from_mins(1);
/// Addresses and names that are told apart in an interval.
pub(super) const PLACES: usize = 64;
/// Longest name that is kept.
const SUBJECT_CHARS: usize = 128;

/// What kind of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A signature that does not hold, or an unknown key.
    Signature,
    /// Too many requests.
    Throttled,
    /// A device certificate that is not good, or not good any more.
    Certificate,
    /// A console session or link that is not good.
    Console,
}

impl Refused {
    /// The name of the event that tells the count.
    pub(super) fn repeated(self) -> &'static str {
        match self {
            Self::Signature => "RepeatedSignatureFailures",
            Self::Throttled => "RepeatedThrottling",
            Self::Certificate => "RepeatedCertificateRefusals",
            Self::Console => "RepeatedConsoleRefusals",
        }
    }
}

/// Who is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Source {
    pub kind: Refused,
    pub address: IpAddr,
    /// The key or device that was claimed; empty without one.
    pub subject: String,
}

impl Source {
    pub(super) fn new(kind: Refused, address: IpAddr, subject: &str) -> Self {
        Self {
            kind,
            address: address.to_canonical(),
            subject: bounded(subject, SUBJECT_CHARS),
        }
    }
}

/// Refusals that were not recorded one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeated {
    pub count: u64,
    pub first: Micros,
    pub last: Micros,
}

/// What became of an interval.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Summary {
    /// By source.
    pub repeated: Vec<(Source, Repeated)>,
    /// From sources that had no place in the table.
    pub others: Option<Repeated>,
}

/// The table of an interval.
#[derive(Debug, Default)]
pub(super) struct Flood {
    sources: HashMap<Source, Option<Repeated>>,
    others: Option<Repeated>,
}

impl Flood {
    /// Notes a refusal; whether it is to be recorded by itself.
    pub(super) fn note(&mut self, source: Source, now: Micros) -> bool {
        if let Some(counted) = self.sources.get_mut(&source) {
            count(counted, now);
            false
        } else if self.sources.len() < PLACES {
            self.sources.insert(source, None);
            true
        } else {
            count(&mut self.others, now);
            false
        }
    }

    /// Counts a refusal that was to be recorded and found no place in the queue.
    pub(super) fn recount(&mut self, source: &Source, now: Micros) {
        match self.sources.get_mut(source) {
            Some(counted) => count(counted, now),
            None => count(&mut self.others, now),
        }
    }

    /// Ends the interval and begins the next.
    pub(super) fn end(&mut self) -> Summary {
        let mut repeated: Vec<(Source, Repeated)> = self
            .sources
            .drain()
            .filter_map(|(source, counted)| Some((source, counted?)))
            .collect();
        // The table has no order of its own; the earliest first reads best.
        repeated.sort_by_key(|(source, counted)| (counted.first, source.address));
        Summary {
            repeated,
            others: self.others.take(),
        }
    }
}

fn count(counted: &mut Option<Repeated>, now: Micros) {
    let repeated = counted.get_or_insert(Repeated {
        count: 0,
        first: now,
        last: now,
    });
    repeated.count = repeated.count.saturating_add(1);
    repeated.last = repeated.last.max(now);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(host: u32, key: &str) -> Source {
        Source::new(Refused::Signature, Ipv4Addr::from(host).into(), key)
    }

    #[test]
    fn the_first_of_an_interval_is_recorded_and_its_repetitions_are_counted() {
        let mut flood = Flood::default();
        assert!(flood.note(source(1, "AKIA1"), Micros(1)));
        assert!(flood.note(source(1, "AKIA2"), Micros(2)));
        for time in 3..10 {
            assert!(!flood.note(source(1, "AKIA1"), Micros(time)));
        }
        let summary = flood.end();
        let counted = Repeated {
            count: 7,
            first: Micros(3),
            last: Micros(9),
        };
        assert_eq!(summary.repeated, [(source(1, "AKIA1"), counted)]);
        assert_eq!(summary.others, None);
        assert_eq!(flood.end(), Summary::default());
        assert!(flood.note(source(1, "AKIA1"), Micros(11)));
    }

    /// Attack: a flood of failed signatures from ever new addresses and keys (pitfall: the trail as
    /// a way to fill the disk).
    #[test]
    fn a_flood_from_everywhere_costs_a_bounded_number_of_records() {
        let mut flood = Flood::default();
        let recorded = (0..100_000_u32)
            .filter(|n| flood.note(source(*n, &n.to_string()), Micros(i64::from(*n))))
            .count();
        assert_eq!(recorded, PLACES);
        let summary = flood.end();
        assert!(summary.repeated.is_empty());
        assert_eq!(
            summary.others.map(|others| others.count),
            Some(100_000 - PLACES as u64)
        );
    }

    #[test]
    fn no_refusal_is_lost_between_records_and_counts() {
        let mut flood = Flood::default();
        let mut recorded = 0_u64;
        for n in 0..1_000_u32 {
            recorded += u64::from(flood.note(source(n % 100, ""), Micros(i64::from(n))));
        }
        flood.recount(&source(0, ""), Micros(5));
        let summary = flood.end();
        let counted: u64 = summary
            .repeated
            .iter()
            .map(|(_, repeated)| repeated)
            .chain(&summary.others)
            .map(|repeated| repeated.count)
            .sum();
        assert_eq!(recorded + counted, 1_001);
    }
}

//! How slowly a body may arrive: a pause is forgiven, a trickle is not.
//!
//! Pure. Each byte buys a little time, up to a limit, so a body that keeps up the least rate on
//! average goes on however long it is, and one byte a minute does not hold a place for a day
//! (attack A14: slow body).

use std::time::Duration;

use tokio::time::Instant;

/// The least rate, in bytes a second: far below any line on which the API is of use.
const BYTES_PER_SECOND: u64 = 1_024;
/// What a body may take before its first byte.
const FIRST: Duration = Duration::from_secs(20);
/// The longest pause.
const PAUSE: Duration = Duration::from_mins(1);

/// The patience with one body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    until: Instant,
}

impl Pace {
    /// Of a body that begins now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { until: now + FIRST }
    }

    /// Some bytes have come.
    pub(crate) fn arrived(&mut self, bytes: usize, now: Instant) {
        let bought_us = bytes as u64 * 1_000_000 / BYTES_PER_SECOND;
        let until = self.until + Duration::from_micros(bought_us);
        self.until = until.min(now + PAUSE);
    }

    /// When patience ends if nothing more comes.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that a body lives which sends so many bytes every so many seconds; an hour at most.
    fn lives_s(bytes: usize, every_s: u64) -> u64 {
        let begun = Instant::now();
        let mut pace = Pace::new(begun);
        let mut now = begun;
        while now < begun + Duration::from_hours(1) {
            now += Duration::from_secs(every_s);
            if pace.until() < now {
                return (pace.until() - begun).as_secs();
            }
            pace.arrived(bytes, now);
        }
        3_600
    }

    #[test]
    fn a_trickle_ends_soon_and_a_slow_line_does_not() {
        assert_eq!(lives_s(1, 10), 20);
        assert_eq!(lives_s(512, 1), 39);
        assert_eq!(lives_s(2_048, 1), 3_600);
        assert_eq!(lives_s(64 * 1024, 19), 3_600, "pauses between large pieces");
    }

    #[test]
    fn no_rate_buys_a_long_silence() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.arrived(usize::MAX / 1_000_000, now);
        assert_eq!(pace.until(), now + PAUSE);
    }
}

//! How long to wait before the next try.
//!
//! Doubles from a first delay to a longest one, each shortened by up to half at random, so that a
//! fleet that lost its server together does not return together.

use std::time::{Duration, Instant};

/// Delays of one thing that is tried again and again.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    since: Instant,
}

impl Backoff {
    /// Starts at `first` and never exceeds `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
            since: Instant::now(),
        }
    }

    /// For processes: a single crash costs a fifth of a second, a crash loop little.
    pub(crate) fn for_processes() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(10))
    }

    /// For the control plane.
    pub(crate) fn for_network() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }

    /// The delay before the next try. What ran longer than the longest delay counts as healthy
    /// and starts over.
    pub(crate) fn next(&mut self) -> Duration {
        if self.since.elapsed() > self.longest.saturating_add(self.next) {
            self.next = self.first;
        }
        self.since = Instant::now();
        let delay = self.next;
        self.next = (self.next * 2).min(self.longest);
        delay.mul_f64(1.0 - random_fraction() / 2.0)
    }

    /// Starts over after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Uniform in 0..1; without a random source the delays merely lose their jitter.
fn random_fraction() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        let delays: Vec<_> = (0..5).map(|_| backoff.next()).collect();
        assert!(delays[0] >= Duration::from_millis(50) && delays[0] <= Duration::from_millis(100));
        assert!(delays[4] >= Duration::from_millis(200) && delays[4] <= Duration::from_millis(400));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }
}

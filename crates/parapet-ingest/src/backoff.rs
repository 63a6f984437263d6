//! How long to wait before the next try: twice as long each time, with jitter, for ever.

use std::time::Duration;

/// First wait.
const SHORTEST: Duration = Duration::from_millis(500);
/// Longest wait: a camera that comes back is seen soon, and many dead ones cost nothing.
const LONGEST: Duration = Duration::from_secs(15);

/// Waits in growing steps.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: SHORTEST }
    }

    /// The next wait: between three quarters and the whole of the step, so that cameras that
    /// failed together are not asked together. `random` is any number.
    pub(crate) fn next(&mut self, random: u32) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(LONGEST);
        step.mul_f64(1.0 - f64::from(random) / f64::from(u32::MAX) / 4.0)
    }

    /// Something worked.
    pub(crate) fn reset(&mut self) {
        self.next = SHORTEST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_fifteen_seconds_and_begin_anew() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..7).map(|_| backoff.next(0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 15000, 15000]);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX).as_millis(), 375);
    }
}

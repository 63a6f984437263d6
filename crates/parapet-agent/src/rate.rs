//! So many a second and no more; who asks for more waits.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A rate with a burst (GCRA): one theoretical time of arrival is all that is kept.
#[derive(Debug)]
pub(crate) struct Rate {
    interval: Duration,
    burst: Duration,
    due: Instant,
}

impl Rate {
    /// `per_second`, after a rest up to `burst` at once.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self {
            interval,
            burst: interval * burst,
            due: Instant::now(),
        }
    }

    /// Returns when the next one may be.
    pub(crate) async fn next(&mut self) {
        let now = Instant::now();
        self.due = self.due.max(now) + self.interval;
        if self.due > now + self.burst {
            sleep_until(self.due - self.burst).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let mut rate = Rate::new(100, 5);
        let begin = Instant::now();
        for _ in 0..25 {
            rate.next().await;
        }
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(195), "{took:?}");

        let mut rate = Rate::new(1, 5);
        let begin = Instant::now();
        for _ in 0..5 {
            rate.next().await;
        }
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

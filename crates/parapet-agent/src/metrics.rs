//! What an application received of one camera: frames, frames a second, latency.
//!
//! Counts from the agent's start; rates and latencies are of the last ten seconds. Time is handed
//! in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parapet_device::reported::StreamMetrics;

const WINDOW: Duration = Duration::from_secs(10);
/// Ten seconds of 200 frames a second; what exceeds it shortens the window.
const MOST: usize = 2000;

/// Counters of one camera.
#[derive(Debug)]
pub(crate) struct StreamStats {
    frames: u64,
    size: Option<(u32, u32)>,
    recent: VecDeque<(Instant, u64)>,
    since: Option<Instant>,
}

impl StreamStats {
    pub(crate) fn new() -> Self {
        Self {
            frames: 0,
            size: None,
            recent: VecDeque::new(),
            since: None,
        }
    }

    /// The camera's pictures have this size.
    pub(crate) fn set_size(&mut self, width: u32, height: u32) {
        self.size = Some((width, height));
    }

    /// `get()` returned a fresh frame, this long after its capture.
    pub(crate) fn returned(&mut self, now: Instant, latency_us: u64) {
        self.frames += 1;
        self.since.get_or_insert(now);
        if self.recent.len() == MOST {
            self.recent.pop_front();
        }
        self.recent.push_back((now, latency_us));
    }

    /// The numbers now; `None` until the camera has delivered a picture.
    pub(crate) fn read(&mut self) -> Option<StreamMetrics> {
        self.read_at(Instant::now())
    }

    fn read_at(&mut self, now: Instant) -> Option<StreamMetrics> {
        let (width, height) = self.size?;
        while self
            .recent
            .front()
            .is_some_and(|(at, _)| now.duration_since(*at) > WINDOW)
        {
            self.recent.pop_front();
        }
        let mut latencies: Vec<u64> = self.recent.iter().map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        // Within the first ten seconds the window is as long as the stream; a shorter second
        // would make the first frame look like hundreds a second.
        let span = self.since.map_or(WINDOW, |since| {
            now.duration_since(since)
                .clamp(Duration::from_secs(1), WINDOW)
        });
        Some(StreamMetrics {
            frames: self.frames,
            fps: latencies.len() as f64 / span.as_secs_f64(),
            latency_p50_ms: percentile(&latencies, 50),
            latency_p99_ms: percentile(&latencies, 99),
            width,
            height,
        })
    }
}

/// Nearest rank, in milliseconds; 0 of nothing.
fn percentile(sorted_us: &[u64], percent: usize) -> f64 {
    let rank = (sorted_us.len() * percent).div_ceil(100).max(1);
    sorted_us
        .get(rank - 1)
        .map_or(0.0, |us| *us as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_ten_seconds_and_counts_of_all_time() {
        let start = Instant::now();
        let mut stats = StreamStats::new();
        assert_eq!(
            stats.read_at(start),
            None,
            "nothing is said of a camera without a picture"
        );
        stats.set_size(640, 480);
        for i in 0..400 {
            stats.returned(start + Duration::from_millis(50 * i), 1000 * (i + 1));
        }
        let read = stats.read_at(start + Duration::from_secs(20)).unwrap();
        assert_eq!(read.frames, 400);
        assert!((read.fps - 20.0).abs() < 0.2, "{}", read.fps);
        assert!(
            (read.latency_p50_ms - 300.0).abs() < 3.0,
            "{}",
            read.latency_p50_ms
        );
        assert!(
            (read.latency_p99_ms - 398.0).abs() < 3.0,
            "{}",
            read.latency_p99_ms
        );
        assert_eq!((read.width, read.height), (640, 480));
    }

    #[test]
    fn a_silent_camera_has_no_rate() {
        let start = Instant::now();
        let mut stats = StreamStats::new();
        stats.set_size(640, 480);
        stats.returned(start, 1000);
        let read = stats.read_at(start + Duration::from_mins(1)).unwrap();
        assert_eq!((read.frames, read.fps, read.latency_p50_ms), (1, 0.0, 0.0));
    }
}

//! When a frame was taken: from RTP time, sender reports and the host's clock (`design.md`, Time).
//!
//! The wall time of the camera's sender report counts while it is within [`TRUST_US`] of the host's
//! clock; else RTP time does, anchored at arrival. The mapping from RTP time to wall time changes
//! at key frames only, because pictures arrive in decoding order: a change in between would put
//! them into another order. It never changes so far that time runs backwards. Pure: `now` is an
//! argument. All times are microseconds, wall times since the Unix epoch.

/// A camera's clock this close to the host's is believed.
const TRUST_US: i64 = 2_000_000;
/// Without sender reports the mapping follows the arrivals once it is off by more than this:
/// above the jitter of a network, below what anybody sees. Crystals drift a few seconds a day.
const DRIFT_US: i64 = 200_000;
/// A frame's time this far from its arrival is no time: the camera has begun a new count, or the
/// host's clock was set.
const LOST_US: i64 = 10_000_000;
/// While sender reports were believed so recently, arrivals are not asked.
const REPORT_AGE_US: i64 = 30_000_000;
/// Smallest step from one key frame's time to the times before it.
const STEP_US: i64 = 1_000;

/// Time of an access unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Presentation time.
    pub(crate) time: u64,
    /// The camera's own claim, by its last sender report.
    pub(crate) claimed: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    /// What to add to media time to get the camera's wall time, by the last report.
    claimed: i64,
    /// The same by the last report that was close to the host's clock, and its arrival.
    believed: Option<(i64, i64)>,
}

/// The clock of one camera, through all its sessions.
#[derive(Debug, Default)]
pub(crate) struct StreamClock {
    session: Option<Session>,
    /// The latest time given so far.
    latest: i64,
}

#[derive(Debug)]
struct Session {
    rate: u32,
    /// The last RTP time seen, and the same without its 32-bit wrap.
    last: Option<(u32, i64)>,
    /// What to add to media time to get wall time, once there is a frame or a believed report.
    offset: Option<i64>,
    report: Option<Report>,
    /// Smallest `arrival - media time` since the last key frame: that of the least delayed frame.
    least_delay: Option<i64>,
}

impl StreamClock {
    /// A new session begins, whose RTP times have nothing to do with those before. `rate` is the
    /// RTP clock's in Hz.
    pub(crate) fn begin(&mut self, rate: u32) {
        self.session = Some(Session {
            rate: rate.max(1),
            last: None,
            offset: None,
            report: None,
            least_delay: None,
        });
    }

    /// The camera says that RTP time `rtp` is this wall time.
    pub(crate) fn sender_report(&mut self, rtp: u32, wall: i64, now: i64) {
        let Some(session) = &mut self.session else {
            return;
        };
        let before = session.last;
        let offset = wall.saturating_sub(session.media_time(rtp));
        // Frames alone count on: a nonsensical report shall not lead them to another wrap.
        session.last = before.or(session.last);
        let close = wall.abs_diff(now) <= TRUST_US.unsigned_abs();
        let believed = session.report.and_then(|report| report.believed);
        session.report = Some(Report {
            claimed: offset,
            believed: if close { Some((offset, now)) } else { believed },
        });
        if close && session.offset.is_none() {
            session.offset = Some(offset);
        }
    }

    /// The time of the access unit of RTP time `rtp` that arrives now.
    pub(crate) fn stamp(&mut self, rtp: u32, key: bool, now: i64) -> Stamp {
        let Some(session) = &mut self.session else {
            return Stamp {
                time: now.unsigned_abs(),
                claimed: None,
            };
        };
        let media = session.media_time(rtp);
        let arrival = now - media;
        let offset = session.offset(arrival, key, now);
        let mut time = media + offset;
        if (time - now).abs() > LOST_US {
            // Only the first frame of the new count finds it lost; a guard against going back
            // makes no sense when it was the host's clock that did.
            session.offset = Some(arrival);
            session.report = None;
            time = now;
            if self.latest <= now + LOST_US {
                time = time.max(self.latest + STEP_US);
                session.offset = Some(time - media);
            }
            self.latest = time;
        } else if key && time <= self.latest {
            time = self.latest + STEP_US;
            session.offset = Some(time - media);
        }
        self.latest = self.latest.max(time);
        let claimed = session
            .report
            .and_then(|report| u64::try_from(media + report.claimed).ok());
        Stamp {
            time: u64::try_from(time).unwrap_or(0),
            claimed,
        }
    }
}

impl Session {
    /// Microseconds of an RTP time, counted on through its wraps.
    fn media_time(&mut self, rtp: u32) -> i64 {
        let ticks = match self.last {
            // The nearer way round: B-frames go back a little.
            Some((last, ticks)) => ticks + i64::from(rtp.wrapping_sub(last).cast_signed()),
            None => i64::from(rtp),
        };
        self.last = Some((rtp, ticks));
        // 2^43 seconds fit into the product's type.
        (i128::from(ticks) * 1_000_000 / i128::from(self.rate)) as i64
    }

    /// The mapping for this access unit; a new one only at a key frame.
    fn offset(&mut self, arrival: i64, key: bool, now: i64) -> i64 {
        let offset = *self.offset.get_or_insert(arrival);
        let least = self.least_delay.map_or(arrival, |least| least.min(arrival));
        self.least_delay = Some(least);
        if !key {
            return offset;
        }
        self.least_delay = None;
        let believed = self.report.and_then(|report| report.believed);
        let new = match believed {
            Some((believed, at)) if now - at <= REPORT_AGE_US => believed,
            _ if (least - offset).abs() > DRIFT_US => least,
            _ => offset,
        };
        self.offset = Some(new);
        new
    }
}

/// The Unix time of an NTP time, or `None` before 1970. NTP seconds begin in 1900 and wrap in
/// 2036; small ones are taken for times after that.
pub(crate) fn unix_time(ntp: u64) -> Option<i64> {
    /// Seconds from 1900 to 1970.
    const UNIX_EPOCH: i64 = 2_208_988_800;
    let seconds = (ntp >> 32).cast_signed();
    let era = if seconds < UNIX_EPOCH && seconds != 0 {
        1 << 32
    } else {
        0
    };
    let fraction = ((ntp & 0xffff_ffff) * 1_000_000) >> 32;
    let unix = seconds + era - UNIX_EPOCH;
    (unix >= 0).then(|| unix * 1_000_000 + fraction.cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;
    const RATE: u32 = 90_000;
    /// 25 frames a second.
    const FRAME_US: i64 = 40_000;
    const FRAME: u32 = 3_600;

    fn clock() -> StreamClock {
        let mut clock = StreamClock::default();
        clock.begin(RATE);
        clock
    }

    fn time(stamp: Stamp) -> i64 {
        i64::try_from(stamp.time).unwrap()
    }

    #[test]
    fn a_believed_sender_report_gives_the_exact_time() {
        let mut clock = clock();
        // The camera is 700 ms behind, and frames take 300 ms to arrive.
        let wall = NOW - 700_000;
        clock.sender_report(5000, wall, NOW);
        for n in 0..100_u32 {
            let expected = wall + i64::from(n) * FRAME_US;
            let stamp = clock.stamp(5000 + n * FRAME, n % 25 == 0, expected + 1_000_000);
            assert_eq!(time(stamp), expected);
            assert_eq!(stamp.claimed, Some(stamp.time));
        }
    }

    #[test]
    fn without_reports_rtp_time_counts_from_the_first_arrival() {
        let mut clock = clock();
        for n in 0..50_u32 {
            // Arrivals jitter, times do not.
            let jitter = i64::from(n % 7) * 5_000;
            let now = NOW + i64::from(n) * FRAME_US + jitter;
            let stamp = clock.stamp(n * FRAME, n % 25 == 0, now);
            assert_eq!(time(stamp), NOW + i64::from(n) * FRAME_US);
            assert_eq!(stamp.claimed, None);
        }
    }

    #[test]
    fn a_camera_that_is_wrong_by_a_year_is_only_quoted() {
        const YEAR_US: i64 = 31_536_000_000_000;
        let mut clock = clock();
        clock.sender_report(0, NOW - YEAR_US, NOW);
        let stamp = clock.stamp(FRAME, true, NOW + FRAME_US);
        assert_eq!(time(stamp), NOW + FRAME_US);
        assert_eq!(
            stamp.claimed,
            Some((NOW - YEAR_US + FRAME_US).unsigned_abs())
        );
    }

    #[test]
    fn a_report_that_jumps_leaves_the_times_as_they_were() {
        let mut clock = clock();
        clock.sender_report(0, NOW, NOW);
        clock.stamp(0, true, NOW);
        clock.sender_report(25 * FRAME, NOW + 3_600_000_000, NOW + 25 * FRAME_US);
        let stamp = clock.stamp(25 * FRAME, true, NOW + 25 * FRAME_US);
        assert_eq!(time(stamp), NOW + 25 * FRAME_US);
        assert_eq!(
            stamp.claimed,
            Some((NOW + 3_600_000_000).unsigned_abs()),
            "but is quoted"
        );
    }

    #[test]
    fn a_first_report_in_the_middle_counts_from_the_next_key_frame() {
        let mut clock = clock();
        assert_eq!(time(clock.stamp(0, true, NOW + 30_000)), NOW + 30_000);
        clock.sender_report(0, NOW, NOW + 35_000);
        let between = clock.stamp(FRAME, false, NOW + FRAME_US + 30_000);
        assert_eq!(time(between), NOW + FRAME_US + 30_000);
        let key = clock.stamp(25 * FRAME, true, NOW + 25 * FRAME_US + 30_000);
        assert_eq!(time(key), NOW + 25 * FRAME_US);
    }

    #[test]
    fn the_wrap_of_rtp_time_is_not_seen() {
        let mut clock = clock();
        let start = u32::MAX - 10 * FRAME;
        clock.sender_report(start, NOW, NOW);
        for n in 0..40_u32 {
            let wall = NOW + i64::from(n) * FRAME_US;
            let stamp = clock.stamp(start.wrapping_add(n * FRAME), n == 0, wall);
            assert_eq!(time(stamp), wall);
        }
        // A report that refers to a time before the wrap is understood too.
        clock.sender_report(start, NOW, NOW + 40 * FRAME_US);
        let stamp = clock.stamp(start.wrapping_add(40 * FRAME), true, NOW + 40 * FRAME_US);
        assert_eq!(time(stamp), NOW + 40 * FRAME_US);
    }

    #[test]
    fn b_frames_keep_their_own_times() {
        let mut clock = clock();
        // Decoding order I P B B, presentation order I B B P.
        let arrived: Vec<_> = [
            (0, true),
            (3, false),
            (1, false),
            (2, false),
            (6, false),
            (4, false),
        ]
        .into_iter()
        .enumerate()
        .map(|(n, (shown, key))| {
            let now = NOW + i64::try_from(n).unwrap() * FRAME_US;
            time(clock.stamp(shown * FRAME, key, now)) - NOW
        })
        .collect();
        assert_eq!(arrived, [0, 3, 1, 2, 6, 4].map(|shown| shown * FRAME_US));
    }

    #[test]
    fn a_drifting_camera_without_reports_stays_near_its_arrivals() {
        for drift_ppm in [-300_i64, 300] {
            let mut clock = clock();
            let mut latest = 0;
            // Two hours with a key frame a second; 300 ppm are over two seconds then.
            for n in 0..7200_u32 {
                let true_time = NOW + i64::from(n) * 1_000_000;
                let rtp = i64::from(n) * (90_000 + 90_000 * drift_ppm / 1_000_000);
                let stamp = clock.stamp(rtp as u32, true, true_time);
                let off = time(stamp) - true_time;
                assert!(
                    off.abs() <= DRIFT_US + 1_000,
                    "{drift_ppm} ppm: off by {off} at {n} s"
                );
                assert!(time(stamp) > latest, "{drift_ppm} ppm: back at {n} s");
                latest = time(stamp);
            }
        }
    }

    #[test]
    fn a_new_session_never_goes_back() {
        let mut clock = clock();
        clock.sender_report(0, NOW + 1_500_000, NOW);
        let before = time(clock.stamp(0, true, NOW));
        assert_eq!(before, NOW + 1_500_000);
        clock.begin(RATE);
        let first = time(clock.stamp(77, true, NOW + 500_000));
        assert!(first > before);
        let second = time(clock.stamp(77 + FRAME, false, NOW + 540_000));
        assert_eq!(second, first + FRAME_US);
    }

    #[test]
    fn a_count_that_begins_anew_is_anchored_anew() {
        let mut clock = clock();
        clock.sender_report(1_000_000, NOW, NOW);
        clock.stamp(1_000_000, true, NOW);
        let stamp = clock.stamp(1_000_000_000, true, NOW + FRAME_US);
        assert_eq!(time(stamp), NOW + FRAME_US);
        let stamp = clock.stamp(1_000_000_000 + FRAME, false, NOW + 2 * FRAME_US);
        assert_eq!(time(stamp), NOW + 2 * FRAME_US);
    }

    #[test]
    fn when_the_host_is_set_back_the_stream_follows() {
        let mut clock = clock();
        clock.stamp(0, true, NOW);
        let earlier = NOW - 3_600_000_000;
        assert_eq!(time(clock.stamp(FRAME, false, earlier)), earlier);
        assert_eq!(
            time(clock.stamp(2 * FRAME, false, earlier + FRAME_US)),
            earlier + FRAME_US
        );
    }

    #[test]
    fn ntp_times_are_read_before_and_after_their_wrap() {
        assert_eq!(unix_time(0), None, "a camera without a clock");
        assert_eq!(unix_time(2_208_988_800 << 32), Some(0));
        assert_eq!(
            unix_time((2_208_988_801 << 32) | (1 << 31)),
            Some(1_500_000)
        );
        // One second after 7 February 2036, 06:28:16 UTC.
        assert_eq!(unix_time(1 << 32), Some(2_085_978_497_000_000));
    }

    proptest! {
        /// Any camera: no panic, and key frames only ever move forward while the host's clock does.
        #[test]
        fn key_frames_never_go_back(
            steps in prop::collection::vec(
                (any::<u32>(), -4_000_000_000_i64..4_000_000_000, 0_i64..2_000_000, 0_u8..4), 1..100),
        ) {
            let mut clock = clock();
            let (mut now, mut latest) = (NOW, 0);
            for (rtp, off, elapsed, step) in steps {
                now += elapsed;
                match step {
                    0 => clock.sender_report(rtp, now + off, now),
                    1 => clock.begin(rtp),
                    _ => {
                        let stamp = time(clock.stamp(rtp, step == 2, now));
                        if step == 2 {
                            prop_assert!(stamp > latest);
                        }
                        prop_assert!((stamp - now).abs() <= 2 * LOST_US);
                        latest = latest.max(stamp);
                    }
                }
            }
        }
    }
}

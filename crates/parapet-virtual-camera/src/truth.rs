//! What a scene shows frame by frame, and how well somebody saw it.
//!
//! Owns the truth file's form and the count of matches. Frame `k` of the endless loop is captured
//! at `k / fps` seconds since the epoch, so a time stamp alone names the frame, even after restarts.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Overlap (intersection over union) from which a reported box counts as the true one.
const OVERLAP: f64 = 0.5;
/// Sides in pixels below which a true object is neither asked for nor held against anybody.
const SMALLEST_SIDE: f64 = 16.0;
/// A truth file of a minute at 60 frames/s is below 6 MB; more is something else.
const LARGEST_FILE: u64 = 64 << 20;

/// An object's visible part, in shares of the picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TruthBox {
    /// Its class.
    pub label: String,
    /// Left edge, 0..1.
    pub left: f64,
    /// Upper edge, 0..1.
    pub top: f64,
    /// Right edge, 0..1.
    pub right: f64,
    /// Lower edge, 0..1.
    pub bottom: f64,
}

/// What somebody reported.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// Class and place.
    pub seen: TruthBox,
    /// How sure, 0..1.
    pub score: f64,
}

/// What a loop shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Pixels a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pictures a second.
    pub fps: u32,
    /// Objects of each frame of the loop.
    pub frames: Vec<Vec<TruthBox>>,
}

/// Why a truth file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// The file cannot be read.
    #[error("read the truth file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("understand the truth file {path}; delete it and it is made again")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file has no frames, no frame rate, or no end.
    #[error("use the truth file {path}: it is empty or too long; delete it and it is made again")]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

impl Truth {
    /// Reads a truth file.
    pub fn load(path: &Path) -> Result<Self, TruthError> {
        let read = |source| TruthError::Read {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(read)?;
        let mut text = Vec::new();
        file.take(LARGEST_FILE + 1)
            .read_to_end(&mut text)
            .map_err(read)?;
        if text.len() as u64 > LARGEST_FILE {
            return Err(TruthError::Empty {
                path: path.to_owned(),
            });
        }
        let truth: Self = serde_json::from_slice(&text).map_err(|source| TruthError::Parse {
            path: path.to_owned(),
            source,
        })?;
        if truth.frames.is_empty() || truth.fps == 0 {
            return Err(TruthError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(truth)
    }

    /// Objects of the frame captured nearest to that time, microseconds since the epoch.
    #[must_use]
    pub fn at(&self, time_us: u64) -> &[TruthBox] {
        // Nearest, not before: k / fps is rounded to microseconds somewhere on the way.
        let frame = (u128::from(time_us) * u128::from(self.fps) + 500_000) / 1_000_000;
        &self.frames[(frame % self.frames.len() as u128) as usize]
    }
}

/// Counts of one frame or many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// True objects that were reported.
    pub matched: u64,
    /// True objects that were not.
    pub missed: u64,
    /// Reports without a true object.
    pub false_alarms: u64,
}

impl Score {
    /// Share of the reports that are true; `None` without any.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        ratio(self.matched, self.matched + self.false_alarms)
    }

    /// Share of the true objects that were reported; `None` without any.
    #[must_use]
    pub fn recall(&self) -> Option<f64> {
        ratio(self.matched, self.matched + self.missed)
    }
}

impl std::ops::AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.matched += other.matched;
        self.missed += other.missed;
        self.false_alarms += other.false_alarms;
    }
}

/// Matches reports with a frame's objects, the surest first, each with the true object of its class
/// that it overlaps most. `width` and `height` are the picture's, in pixels.
#[must_use]
pub fn score(truth: &[TruthBox], reported: &[Detection], width: u32, height: u32) -> Score {
    let mut score = Score::default();
    let mut taken = vec![false; truth.len()];
    let mut surest_first: Vec<&Detection> = reported.iter().collect();
    surest_first.sort_by(|a, b| b.score.total_cmp(&a.score));
    let asked_for = |real: &TruthBox| {
        (real.right - real.left) * f64::from(width) >= SMALLEST_SIDE
            && (real.bottom - real.top) * f64::from(height) >= SMALLEST_SIDE
    };
    for report in surest_first {
        let best = truth
            .iter()
            .enumerate()
            .filter(|(at, real)| !taken[*at] && real.label == report.seen.label)
            .map(|(at, real)| (at, overlap(real, &report.seen)))
            .filter(|(_, overlap)| *overlap >= OVERLAP)
            .max_by(|a, b| a.1.total_cmp(&b.1));
        match best {
            Some((at, _)) => {
                taken[at] = true;
                score.matched += u64::from(asked_for(&truth[at]));
            }
            None => score.false_alarms += 1,
        }
    }
    let missed = truth
        .iter()
        .zip(&taken)
        .filter(|(real, taken)| !**taken && asked_for(real));
    score.missed += missed.count() as u64;
    score
}

fn overlap(a: &TruthBox, b: &TruthBox) -> f64 {
    let area = |r: &TruthBox| (r.right - r.left).max(0.0) * (r.bottom - r.top).max(0.0);
    let shared = (a.right.min(b.right) - a.left.max(b.left)).max(0.0)
        * (a.bottom.min(b.bottom) - a.top.max(b.top)).max(0.0);
    let all = area(a) + area(b) - shared;
    if all > 0.0 { shared / all } else { 0.0 }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(label: &str, left: f64, top: f64, right: f64, bottom: f64) -> TruthBox {
        TruthBox {
            label: label.to_owned(),
            left,
            top,
            right,
            bottom,
        }
    }

    fn sure(seen: TruthBox, score: f64) -> Detection {
        Detection { seen, score }
    }

    fn counts(matched: u64, missed: u64, false_alarms: u64) -> Score {
        Score {
            matched,
            missed,
            false_alarms,
        }
    }

    #[test]
    fn a_good_report_matches_and_another_class_or_place_does_not() {
        let truth = [at("car", 0.1, 0.1, 0.3, 0.3)];
        let judge = |seen| score(&truth, &[sure(seen, 0.9)], 1280, 720);
        assert_eq!(judge(at("car", 0.11, 0.1, 0.31, 0.3)), counts(1, 0, 0));
        assert_eq!(judge(at("person", 0.1, 0.1, 0.3, 0.3)), counts(0, 1, 1));
        assert_eq!(judge(at("car", 0.2, 0.2, 0.4, 0.4)), counts(0, 1, 1));
        assert_eq!(score(&truth, &[], 1280, 720), counts(0, 1, 0));
    }

    #[test]
    fn the_surer_of_two_reports_takes_the_object() {
        let truth = [at("car", 0.1, 0.1, 0.3, 0.3)];
        let twice = [
            sure(at("car", 0.1, 0.1, 0.3, 0.3), 0.4),
            sure(at("car", 0.1, 0.1, 0.3, 0.29), 0.8),
        ];
        assert_eq!(score(&truth, &twice, 1280, 720), counts(1, 0, 1));
    }

    #[test]
    fn an_object_below_sixteen_pixels_is_neither_missed_nor_false() {
        let truth = [at("car", 0.1, 0.1, 0.11, 0.12)];
        assert_eq!(score(&truth, &[], 1280, 720), counts(0, 0, 0));
        let seen = [sure(at("car", 0.1, 0.1, 0.11, 0.12), 0.9)];
        assert_eq!(score(&truth, &seen, 1280, 720), counts(0, 0, 0));
        // In a larger picture the same object is large enough.
        assert_eq!(score(&truth, &seen, 1920, 1080), counts(1, 0, 0));
    }

    #[test]
    fn a_time_stamp_names_the_frame_even_a_microsecond_off() {
        let frame = |label: &str| vec![at(label, 0.0, 0.0, 1.0, 1.0)];
        let truth = Truth {
            width: 1280,
            height: 720,
            fps: 15,
            frames: vec![frame("a"), frame("b"), frame("c")],
        };
        // 1.7e15 us is frame 25,500,000,000 of the endless loop, which is frame 0 of this one.
        for (time_us, label) in [
            (0, "a"),
            (66_666, "b"),
            (66_667, "b"),
            (133_333, "c"),
            (199_999, "a"),
        ] {
            assert_eq!(
                truth.at(1_700_000_000_000_000 + time_us)[0].label,
                label,
                "{time_us}"
            );
        }
    }

    #[test]
    fn precision_and_recall_need_something_to_judge() {
        assert_eq!(
            (Score::default().precision(), Score::default().recall()),
            (None, None)
        );
        let mut sum = counts(3, 1, 0);
        sum += counts(0, 0, 1);
        assert_eq!((sum.precision(), sum.recall()), (Some(0.75), Some(0.75)));
    }
}

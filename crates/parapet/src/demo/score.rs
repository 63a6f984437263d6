//! Holds what an application reports against what the scene really showed.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Intersection over union from which a reported box counts as the true one.
const OVERLAP: f64 = 0.5;
/// Sides, in pixels, below which a true box is not asked for (and not held against anybody).
const SMALLEST: f64 = 16.0;

/// A box in relative coordinates, 0..1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Labelled {
    /// Its class.
    pub(crate) label: String,
    /// Left edge.
    pub(crate) left: f64,
    /// Upper edge.
    pub(crate) top: f64,
    /// Right edge.
    pub(crate) right: f64,
    /// Lower edge.
    pub(crate) bottom: f64,
    /// The application's confidence; truth has none.
    #[serde(default)]
    pub(crate) score: f64,
}

impl Labelled {
    fn area(&self) -> f64 {
        (self.right - self.left).max(0.0) * (self.bottom - self.top).max(0.0)
    }

    fn overlap(&self, other: &Self) -> f64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        let shared = width.max(0.0) * height.max(0.0);
        let all = self.area() + other.area() - shared;
        if all > 0.0 { shared / all } else { 0.0 }
    }
}

/// What a synthetic camera shows, frame by frame: the file beside its clip.
#[derive(Debug, Deserialize)]
pub(crate) struct Truth {
    fps: f64,
    width: f64,
    height: f64,
    frames: Vec<Vec<Labelled>>,
}

impl Truth {
    /// Reads the file that the virtual camera names.
    pub(crate) fn load(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
        let truth: Self =
            serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
        ensure!(!truth.frames.is_empty(), "{}: no frames", file.display());
        Ok(truth)
    }

    /// The boxes of the frame captured at that time, microseconds since the epoch: frame `k` of
    /// the endless loop is captured at `k / fps`.
    fn at(&self, time_us: u64) -> &[Labelled] {
        let index = (time_us as f64 * self.fps / 1e6).round() as u64;
        &self.frames[(index % self.frames.len() as u64) as usize]
    }
}

/// Counts over many frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Score {
    found: u64,
    missed: u64,
    false_alarms: u64,
}

impl Score {
    /// Adds one processed frame.
    pub(crate) fn add(&mut self, truth: &Truth, time_us: u64, reported: &[Labelled]) {
        let true_boxes = truth.at(time_us);
        let mut taken = vec![false; true_boxes.len()];
        let mut by_confidence: Vec<&Labelled> = reported.iter().collect();
        by_confidence.sort_by(|a, b| b.score.total_cmp(&a.score));
        for seen in by_confidence {
            let best = true_boxes
                .iter()
                .enumerate()
                .filter(|(at, real)| !taken[*at] && real.label == seen.label)
                .map(|(at, real)| (at, seen.overlap(real)))
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .filter(|(_, overlap)| *overlap >= OVERLAP);
            match best {
                Some((at, _)) => {
                    taken[at] = true;
                    if large(truth, &true_boxes[at]) {
                        self.found += 1;
                    }
                }
                None => self.false_alarms += 1,
            }
        }
        let missed = true_boxes
            .iter()
            .zip(taken)
            .filter(|(real, taken)| !taken && large(truth, real));
        self.missed += missed.count() as u64;
    }

    /// Share of the reported boxes that are real; `None` before any.
    pub(crate) fn precision(self) -> Option<f64> {
        ratio(self.found, self.found + self.false_alarms)
    }

    /// Share of the real boxes that were reported; `None` before any.
    pub(crate) fn recall(self) -> Option<f64> {
        ratio(self.found, self.found + self.missed)
    }
}

fn large(truth: &Truth, real: &Labelled) -> bool {
    (real.right - real.left) * truth.width >= SMALLEST
        && (real.bottom - real.top) * truth.height >= SMALLEST
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(label: &str, left: f64, top: f64, right: f64, bottom: f64) -> Labelled {
        Labelled {
            label: label.to_owned(),
            left,
            top,
            right,
            bottom,
            score: 0.9,
        }
    }

    fn truth(frames: Vec<Vec<Labelled>>) -> Truth {
        Truth {
            fps: 25.0,
            width: 1280.0,
            height: 720.0,
            frames,
        }
    }

    #[test]
    fn the_frame_is_found_by_its_time_even_a_microsecond_early() {
        let truth = truth(vec![vec![], vec![shown("car", 0.1, 0.1, 0.2, 0.2)]]);
        assert_eq!(truth.at(1_700_000_000_040_000).len(), 1);
        assert_eq!(truth.at(1_700_000_000_039_999).len(), 1);
        assert_eq!(truth.at(1_700_000_000_080_000).len(), 0);
    }

    #[test]
    fn a_box_of_another_class_or_place_is_false_and_the_real_one_missed() {
        let truth = truth(vec![vec![shown("car", 0.1, 0.1, 0.3, 0.3)]]);
        for wrong in [
            shown("person", 0.1, 0.1, 0.3, 0.3),
            shown("car", 0.25, 0.25, 0.45, 0.45),
        ] {
            let mut score = Score::default();
            score.add(&truth, 0, &[wrong]);
            assert_eq!(
                score,
                Score {
                    found: 0,
                    missed: 1,
                    false_alarms: 1
                }
            );
        }
    }

    #[test]
    fn the_same_object_reported_twice_counts_once() {
        let truth = truth(vec![vec![shown("car", 0.1, 0.1, 0.3, 0.3)]]);
        let mut score = Score::default();
        let seen = shown("car", 0.1, 0.1, 0.31, 0.3);
        score.add(&truth, 0, &[seen.clone(), seen]);
        assert_eq!(
            score,
            Score {
                found: 1,
                missed: 0,
                false_alarms: 1
            }
        );
    }

    #[test]
    fn an_object_below_sixteen_pixels_is_neither_asked_for_nor_held_against_anybody() {
        let truth = truth(vec![vec![shown("car", 0.1, 0.1, 0.11, 0.12)]]);
        let mut score = Score::default();
        score.add(&truth, 0, &[]);
        score.add(&truth, 0, &[shown("car", 0.1, 0.1, 0.11, 0.12)]);
        assert_eq!(score, Score::default());
    }
}

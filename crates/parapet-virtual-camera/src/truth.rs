//! What a scene shows frame by frame.
//!
//! Owns the truth file's form; judging a report by it is its readers' business. Frame `k` of the endless loop is captured
//! at `k / fps` seconds since the epoch, so a time stamp alone names the frame, even after restarts.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stamp_names_the_frame_even_a_microsecond_off() {
        let frame = |label: &str| {
            vec![TruthBox {
                label: label.to_owned(),
                left: 0.0,
                top: 0.0,
                right: 1.0,
                bottom: 1.0,
            }]
        };
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
}

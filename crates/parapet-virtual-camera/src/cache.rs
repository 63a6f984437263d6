//! Loops that were drawn and encoded before: `NAME.h264` and `NAME.json` in one directory.
//!
//! The name holds everything the clip depends on. Files appear by renaming, the clip last, so a
//! clip that is there is whole and has its truth. A pair that does not fit together is made again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::encode::{EncodeError, encode};
use crate::scene::{Scene, SceneError, SceneParameters};
use crate::truth::Truth;
use crate::units::{self, AccessUnit};

/// Counted up when the drawing or the encoding changes: older clips are then left alone.
const DRAWING: u32 = 1;

/// Why a loop could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The parameters are outside the limits.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// It could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The directory cannot be written.
    #[error("write {path}; choose a directory for --cache that can be written")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The truth cannot be written down.
    #[error("write down the truth")]
    Truth(#[source] serde_json::Error),
}

/// A loop, ready to be served.
#[derive(Debug)]
pub(crate) struct Loop {
    /// A picture each.
    pub(crate) units: Vec<AccessUnit>,
    /// Where its truth lies.
    pub(crate) truth_file: PathBuf,
    /// Its truth.
    pub(crate) truth: Truth,
}

/// The files of a loop: the clip and its truth.
#[must_use]
pub fn files(directory: &Path, of: SceneParameters) -> [PathBuf; 2] {
    let SceneParameters {
        width,
        height,
        fps,
        seconds,
        seed,
    } = of;
    let name = format!("scene-{DRAWING}-{width}x{height}-{fps}fps-{seconds}s-seed{seed}");
    ["h264", "json"].map(|ending| directory.join(format!("{name}.{ending}")))
}

/// Reads a loop, or draws and encodes it and keeps it.
pub(crate) fn load_or_make(directory: &Path, of: SceneParameters) -> Result<Loop, CacheError> {
    of.check()?;
    let [clip_file, truth_file] = files(directory, of);
    if let Some(found) = load(&clip_file, &truth_file, of) {
        return Ok(found);
    }
    let (stream, truth) = encode(&mut Scene::new(of)?, of)?;
    fs::create_dir_all(directory).map_err(|source| CacheError::Write {
        path: directory.to_owned(),
        source,
    })?;
    let written = serde_json::to_vec(&truth).map_err(CacheError::Truth)?;
    keep(&truth_file, &written)?;
    keep(&clip_file, &stream)?;
    Ok(Loop {
        units: units::delimited(&Bytes::from(stream)),
        truth_file,
        truth,
    })
}

fn load(clip_file: &Path, truth_file: &Path, of: SceneParameters) -> Option<Loop> {
    let units = units::delimited(&Bytes::from(fs::read(clip_file).ok()?));
    let truth = Truth::load(truth_file).ok()?;
    let frames = of.frames() as usize;
    let fits = units.len() == frames
        && truth.frames.len() == frames
        && units.first()?.parameter_sets().is_some();
    fits.then(|| Loop {
        units,
        truth_file: truth_file.to_owned(),
        truth,
    })
}

/// Writes beside and renames, so that nobody reads half a file.
fn keep(path: &Path, content: &[u8]) -> Result<(), CacheError> {
    let failed = |source| CacheError::Write {
        path: path.to_owned(),
        source,
    };
    let beside = path.with_extension(format!("{}.part", std::process::id()));
    let written = fs::File::create(&beside)
        .and_then(|mut file| file.write_all(content))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Half a file helps nobody; that it cannot be removed changes nothing about the failure.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: SceneParameters = SceneParameters {
        width: 128,
        height: 96,
        fps: 5,
        seconds: 2,
        seed: 3,
    };

    #[test]
    fn a_loop_is_made_once_and_then_read() {
        let directory = tempfile::tempdir().unwrap();
        let made = load_or_make(directory.path(), SMALL).unwrap();
        assert_eq!(made.units.len(), 10);
        assert!(made.units[0].is_key && made.units[5].is_key && !made.units[1].is_key);
        let [clip, _] = files(directory.path(), SMALL);
        let before = fs::metadata(&clip).unwrap().modified().unwrap();
        let read = load_or_make(directory.path(), SMALL).unwrap();
        assert_eq!((read.units, read.truth), (made.units, made.truth));
        assert_eq!(fs::metadata(&clip).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn a_clip_that_does_not_fit_its_truth_is_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let made = load_or_make(directory.path(), SMALL).unwrap();
        let [clip, truth] = files(directory.path(), SMALL);
        fs::write(&clip, b"half").unwrap();
        assert_eq!(
            load_or_make(directory.path(), SMALL).unwrap().units,
            made.units
        );
        fs::write(&truth, b"{").unwrap();
        assert_eq!(
            load_or_make(directory.path(), SMALL).unwrap().truth,
            made.truth
        );
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = load_or_make(Path::new("/dev/null/cache"), SMALL).unwrap_err();
        assert!(error.to_string().contains("/dev/null/cache"), "{error}");
    }
}

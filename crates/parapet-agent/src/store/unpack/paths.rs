//! What a path of an asset may be, and what may stand where. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::{DEEPEST, LONGEST_PATH, UnpackError};

/// Places of an application's root that the appliance mounts something at, or writes something
/// into (`parapet-launcher`, `roots.rs`), and the directories on the way to them. An image may have
/// a directory there or nothing.
const OURS: [&str; 14] = [
    "dev",
    "proc",
    "sys",
    "tmp",
    "run",
    "etc",
    "var",
    "var/tmp",
    "opt",
    "opt/aws",
    "opt/aws/panorama",
    "opt/aws/panorama/logs",
    "opt/aws/panorama/storage",
    "opt/parapet",
];
/// Below these an application sees nothing of the image: pipes and sockets that an exported
/// container has there were of its own run.
const HIDDEN: [&str; 6] = ["dev", "proc", "sys", "tmp", "run", "var/tmp"];

/// A relative path without `.` and `..`; `./a` is `a`.
pub(super) fn plain(raw: &[u8]) -> Result<PathBuf, UnpackError> {
    let refuse = || {
        let text: String = String::from_utf8_lossy(raw).chars().take(100).collect();
        UnpackError::Path(text)
    };
    if raw.len() > LONGEST_PATH || raw.contains(&0) {
        return Err(refuse());
    }
    let mut path = PathBuf::new();
    let mut depth = 0;
    for component in Path::new(OsStr::from_bytes(raw)).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => {
                depth += 1;
                path.push(name);
            }
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(refuse());
            }
        }
    }
    if depth > DEEPEST {
        Err(refuse())
    } else {
        Ok(path)
    }
}

/// The target of a symbolic link: anything, since only the application follows it.
pub(super) fn link_target(path: &Path, raw: Vec<u8>) -> Result<Vec<u8>, UnpackError> {
    if raw.is_empty() || raw.len() > LONGEST_PATH || raw.contains(&0) {
        Err(UnpackError::Path(path.display().to_string()))
    } else {
        Ok(raw)
    }
}

/// Refuses anything but a directory where the appliance needs one.
pub(super) fn must_be_directory(path: &Path, found: &'static str) -> Result<(), UnpackError> {
    if OURS.iter().any(|place| path == Path::new(place)) {
        return Err(UnpackError::Occupied {
            path: path.display().to_string(),
            found,
        });
    }
    Ok(())
}

/// Whether a special file may be left out in silence: a device node in `/dev`, anything else of
/// the kind where the image is hidden.
pub(super) fn may_be_left_out(path: &Path, found: &'static str) -> bool {
    let places = if found == DEVICE {
        &HIDDEN[..1]
    } else {
        &HIDDEN[..]
    };
    places.iter().any(|place| path.starts_with(place))
}

/// What a device node is called.
pub(super) const DEVICE: &str = "device node";

//! Takes a package's asset apart, trusting nothing in it (`research/security.md` 7.2).
//!
//! Two formats, told apart by their first bytes: [`archive`] (tar.gz) and [`squashfs`]. Both give
//! one [`Entry`] after the other; [`tree`] writes them, below directory handles and following no
//! link of the asset. Counts, sizes, depth and ratio are bounded before anything is written.
//!
//! An asset at fault is refused with the entry's name. What real exported images carry and an
//! application never gets is taken off instead, and said in the log by name ([`Taken`]): setuid
//! bits, file capabilities and other extended attributes, entries of `/dev`. All links stay links,
//! for the application; files become readable for everybody and belong to the agent.

mod archive;
#[cfg(test)]
mod fuzz;
mod paths;
mod squashfs;
#[cfg(test)]
mod tests;
mod tree;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use tree::Tree;

const MOST_ENTRIES: u64 = 1_000_000;
const MOST_BYTES: u64 = 64 * 1024 * 1024 * 1024;
const LONGEST_PATH: usize = 4096;
const DEEPEST: usize = 128;
/// No real tree shrinks by more; what does is made to fill a disk.
const HIGHEST_RATIO: u64 = 200;
/// Up to here the ratio does not matter.
const RATIO_FREE: u64 = 64 * 1024 * 1024;
/// Largest model file.
const LARGEST_MODEL: u64 = 8 * 1024 * 1024 * 1024;
/// Names of what was taken off that reach the log, of each kind.
const MOST_NAMES: usize = 20;

/// Why an asset is refused.
#[derive(Debug, Error)]
pub(crate) enum UnpackError {
    #[error("read the asset; it must be a tar.gz or a squashfs image")]
    Read(#[source] io::Error),
    #[error("take the path {0:?}: paths must be relative, without '..', at most {DEEPEST} deep")]
    Path(String),
    #[error("take {0:?}: its directory is a link or a file in this asset")]
    Parent(String),
    #[error("take {0:?}: the asset has it twice")]
    Twice(String),
    #[error("take the hard link {0:?}: its target is no file of this asset")]
    HardLink(String),
    #[error(
        "take {path:?}: a {found} is where the appliance mounts something of its own; build the \
         image with a directory there, or with nothing"
    )]
    Occupied { path: String, found: &'static str },
    #[error("take {path:?}: a {found} has no use in a package; build the image without it")]
    Special { path: String, found: &'static str },
    #[error("take {path:?}: {odd}; pack the image again with a current docker export or tar")]
    Odd { path: String, odd: &'static str },
    #[error("take the asset: {0}")]
    Limit(&'static str),
    #[error("write {0:?}")]
    Write(String, #[source] io::Error),
    #[error("find the model: the asset holds {0} files ending in .onnx, it must hold one")]
    Models(usize),
}

impl UnpackError {
    /// Whether the package itself is at fault.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::Write(..))
    }
}

/// One entry of an asset. Its path is relative and plain ([`paths::plain`]).
struct Entry<'a> {
    path: PathBuf,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Directory,
    File {
        executable: bool,
        bytes: u64,
        contents: &'a mut dyn Read,
    },
    Symlink(Vec<u8>),
    HardLink(PathBuf),
    /// A device node, pipe or socket.
    Special(&'static str),
}

/// What an asset may unpack to. Counted before anything is written.
struct Limits {
    entries: u64,
    bytes: u64,
    most_bytes: u64,
}

impl Limits {
    fn of(packed: u64) -> Self {
        Self {
            entries: 0,
            bytes: 0,
            most_bytes: (RATIO_FREE + packed.saturating_mul(HIGHEST_RATIO)).min(MOST_BYTES),
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(UnpackError::Limit("it has more than a million entries"));
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.most_bytes {
            return Err(UnpackError::Limit("it unpacks to far more than it should"));
        }
        Ok(())
    }
}

/// What was taken off or left out, for the log.
#[derive(Debug, Default)]
struct Taken {
    kinds: Vec<(&'static str, Vec<String>, usize)>,
}

impl Taken {
    fn note(&mut self, what: &'static str, path: &Path) {
        let index = self.kinds.iter().position(|(known, ..)| *known == what);
        let index = index.unwrap_or_else(|| {
            self.kinds.push((what, Vec::new(), 0));
            self.kinds.len() - 1
        });
        let (_, names, count) = &mut self.kinds[index];
        *count += 1;
        if names.len() < MOST_NAMES {
            names.push(path.display().to_string());
        }
    }

    fn log(&self, asset: &Path) {
        for (what, names, count) in &self.kinds {
            tracing::info!(
                asset = %asset.display(), count, names = names.join(", "),
                "taken off an image: {what}"
            );
        }
    }
}

/// Unpacks a code asset into `target/rootfs`.
pub(crate) fn image(asset: &Path, target: &Path) -> Result<(), UnpackError> {
    let mut taken = Taken::default();
    let unpacked = image_noting(asset, target, &mut taken);
    taken.log(asset);
    unpacked
}

fn image_noting(asset: &Path, target: &Path, taken: &mut Taken) -> Result<(), UnpackError> {
    let rootfs = target.join("rootfs");
    let failed = |error| UnpackError::Write(rootfs.display().to_string(), error);
    fs::create_dir_all(&rootfs).map_err(failed)?;
    let tree = Tree::open(&rootfs).map_err(failed)?;
    let mut left_out = Taken::default();
    each_entry(asset, taken, |entry| tree.place(entry, &mut left_out))?;
    taken.kinds.append(&mut left_out.kinds);
    tree.finish().map_err(failed)
}

/// Takes the only `.onnx` file of a model asset as `target`.
pub(crate) fn model(asset: &Path, target: &Path) -> Result<(), UnpackError> {
    let mut found = 0;
    each_entry(asset, &mut Taken::default(), |entry| {
        let Entry { path, kind } = entry;
        let is_model = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
        // macOS archives carry a shadow `._NAME` beside each file.
        let is_shadow = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("._"));
        let Kind::File {
            bytes, contents, ..
        } = kind
        else {
            return Ok(());
        };
        if !is_model || is_shadow {
            return Ok(());
        }
        found += 1;
        if found == 1 {
            if bytes > LARGEST_MODEL {
                return Err(UnpackError::Limit("the model is larger than 8 GiB"));
            }
            let failed = |error| UnpackError::Write(path.display().to_string(), error);
            let mut file = File::create(target).map_err(failed)?;
            copy(contents, bytes, &mut file, &path)?;
            file.sync_all().map_err(failed)?;
        }
        Ok(())
    })?;
    if found == 1 {
        Ok(())
    } else {
        Err(UnpackError::Models(found))
    }
}

/// Gives every entry of an asset of either format.
fn each_entry(
    asset: &Path,
    taken: &mut Taken,
    take: impl FnMut(Entry<'_>) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let mut file = File::open(asset).map_err(UnpackError::Read)?;
    let packed = file.metadata().map_err(UnpackError::Read)?.len();
    let mut magic = [0; 4];
    let read = file.read(&mut magic).map_err(UnpackError::Read)?;
    let mut limits = Limits::of(packed);
    io::Seek::rewind(&mut file).map_err(UnpackError::Read)?;
    if magic[..read] == squashfs::MAGIC {
        squashfs::each_entry(file, packed, &mut limits, taken, take)
    } else {
        archive::each_entry(file, &mut limits, taken, take)
    }
}

/// Copies contents, which must be as long as was announced.
fn copy(
    contents: &mut dyn Read,
    announced: u64,
    file: &mut File,
    path: &Path,
) -> Result<(), UnpackError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let read = contents.read(&mut buffer).map_err(UnpackError::Read)?;
        length += read as u64;
        if length > announced || (read == 0 && length < announced) {
            return Err(odd(path, "its contents are not as long as announced"));
        }
        if read == 0 {
            return Ok(());
        }
        io::Write::write_all(file, &buffer[..read])
            .map_err(|error| UnpackError::Write(path.display().to_string(), error))?;
    }
}

fn odd(path: &Path, odd: &'static str) -> UnpackError {
    UnpackError::Odd {
        path: path.display().to_string(),
        odd,
    }
}

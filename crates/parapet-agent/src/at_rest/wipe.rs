//! Overwriting what must not be found again, where it lies.
//!
//! Works on handles below a directory and follows no link: it may be root in a directory that
//! somebody else writes. What it cannot promise is in `docs/hardening.md`: flash and file systems
//! that write elsewhere may keep old blocks.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use parapet_sandbox::root::open_below;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, unlinkat};
use rustix::io::Errno;

/// Larger than any key.
const LARGEST_KEY: u64 = 1 << 20;
/// Written at a time.
const CHUNK: usize = 1 << 20;
/// Files with several names that are kept in mind; further ones are only deleted.
const MOST_LINKED: usize = 1 << 20;
/// Deepest directory whose files are overwritten; what lies deeper is only deleted.
const DEEPEST: usize = 64;

/// Overwrites a key where it lies, and deletes it. `false` where there is none.
pub(crate) fn destroy(root: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let path = Path::new(name);
    let (Some(above), Some(last)) = (path.parent(), path.file_name()) else {
        return Ok(false);
    };
    let above = if above.as_os_str().is_empty() {
        Path::new(".")
    } else {
        above
    };
    let directory = match open_below(root, above, OFlags::RDONLY | OFlags::DIRECTORY) {
        // A link or a file in place of the directory is deleted later, and has no key of ours.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        other => other?,
    };
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match open_below(directory.as_fd(), Path::new(last), flags) {
        Ok(file) => {
            let file = File::from(file);
            let metadata = file.metadata()?;
            // The agent's user may have given a file of somebody else this second name.
            if !metadata.is_file() || metadata.nlink() != 1 {
                return Ok(false);
            }
            zero(&file, 0, metadata.len().min(LARGEST_KEY))?;
            file.sync_all()?;
        }
        // Nothing, or a link, a directory, a pipe: no key.
        Err(Errno::NOENT | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    unlinkat(&directory, last, AtFlags::empty())?;
    File::from(directory).sync_all()?;
    Ok(true)
}

/// Overwrites every file of a directory and of those in it, and deletes none. Gives how many
/// directories lie too deep to be looked into.
///
/// A file with several names is overwritten when all of them are in there: what has a name elsewhere
/// is somebody else's too.
pub(crate) fn overwrite_all(directory: BorrowedFd<'_>) -> io::Result<u64> {
    overwrite_below(directory, DEEPEST, &mut HashMap::new())
}

/// `names` counts the names that were met of files with several, by their numbers.
fn overwrite_below(
    directory: BorrowedFd<'_>,
    depth: usize,
    names: &mut HashMap<u64, u64>,
) -> io::Result<u64> {
    let mut too_deep = 0;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let path = Path::new(std::str::from_utf8(name.to_bytes()).unwrap_or_default());
        match entry.file_type() {
            FileType::Directory if depth == 0 => too_deep += 1,
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                let below = rustix::fs::openat(
                    directory,
                    name,
                    flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    rustix::fs::Mode::empty(),
                )?;
                too_deep += overwrite_below(below.as_fd(), depth - 1, names)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                let file = File::from(rustix::fs::openat(
                    directory,
                    name,
                    flags | OFlags::CLOEXEC,
                    rustix::fs::Mode::empty(),
                )?);
                let metadata = file.metadata()?;
                let met = if metadata.nlink() > 1 && names.len() < MOST_LINKED {
                    let met = names.entry(metadata.ino()).or_default();
                    *met += 1;
                    *met
                } else {
                    1
                };
                if !metadata.is_file() || met < metadata.nlink() {
                    continue;
                }
                overwrite_extents(&file)
                    .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
            }
            _ => {}
        }
    }
    Ok(too_deep)
}

/// All that a file has on the disk; not its holes, which may be of any size.
fn overwrite_extents(mut file: &File) -> io::Result<()> {
    let mut at = 0;
    loop {
        let from = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(from) => from,
            // No data from here on.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        at = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(from))?;
        zero(file, from, at - from)?;
    }
    file.flush()?;
    file.sync_all()
}

fn zero(mut file: &File, from: u64, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; CHUNK.min(usize::try_from(bytes).unwrap_or(CHUNK))];
    file.seek(SeekFrom::Start(from))?;
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(CHUNK).min(zeros.len());
        file.write_all(&zeros[..now])?;
        left -= now as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileExt as _, symlink};

    use super::*;

    #[test]
    fn every_file_of_a_tree_is_overwritten_but_what_is_linked_from_elsewhere() {
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("letter"), "precious").unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), "secret").unwrap();
        fs::hard_link(dir.path().join("a/b/file"), dir.path().join("a/twin")).unwrap();
        let holes = File::create(dir.path().join("holes")).unwrap();
        holes.write_all_at(b"secret", 1 << 40).unwrap();
        symlink(other.path(), dir.path().join("link")).unwrap();
        fs::hard_link(other.path().join("letter"), dir.path().join("hard")).unwrap();
        let root = File::open(dir.path()).unwrap();
        assert_eq!(overwrite_all(root.as_fd()).unwrap(), 0);
        assert_eq!(fs::read(dir.path().join("a/b/file")).unwrap(), [0; 6]);
        let mut bytes = [1; 6];
        File::open(dir.path().join("holes"))
            .unwrap()
            .read_exact_at(&mut bytes, 1 << 40)
            .unwrap();
        assert_eq!(bytes, [0; 6]);
        assert_eq!(fs::read(other.path().join("letter")).unwrap(), b"precious");
    }
}

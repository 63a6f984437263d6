//! How much disk an instance holds: its storage and logs, and what its processes hold open without
//! a name. Only root can look there.
//!
//! Works on handles, follows no link, keeps one open directory a level. An entry counts at least
//! [`LEAST`], so that empty files are not free: file systems have a limited number of them. Runs in
//! a process of its own.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use parapet_sandbox::root::open_below;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, fstat, statat};
use rustix::io::Errno;

/// What an entry counts at least: the share of a file system that an inode takes.
const LEAST: u64 = 4096;
/// `st_blocks` counts these whatever the file system's own blocks are.
const BLOCK: u64 = 512;
/// More entries than any honest application has.
const MOST_ENTRIES: u64 = 4_000_000;
/// Deeper than any honest tree: each level holds a descriptor.
const DEEPEST: usize = 256;

/// Bytes of the trees `names` below the instance's directory, and of unnamed files of `pids`;
/// [`u64::MAX`] for what has no end and is not looked through.
pub(crate) fn measure(
    instance: BorrowedFd<'_>,
    names: &[&str],
    pids: &[u32],
) -> Result<u64, String> {
    let mut counted = Counted::default();
    for name in names {
        match open_directory(instance, Path::new(name)) {
            Err(Errno::NOENT) => {}
            other => counted.tree(other.map_err(|errno| format!("open {name}: {errno}"))?)?,
        }
    }
    let device = fstat(instance).map_err(|errno| errno.to_string())?.st_dev;
    for pid in pids {
        counted.unnamed(*pid, device);
    }
    Ok(counted.bytes)
}

#[derive(Default)]
struct Counted {
    bytes: u64,
    entries: u64,
    /// Files with several names, and unnamed ones that several processes hold.
    seen: HashSet<u64>,
}

impl Counted {
    /// Whether the look goes on.
    fn add(&mut self, blocks: u64) -> bool {
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            self.bytes = u64::MAX;
        }
        self.bytes = self.bytes.saturating_add((blocks * BLOCK).max(LEAST));
        self.bytes < u64::MAX
    }

    fn tree(&mut self, top: OwnedFd) -> Result<(), String> {
        let failed = |errno: Errno| format!("look at a directory: {errno}");
        let mut open = vec![Dir::new(top).map_err(failed)?];
        loop {
            let depth = open.len();
            let Some(directory) = open.last_mut() else {
                return Ok(());
            };
            let Some(entry) = directory.next() else {
                open.pop();
                continue;
            };
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let handle = directory.fd().map_err(failed)?;
            // What is gone by now holds nothing.
            let Ok(stat) = statat(handle, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if !is_directory && stat.st_nlink > 1 && !self.seen.insert(stat.st_ino) {
                continue;
            }
            if !self.add(stat.st_blocks.cast_unsigned()) {
                return Ok(());
            }
            if is_directory {
                if depth == DEEPEST {
                    self.bytes = u64::MAX;
                    return Ok(());
                }
                let path = Path::new(OsStr::from_bytes(name.to_bytes()));
                if let Ok(below) = open_directory(handle, path) {
                    open.push(Dir::new(below).map_err(failed)?);
                }
            }
        }
    }

    /// Files on this device that a process holds open or mapped and that have no name any more.
    fn unnamed(&mut self, pid: u32, device: u64) {
        for place in ["fd", "map_files"] {
            // A process that has ended holds nothing.
            let entries = std::fs::read_dir(format!("/proc/{pid}/{place}"));
            for entry in entries.into_iter().flatten().flatten() {
                let Ok(held) = std::fs::metadata(entry.path()) else {
                    continue;
                };
                let unnamed = held.nlink() == 0 && held.dev() == device;
                if unnamed && self.seen.insert(held.ino()) && !self.add(held.blocks()) {
                    return;
                }
            }
        }
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    open_below(parent, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn all_that_an_instance_holds_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        fs::create_dir_all(path.join("storage/a/b")).unwrap();
        fs::write(path.join("storage/a/b/file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(path.join("storage/a/b/file"), path.join("storage/again")).unwrap();
        fs::write(path.join("storage/empty"), b"").unwrap();
        // A hole is no disk, a link leads nowhere.
        File::create(path.join("storage/hole"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        symlink("/", path.join("storage/link")).unwrap();
        fs::write(path.join("other"), vec![1; 1 << 20]).unwrap();
        let handle = File::open(path).unwrap();
        let look = |pids: &[u32]| measure(handle.as_fd(), &["storage", "logs"], pids).unwrap();
        let bytes = look(&[]);
        // A megabyte, and six entries of at least a block's worth.
        let least = (1 << 20) + 5 * LEAST;
        assert!((least..least + 64 * 1024).contains(&bytes), "{bytes}");

        let unnamed = path.join("storage/unnamed");
        fs::write(&unnamed, vec![1; 2 << 20]).unwrap();
        let held = File::open(&unnamed).unwrap();
        fs::remove_file(&unnamed).unwrap();
        let pid = std::process::id();
        let with = look(&[pid, pid]);
        assert!((2 << 20..3 << 20).contains(&(with - bytes)), "{with}");
        drop(held);
        assert_eq!(look(&[pid]), bytes);

        let mut deep = path.join("logs");
        for _ in 0..=DEEPEST {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(look(&[]), u64::MAX);
    }
}

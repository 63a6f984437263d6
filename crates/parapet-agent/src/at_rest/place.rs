//! A directory of small files that others must not change, by its handle.
//!
//! Root works in here, in a directory of the agent's user, as the agent itself does: no link is
//! followed, nothing blocks, and what is made belongs to the directory's owner. A file is there
//! whole or not at all, whenever the power fails.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use parapet_sandbox::root::open_below;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, fchown, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::wipe;

/// Larger than anything in here.
pub(crate) const LARGEST: u64 = 64 * 1024;
/// What follows the name of a file that is to be overwritten and deleted, whatever happens.
pub(crate) const WIPING: &str = ".wiping";

/// An open directory.
pub(crate) struct Place {
    directory: File,
    path: PathBuf,
    owner: (u32, u32),
}

impl Place {
    /// The directory at a path that the operator named.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::of(File::open(path)?, path.to_owned())
    }

    fn of(directory: File, path: PathBuf) -> io::Result<Self> {
        let metadata = directory.metadata()?;
        if !metadata.is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        Ok(Self {
            directory,
            path,
            owner: (metadata.uid(), metadata.gid()),
        })
    }

    /// A directory in this one; `None` where there is none.
    pub(super) fn below(&self, name: &str) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match open_below(self.directory.as_fd(), Path::new(name), flags) {
            Ok(directory) => Self::of(directory.into(), self.path.join(name)).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The same, made where there is none.
    pub(super) fn make_below(&self, name: &str) -> io::Result<Self> {
        match mkdirat(&self.directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let made = self.below(name)?.ok_or(Errno::NOENT)?;
                self.give(&made.directory)?;
                self.directory.sync_all()?;
            }
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(self.below(name)?.ok_or(Errno::NOENT)?)
    }

    /// The path of a file in here, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is anything of this name.
    pub(super) fn has(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// A file's bytes; `None` where there is none.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let file = match open_below(self.directory.as_fd(), Path::new(name), flags) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(io::Error::other("it is no plain file of a sensible size"));
        }
        // Of its final size from the beginning: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST as usize));
        file.take(LARGEST).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Replaces a file, which then belongs to the directory's owner alone: durable when this
    /// returns.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.new");
        match unlinkat(&self.directory, &temporary, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let made = openat(&self.directory, &temporary, flags | OFlags::CLOEXEC, mode)?;
        let mut file = File::from(made);
        file.write_all(bytes)?;
        self.give(&file)?;
        file.sync_all()?;
        renameat(&self.directory, &temporary, &self.directory, name)?;
        self.directory.sync_all()
    }

    /// Overwrites and deletes a file, which is first put where nobody takes it for whole any more.
    /// `false` where there is none.
    pub(super) fn retire(&self, name: &str) -> io::Result<bool> {
        let retired = format!("{name}{WIPING}");
        match renameat(&self.directory, name, &self.directory, &retired) {
            Ok(()) => self.directory.sync_all()?,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        self.destroy(&retired)?;
        Ok(true)
    }

    /// Overwrites and deletes what a [`Place::retire`] that was cut off has left.
    pub(super) fn finish_retiring(&self, name: &str) -> io::Result<()> {
        self.destroy(&format!("{name}{WIPING}")).map(drop)
    }

    /// Overwrites and deletes a file. `false` where there is none.
    pub(super) fn destroy(&self, name: &str) -> io::Result<bool> {
        wipe::destroy(self.directory.as_fd(), name)
    }

    /// Overwrites every file in here and below ([`wipe::overwrite_all`]).
    pub(super) fn overwrite_all(&self) -> io::Result<u64> {
        wipe::overwrite_all(self.directory.as_fd())
    }

    /// Makes names that were given and taken durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.directory.sync_all()
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    fn give(&self, file: &File) -> io::Result<()> {
        let made = file.metadata()?;
        if (made.uid(), made.gid()) == self.owner {
            return Ok(());
        }
        let (user, group) = (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1));
        Ok(fchown(file, Some(user), Some(group))?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_in_place_of_a_file_is_neither_read_nor_written_through() {
        let other = tempfile::tempdir().unwrap();
        let shadow = other.path().join("shadow");
        fs::write(&shadow, "precious").unwrap();
        let dir = tempfile::tempdir().unwrap();
        symlink(&shadow, dir.path().join("key")).unwrap();
        symlink(&shadow, dir.path().join("key.new")).unwrap();
        symlink(other.path(), dir.path().join("inbound")).unwrap();
        let place = Place::open(dir.path()).unwrap();
        assert!(place.read("key").is_err());
        assert!(place.below("inbound").is_err());
        place.replace("key", b"mine").unwrap();
        assert_eq!(place.read("key").unwrap().unwrap().as_slice(), b"mine");
        assert_eq!(fs::read(&shadow).unwrap(), b"precious");
    }

    #[test]
    fn what_is_retired_is_gone_also_after_a_cut_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::open(dir.path()).unwrap();
        place.replace("key", b"secret").unwrap();
        assert!(place.retire("key").unwrap());
        assert!(!place.retire("key").unwrap());
        fs::write(dir.path().join("key.wiping"), b"secret").unwrap();
        place.finish_retiring("key").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

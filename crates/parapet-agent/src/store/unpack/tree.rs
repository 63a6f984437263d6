//! Writes an asset's entries below one directory, by handles, following no link of the asset.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Entry, Kind, Taken, UnpackError, copy, paths};

/// The directory that an asset is unpacked into.
pub(super) struct Tree {
    root: File,
}

impl Tree {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self {
            root: File::open(root)?,
        })
    }

    /// Writes one entry, or notes why it is left out.
    pub(super) fn place(&self, entry: Entry<'_>, taken: &mut Taken) -> Result<(), UnpackError> {
        let Entry { path, kind } = entry;
        let path = path.as_path();
        let root = self.root.as_fd();
        let shown = || path.display().to_string();
        let refused = |errno| match errno {
            Errno::EXIST => UnpackError::Twice(shown()),
            errno => UnpackError::Write(shown(), io::Error::from(errno)),
        };
        if let Kind::Special(found) = kind {
            if !paths::may_be_left_out(path, found) {
                let path = shown();
                return Err(UnpackError::Special { path, found });
            }
            taken.note("device nodes, pipes and sockets", path);
            return Ok(());
        }
        if let Kind::Directory = kind {
            return directory(root, path).map(drop);
        }
        let found = match &kind {
            Kind::Symlink(_) => "symbolic link",
            Kind::HardLink(_) => "hard link",
            _ => "file",
        };
        paths::must_be_directory(path, found)?;
        let name = path.file_name().ok_or_else(|| UnpackError::Path(shown()))?;
        let parent = directory(root, path.parent().unwrap_or(Path::new("")))?;
        match kind {
            Kind::Symlink(target) => {
                rustix::fs::symlinkat(target.as_slice(), &parent, name).map_err(refused)
            }
            Kind::HardLink(target) => {
                let beyond = |_| UnpackError::HardLink(shown());
                let above = target.parent().unwrap_or(Path::new(""));
                let target_parent = open_directory(root, above).map_err(beyond)?;
                let target_name = target
                    .file_name()
                    .ok_or_else(|| UnpackError::HardLink(shown()))?;
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let stat =
                    rustix::fs::statat(&target_parent, target_name, flags).map_err(beyond)?;
                if !FileType::from_raw_mode(stat.st_mode).is_file() {
                    return Err(UnpackError::HardLink(shown()));
                }
                rustix::fs::linkat(&target_parent, target_name, &parent, name, AtFlags::empty())
                    .map_err(refused)
            }
            Kind::File {
                executable,
                bytes,
                contents,
            } => {
                let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(&parent, name, flags, mode).map_err(refused)?;
                // The agent's umask must not decide what the application may read.
                rustix::fs::fchmod(&fd, mode).map_err(refused)?;
                copy(contents, bytes, &mut File::from(fd), path)
            }
            // Both are done above.
            Kind::Directory | Kind::Special(_) => Ok(()),
        }
    }

    /// Opens all directories to everybody, and waits until everything is on the disk.
    pub(super) fn finish(self) -> io::Result<()> {
        open_up(self.root.as_fd())?;
        Ok(rustix::fs::syncfs(&self.root)?)
    }
}

/// Opens a directory below the root without following any link.
fn open_directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// Makes a directory and those above it.
fn directory(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, UnpackError> {
    match open_directory(root, path) {
        Ok(fd) => return Ok(fd),
        Err(Errno::NOENT) => {}
        Err(_) => return Err(UnpackError::Parent(path.display().to_string())),
    }
    let (Some(name), Some(above)) = (path.file_name(), path.parent()) else {
        return Err(UnpackError::Parent(path.display().to_string()));
    };
    let parent = directory(root, above)?;
    let failed = |errno: Errno| UnpackError::Write(path.display().to_string(), errno.into());
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(failed)?;
    open_directory(root, path).map_err(failed)
}

/// Directories must be open to the application's user whatever the umask was.
fn open_up(directory: BorrowedFd<'_>) -> io::Result<()> {
    rustix::fs::fchmod(directory, Mode::from_raw_mode(0o755))?;
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type().is_dir() && name != c"." && name != c".." {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = rustix::fs::openat(directory, name, flags, Mode::empty())?;
            open_up(below.as_fd())?;
        }
    }
    Ok(())
}

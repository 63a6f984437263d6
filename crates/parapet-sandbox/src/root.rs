//! What a sandbox sees as `/`: a list of entries, opened before the process exists.
//!
//! The launcher names sources while it may still see them; the child only attaches open handles to
//! an empty tmpfs and decides nothing. Every source below a directory that others fill is opened
//! without following any symbolic link ([`Origin::Distrusted`]), and every place of the new root
//! is made by us, so that no link inside a package can point a mount anywhere.
//! Never writes outside the new root.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use thiserror::Error;

use crate::kernel::{Reach, restrict_mount};

/// Most entries that a composed tree may have in the directories that are taken apart.
const MAX_ENTRIES: usize = 1024;

/// Why a root could not be put together.
#[derive(Debug, Error)]
pub enum RootError {
    /// A source cannot be opened.
    #[error("open {}", path.display())]
    Open {
        /// As given.
        path: PathBuf,
        /// Why; `ELOOP` for a symbolic link on the way.
        #[source]
        source: std::io::Error,
    },
    /// A source cannot be cloned as a mount.
    #[error("take {} into a sandbox", path.display())]
    Clone {
        /// As given.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The image has something else where the sandbox needs a directory.
    #[error(
        "use the image: its /{place} is a {found} where a directory is needed; build the image \
         with a directory there, or with nothing"
    )]
    Occupied {
        /// Path inside.
        place: String,
        /// What is there.
        found: &'static str,
    },
    /// The image has too many entries to be taken apart.
    #[error(
        "use the image: more than {MAX_ENTRIES} entries in its top-level directories; put files \
         into a directory of their own"
    )]
    Crowded,
    /// A path with a null byte or that is not UTF-8.
    #[error("use the path {path:?}: it is not plain text")]
    Path {
        /// The path.
        path: PathBuf,
    },
}

/// How far a source's directories are trusted.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// An absolute path of the host or of the operator; symbolic links are followed.
    Host,
    /// Below this directory, whose content others write; no symbolic link is followed.
    Distrusted(BorrowedFd<'a>),
}

/// What the sandbox may do with a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read and execute.
    Read,
    /// Read, write and execute.
    Write,
    /// A device node: use it.
    Device,
}

/// Contents of `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proc {
    /// Nothing but the sandbox's own processes.
    Processes,
    /// Also what programs ask about the machine; the rest is masked or read-only.
    Machine,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Directory,
    Link(CString),
    File(Vec<u8>),
    Tree { mount: OwnedFd, directory: bool },
    Scratch { mebibytes: u32 },
    Over { source: CString },
    Proc(Proc),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) place: CString,
    pub(crate) kind: Kind,
}

/// A root under construction. Entries are attached in the order they were added; directories on
/// the way to an entry are added before it.
#[derive(Debug, Default)]
pub struct Root {
    pub(crate) entries: Vec<Entry>,
    directories: Vec<String>,
}

impl Root {
    /// An empty root.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory of the root's own tmpfs, and those on the way to it.
    pub fn directory(&mut self, place: &str) -> Result<(), RootError> {
        self.parents(place)?;
        if !self.directories.iter().any(|made| made == place) {
            self.directories.push(place.to_owned());
            self.push(place, Kind::Directory)?;
        }
        Ok(())
    }

    /// A symbolic link, resolved by nobody but the sandbox itself.
    pub fn link(&mut self, place: &str, target: &str) -> Result<(), RootError> {
        self.parents(place)?;
        let target = text(target)?;
        self.push(place, Kind::Link(target))
    }

    /// A small file of our own making.
    pub fn file(&mut self, place: &str, content: &str) -> Result<(), RootError> {
        self.parents(place)?;
        self.push(place, Kind::File(content.as_bytes().to_vec()))
    }

    /// A file or directory from outside. Never set-user-ID; no devices but for
    /// [`Access::Device`].
    pub fn bind(
        &mut self,
        place: &str,
        origin: Origin<'_>,
        path: &Path,
        access: Access,
    ) -> Result<(), RootError> {
        let opened = match origin {
            Origin::Host => openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
            Origin::Distrusted(directory) => open_below(directory, path, OFlags::PATH),
        };
        let handle = opened.map_err(|errno| failed_open(path, errno))?;
        // The host's own directories may hold further mounts; a package's never do.
        let reach = match origin {
            Origin::Host if access != Access::Device => Reach::All,
            _ => Reach::One,
        };
        self.attach(place, handle.as_fd(), path, reach, access)
    }

    /// Like [`Root::bind`] for a file of the host that need not exist.
    pub fn bind_if_there(&mut self, place: &str, path: &str) -> Result<(), RootError> {
        match self.bind(place, Origin::Host, Path::new(path), Access::Read) {
            Err(RootError::Open { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// An empty tmpfs, writable, not executable.
    pub fn scratch(&mut self, place: &str, mebibytes: u32) -> Result<(), RootError> {
        self.directory(place)?;
        self.push(place, Kind::Scratch { mebibytes })
    }

    /// Puts the file at `source` (of this root) over the one at `place`, if there is a regular
    /// file that no symbolic link leads to.
    pub fn over(&mut self, place: &str, source: &str) -> Result<(), RootError> {
        let source = text(source)?;
        self.push(place, Kind::Over { source })
    }

    /// `/proc` of the sandbox's own PID namespace.
    pub fn proc(&mut self, proc: Proc) -> Result<(), RootError> {
        self.directory("proc")?;
        self.push("proc", Kind::Proc(proc))
    }

    /// The device nodes that every program expects.
    pub fn devices(&mut self) -> Result<(), RootError> {
        for name in ["null", "zero", "full", "random", "urandom"] {
            let (place, path) = (format!("dev/{name}"), format!("/dev/{name}"));
            self.bind(&place, Origin::Host, Path::new(&path), Access::Device)?;
        }
        self.link("dev/fd", "/proc/self/fd")?;
        self.link("dev/stdin", "/proc/self/fd/0")?;
        self.link("dev/stdout", "/proc/self/fd/1")?;
        self.link("dev/stderr", "/proc/self/fd/2")
    }

    /// The entries of a distrusted tree, read-only. Places in `reserved` are left to the entries
    /// added later: what the tree has there is not shown, and has to be a directory. Directories
    /// on the way to a reserved place are taken apart, so that it can be made although the tree
    /// lacks it.
    pub fn compose(&mut self, tree: BorrowedFd<'_>, reserved: &[&str]) -> Result<(), RootError> {
        let mut budget = MAX_ENTRIES;
        self.compose_below(tree, "", reserved, &mut budget)
    }

    fn compose_below(
        &mut self,
        directory: BorrowedFd<'_>,
        prefix: &str,
        reserved: &[&str],
        budget: &mut usize,
    ) -> Result<(), RootError> {
        let listed = |errno| failed_open(Path::new(prefix), errno);
        let readable = open_below(
            directory,
            Path::new("."),
            OFlags::RDONLY | OFlags::DIRECTORY,
        )
        .map_err(listed)?;
        let entries = rustix::fs::Dir::new(readable).map_err(listed)?;
        for entry in entries {
            let entry = entry.map_err(listed)?;
            let raw = entry.file_name();
            if raw == c"." || raw == c".." {
                continue;
            }
            *budget = budget.checked_sub(1).ok_or(RootError::Crowded)?;
            let name = raw.to_str().map_err(|_| RootError::Path {
                path: PathBuf::from(raw.to_string_lossy().into_owned()),
            })?;
            let place = format!("{prefix}{name}");
            let path = Path::new(name);
            let kind = statat(directory, path, AtFlags::SYMLINK_NOFOLLOW)
                .map(|stat| FileType::from_raw_mode(stat.st_mode))
                .map_err(|errno| failed_open(Path::new(&place), errno))?;
            let below = format!("{place}/");
            let on_the_way = reserved.iter().any(|other| other.starts_with(&below));
            if reserved.contains(&place.as_str()) || on_the_way {
                if kind != FileType::Directory {
                    return Err(RootError::Occupied {
                        place,
                        found: kind_name(kind),
                    });
                }
                if on_the_way {
                    let inner = open_below(directory, path, OFlags::PATH | OFlags::DIRECTORY)
                        .map_err(|errno| failed_open(Path::new(&place), errno))?;
                    self.directory(&place)?;
                    self.compose_below(inner.as_fd(), &below, reserved, budget)?;
                }
                continue;
            }
            match kind {
                FileType::Directory | FileType::RegularFile => {
                    self.bind(&place, Origin::Distrusted(directory), path, Access::Read)?;
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(directory, path, Vec::new())
                        .map_err(|errno| failed_open(Path::new(&place), errno))?;
                    self.push(&place, Kind::Link(target))?;
                }
                // Sockets, pipes and devices of a package serve nobody.
                _ => {}
            }
        }
        Ok(())
    }

    fn attach(
        &mut self,
        place: &str,
        handle: BorrowedFd<'_>,
        path: &Path,
        reach: Reach,
        access: Access,
    ) -> Result<(), RootError> {
        let failed = |source: std::io::Error| RootError::Clone {
            path: path.to_owned(),
            source,
        };
        let stat = rustix::fs::fstat(handle).map_err(|errno| failed(errno.into()))?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        if reach == Reach::All {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let mount = open_tree(handle, c"", flags).map_err(|errno| failed(errno.into()))?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | match access {
                Access::Read => {
                    MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV
                }
                Access::Write => MountAttrFlags::MOUNT_ATTR_NODEV,
                Access::Device => {
                    MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOEXEC
                }
            };
        restrict_mount(mount.as_fd(), reach, attributes).map_err(failed)?;
        self.parents(place)?;
        self.push(place, Kind::Tree { mount, directory })
    }

    fn parents(&mut self, place: &str) -> Result<(), RootError> {
        let ends = place.match_indices('/').map(|(end, _)| end);
        for end in ends {
            self.directory(&place[..end])?;
        }
        Ok(())
    }

    fn push(&mut self, place: &str, kind: Kind) -> Result<(), RootError> {
        self.entries.push(Entry {
            place: text(place)?,
            kind,
        });
        Ok(())
    }
}

/// Opens `path` below `directory` without following any symbolic link and without leaving it.
pub fn open_below(directory: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = || {
        openat2(
            directory,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    };
    // A rename elsewhere may race with the walk; the kernel then asks to try again.
    let mut opened = open();
    for _ in 0..16 {
        if !matches!(opened, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
        opened = open();
    }
    opened
}

fn failed_open(path: &Path, errno: Errno) -> RootError {
    RootError::Open {
        path: path.to_owned(),
        source: errno.into(),
    }
}

fn text(text: &str) -> Result<CString, RootError> {
    CString::new(text).map_err(|_| RootError::Path {
        path: PathBuf::from(text),
    })
}

fn kind_name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Symlink => "symbolic link",
        _ => "special file",
    }
}

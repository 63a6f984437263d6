//! Takes a package's archive apart, trusting nothing in it (`research/security.md` 7.2).
//!
//! Works on directory handles below the target and never follows a link of the archive. Links are
//! kept as they are, for the application; device nodes, pipes and sockets are left out; setuid and
//! ownership are dropped; files become readable for the application's user. Counts, sizes, depth
//! and ratio are bounded.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};
use thiserror::Error;

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

/// Why an archive is refused.
#[derive(Debug, Error)]
pub(crate) enum UnpackError {
    #[error("read the archive; it must be a tar.gz")]
    Read(#[source] io::Error),
    #[error("take the path {0:?}: paths must be relative, without '..', at most {DEEPEST} deep")]
    Path(String),
    #[error("take {0:?}: its directory is a link or a file in this archive")]
    Parent(String),
    #[error("take {0:?}: the archive has it twice")]
    Twice(String),
    #[error("take the hard link {0:?}: its target is no file of this archive")]
    HardLink(String),
    #[error("take the archive: {0}")]
    Limit(&'static str),
    #[error("write {0:?}")]
    Write(String, #[source] io::Error),
    #[error("find the model: the archive holds {0} files ending in .onnx, it must hold one")]
    Models(usize),
}

impl UnpackError {
    /// Whether the package itself is at fault.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self, Self::Write(..))
    }
}

/// Unpacks a code asset into `target/rootfs`.
pub(crate) fn image(archive: &Path, target: &Path) -> Result<(), UnpackError> {
    let rootfs = target.join("rootfs");
    let failed = |error| UnpackError::Write(rootfs.display().to_string(), error);
    fs::create_dir_all(&rootfs).map_err(failed)?;
    let root = File::open(&rootfs).map_err(failed)?;
    let root = root.as_fd();
    let mut limits = Limits::of(archive)?;
    each_entry(archive, |entry, path| {
        limits.count(entry)?;
        place(root, entry, path)
    })?;
    open_up(root).map_err(failed)?;
    rustix::fs::syncfs(root).map_err(|errno| failed(errno.into()))
}

/// Takes the only `.onnx` file of a model asset as `target`.
pub(crate) fn model(archive: &Path, target: &Path) -> Result<(), UnpackError> {
    let mut limits = Limits::of(archive)?;
    let mut found = 0;
    each_entry(archive, |entry, path| {
        limits.count(entry)?;
        let is_model = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
        // macOS archives carry a shadow `._NAME` beside each file.
        let is_shadow = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("._"));
        if !entry.header().entry_type().is_file() || !is_model || is_shadow {
            return Ok(());
        }
        found += 1;
        if found == 1 {
            if entry.size() > LARGEST_MODEL {
                return Err(UnpackError::Limit("the model is larger than 8 GiB"));
            }
            let failed = |error| UnpackError::Write(path.display().to_string(), error);
            let mut file = File::create(target).map_err(failed)?;
            copy(entry, &mut file, path)?;
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

struct Limits {
    entries: u64,
    bytes: u64,
    most_bytes: u64,
}

impl Limits {
    fn of(archive: &Path) -> Result<Self, UnpackError> {
        let packed = fs::metadata(archive).map_err(UnpackError::Read)?.len();
        let most_bytes = (RATIO_FREE + packed.saturating_mul(HIGHEST_RATIO)).min(MOST_BYTES);
        Ok(Self {
            entries: 0,
            bytes: 0,
            most_bytes,
        })
    }

    /// Counts before anything is written. A sparse file counts with its full length.
    fn count<R: Read>(&mut self, entry: &Entry<'_, R>) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(UnpackError::Limit("it has more than a million entries"));
        }
        self.bytes = self.bytes.saturating_add(entry.size());
        if self.bytes > self.most_bytes {
            return Err(UnpackError::Limit("it unpacks to far more than it should"));
        }
        Ok(())
    }
}

type GzEntry<'a> = Entry<'a, MultiGzDecoder<File>>;

fn each_entry(
    archive: &Path,
    mut take: impl FnMut(&mut GzEntry<'_>, &Path) -> Result<(), UnpackError>,
) -> Result<(), UnpackError> {
    let file = File::open(archive).map_err(UnpackError::Read)?;
    let mut archive = Archive::new(MultiGzDecoder::new(file));
    for entry in archive.entries().map_err(UnpackError::Read)? {
        let mut entry = entry.map_err(UnpackError::Read)?;
        let raw = entry.path_bytes().into_owned();
        let path = plain(&raw)?;
        if path.as_os_str().is_empty() {
            continue;
        }
        take(&mut entry, &path)?;
    }
    Ok(())
}

/// A relative path without `.` and `..`; the archive's `./a` is `a`.
fn plain(raw: &[u8]) -> Result<PathBuf, UnpackError> {
    let refuse = || {
        let text: String = String::from_utf8_lossy(raw).chars().take(100).collect();
        UnpackError::Path(text)
    };
    if raw.len() > LONGEST_PATH || raw.contains(&0) {
        return Err(refuse());
    }
    let text = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(raw);
    let mut path = PathBuf::new();
    let mut depth = 0;
    for component in Path::new(text).components() {
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

fn place(root: BorrowedFd<'_>, entry: &mut GzEntry<'_>, path: &Path) -> Result<(), UnpackError> {
    let shown = || path.display().to_string();
    let refused = |errno| match errno {
        Errno::EXIST => UnpackError::Twice(shown()),
        errno => UnpackError::Write(shown(), io::Error::from(errno)),
    };
    let kind = entry.header().entry_type();
    match kind {
        EntryType::Directory => return directory(root, path).map(drop),
        EntryType::Regular
        | EntryType::Continuous
        | EntryType::GNUSparse
        | EntryType::Symlink
        | EntryType::Link => {}
        // Device nodes, pipes, and the extensions of other tar programs.
        _ => return Ok(()),
    }
    let name = path.file_name().ok_or_else(|| UnpackError::Path(shown()))?;
    let parent = directory(root, path.parent().unwrap_or(Path::new("")))?;
    match kind {
        EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            if target.is_empty() || target.len() > LONGEST_PATH || target.contains(&0) {
                return Err(UnpackError::Path(shown()));
            }
            rustix::fs::symlinkat(target.as_slice(), &parent, name).map_err(refused)
        }
        EntryType::Link => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = plain(&target)?;
            let beyond = |_| UnpackError::HardLink(shown());
            let target_parent =
                open_directory(root, target.parent().unwrap_or(Path::new(""))).map_err(beyond)?;
            let target_name = target
                .file_name()
                .ok_or_else(|| UnpackError::HardLink(shown()))?;
            let stat = rustix::fs::statat(&target_parent, target_name, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(beyond)?;
            if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
                return Err(UnpackError::HardLink(shown()));
            }
            rustix::fs::linkat(&target_parent, target_name, &parent, name, AtFlags::empty())
                .map_err(refused)
        }
        _ => {
            let executable = entry.header().mode().map_err(UnpackError::Read)? & 0o111 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let fd = rustix::fs::openat(
                &parent,
                name,
                flags | OFlags::CLOEXEC,
                Mode::from_raw_mode(mode),
            )
            .map_err(refused)?;
            // The agent's umask must not decide what the application may read.
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).map_err(refused)?;
            copy(entry, &mut File::from(fd), path)
        }
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

fn copy(entry: &mut GzEntry<'_>, file: &mut File, path: &Path) -> Result<(), UnpackError> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = entry.read(&mut buffer).map_err(UnpackError::Read)?;
        if read == 0 {
            return Ok(());
        }
        io::Write::write_all(file, &buffer[..read])
            .map_err(|error| UnpackError::Write(path.display().to_string(), error))?;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;

    struct Case {
        dir: tempfile::TempDir,
        builder: Builder<GzEncoder<File>>,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let file = File::create(dir.path().join("a.tar.gz")).unwrap();
            fs::write(dir.path().join("outside"), b"outside").unwrap();
            Self {
                dir,
                builder: Builder::new(GzEncoder::new(file, Compression::fast())),
            }
        }

        /// Writes the name raw: the builder's own functions refuse what an attacker sends.
        fn entry(
            mut self,
            kind: EntryType,
            name: &str,
            link: &str,
            mode: u32,
            data: &[u8],
        ) -> Self {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(data.len() as u64);
            header.set_cksum();
            self.builder.append(&header, data).unwrap();
            self
        }

        fn file(self, name: &str) -> Self {
            self.entry(EntryType::Regular, name, "", 0o600, b"data")
        }

        fn unpack(
            self,
            unpack: fn(&Path, &Path) -> Result<(), UnpackError>,
        ) -> (tempfile::TempDir, Result<PathBuf, UnpackError>) {
            self.builder.into_inner().unwrap().finish().unwrap();
            let target = self.dir.path().join("target");
            let done = unpack(&self.dir.path().join("a.tar.gz"), &target).map(|()| target);
            (self.dir, done)
        }

        fn image(self) -> (tempfile::TempDir, Result<PathBuf, UnpackError>) {
            self.unpack(image)
        }
    }

    #[test]
    fn a_tree_keeps_its_shape_and_becomes_readable() {
        let case = Case::new()
            .entry(EntryType::Directory, "./panorama/", "", 0o700, b"")
            .entry(EntryType::Regular, "panorama/app.py", "", 0o600, b"print()")
            .entry(EntryType::Regular, "usr/bin/tool", "", 0o4711, b"x")
            .entry(EntryType::Link, "usr/bin/same", "usr/bin/tool", 0o644, b"")
            .entry(EntryType::Symlink, "bin", "usr/bin", 0o777, b"")
            .entry(EntryType::Char, "dev/null", "", 0o666, b"")
            .entry(EntryType::Fifo, "run/pipe", "", 0o666, b"");
        let (_dir, target) = case.image();
        let root = target.unwrap().join("rootfs");
        assert_eq!(fs::read(root.join("panorama/app.py")).unwrap(), b"print()");
        let mode = |name| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            (
                mode("panorama"),
                mode("panorama/app.py"),
                mode("usr/bin/same")
            ),
            (0o755, 0o644, 0o755)
        );
        assert_eq!(
            fs::read_link(root.join("bin")).unwrap(),
            Path::new("usr/bin")
        );
        assert!(!root.join("dev/null").exists() && !root.join("run/pipe").exists());
    }

    #[test]
    fn nothing_is_written_outside() {
        for name in ["/etc/evil", "../evil", "a/../../evil"] {
            let (_dir, refused) = Case::new().file(name).image();
            assert!(
                matches!(refused, Err(UnpackError::Path(_))),
                "{name}: {refused:?}"
            );
        }
        let (dir, refused) = Case::new()
            .entry(EntryType::Symlink, "a", "..", 0o777, b"")
            .file("a/evil")
            .image();
        assert!(
            matches!(refused, Err(UnpackError::Parent(_))),
            "{refused:?}"
        );
        assert!(!dir.path().join("target/evil").exists());
        let (dir, refused) = Case::new()
            .entry(EntryType::Symlink, "a", "../../outside", 0o777, b"")
            .file("a")
            .image();
        assert!(matches!(refused, Err(UnpackError::Twice(_))), "{refused:?}");
        assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"outside");
    }

    #[test]
    fn a_hard_link_stays_inside_and_meets_a_file() {
        for target in ["../outside", "/etc/passwd", "nothing", "a"] {
            let (_dir, refused) = Case::new()
                .entry(EntryType::Symlink, "a", "../../outside", 0o777, b"")
                .entry(EntryType::Link, "b", target, 0o644, b"")
                .image();
            assert!(
                matches!(
                    refused,
                    Err(UnpackError::HardLink(_) | UnpackError::Path(_))
                ),
                "{target}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_the_disk() {
        let case = Case::new().entry(EntryType::Regular, "a", "", 0o644, &[0; 4096]);
        let file = case.dir.path().join("a.tar.gz");
        case.builder.into_inner().unwrap().finish().unwrap();
        let mut limits = Limits::of(&file).unwrap();
        let packed = fs::metadata(&file).unwrap().len();
        assert_eq!(limits.most_bytes, RATIO_FREE + packed * HIGHEST_RATIO);
        limits.most_bytes = 4095;
        let refused = each_entry(&file, |entry, _| limits.count(entry));
        assert!(
            matches!(&refused, Err(e @ UnpackError::Limit(_)) if e.is_final()),
            "{refused:?}"
        );
        (limits.entries, limits.most_bytes) = (MOST_ENTRIES, MOST_BYTES);
        let refused = each_entry(&file, |entry, _| limits.count(entry));
        assert!(matches!(refused, Err(UnpackError::Limit(_))), "{refused:?}");
    }

    #[test]
    fn an_archive_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a");
        fs::write(&archive, b"PK\x03\x04 not a tar").unwrap();
        let refused = image(&archive, &dir.path().join("t"));
        assert!(matches!(refused, Err(UnpackError::Read(_))), "{refused:?}");
    }

    #[test]
    fn a_model_asset_holds_exactly_one_model() {
        let (_dir, model_file) = Case::new()
            .file("readme")
            .file("m/net.onnx")
            .file("m/._net.onnx")
            .unpack(model);
        assert_eq!(fs::read(model_file.unwrap()).unwrap(), b"data");
        let (_dir, none) = Case::new().file("readme").unpack(model);
        assert!(matches!(none, Err(UnpackError::Models(0))), "{none:?}");
        let (_dir, two) = Case::new().file("a.onnx").file("b.onnx").unpack(model);
        assert!(matches!(two, Err(UnpackError::Models(2))), "{two:?}");
    }
}

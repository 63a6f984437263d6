//! `parapet agent reset`: an appliance that knows nothing any more, keys first.
//!
//! Owns the order: a mark that a reset has begun, the keys (overwritten, synced, unlinked), what
//! they sealed and who the device was, then everything else, the mark last. Cut off anywhere it is
//! repeated, and until then no agent starts ([`crate::state`]). Works on handles below the state
//! directory and follows no link: it is root, and the agent's user and applications wrote all of
//! this. Never asks a control plane: the device is deleted there by `DeleteDevice`.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use parapet_sandbox::remove::remove;
use parapet_sandbox::root::open_below;
use rustix::fs::{AtFlags, Dir, OFlags, unlinkat};
use rustix::io::Errno;
use thiserror::Error;

use crate::state::{self, BEING_RESET, LOCK, LockError};

/// Keys below the state directory, the one that seals the others' values first. Beside each may
/// lie what a killed writer left.
const KEYS: [&str; 4] = [
    "device/secrets.key",
    "device/key.pem",
    "device/key.next.pem",
    "device/inbound/key.pem",
];
/// What goes after the keys and before all the rest.
const FIRST: [&CStr; 2] = [c"device", c"ledger"];
/// One of these makes a directory an agent's.
const SIGNS: [&str; 4] = ["device", "ledger", "status.json", BEING_RESET];
/// Larger than any key.
const LARGEST_KEY: u64 = 1 << 20;

/// Why a reset has not come to its end.
#[derive(Debug, Error)]
pub enum ResetError {
    /// An agent runs.
    #[error("hold the state directory")]
    Lock(#[from] LockError),
    /// Probably another directory was meant.
    #[error(
        "reset {path}: no agent has worked there (it has none of {signs}); give the directory of \
         its --data",
        path = .0.display(),
        signs = SIGNS.join(", ")
    )]
    NoState(PathBuf),
    /// A step, after which the reset is repeated.
    #[error("{step} {path}; repeat the reset, as root", path = path.display())]
    Step {
        /// What was tried.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Wipes a state directory. `tell` hears each step when it is done.
pub fn reset(data: &Path, tell: &mut dyn FnMut(&str)) -> Result<(), ResetError> {
    if !SIGNS.iter().any(|sign| data.join(sign).exists()) {
        return Err(ResetError::NoState(data.to_owned()));
    }
    let _lock = state::lock(data)?;
    let failed = |step, name: &str| {
        let path = data.join(name);
        move |source: io::Error| ResetError::Step { step, path, source }
    };
    let root = File::open(data).map_err(failed("open", ""))?;
    mark(&root).map_err(failed("write", BEING_RESET))?;

    let mut keys = 0;
    for key in KEYS {
        for name in [key.to_owned(), format!("{key}.new")] {
            keys += u32::from(destroy(&root, &name).map_err(failed("overwrite the key", &name))?);
        }
    }
    tell(&format!(
        "keys: {keys} overwritten and deleted; nothing that they sealed can be opened"
    ));
    let listed = names(root.as_fd()).map_err(failed("list", ""))?;
    let rest = listed.into_iter().filter(|name| {
        !FIRST.contains(&name.as_c_str())
            && name.as_bytes() != LOCK.as_bytes()
            && name.as_bytes() != BEING_RESET.as_bytes()
    });
    for name in FIRST.into_iter().map(CStr::to_owned).chain(rest) {
        let text = name.to_string_lossy();
        if delete(root.as_fd(), &name).map_err(failed("delete", &text))? {
            tell(&format!("{text}: deleted"));
        }
    }
    root.sync_all().map_err(failed("write", ""))?;
    unlinkat(&root, BEING_RESET, AtFlags::empty())
        .map_err(|errno| failed("delete", BEING_RESET)(errno.into()))?;
    root.sync_all().map_err(failed("write", ""))
}

/// From here on no agent starts before the reset's end.
fn mark(root: &File) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    rustix::fs::openat(root, BEING_RESET, flags | OFlags::CLOEXEC, 0o600.into())?;
    root.sync_all()
}

/// Overwrites a key where it lies, and deletes it. `false` where there is none.
fn destroy(root: &File, name: &str) -> io::Result<bool> {
    let path = Path::new(name);
    let (Some(above), Some(last)) = (path.parent(), path.file_name()) else {
        return Ok(false);
    };
    let directory = match open_below(root.as_fd(), above, OFlags::RDONLY | OFlags::DIRECTORY) {
        // A link or a file in place of the directory is deleted later, and has no key of ours.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        other => other?,
    };
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match open_below(directory.as_fd(), Path::new(last), flags) {
        Ok(file) => {
            if !overwrite(&File::from(file))? {
                return Ok(false);
            }
        }
        // Nothing, or a link, a directory, a pipe: no key.
        Err(Errno::NOENT | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    unlinkat(&directory, last, AtFlags::empty())?;
    File::from(directory).sync_all()?;
    Ok(true)
}

/// Zeros in the place of its bytes, on the disk when this returns. `false` for what is no file of
/// ours: the agent's user may have given a file of somebody else this second name.
fn overwrite(mut file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Ok(false);
    }
    let length = usize::try_from(metadata.len().min(LARGEST_KEY)).unwrap_or(0);
    file.write_all(&vec![0; length])?;
    file.sync_all()?;
    Ok(true)
}

fn names(root: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(root)? {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Deletes whatever has this name. `false` where nothing has.
fn delete(root: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match unlinkat(root, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => remove(root, name).map(|()| true).map_err(io::Error::other),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Seek as _};
    use std::os::unix::fs::symlink;

    use super::*;

    fn appliance() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "device/secrets.key",
            "device/key.pem",
            "device/key.next.pem.new",
            "device/inbound/key.pem",
            "device/certificate.pem",
            "device/secrets/secret-a",
            "ledger/desired.json",
            "blobs/b",
            "instances/one/storage/deep/file",
            "status.json",
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "precious").unwrap();
        }
        dir
    }

    fn left(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_reset_overwrites_the_keys_before_it_deletes_anything() {
        let dir = appliance();
        let mut key = File::open(dir.path().join("device/secrets.key")).unwrap();
        let mut told = Vec::new();
        reset(dir.path(), &mut |step| told.push(step.to_owned())).unwrap();
        let mut bytes = Vec::new();
        key.rewind().unwrap();
        key.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [0; 8]);
        assert!(told[0].starts_with("keys: 4 "), "{told:?}");
        assert_eq!(told[1..3], ["device: deleted", "ledger: deleted"]);
        assert_eq!(left(dir.path()), [LOCK]);
    }

    #[test]
    fn a_reset_that_was_cut_off_is_repeated_to_its_end() {
        let dir = appliance();
        fs::write(dir.path().join(BEING_RESET), "").unwrap();
        fs::remove_file(dir.path().join("device/secrets.key")).unwrap();
        fs::remove_dir_all(dir.path().join("ledger")).unwrap();
        assert!(state::hold(dir.path()).is_err(), "no agent in between");
        reset(dir.path(), &mut |_| {}).unwrap();
        assert_eq!(left(dir.path()), [LOCK]);
        state::hold(dir.path()).unwrap();
    }

    #[test]
    fn a_reset_is_refused_while_an_agent_runs_and_where_none_ever_did() {
        let dir = appliance();
        let agent = state::hold(dir.path()).unwrap();
        let refused = reset(dir.path(), &mut |_| {});
        assert!(matches!(refused, Err(ResetError::Lock(LockError::Busy(_)))));
        drop(agent);
        assert!(dir.path().join("device/key.pem").exists());
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("letter"), "x").unwrap();
        let refused = reset(home.path(), &mut |_| {});
        assert!(matches!(refused, Err(ResetError::NoState(_))));
        assert_eq!(left(home.path()), ["letter"]);
    }

    #[test]
    fn what_the_agents_user_links_to_outlives_a_reset() {
        let other = tempfile::tempdir().unwrap();
        for name in ["key.pem", "linked"] {
            fs::write(other.path().join(name), "precious").unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        symlink(other.path(), dir.path().join("device")).unwrap();
        fs::create_dir_all(dir.path().join("ledger")).unwrap();
        reset(dir.path(), &mut |_| {}).unwrap();
        fs::create_dir_all(dir.path().join("device/inbound")).unwrap();
        symlink(
            other.path().join("key.pem"),
            dir.path().join("device/key.pem"),
        )
        .unwrap();
        fs::hard_link(
            other.path().join("linked"),
            dir.path().join("device/secrets.key"),
        )
        .unwrap();
        reset(dir.path(), &mut |_| {}).unwrap();
        for name in ["key.pem", "linked"] {
            assert_eq!(fs::read(other.path().join(name)).unwrap(), b"precious");
        }
        assert_eq!(left(dir.path()), [LOCK]);
    }
}

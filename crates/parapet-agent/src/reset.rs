//! `parapet agent reset`: an appliance that knows nothing any more, keys first.
//!
//! Owns the order: a mark that a reset has begun, the keys (overwritten, synced, unlinked), what
//! they sealed and who the device was, then everything else, the mark last. Cut off anywhere it is
//! repeated, and until then no agent starts ([`crate::state`]). A state directory that is encrypted
//! loses the key of that first of all, and is an ordinary one in the end: locked or not, what it
//! held is gone with the key. Works on handles below the state
//! directory and follows no link: it is root, and the agent's user and applications wrote all of
//! this. Never asks a control plane: the device is deleted there by `DeleteDevice`.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use parapet_sandbox::fscrypt::{self, Policy};
use parapet_sandbox::remove::{remove, remove_unmovable};
use parapet_sandbox::root::open_below;
use rustix::fs::{AtFlags, Dir, Gid, Mode, OFlags, Uid, chownat, mkdirat, unlinkat};
use rustix::io::Errno;
use thiserror::Error;

use crate::at_rest::WIPING;
use crate::at_rest::data::{ENCRYPTING, UNLOCK, policy_of};
use crate::at_rest::wipe;
use crate::examine::is_locked;
use crate::state::{self, BEING_RESET, LOCK, LockError};

/// Keys below the state directory, the one that seals the others first, as an appliance has them or
/// one of before had them. Beside each may lie what a killed writer left.
const KEYS: [&str; 8] = [
    "device/secrets.key",
    "device/secrets.key.tpm",
    "device/key.pem",
    "device/key.next.pem",
    "device/inbound/key.pem",
    "device/key.sealed",
    "device/key.next.sealed",
    "device/inbound/key.sealed",
];
/// What goes after the keys and before all the rest.
const FIRST: [&CStr; 2] = [c"device", c"ledger"];
/// One of these makes a directory an agent's.
const SIGNS: [&str; 4] = ["device", "ledger", "status.json", BEING_RESET];

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
    let failed = |step, name: &str| {
        let path = data.join(name);
        move |source: io::Error| ResetError::Step { step, path, source }
    };
    let policy = policy_of(data).map_err(failed("look at", ""))?;
    let is_encrypted = matches!(policy, Policy::Encrypted(_));
    if !is_encrypted && !SIGNS.iter().any(|sign| data.join(sign).exists()) {
        return Err(ResetError::NoState(data.to_owned()));
    }
    // Nobody works in a locked directory, and nothing can be made in it.
    if is_encrypted && is_locked(data).map_err(failed("look at", ""))? {
        forget_directory_key(data, tell)?;
        return start_plain(data, tell);
    }
    let lock = state::lock(data)?;
    let root = File::open(data).map_err(failed("open", ""))?;
    mark(&root).map_err(failed("write", BEING_RESET))?;
    forget_directory_key(data, tell)?;

    let mut keys = 0;
    for key in KEYS {
        for end in ["", ".new", WIPING] {
            let name = format!("{key}{end}");
            let destroyed = wipe::destroy(root.as_fd(), &name);
            keys += u32::from(destroyed.map_err(failed("overwrite the key", &name))?);
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
    if is_encrypted {
        drop(lock);
        return start_plain(data, tell);
    }
    unlinkat(&root, BEING_RESET, AtFlags::empty())
        .map_err(|errno| failed("delete", BEING_RESET)(errno.into()))?;
    root.sync_all().map_err(failed("write", ""))
}

/// What lies beside the state directory for its encryption: the key, and what an encryption that
/// was cut off has left.
fn forget_directory_key(data: &Path, tell: &mut dyn FnMut(&str)) -> Result<(), ResetError> {
    let (above, name) = around(data)?;
    for end in ["", ".new"] {
        let unlock = format!("{name}{UNLOCK}{end}");
        let path = data.with_file_name(&unlock);
        let failed = |source| ResetError::Step {
            step: "overwrite the key",
            path,
            source,
        };
        if wipe::destroy(above.as_fd(), &unlock).map_err(failed)? {
            tell("the key of the encrypted state directory: overwritten and deleted");
        }
    }
    let left = format!("{name}{ENCRYPTING}");
    let path = data.with_file_name(&left);
    let failed = |source| ResetError::Step {
        step: "delete",
        path: path.clone(),
        source,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let directory = match open_below(above.as_fd(), Path::new(&left), flags) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(|errno| failed(errno.into()))?,
    };
    let is_plain = matches!(
        fscrypt::policy(directory.as_fd()).map_err(failed)?,
        Policy::None | Policy::Unsupported
    );
    if is_plain {
        wipe::overwrite_all(directory.as_fd()).map_err(failed)?;
    }
    let name = CString::new(left.as_str()).map_err(|error| failed(error.into()))?;
    let delete = if is_plain { remove } else { remove_unmovable };
    delete(above.as_fd(), &name).map_err(|error| failed(io::Error::other(error)))
}

/// An empty directory without policy in the place of an encrypted one, whose key the kernel then
/// forgets.
fn start_plain(data: &Path, tell: &mut dyn FnMut(&str)) -> Result<(), ResetError> {
    let failed = |step| {
        let path = data.to_owned();
        move |source: io::Error| ResetError::Step { step, path, source }
    };
    let (above, name) = around(data)?;
    let before = data.metadata().map_err(failed("look at"))?;
    let policy = policy_of(data).map_err(failed("look at"))?;
    let text = CString::new(name.as_str()).map_err(|error| failed("delete")(error.into()))?;
    // In a locked directory nothing can be moved.
    let delete = if is_locked(data).map_err(failed("look at"))? {
        remove_unmovable
    } else {
        remove
    };
    delete(above.as_fd(), &text).map_err(|error| failed("delete")(io::Error::other(error)))?;
    let mode = Mode::from_raw_mode(before.mode() & 0o7777);
    mkdirat(&above, &text, mode).map_err(|errno| failed("make")(errno.into()))?;
    let (user, group) = (Uid::from_raw(before.uid()), Gid::from_raw(before.gid()));
    chownat(
        &above,
        &text,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(|errno| failed("give away")(errno.into()))?;
    above.sync_all().map_err(failed("write"))?;
    if let Policy::Encrypted(identifier) = policy {
        fscrypt::remove_key(above.as_fd(), identifier)
            .map_err(failed("have the kernel forget the key of"))?;
    }
    tell("the state directory is empty, and no longer encrypted");
    Ok(())
}

fn around(data: &Path) -> Result<(File, String), ResetError> {
    let failed = |source| ResetError::Step {
        step: "look around",
        path: data.to_owned(),
        source,
    };
    let whole = data.canonicalize().map_err(failed)?;
    let (Some(above), Some(name)) = (whole.parent(), whole.file_name().and_then(|n| n.to_str()))
    else {
        return Err(failed(io::Error::other(
            "it is no directory below another one",
        )));
    };
    Ok((File::open(above).map_err(failed)?, name.to_owned()))
}

/// From here on no agent starts before the reset's end.
fn mark(root: &File) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    rustix::fs::openat(root, BEING_RESET, flags | OFlags::CLOEXEC, 0o600.into())?;
    root.sync_all()
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

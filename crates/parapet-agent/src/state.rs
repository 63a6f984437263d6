//! Who may touch the state directory: one agent, or the reset.
//!
//! Owns `lock` in there, a file that is locked for as long as its holder lives, and
//! `being-reset`, the mark of a reset that has not come to its end ([`crate::reset`]). An agent
//! that found half of its keys and all of its applications would start them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Gid, OFlags, Uid, fchown, flock};
use rustix::io::Errno;
use thiserror::Error;

/// Held by whoever works in the state directory.
pub(crate) const LOCK: &str = "lock";
/// There from the first to the last step of a reset.
pub(crate) const BEING_RESET: &str = "being-reset";

/// Why the state directory is not to be had.
#[derive(Debug, Error)]
pub enum LockError {
    /// An agent runs, or a reset.
    #[error("lock {path}: an agent or a reset works there; end it first", path = .0.display())]
    Busy(PathBuf),
    /// A reset was cut off.
    #[error(
        "use {path}: its reset has not come to its end; repeat `parapet agent reset --data {path}`",
        path = .0.display()
    )]
    HalfReset(PathBuf),
    /// The lock's file.
    #[error("open {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
}

/// Takes the state directory for an agent, for as long as the handle lives.
pub(crate) fn hold(data: &Path) -> Result<File, LockError> {
    let lock = lock(data)?;
    match data.join(BEING_RESET).try_exists() {
        Ok(false) => Ok(lock),
        Ok(true) => Err(LockError::HalfReset(data.to_owned())),
        Err(error) => Err(LockError::File(data.join(BEING_RESET), error)),
    }
}

/// The lock alone.
pub(crate) fn lock(data: &Path) -> Result<File, LockError> {
    let path = data.join(LOCK);
    // Root opens it in a directory of the agent's user: no link is followed, no pipe waited for.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(&path)
        .map_err(|error| LockError::File(path, error))?;
    belong_to_the_owner(data, &file).map_err(|error| LockError::File(data.join(LOCK), error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(LockError::Busy(data.to_owned())),
        Err(errno) => Err(LockError::File(data.join(LOCK), errno.into())),
    }
}

/// Root may have made it, in a directory whose agent is another user.
fn belong_to_the_owner(data: &Path, file: &File) -> io::Result<()> {
    let (above, made) = (data.metadata()?, file.metadata()?);
    if !rustix::process::geteuid().is_root() || above.uid() == made.uid() || made.nlink() != 1 {
        return Ok(());
    }
    let (user, group) = (Uid::from_raw(above.uid()), Gid::from_raw(above.gid()));
    Ok(fchown(file, Some(user), Some(group))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_has_one_agent_and_none_in_a_reset_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let held = hold(dir.path()).unwrap();
        assert!(matches!(hold(dir.path()), Err(LockError::Busy(_))));
        drop(held);
        std::fs::write(dir.path().join(BEING_RESET), "").unwrap();
        let refused = hold(dir.path()).unwrap_err();
        assert!(
            refused.to_string().contains("parapet agent reset"),
            "{refused}"
        );
        assert!(lock(dir.path()).is_ok(), "the reset itself may");
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp/elsewhere", dir.path().join(LOCK)).unwrap();
        assert!(matches!(hold(dir.path()), Err(LockError::File(..))));
    }
}

//! The directories of an instance, made for its users: the one place where those are written down.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use parapet_sandbox::root::open_below;
use parapet_sandbox::spawn::Users;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, statat};
use rustix::io::Errno;

use super::{RequestError, Requests, files};
use crate::names::Name;
use crate::roots::RootsError;

/// Most instances looked at for their users.
const MAX_INSTANCES: usize = 8192;
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

impl Requests<'_> {
    /// Makes the instance's log and storage directories for its users.
    pub(super) fn directories(&self, instance: &Name, node: &Name) -> Result<Users, RequestError> {
        let path = format!("instances/{instance}");
        let base = open_below(self.host.state(), Path::new(&path), DIRECTORY)
            .map_err(|source| RootsError::Missing { what: path, source })?;
        let owner = storage_owner(&base, "storage")
            .map_err(|source| files("look at the instance's storage", source))?;
        let users = self
            .host
            .users
            .application(owner, &self.other_owners(instance)?)?;
        directory(&base, "storage", 0o700, Some(users))?;
        let logs = directory(&base, "logs", 0o755, None)?;
        directory(&logs, node.as_str(), 0o755, Some(users))?;
        Ok(users)
    }

    fn other_owners(&self, instance: &Name) -> Result<BTreeSet<u32>, RequestError> {
        let failed = |source| files("look at the users of other instances", source);
        let all =
            open_below(self.host.state(), Path::new("instances"), DIRECTORY).map_err(failed)?;
        let mut owners = BTreeSet::new();
        for entry in rustix::fs::Dir::read_from(&all)
            .map_err(failed)?
            .take(MAX_INSTANCES)
        {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if name.starts_with('.') || name == instance.as_str() {
                continue;
            }
            // An entry that is no instance has no storage and no users.
            let storage = open_below(all.as_fd(), Path::new(name), DIRECTORY)
                .and_then(|other| storage_owner(&other, "storage"));
            owners.extend(storage.ok().flatten());
        }
        Ok(owners)
    }
}

/// The owner of a directory, unless it is not there or still the launcher's: then a start ended
/// half-way.
fn storage_owner(base: &OwnedFd, name: &str) -> Result<Option<u32>, Errno> {
    match statat(base, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if stat.st_uid == rustix::process::geteuid().as_raw() => Ok(None),
        Ok(stat) => Ok(Some(stat.st_uid)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn directory(
    parent: &OwnedFd,
    name: &str,
    mode: u32,
    users: Option<Users>,
) -> Result<OwnedFd, RequestError> {
    match mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(source) => return Err(files("make a directory of the instance", source)),
    }
    let made = open_below(parent.as_fd(), Path::new(name), DIRECTORY)
        .map_err(|source| files("open a directory of the instance", source))?;
    if let Some(users) = users {
        let stat = fstat(&made).map_err(|source| files("look at a directory", source))?;
        if stat.st_uid != users.outside {
            own(&made, users)?;
            fchmod(&made, Mode::from_raw_mode(mode))
                .map_err(|source| files("open a directory to its user", source))?;
        }
    }
    Ok(made)
}

/// Gives a file to the user that the program runs as.
pub(super) fn own(file: &OwnedFd, users: Users) -> Result<(), RequestError> {
    // Inside, the program runs as `run_as`; the first one inside is the first one outside.
    let id = users.outside + (users.run_as - users.inside);
    fchown(file, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))
        .map_err(|source| files("give a file to the application", source))
}

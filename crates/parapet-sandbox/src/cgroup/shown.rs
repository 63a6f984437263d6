//! What an OCI runtime needs of control groups beyond what our own set-up does: a hierarchy for
//! devices, and a view in which there is nothing but this launcher's part.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::fs::{CWD, Mode, openat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use super::find::{Found, devices, places};
use super::{DIRECTORY, Groups, Hierarchy, Version, common_name};

impl Groups {
    /// Has groups that say who may use which device too, where the host has a hierarchy for that
    /// (version 1; in version 2 it is said otherwise). For an OCI runtime, which writes them.
    pub fn with_devices(&mut self, id_base: u32) -> io::Result<()> {
        let Some(place) = devices(&fs::read_to_string("/proc/self/mountinfo")?) else {
            return Ok(());
        };
        if self.hierarchies.iter().all(|h| h.place != place) {
            let base = openat(CWD, &place, DIRECTORY, Mode::empty())?;
            let common = common_name(id_base);
            let found = Found {
                base: place.clone(),
                place,
                version: Version::One,
                controllers: Vec::new(),
            };
            let made = Hierarchy::make_again(&found, base.as_fd(), &common)?;
            self.hierarchies.push(Rc::new(made));
        }
        Ok(())
    }

    /// Whether all of them are of version 2.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.hierarchies.iter().all(|h| h.version == Version::Two)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hierarchies.is_empty()
    }

    /// In a mount namespace of the caller's own: leaves of all hierarchies this launcher's part
    /// alone to be seen, as if it were the whole, and of those without one nothing. What is then
    /// started finds a [`Group`] by its name below the root, and reaches no other's.
    pub(crate) fn show_alone(&self) -> io::Result<()> {
        for place in places(&fs::read_to_string("/proc/self/mountinfo")?) {
            match self.hierarchies.iter().find(|h| h.place == place) {
                Some(hierarchy) => {
                    // By its path: the handle is the mount's that the caller has left.
                    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                    let own = open_tree(CWD, &hierarchy.path, flags)?;
                    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                    move_mount(&own, c"", CWD, &place, onto)?;
                }
                None => unmount(&place, UnmountFlags::DETACH)?,
            }
        }
        Ok(())
    }
}

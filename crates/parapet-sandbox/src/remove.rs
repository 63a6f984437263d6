//! Deletes a directory whose content somebody hostile has written.
//!
//! Works on handles only, never by a path of more than one name, follows no link, and needs two
//! open directories however deep the tree is: what lies deeper is first moved up. Time is bounded
//! by the number of entries; it runs in a process of its own.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::root::open_below;

/// Entries held in memory at a time.
const BATCH: usize = 1024;

/// Deletes the directory `name` in `parent`. Its absence is success.
pub fn remove(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), String> {
    let top = match open_directory(parent, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(failed("open it"))?,
    };
    let mut moved = 0_u64;
    for_each(top.as_fd(), |child| {
        if unlinked(top.as_fd(), child)? {
            return Ok(());
        }
        let below = open_directory(top.as_fd(), child).map_err(failed("open a directory"))?;
        for_each(below.as_fd(), |grandchild| {
            if unlinked(below.as_fd(), grandchild)? {
                return Ok(());
            }
            // A directory with content: up, so that there are never more than two levels. As many
            // names can be taken as there are entries, so this ends.
            loop {
                moved += 1;
                match renameat(&below, grandchild, &top, format!(".removing-{moved}")) {
                    Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                    other => return other.map_err(failed("move a directory")),
                }
            }
        })?;
        unlinkat(&top, child, AtFlags::REMOVEDIR).map_err(failed("delete a directory"))
    })?;
    unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(failed("delete it"))
}

/// Deletes the directory `name` in `parent` without moving anything, for a tree in which nobody can
/// move anything: one whose encryption key is gone ([`crate::fscrypt`]). There `..` leads back to
/// where one came from. Its absence is success.
pub fn remove_unmovable(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), String> {
    let mut here = match open_directory(parent, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(failed("open it"))?,
    };
    let mut way: Vec<CString> = Vec::new();
    loop {
        let batch = batch(here.as_fd()).map_err(failed("list a directory"))?;
        let mut below = None;
        for child in &batch {
            if !unlinked(here.as_fd(), child)? {
                below = Some(child.clone());
                break;
            }
        }
        if let Some(child) = below {
            here = open_directory(here.as_fd(), &child).map_err(failed("open a directory"))?;
            way.push(child);
        } else if batch.is_empty() {
            let Some(child) = way.pop() else { break };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            here = openat(&here, c"..", flags, Mode::empty()).map_err(failed("go back"))?;
            unlinkat(&here, child, AtFlags::REMOVEDIR).map_err(failed("delete a directory"))?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(failed("delete it"))
}

/// Calls `act` with every entry, which has to take it out of the directory, until there is none.
fn for_each(
    directory: BorrowedFd<'_>,
    mut act: impl FnMut(&CStr) -> Result<(), String>,
) -> Result<(), String> {
    loop {
        let batch = batch(directory).map_err(failed("list a directory"))?;
        if batch.is_empty() {
            return Ok(());
        }
        for name in batch {
            act(&name)?;
        }
    }
}

fn batch(directory: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let mut batch = Vec::new();
    // Opened again each time: a position in a changing directory means little.
    for entry in Dir::new(open_directory(directory, c".")?)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            batch.push(name.to_owned());
            if batch.len() == BATCH {
                break;
            }
        }
    }
    Ok(batch)
}

/// Deletes what is no directory, or an empty one. `false` for one with content.
fn unlinked(directory: BorrowedFd<'_>, name: &CStr) -> Result<bool, String> {
    let result = match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => unlinkat(directory, name, AtFlags::REMOVEDIR),
        other => other,
    };
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(errno) => Err(failed("delete an entry")(errno)),
    }
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let name = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    open_below(parent, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

fn failed(what: &'static str) -> impl Fn(Errno) -> String {
    move |errno| format!("{what}: {errno}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

    #[test]
    fn a_tree_goes_and_what_its_links_name_stays() -> Result {
        let parent = tempfile::tempdir()?;
        let kept = parent.path().join("kept");
        fs::create_dir(&kept)?;
        fs::write(kept.join("file"), "x")?;
        let victim = parent.path().join("victim");
        fs::create_dir_all(victim.join("a/b/c"))?;
        fs::write(victim.join("a/b/.removing-1"), "x")?;
        fs::create_dir_all(victim.join(".removing-1/deep/deeper"))?;
        symlink(&kept, victim.join("a/link"))?;
        symlink("/", victim.join("a/b/root"))?;
        remove(fs::File::open(parent.path())?.as_fd(), c"victim")?;
        assert!(!victim.exists());
        assert_eq!(fs::read_to_string(kept.join("file"))?, "x");
        Ok(())
    }

    #[test]
    fn a_tree_in_which_nothing_moves_goes_however_deep_and_what_its_links_name_stays() -> Result {
        let parent = tempfile::tempdir()?;
        let kept = parent.path().join("kept");
        fs::create_dir(&kept)?;
        fs::write(kept.join("file"), "x")?;
        let handle = fs::File::open(parent.path())?;
        rustix::fs::mkdirat(&handle, "victim", 0o755.into())?;
        for name in ["one", "two"] {
            let mut deepest = open_directory(handle.as_fd(), c"victim")?;
            for _ in 0..2000 {
                rustix::fs::mkdirat(&deepest, name, 0o755.into())?;
                deepest = open_directory(deepest.as_fd(), &CString::new(name)?)?;
            }
            rustix::fs::symlinkat(&kept, &deepest, "link")?;
        }
        remove_unmovable(handle.as_fd(), c"victim")?;
        assert!(!parent.path().join("victim").exists());
        assert_eq!(fs::read_to_string(kept.join("file"))?, "x");
        remove_unmovable(handle.as_fd(), c"victim")?;
        assert!(remove_unmovable(handle.as_fd(), c"link").is_ok());
        Ok(())
    }

    #[test]
    fn a_tree_deeper_than_any_path_may_be_goes_too() -> Result {
        let parent = tempfile::tempdir()?;
        let handle = fs::File::open(parent.path())?;
        rustix::fs::mkdirat(&handle, "victim", 0o755.into())?;
        let mut deepest = open_directory(handle.as_fd(), c"victim")?;
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deepest, "directory", 0o755.into())?;
            deepest = open_directory(deepest.as_fd(), c"directory")?;
        }
        remove(handle.as_fd(), c"victim")?;
        assert!(!parent.path().join("victim").exists());
        Ok(())
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_not_followed() -> Result {
        let parent = tempfile::tempdir()?;
        fs::create_dir(parent.path().join("kept"))?;
        symlink("kept", parent.path().join("victim"))?;
        assert!(remove(fs::File::open(parent.path())?.as_fd(), c"victim").is_err());
        assert!(parent.path().join("kept").exists());
        Ok(())
    }

    #[test]
    fn what_is_gone_already_is_removed() -> Result {
        let parent = tempfile::tempdir()?;
        Ok(remove(fs::File::open(parent.path())?.as_fd(), c"victim")?)
    }
}

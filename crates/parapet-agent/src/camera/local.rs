//! Files of this host in the place of cameras, where an administrator has allowed them.
//!
//! An address comes with an application; which files may be meant stands in the appliance's own
//! configuration (`[cameras] files`). The agent opens them as the ordinary user that it is, below
//! what is allowed, and hands the descriptor on.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use parapet_media::protocol::CameraFault;
use parapet_sandbox::root::open_below;
use rustix::fs::{FileType, OFlags, fstat};
use url::Url;

use super::place::Refusal;

/// Which files may be played.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// Files, and directories of which all may be.
    pub(crate) allowed: Vec<PathBuf>,
}

impl Files {
    /// Opens the file of `file:///PATH`. No link below what is allowed is followed.
    pub(crate) fn open(&self, url: &Url) -> Result<OwnedFd, Refusal> {
        let refused = |why: String| (CameraFault::File, why);
        let path = Path::new(url.path());
        let Some(base) = self
            .allowed
            .iter()
            .find(|allowed| path.starts_with(allowed))
        else {
            return Err(refused(
                "this appliance does not allow the file; its administrator can, with \
                 `[cameras] files` in its configuration"
                    .to_owned(),
            ));
        };
        let failed = |error: std::io::Error| {
            refused(format!(
                "the file cannot be opened by user {} ({error}); check that it is there and may be \
                 read, and that no link leads to it",
                rustix::process::geteuid().as_raw()
            ))
        };
        // A file that is allowed by itself is looked up in its directory.
        let base = if path == base {
            base.parent().unwrap_or(base)
        } else {
            base
        };
        let below = path.strip_prefix(base).unwrap_or(path);
        let directory = File::open(base).map_err(failed)?;
        // A pipe or device is not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file =
            open_below(directory.as_fd(), below, flags).map_err(|errno| failed(errno.into()))?;
        let found = fstat(&file).map_err(|errno| failed(errno.into()))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(refused(
                "this is no file but a directory, pipe or device".to_owned(),
            ));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_opened_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let clips = dir.path().join("clips");
        std::fs::create_dir_all(clips.join("north")).unwrap();
        std::fs::write(clips.join("north/a.mp4"), "a").unwrap();
        std::fs::write(dir.path().join("secret.mp4"), "s").unwrap();
        std::fs::write(dir.path().join("single.mp4"), "s").unwrap();
        std::os::unix::fs::symlink("../secret.mp4", clips.join("link.mp4")).unwrap();
        std::os::unix::fs::symlink("..", clips.join("up")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, clips.join("pipe.mp4"), 0o600.into()).unwrap();
        let files = Files {
            allowed: vec![clips.clone(), dir.path().join("single.mp4")],
        };
        let open = |path: PathBuf| {
            let url = Url::from_file_path(path).unwrap();
            files.open(&url).map(drop).map_err(|(_, why)| why)
        };
        assert_eq!(open(clips.join("north/a.mp4")), Ok(()));
        assert_eq!(open(dir.path().join("single.mp4")), Ok(()));
        for (path, said) in [
            (dir.path().join("secret.mp4"), "does not allow"),
            (dir.path().join("clips-other/a.mp4"), "does not allow"),
            (clips.join("link.mp4"), "no link"),
            (clips.join("up/secret.mp4"), "no link"),
            (clips.join("missing.mp4"), "is there"),
            (clips.join("north"), "directory"),
            (clips.join("pipe.mp4"), "pipe"),
        ] {
            let why = open(path.clone()).unwrap_err();
            assert!(why.contains(said), "{}: {why}", path.display());
        }
        assert!(
            Files::default()
                .open(&Url::parse("file:///etc/passwd").unwrap())
                .is_err()
        );
    }
}

//! What is kept of a zone while nobody runs: `RUN/<id base>/` with the lock, the camera namespace,
//! and a file a port that says what it had.
//!
//! On a file system that is empty after a boot, like the namespace itself. A lock makes sure that
//! one launcher at a time has it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parapet_sandbox::zones::{Port, PortAddress};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use thiserror::Error;

/// A launcher that was killed lets go of the lock with the last of its children.
const LOCK_LIMIT: Duration = Duration::from_secs(3);

/// Why nothing can be kept.
#[derive(Debug, Error)]
pub(super) enum KeptError {
    #[error("{step} {}: {cause}", path.display())]
    Files {
        step: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    #[error(
        "use {}: it belongs to user {owner} or others may write it; give it to root, mode 0755",
        path.display()
    )]
    Foreign { path: PathBuf, owner: u32 },
    #[error(
        "lock {}: another appliance of these users runs; give one of them its own \
         `process.id_base`",
        .0.display()
    )]
    Locked(PathBuf),
}

/// What a port had when it was taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// It was made by us.
    pub(super) made: bool,
    pub(super) up: bool,
    pub(super) addresses: Vec<PortAddress>,
}

/// The directory, locked.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Whether an earlier start has left one.
    pub(super) fn is_there(run: &Path, id_base: u32) -> bool {
        place(run, id_base).exists()
    }

    pub(super) fn open(run: &Path, id_base: u32) -> Result<Self, KeptError> {
        let path = place(run, id_base);
        for directory in [run, &path] {
            make(directory)?;
        }
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .map_err(failed("open", &file))?;
        let begun = Instant::now();
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if begun.elapsed() < LOCK_LIMIT => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(Errno::WOULDBLOCK) => return Err(KeptError::Locked(file)),
                Err(errno) => return Err(failed("lock", &file)(errno.into())),
            }
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where the camera namespace is kept.
    pub(super) fn namespace(&self) -> PathBuf {
        self.path.join("cameras")
    }

    pub(super) fn remember(&self, port: &Port, taken: &Taken) -> Result<(), KeptError> {
        let (file, new) = (self.file(port), self.path.join("port.new"));
        fs::write(&new, write(taken)).map_err(failed("write", &new))?;
        fs::rename(&new, &file).map_err(failed("write", &file))
    }

    /// Nothing where nothing is remembered.
    pub(super) fn recall(&self, port: &Port) -> Result<Taken, KeptError> {
        let file = self.file(port);
        match fs::read_to_string(&file) {
            Ok(text) => Ok(read(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Taken::default()),
            Err(error) => Err(failed("read", &file)(error)),
        }
    }

    pub(super) fn forget(&self, port: &Port) -> Result<(), KeptError> {
        let file = self.file(port);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("delete", &file)(error))
            }
            _ => Ok(()),
        }
    }

    /// Deletes the directory with all that is left in it.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }

    fn file(&self, port: &Port) -> PathBuf {
        self.path.join(format!("{port}.port"))
    }
}

fn place(run: &Path, id_base: u32) -> PathBuf {
    run.join(format!("{id_base:08x}"))
}

fn make(directory: &Path) -> Result<(), KeptError> {
    let mut builder = fs::DirBuilder::new();
    match builder.mode(0o755).recursive(true).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("make", directory)(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(directory).map_err(failed("look at", directory))?;
    if !found.is_dir() || found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Err(KeptError::Foreign {
            path: directory.to_owned(),
            owner: found.uid(),
        });
    }
    Ok(())
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeptError {
    let path = path.to_owned();
    move |cause| KeptError::Files { step, path, cause }
}

fn write(taken: &Taken) -> String {
    let mut text = String::new();
    for (word, said) in [("made", taken.made), ("up", taken.up)] {
        if said {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{word}");
        }
    }
    for address in &taken.addresses {
        let _ = writeln!(text, "{}", address.plain());
    }
    text
}

fn read(text: &str) -> Taken {
    Taken {
        made: text.lines().any(|line| line == "made"),
        up: text.lines().any(|line| line == "up"),
        addresses: text.lines().filter_map(|line| line.parse().ok()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_port_had_is_remembered_whole() {
        let taken = Taken {
            made: false,
            up: true,
            addresses: vec![
                "10.77.1.1/24".parse().unwrap(),
                "2001:db8::1/64".parse().unwrap(),
            ],
        };
        assert_eq!(read(&write(&taken)), taken);
        assert_eq!(read(""), Taken::default());
        let made = Taken {
            made: true,
            ..Taken::default()
        };
        assert_eq!(read(&write(&made)), made);
    }
}

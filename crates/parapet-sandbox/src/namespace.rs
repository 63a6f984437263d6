//! Network namespaces as handles: made, kept by a path, entered for a moment.
//!
//! A namespace that is kept ([`Namespace::make`]) is bound to a file and lives until it is let go
//! of ([`Namespace::release`]), whoever is killed in between. To be used by a process with one
//! thread only: which namespace a thread is in is the thread's own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{fstat, fstatfs};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::kernel;
use crate::zones::Port;

/// The network namespace of the calling thread.
const OWN: &str = "/proc/thread-self/ns/net";
/// `NSFS_MAGIC` of the kernel: what a bound namespace is on.
const NSFS: u64 = 0x6e73_6673;

/// A network namespace.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// The one this process is in.
    pub fn current() -> io::Result<Self> {
        Ok(Self(File::open(OWN)?.into()))
    }

    /// The one of the process with this ID. To be asked for while that is known to be the process
    /// that was meant.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{pid}/ns/net"))?.into()))
    }

    /// The one that is kept at `path`; `None` where nothing is, or a file without one.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = fstatfs(&file)?.f_type;
        Ok((u64::try_from(kind) == Ok(NSFS)).then(|| Self(file.into())))
    }

    /// Makes one without any interface up and keeps it at `path`.
    pub fn make(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path)?;
        let home = Visit::from_here()?;
        kernel::unshare_network()?;
        let kept = mount_bind(OWN, path).map_err(io::Error::from);
        let made = Self::current();
        drop(home);
        kept?;
        made
    }

    /// Lets go of the one at `path`; it ends with the last process in it.
    pub fn release(path: &Path) -> io::Result<()> {
        // More than once bound by a start that was interrupted.
        while Self::open(path)?.is_some() {
            unmount(path, UnmountFlags::DETACH)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// One more handle.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Whether both are one namespace.
    pub fn is(&self, other: &Self) -> io::Result<bool> {
        let (own, other) = (fstat(&self.0)?, fstat(&other.0)?);
        Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
    }

    /// Enters it until the returned value is dropped. Processes that are started meanwhile are in
    /// it for good.
    pub fn visit(&self) -> io::Result<Visit> {
        let visit = Visit::from_here()?;
        self.enter()?;
        Ok(visit)
    }

    /// Enters it for good.
    pub fn enter(&self) -> io::Result<()> {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(self.0.as_fd(), kind)?)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A stay in another namespace; its end leads back.
#[derive(Debug)]
pub struct Visit {
    home: Namespace,
}

impl Visit {
    fn from_here() -> io::Result<Self> {
        Ok(Self {
            home: Namespace::current()?,
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let home = self.home.0.as_fd();
        if let Err(error) = move_into_link_name_space(home, Some(LinkNameSpaceType::Network)) {
            // Going on in the wrong namespace would give it to everything that is started next.
            eprintln!("failed to return to the host's network namespace: {error}");
            kernel::exit_now(1);
        }
    }
}

/// Brings a port of the calling thread's namespace down, with no help of any program.
pub fn shut(port: &Port) -> io::Result<()> {
    kernel::shut_interface(port.as_str())
}

/// The ports of the calling thread's namespace but for loopback.
pub fn ports() -> io::Result<Vec<Port>> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split_once(':')?.0.trim().parse().ok())
        .filter(|port: &Port| port.as_str() != "lo")
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests of this binary have threads of their own, and a namespace is a thread's own.
    #[test]
    fn a_namespace_is_kept_until_it_is_released() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kept");
        assert!(Namespace::open(&path).unwrap().is_none());
        let home = Namespace::current().unwrap();
        let made = Namespace::make(&path).unwrap();
        assert!(
            home.is(&Namespace::current().unwrap()).unwrap(),
            "back home"
        );
        assert!(!home.is(&made).unwrap());
        drop(made);
        let kept = Namespace::open(&path).unwrap().unwrap();
        let visit = kept.visit().unwrap();
        assert!(kept.is(&Namespace::current().unwrap()).unwrap());
        assert_eq!(ports().unwrap(), [], "loopback alone");
        drop(visit);
        assert!(
            home.is(&Namespace::current().unwrap()).unwrap(),
            "back home"
        );
        Namespace::release(&path).unwrap();
        assert!(!path.exists());
        Namespace::release(&path).unwrap();
    }
}

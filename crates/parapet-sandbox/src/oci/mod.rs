//! Applications by an OCI runtime of the operator's choice, instead of our own set-up.
//!
//! [`Runtime::find`] looks at the program and asks for its version ([`version`]); [`spawn_prepared`]
//! starts an application from the very [`Sandbox`] that our own set-up takes. Three processes do
//! it. A *keeper*, made by our own set-up, is the first process of the user, PID, network, IPC and
//! UTS namespaces: it ends with the launcher, and with it all who are in there. A *starter*
//! ([`start`]) puts the root together in a mount namespace of its own, writes `config.json`
//! ([`spec`]) and has the runtime make the container; it then waits for the application and ends
//! with its code. The *application* is in the keeper's namespaces and in a root that the runtime
//! cannot leave anything behind in. What of the runtime outlives its call lies in the starter's
//! memory.
//!
//! The runtime is a program of root: it is trusted as `ip` is, and sees of what others wrote
//! nothing but mounts that we have opened by handle.

mod spec;
mod start;
mod version;

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use thiserror::Error;

pub use spec::Device;
pub use version::{Known, VersionError};

use crate::cgroup::{self, Group, Groups};
use crate::kernel::{self, Fork, Side};
use crate::programs::{Program, ProgramError};
use crate::root::Root;
use crate::spawn::{self, Limits, Network, Running, Sandbox, SpawnError};

/// Longest message of a starter.
const MAX_SAID: usize = 1024;

/// A runtime that may be used.
#[derive(Debug, Clone)]
pub struct Runtime {
    path: PathBuf,
    known: Known,
}

/// Why a runtime may not be used. Fits after "use PATH as runtime of applications: ".
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// It cannot be looked at.
    #[error("look at {path}; install it, or name another file")]
    Look {
        /// The file or a directory above it.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others could put their own program in its place.
    #[error(
        "{path} belongs to user {owner} with mode {mode:o}, so that others could put a program there: \
         give it to root and let nobody else write (chown root, chmod go-w), or put the runtime \
         elsewhere, into /usr/local/sbin say"
    )]
    Others {
        /// The file or a directory above it.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// It is no file that can be run.
    #[error("{path} is no program; name the runtime's file")]
    NoProgram {
        /// Which one.
        path: PathBuf,
    },
    /// It does not say what it is.
    #[error(transparent)]
    Ask(#[from] ProgramError),
    /// It is too old, or nobody knows it.
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl Runtime {
    /// Looks whether only root can have put the program there, and asks it what it is.
    pub fn find(path: &Path) -> Result<Self, RuntimeError> {
        let look = |path: &Path| {
            let at = path.to_owned();
            move |source| RuntimeError::Look { path: at, source }
        };
        let real = fs::canonicalize(path).map_err(look(path))?;
        for (above, part) in real.ancestors().enumerate() {
            let found = fs::metadata(part).map_err(look(part))?;
            let mode = found.permissions().mode() & 0o7777;
            // Not below /tmp either, where a starter has its stage ([`start`]).
            if found.uid() != 0 || mode & 0o022 != 0 {
                return Err(RuntimeError::Others {
                    path: part.to_owned(),
                    owner: found.uid(),
                    mode,
                });
            }
            if above == 0 && (!found.is_file() || mode & 0o111 == 0) {
                return Err(RuntimeError::NoProgram { path: real });
            }
        }
        let said = Program::at(&real).run("ask the runtime for its version", &["--version"], "")?;
        Ok(Self {
            path: real,
            known: version::judge(&said)?,
        })
    }

    /// Whether it can do with control groups of version 1. crun wants every hierarchy that the
    /// kernel names, also those that it is shown nothing of.
    #[must_use]
    pub fn needs_unified_groups(&self) -> bool {
        self.known.kind == version::Kind::Crun
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.known, self.path.display())
    }
}

/// What a runtime is told beside the sandbox.
#[derive(Debug, Clone, Copy)]
pub struct Containment<'a> {
    /// Which runtime.
    pub runtime: &'a Runtime,
    /// Of this launcher.
    pub groups: &'a Groups,
    /// The application's, which nothing is in yet.
    pub group: &'a Group,
    /// What the group limits.
    pub limits: &'a cgroup::Limits,
    /// Devices that are in the sandbox's root beyond those that every root has.
    pub devices: &'a [Device],
}

/// Like [`spawn::spawn_prepared`] for an application, by a runtime. `prepare` is given the keeper's
/// ID.
pub fn spawn_prepared<T>(
    sandbox: Sandbox,
    containment: Containment<'_>,
    prepare: impl FnOnce(u32) -> T,
) -> Result<(Running, T), SpawnError> {
    let spawn::Program::UnderInit(command) = sandbox.program else {
        return Err(failed(containment, "a worker is no container"));
    };
    let keeper = Sandbox {
        kind: sandbox.kind,
        users: sandbox.users,
        network: Network::Loopback,
        root: Root::new(),
        program: spawn::Program::Keeper,
        descriptors: Vec::new(),
        limits: Limits {
            files: 64,
            processes: None,
        },
        // A runtime wants an empty group.
        place: cgroup::Place::default(),
    };
    let (keeper, prepared) = spawn::spawn_prepared(keeper, prepare)?;
    let work = start::Work {
        containment,
        users: sandbox.users,
        root: sandbox.root,
        command,
        descriptors: sandbox.descriptors,
        limits: sandbox.limits,
        keeper: keeper.pid(),
    };
    match start(work, containment) {
        Ok(running) => Ok((running.kept_by(keeper), prepared)),
        Err(error) => {
            keeper.destroy();
            Err(error)
        }
    }
}

fn start(work: start::Work<'_>, containment: Containment<'_>) -> Result<Running, SpawnError> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| SpawnError::Sync(errno.into()))?;
    match kernel::fork(Fork::Plain).map_err(SpawnError::Fork)? {
        Side::Child => {
            drop(ours);
            start::run(work, &theirs)
        }
        Side::Parent(pid, pidfd) => {
            drop(theirs);
            let running = Running::new(pid, pidfd);
            let mut said = [0; MAX_SAID];
            let heard = spawn::readable(&ours, start::LIMIT).and_then(|()| {
                recv(&ours, &mut said, RecvFlags::empty())
                    .map_err(|errno| SpawnError::Sync(errno.into()))
            });
            let error = match heard {
                // Closed by a starter that now waits, or by its death, which is seen next.
                Ok((0, _)) => return Ok(running),
                Ok((length, _)) => failed(containment, &String::from_utf8_lossy(&said[..length])),
                Err(SpawnError::Timeout) => failed(
                    containment,
                    &format!("no container within {} s", start::LIMIT.as_secs()),
                ),
                Err(error) => error,
            };
            running.destroy();
            Err(error)
        }
    }
}

fn failed(containment: Containment<'_>, said: &str) -> SpawnError {
    SpawnError::Runtime {
        runtime: containment.runtime.known.to_string(),
        said: said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(directory: &Path, says: &str, mode: u32) -> PathBuf {
        let path = directory.join("runtime");
        fs::write(&path, format!("#!/bin/sh\n{says}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn found(path: &Path) -> Result<String, String> {
        Runtime::find(path)
            .map(|runtime| runtime.to_string())
            .map_err(|error| crate::failure::with_causes(&error))
    }

    #[test]
    fn a_runtime_that_others_could_replace_is_refused() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        let directory = tempfile::tempdir_in("/run").unwrap();
        let good = "echo runc version 1.5.1";
        let path = script(directory.path(), good, 0o755);
        let said = found(&path).unwrap();
        assert!(said.starts_with("runc 1.5.1 (/"), "{said}");
        for mode in [0o775, 0o757] {
            let refused = found(&script(directory.path(), good, mode)).unwrap_err();
            assert!(refused.contains("chmod go-w"), "{refused}");
        }
        let path = script(directory.path(), good, 0o755);
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        let refused = found(&path).unwrap_err();
        assert!(refused.contains("user 65534"), "{refused}");
        // A directory above it, and a link from elsewhere to it.
        let path = script(directory.path(), good, 0o755);
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        let link = tempfile::tempdir().unwrap();
        let link = link.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(found(&link).is_ok());
        let in_tmp = script(link.parent().unwrap(), good, 0o755);
        assert!(
            found(&in_tmp)
                .unwrap_err()
                .contains("/tmp belongs to user 0")
        );
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        for path in [&path, &link] {
            assert!(found(path).unwrap_err().contains("chmod go-w"));
        }
    }

    #[test]
    fn what_is_no_runtime_is_refused_with_its_reason() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        let directory = tempfile::tempdir_in("/run").unwrap();
        for (says, mode, reason) in [
            ("echo runc version 1.1.5+ds1", 0o755, "runc 1.1.5"),
            ("echo crun version 1.8.1", 0o755, "crun 1.8.1"),
            ("echo nonsense", 0o755, "nonsense"),
            ("echo broken >&2; exit 1", 0o755, "broken"),
            ("echo runc version 1.5.1", 0o644, "no program"),
        ] {
            let refused = found(&script(directory.path(), says, mode)).unwrap_err();
            assert!(refused.contains(reason), "{reason} in {refused}");
        }
        for (path, reason) in [("/", "no program"), ("/nowhere/runc", "No such file")] {
            let refused = found(Path::new(path)).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }

    #[test]
    fn the_runtimes_of_debian_12_are_refused_by_their_version() {
        let mut tried = 0;
        for (path, found_version) in [("/usr/sbin/runc", "runc 1.1.5"), ("/usr/bin/crun", "crun ")]
        {
            if !Path::new(path).exists() {
                eprintln!("skipped: {path} is not installed (tools/setup --tests)");
                continue;
            }
            match found(Path::new(path)) {
                Err(refused) => assert!(refused.contains(found_version), "{refused}"),
                // A newer system.
                Ok(said) => eprintln!("this host's is new enough: {said}"),
            }
            tried += 1;
        }
        eprintln!("{tried} were there");
    }
}

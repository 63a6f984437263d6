//! Starts a worker on a host that allows no namespaces: what is left of a sandbox there.
//!
//! No new privileges, no descriptors but its own, limits, an end with the launcher, and the
//! confinement of [`crate::confine`]: its kind's system calls, no file written. It sees the files
//! of its user until it confines itself further. [`crate::spawn`] is what every host with
//! namespaces uses.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::cgroup::Place;
use crate::confine::Kind;
use crate::launch::Worker;
use crate::spawn::{Command, Limits, Running, SpawnError, spawn_bare};

/// A worker without a sandbox.
#[derive(Debug)]
pub struct Bare {
    /// Full path of its program.
    pub executable: PathBuf,
    /// Its variables; nothing else is inherited.
    pub environment: Vec<(String, String)>,
    /// Which one it is.
    pub worker: Worker,
    /// As in [`crate::spawn::Sandbox`].
    pub descriptors: Vec<OwnedFd>,
    /// As in [`crate::spawn::Sandbox`].
    pub limits: Limits,
    /// As in [`crate::spawn::Sandbox`].
    pub place: Place,
}

/// Starts it. Returns when its program runs.
pub fn spawn(bare: Bare) -> Result<Running, SpawnError> {
    let text = |bytes: &[u8]| {
        CString::new(bytes).map_err(|error| SpawnError::Fork(io::Error::other(error)))
    };
    let program = text(bare.executable.as_os_str().as_bytes())?;
    let environment = bare
        .environment
        .iter()
        .map(|(name, value)| text(format!("{name}={value}").as_bytes()))
        .collect::<Result<_, _>>()?;
    let command = Command {
        candidates: vec![program.clone()],
        arguments: vec![program],
        environment,
    };
    spawn_bare(
        Kind::Worker(bare.worker),
        &command,
        bare.descriptors,
        bare.limits,
        &bare.place,
    )
}

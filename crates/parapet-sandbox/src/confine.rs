//! The two layers of confinement beside namespaces: system calls ([`crate::seccomp`]) and files
//! ([`crate::landlock`]).
//!
//! The outer layer belongs to the set-up of every process and is set before its program
//! ([`Outer`]). The inner one is a worker's own: [`worker`], first thing in `main`, before a byte
//! from outside is read. What the kernel lacks is left out, never in silence: the launcher tells
//! [`missing`] to the agent. What the kernel has and refuses is an error.

use std::io;
use std::sync::OnceLock;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::set_no_new_privs;
use thiserror::Error;

use crate::kernel;
use crate::landlock;
use crate::launch::Worker;
use crate::seccomp::{FilterError, Filters, Threads};

/// What kind of process is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A worker.
    Worker(Worker),
    /// An application.
    Application,
}

/// Why a process cannot confine itself.
#[derive(Debug, Error)]
pub enum ConfineError {
    /// No new privileges, closed memory.
    #[error("confine itself: {step}")]
    Step {
        /// Which step.
        step: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// System calls.
    #[error("confine itself")]
    Filter(#[from] FilterError),
}

/// The outer layer of a kind of process, ready before the child is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outer {
    kind: Kind,
    filters: Option<&'static Filters>,
}

impl Outer {
    /// Compiles the filters once a kind.
    pub(crate) fn of(kind: Kind) -> Result<Self, FilterError> {
        static COMPILED: [OnceLock<Filters>; 4] = [const { OnceLock::new() }; 4];
        if !kernel::has_filters() {
            return Ok(Self {
                kind,
                filters: None,
            });
        }
        let cell = &COMPILED[match kind {
            Kind::Worker(Worker::Ingest) => 0,
            Kind::Worker(Worker::Codec) => 1,
            Kind::Worker(Worker::Infer) => 2,
            Kind::Application => 3,
        }];
        if cell.get().is_none() {
            let filters = match kind {
                Kind::Worker(worker) => Filters::outer(worker),
                Kind::Application => Filters::application(),
            }?;
            // Another thread may have been quicker with the same.
            let _ = cell.set(filters);
        }
        Ok(Self {
            kind,
            filters: cell.get(),
        })
    }

    /// In the child, once its root is complete.
    pub(crate) fn restrict_files(&self) -> io::Result<()> {
        match self.kind {
            Kind::Worker(worker) => landlock::worker(worker),
            Kind::Application => landlock::application(),
        }
    }

    /// In the child, last before its program.
    pub(crate) fn filter_calls(&self) -> io::Result<()> {
        self.filters.map_or(Ok(()), |filters| {
            filters.install(Threads::This).map_err(io::Error::other)
        })
    }
}

/// The inner layer: from here on this worker opens no file, starts no program and makes no socket
/// but, for ingest, TCP to cameras. Its memory is closed to its own user.
pub fn worker(worker: Worker) -> Result<(), ConfineError> {
    let step = |step| move |source: io::Error| ConfineError::Step { step, source };
    // Asked of the kernel once, through a file, and remembered.
    let _ = rustix::param::page_size();
    set_no_new_privs(true).map_err(|errno| step("no new privileges")(errno.into()))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| step("close the memory")(errno.into()))?;
    landlock::worker_itself(worker).map_err(step("restrict files"))?;
    if kernel::has_filters() {
        Filters::inner(worker)?.install(Threads::All)?;
    } else {
        eprintln!("this worker runs without filters of system calls: the kernel has none");
    }
    Ok(())
}

/// The launcher's own filter. Its children inherit it, an OCI runtime among them where one is to
/// run applications.
pub fn launcher(runtime: bool) -> Result<(), ConfineError> {
    if kernel::has_filters() {
        Filters::launcher(runtime)?.install(Threads::All)?;
    }
    Ok(())
}

/// What this kernel lacks, a sentence each, for the operator.
#[must_use]
pub fn missing() -> Vec<String> {
    sentences(kernel::has_filters(), kernel::landlock_version().ok())
}

fn sentences(filters: bool, landlock: Option<u32>) -> Vec<String> {
    let mut missing = Vec::new();
    if !filters {
        missing.push(
            "filters of system calls (seccomp): processes may make every call of the kernel; use \
             a kernel with CONFIG_SECCOMP_FILTER"
                .to_owned(),
        );
    }
    let lacks = match landlock {
        None => {
            missing.push(
                "rules for files (Landlock): processes see the files of their root; use Linux \
                 5.13 or later with `landlock` in the kernel's option `lsm=`"
                    .to_owned(),
            );
            return missing;
        }
        Some(..2) => {
            "moves between directories, truncation, listening for TCP, abstract sockets \
             and signals to others"
        }
        Some(2) => "truncation, listening for TCP, abstract sockets and signals to others",
        Some(3) => "listening for TCP, abstract sockets and signals to others",
        Some(4 | 5) => "abstract sockets and signals to others",
        Some(6..) => return missing,
    };
    missing.push(format!(
        "a newer Landlock (this kernel has version {}): it has no rules for {lacks}, which \
         namespaces and filters forbid alone; use Linux 6.12 or later",
        landlock.unwrap_or_default()
    ));
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_lacks_is_said_with_its_remedy() {
        assert!(sentences(true, Some(6)).is_empty());
        assert!(sentences(true, Some(10)).is_empty());
        let all = sentences(false, None);
        assert!(all[0].contains("CONFIG_SECCOMP_FILTER"), "{all:?}");
        assert!(all[1].contains("lsm="), "{all:?}");
        for version in 1..6 {
            let said = sentences(true, Some(version));
            let named = format!("version {version}");
            assert!(
                said.len() == 1 && said[0].contains(&named) && said[0].contains("6.12"),
                "{said:?}"
            );
        }
    }
}

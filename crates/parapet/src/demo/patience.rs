//! How long the demo waits, and that an interruption ends every wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two looks at something that takes its time; the CLI itself takes most of a second.
const POLL: Duration = Duration::from_millis(200);

/// A deadline and the flag that SIGINT and SIGTERM raise.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    deadline: Instant,
    stop: Arc<AtomicBool>,
}

impl Patience {
    /// Until `deadline`, or until `stop` is raised.
    pub(crate) fn new(deadline: Instant, stop: Arc<AtomicBool>) -> Self {
        Self { deadline, stop }
    }

    /// Whether somebody wants it to end.
    pub(crate) fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Refuses to go on after the deadline or an interruption; `waiting` says for what.
    pub(crate) fn check(&self, waiting: impl FnOnce() -> String) -> Result<()> {
        if self.interrupted() {
            bail!("interrupted");
        }
        if Instant::now() > self.deadline {
            bail!("time is up: {}", waiting());
        }
        Ok(())
    }

    /// Looks until there is something.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            self.check(|| format!("waiting for {what}"))?;
            std::thread::sleep(POLL);
        }
    }
}

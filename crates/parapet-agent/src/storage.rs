//! Keeps applications from filling the disk: an instance that holds more than its limit, or that
//! grows while the file system has little left, is held until that has changed.
//!
//! One task ([`Storage::keep`]) looks at the free space every second and has the launcher measure
//! the instances, which the agent may not look into: every ten seconds, every second when space is
//! short, and never for more than a twentieth of the time. [`judge`] decides, on values alone.
//! The reserve is for the agent: ledger, status, logs, assets. Nothing is deleted here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::launcher::{Launcher, lock};
use crate::limits::human;

/// A measurement takes at most this part of the time.
const SHARE: u32 = 20;
/// The reserve is a twentieth of the file system, within these bounds.
const LEAST_RESERVE: u64 = 64 << 20;
const MOST_RESERVE: u64 = 1 << 30;

/// How often is looked, and how long held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Between looks at the free space.
    pub(crate) look: Duration,
    /// Between measurements while space is plenty.
    pub(crate) measure: Duration,
    /// Held at least so long: what an application that was ended still held open is free then.
    pub(crate) hold: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(1),
            measure: Duration::from_secs(10),
            hold: Duration::from_secs(15),
        }
    }
}

/// The watch over storage; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Storage {
    pace: Pace,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    next: u64,
    watched: BTreeMap<u64, Watched>,
}

struct Watched {
    instance: String,
    limit: u64,
    held: watch::Sender<Option<String>>,
    since: Option<Instant>,
}

/// An application under watch, until it is dropped.
pub(crate) struct Watch {
    storage: Storage,
    key: u64,
    /// Why it must not run, while it must not.
    pub(crate) held: watch::Receiver<Option<String>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.storage.shared).watched.remove(&self.key);
    }
}

/// Free space of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Space {
    free: u64,
    total: u64,
}

impl Space {
    fn of(path: &std::path::Path) -> rustix::io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(Self {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn reserve(self) -> u64 {
        (self.total / 20).clamp(LEAST_RESERVE, MOST_RESERVE)
    }

    /// Soon used up by a fast writer.
    fn is_low(self) -> bool {
        self.free < self.reserve().saturating_mul(2)
    }
}

/// One application as it is judged.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Bytes of its instance now; `None` when that is not known.
    bytes: Option<u64>,
    /// At the measurement before.
    before: Option<u64>,
    limit: u64,
    /// Whether it is held now.
    held: bool,
}

/// Why an application is to be held, or `None` for it to run. `index` is its place in `looks`.
fn judge(space: Space, looks: &[Look], index: usize) -> Option<String> {
    let look = looks[index];
    let bytes = look.bytes?;
    if bytes == u64::MAX {
        return Some(
            "storage and logs have more than four million entries or are more than 256 directories \
             deep: the application is stopped until there are fewer (instances/<id>/storage on the \
             appliance)"
                .to_owned(),
        );
    }
    if bytes > look.limit {
        return Some(format!(
            "storage and logs hold {}, more than the limit of {}: the application is stopped until \
             there is less (instances/<id>/storage on the appliance) or limits.storage_bytes of \
             the instance, or [limits] storage of the device, is raised",
            human(bytes),
            human(look.limit)
        ));
    }
    if space.free >= space.reserve() {
        return None;
    }
    // Whoever grew most has used it up; who is held already stays held, since it would go on.
    let growth = |look: &Look| {
        let (now, before) = (look.bytes.unwrap_or(0), look.before.unwrap_or(0));
        now.saturating_sub(before)
    };
    let most = looks.iter().map(growth).max().unwrap_or(0);
    let at_fault = most > 0 && growth(&look) == most;
    (look.held || at_fault).then(|| {
        format!(
            "the appliance's disk has {} left, less than the {} it keeps for itself, and the \
             application was filling it: it is stopped until there is space",
            human(space.free),
            human(space.reserve())
        )
    })
}

impl Storage {
    /// With another pace than the usual one.
    #[cfg(test)]
    pub(crate) fn with_pace(pace: Pace) -> Self {
        Self {
            pace,
            ..Self::default()
        }
    }

    /// Puts an application under watch.
    pub(crate) fn watch(&self, instance: &str, limit: u64) -> Watch {
        let (sender, held) = watch::channel(None);
        let mut shared = lock(&self.shared);
        let key = shared.next;
        shared.next += 1;
        shared.watched.insert(
            key,
            Watched {
                instance: instance.to_owned(),
                limit,
                held: sender,
                since: None,
            },
        );
        drop(shared);
        Watch {
            storage: self.clone(),
            key,
            held,
        }
    }

    /// Looks until it is dropped.
    pub(crate) async fn keep(self, root: PathBuf, launcher: Launcher) {
        let mut held_bytes: BTreeMap<String, u64> = BTreeMap::new();
        let mut rest = Duration::ZERO;
        let mut measured = Instant::now();
        let mut known = 0;
        let mut told = false;
        loop {
            tokio::time::sleep(self.pace.look).await;
            let space = match Space::of(&root) {
                Ok(space) => space,
                Err(error) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the disk's free space is unknown");
                    }
                    continue;
                }
            };
            let (newest, any) = {
                let shared = lock(&self.shared);
                (shared.next, !shared.watched.is_empty())
            };
            let pause = if space.is_low() {
                rest
            } else {
                rest.max(self.pace.measure)
            };
            // Who is new is looked at before it can have filled anything.
            let due = newest != known || measured.elapsed() >= pause;
            if !any || !due {
                continue;
            }
            known = newest;
            let begin = Instant::now();
            let now = self.measure(&launcher).await;
            rest = begin.elapsed() * SHARE;
            measured = Instant::now();
            // After the measurement, which may have taken a while.
            let space = Space::of(&root).unwrap_or(space);
            self.decide(space, &now, &held_bytes);
            held_bytes = now;
        }
    }

    async fn measure(&self, launcher: &Launcher) -> BTreeMap<String, u64> {
        let instances: std::collections::BTreeSet<String> = lock(&self.shared)
            .watched
            .values()
            .map(|watched| watched.instance.clone())
            .collect();
        let mut bytes = BTreeMap::new();
        for instance in instances {
            match launcher.measure(&instance).await {
                Ok(measured) => {
                    bytes.insert(instance, measured);
                }
                // An instance that is about to be removed, or whose directory is not made yet.
                Err(error) => tracing::debug!(
                    %instance, error = &error as &dyn std::error::Error,
                    "storage is not measured"
                ),
            }
        }
        bytes
    }

    fn decide(&self, space: Space, now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) {
        let mut shared = lock(&self.shared);
        let looks: Vec<Look> = shared
            .watched
            .values()
            .map(|watched| Look {
                bytes: now.get(&watched.instance).copied(),
                before: before.get(&watched.instance).copied(),
                limit: watched.limit,
                held: watched.since.is_some(),
            })
            .collect();
        for (index, watched) in shared.watched.values_mut().enumerate() {
            if looks[index].bytes.is_none() {
                continue;
            }
            match judge(space, &looks, index) {
                Some(reason) => {
                    watched.since = Some(Instant::now());
                    let news = watched.held.borrow().is_none();
                    if news {
                        tracing::warn!(instance = watched.instance, "{reason}");
                        watched.held.send_replace(Some(reason));
                    }
                }
                None if watched
                    .since
                    .is_some_and(|since| since.elapsed() > self.pace.hold) =>
                {
                    tracing::info!(instance = watched.instance, "storage is within its limits");
                    watched.since = None;
                    watched.held.send_replace(None);
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Space = Space {
        free: 50 << 30,
        total: 100 << 30,
    };
    const SHORT: Space = Space {
        free: 100 << 20,
        total: 100 << 30,
    };

    fn look(bytes: u64, before: u64) -> Look {
        Look {
            bytes: Some(bytes),
            before: Some(before),
            limit: 1000,
            held: false,
        }
    }

    fn held(space: Space, looks: &[Look]) -> Vec<bool> {
        (0..looks.len())
            .map(|index| judge(space, looks, index).is_some())
            .collect()
    }

    #[test]
    fn who_is_over_its_limit_is_held_and_nobody_else() {
        let looks = [look(1001, 0), look(1000, 0), look(10, 10)];
        assert_eq!(held(PLENTY, &looks), [true, false, false]);
        let reason = judge(PLENTY, &looks, 0).unwrap();
        assert!(reason.contains("1001 bytes") && reason.contains("storage_bytes"));
    }

    #[test]
    fn when_space_is_short_whoever_grew_most_is_held() {
        let looks = [look(900, 890), look(500, 100), look(10, 10)];
        assert_eq!(held(SHORT, &looks), [false, true, false]);
        // Nobody's fault: something else fills the disk.
        assert_eq!(held(SHORT, &[look(900, 900), look(1, 1)]), [false, false]);
        let still = Look {
            held: true,
            ..look(500, 500)
        };
        assert_eq!(held(SHORT, &[still]), [true]);
        assert_eq!(held(PLENTY, &[still]), [false]);
    }

    #[test]
    fn who_cannot_be_measured_is_left_alone() {
        let unknown = Look {
            bytes: None,
            ..look(0, 0)
        };
        assert_eq!(held(SHORT, &[unknown]), [false]);
    }

    #[test]
    fn the_reserve_is_a_twentieth_within_bounds() {
        let of = |total| Space { free: 0, total }.reserve();
        assert_eq!(of(256 << 20), LEAST_RESERVE);
        assert_eq!(of(10 << 30), (10 << 30) / 20);
        assert_eq!(of(1 << 40), MOST_RESERVE);
    }
}

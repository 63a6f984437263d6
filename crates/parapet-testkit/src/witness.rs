//! Watches frame counters while a test does something else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// A thread that looks at one instance's cameras five times a second.
#[derive(Debug)]
pub struct Witness {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<BTreeMap<String, Seen>>>>,
}

/// What was seen of a camera.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Frames between the first and the last look.
    pub frames: u64,
    /// Longest time without a new one.
    pub longest_gap: Duration,
    /// The newest count, and when it came.
    last: (u64, Instant),
}

impl Witness {
    /// Watches the cameras of `instance` on the appliance whose state directory is `agent`.
    #[must_use]
    pub fn begin(agent: &Path, instance: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, file) = (Arc::clone(&stop), agent.join("status.json"));
        let instance = instance.to_owned();
        let thread = std::thread::spawn(move || watch(&file, &instance, &stopped));
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends the watch. An error when a counter fell, or a camera stood still for `limit`.
    pub fn end(mut self, limit: Duration) -> Result<BTreeMap<String, Seen>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("end a watch twice")?;
        let seen = thread
            .join()
            .unwrap_or_else(|_| bail!("the watch has failed"))?;
        ensure!(!seen.is_empty(), "no camera was seen");
        for (camera, seen) in &seen {
            ensure!(
                seen.longest_gap < limit,
                "{camera} gave no frame for {:?}",
                seen.longest_gap
            );
        }
        Ok(seen)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(file: &PathBuf, instance: &str, stop: &AtomicBool) -> Result<BTreeMap<String, Seen>> {
    let mut all: BTreeMap<String, Seen> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let text = std::fs::read(file).context("read the agent's status")?;
        let status: Value = serde_json::from_slice(&text).context("read the agent's status")?;
        let now = Instant::now();
        for (camera, frames) in frames(&status, instance) {
            let seen = all.entry(camera.clone()).or_insert(Seen {
                frames: 0,
                longest_gap: Duration::ZERO,
                last: (frames, now),
            });
            let (before, at) = seen.last;
            ensure!(
                frames >= before,
                "the frames of {camera} fell from {before} to {frames}: it began anew"
            );
            seen.longest_gap = seen.longest_gap.max(now - at);
            seen.frames += frames - before;
            if frames > before {
                seen.last = (frames, now);
            }
        }
        for (camera, seen) in &mut all {
            // Also a camera that is in the report no more stands still.
            let gap = seen.last.1.elapsed();
            seen.longest_gap = seen.longest_gap.max(gap);
            ensure!(gap < Duration::from_mins(1), "{camera} is gone");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(all)
}

fn frames(status: &Value, instance: &str) -> Vec<(String, u64)> {
    let instances = status["reported"]["instances"].as_array();
    instances
        .into_iter()
        .flatten()
        .filter(|reported| reported["id"] == instance)
        .flat_map(|reported| reported["nodes"].as_array().into_iter().flatten())
        .filter_map(|node| {
            let frames = node["stream"]["frames"].as_u64()?;
            Some((node["node"].as_str()?.to_owned(), frames))
        })
        .collect()
}

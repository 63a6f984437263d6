//! What the demo sees: the agent's status and the events that the application writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parapet_device::TimeStamp;
use parapet_device::reported::{InstanceReport, NetworkReport, StreamMetrics};
use serde::Deserialize;

use super::score::{Labelled, Score, Truth};

/// Span of the detections per second.
const RECENT: Duration = Duration::from_secs(10);

/// One line of `events.jsonl` (`docs/applications.md`).
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    Ready,
    Detections {
        stream_id: String,
        time_stamp: TimeStamp,
        boxes: Vec<Labelled>,
    },
    Visit {
        begin: TimeStamp,
        end: TimeStamp,
    },
    #[serde(other)]
    Other,
}

/// Counts of one camera.
#[derive(Default)]
pub(crate) struct CameraView {
    /// What it really shows, where that is known.
    pub(crate) truth: Option<Truth>,
    /// Non-cached frames, over all lives of the agent.
    pub(crate) frames: u64,
    /// The agent's own last figures.
    pub(crate) metrics: Option<StreamMetrics>,
    /// Why it gives none.
    pub(crate) reason: Option<String>,
    /// Boxes that the application reported.
    pub(crate) detections: u64,
    /// Against the truth.
    pub(crate) score: Score,
    recent: std::collections::VecDeque<(Instant, u64)>,
    before_restart: u64,
}

impl CameraView {
    /// Boxes per second, over the last ten.
    pub(crate) fn detections_per_second(&self) -> f64 {
        let sum: u64 = self.recent.iter().map(|(_, count)| count).sum();
        sum as f64 / RECENT.as_secs_f64()
    }
}

/// Begin and end of a visit, microseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit {
    /// First frame of it.
    pub(crate) begin: TimeStamp,
    /// Last frame of it.
    pub(crate) end: TimeStamp,
}

/// All that is seen, kept up to date by [`Observer::look`].
pub(crate) struct Observer {
    agent: PathBuf,
    instance: String,
    boot_id: String,
    logs: BTreeMap<PathBuf, Tail>,
    /// By name, in the order of the graph.
    pub(crate) cameras: Vec<(String, CameraView)>,
    /// When the first box was reported.
    pub(crate) first_detection: Option<Instant>,
    /// The application has reported that it is ready.
    pub(crate) ready: bool,
    /// In the order of their ends.
    pub(crate) visits: Vec<Visit>,
    /// The agent reaches the control plane.
    pub(crate) online: bool,
    /// How the device's networks are kept apart.
    pub(crate) network: Option<NetworkReport>,
    /// State of the instance on the device.
    pub(crate) report: Option<InstanceReport>,
}

impl Observer {
    /// Watches one instance of the agent whose data directory is `agent`. Events written before
    /// now belong to an earlier run and are passed over.
    pub(crate) fn new(agent: &Path, instance: &str, cameras: Vec<(String, Option<Truth>)>) -> Self {
        let cameras = cameras
            .into_iter()
            .map(|(name, truth)| {
                (
                    name,
                    CameraView {
                        truth,
                        ..CameraView::default()
                    },
                )
            })
            .collect();
        Self {
            agent: agent.to_owned(),
            instance: instance.to_owned(),
            boot_id: String::new(),
            logs: BTreeMap::new(),
            cameras,
            first_detection: None,
            ready: false,
            visits: Vec::new(),
            online: false,
            network: None,
            report: None,
        }
    }

    /// Passes over what is there already.
    pub(crate) fn skip_past(&mut self) {
        for file in self.event_files() {
            let end = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
            self.logs.insert(
                file,
                Tail {
                    offset: end,
                    rest: Vec::new(),
                },
            );
        }
    }

    /// Reads what is new.
    pub(crate) fn look(&mut self) {
        self.read_status();
        for file in self.event_files() {
            let mut tail = self.logs.remove(&file).unwrap_or_default();
            for line in tail.lines(&file) {
                // An application may write what it likes beside the events of `design.md`.
                if let Ok(event) = serde_json::from_slice::<Event>(&line) {
                    self.take(event);
                }
            }
            self.logs.insert(file, tail);
        }
        for (_, camera) in &mut self.cameras {
            while camera
                .recent
                .front()
                .is_some_and(|(at, _)| at.elapsed() > RECENT)
            {
                camera.recent.pop_front();
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Ready => self.ready = true,
            Event::Visit { begin, end } => self.visits.push(Visit { begin, end }),
            Event::Other => {}
            Event::Detections {
                stream_id,
                time_stamp,
                boxes,
            } => {
                if !boxes.is_empty() {
                    self.first_detection.get_or_insert_with(Instant::now);
                }
                let camera = self.cameras.iter_mut().find(|(name, _)| *name == stream_id);
                if let Some((_, camera)) = camera {
                    camera.detections += boxes.len() as u64;
                    camera
                        .recent
                        .push_back((Instant::now(), boxes.len() as u64));
                    if let Some(truth) = &camera.truth {
                        camera.score.add(truth, time_stamp.as_micros(), &boxes);
                    }
                }
            }
        }
    }

    fn read_status(&mut self) {
        // Between two lives of the agent there may be none, or half of one.
        let Ok(Some(status)) = parapet_agent::read_status(&self.agent) else {
            return;
        };
        self.online = status.connected;
        let reported = status.reported;
        let restarted = reported.boot_id != self.boot_id;
        self.boot_id = reported.boot_id;
        self.network = reported.network;
        self.report = reported
            .instances
            .into_iter()
            .find(|report| report.id.as_str() == self.instance);
        for (name, camera) in &mut self.cameras {
            if restarted {
                camera.before_restart = camera.frames;
            }
            let node = self
                .report
                .iter()
                .flat_map(|report| &report.nodes)
                .find(|node| node.node.as_str() == name);
            camera.metrics = node.and_then(|node| node.stream);
            camera.reason = node
                .and_then(|node| node.reason.as_ref())
                .map(|reason| format!("{}: {}", reason.code, reason.message));
            if let Some(metrics) = camera.metrics {
                camera.frames = camera.before_restart + metrics.frames;
            }
        }
    }

    fn event_files(&self) -> Vec<PathBuf> {
        let logs = self
            .agent
            .join("instances")
            .join(&self.instance)
            .join("logs");
        std::fs::read_dir(logs)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok().map(|entry| entry.path().join("events.jsonl")))
            .filter(|file| file.is_file())
            .collect()
    }
}

/// Reads a growing file line by line.
#[derive(Default)]
struct Tail {
    offset: u64,
    rest: Vec<u8>,
}

impl Tail {
    fn lines(&mut self, file: &Path) -> Vec<Vec<u8>> {
        let Ok(mut handle) = File::open(file) else {
            return Vec::new();
        };
        let length = handle.metadata().map_or(0, |metadata| metadata.len());
        if length < self.offset {
            // It was rotated or made anew.
            *self = Self::default();
        }
        if handle.seek(SeekFrom::Start(self.offset)).is_err() {
            return Vec::new();
        }
        let Ok(read) = handle.read_to_end(&mut self.rest) else {
            return Vec::new();
        };
        self.offset += read as u64;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let unfinished = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, unfinished);
        whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_line_is_read_once_and_only_when_it_is_whole() -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        let mut tail = Tail::default();
        write!(file, "one\ntw")?;
        assert_eq!(tail.lines(file.path()), [b"one"]);
        assert!(tail.lines(file.path()).is_empty());
        writeln!(file, "o")?;
        assert_eq!(tail.lines(file.path()), [b"two"]);
        Ok(())
    }

    #[test]
    fn a_file_that_shrinks_is_read_from_its_beginning() -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        let mut tail = Tail::default();
        writeln!(file, "a long first line")?;
        assert_eq!(tail.lines(file.path()).len(), 1);
        std::fs::write(file.path(), "new\n")?;
        assert_eq!(tail.lines(file.path()), [b"new"]);
        Ok(())
    }
}

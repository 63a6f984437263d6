//! The one JSON object that `--check` prints, and when it is a success.

use parapet_device::reported::{NetworkReport, Separation};
use serde::Serialize;

use super::observe::{CameraView, Observer};

/// Frames of each camera that a check asks for.
const FRAMES: u64 = 100;
/// Least precision and recall of a check.
const PRECISION: f64 = 0.9;
const RECALL: f64 = 0.8;

/// The object. Members that are not known are null.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) device_status: Option<String>,
    pub(crate) instance_status: Option<String>,
    pub(crate) health: Option<String>,
    /// How the networks are kept apart, as the agent reports it.
    pub(crate) separation: Option<Separation>,
    /// Why the cameras have no network of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lacking: Option<String>,
    /// What the agent says that this machine does not give.
    pub(crate) missing: Vec<String>,
    pub(crate) cameras: Vec<Camera>,
    pub(crate) latency_ms: Latency,
    pub(crate) seconds_to_first_detection: Option<f64>,
    /// With `--footage` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) visits: Option<Vec<VisitSeconds>>,
}

/// One camera of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Camera {
    name: String,
    frames: u64,
    fps: Option<f64>,
    detections: u64,
    precision: Option<f64>,
    recall: Option<f64>,
}

/// Capture to return of `get()`, of the slower camera.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    p50: Option<f64>,
    p99: Option<f64>,
}

/// A visit in the clip's own time.
#[derive(Debug, Serialize)]
pub(crate) struct VisitSeconds {
    /// Seconds from the clip's first frame.
    pub(crate) begin_s: f64,
    /// Seconds until its end.
    pub(crate) dwell_s: f64,
}

impl Report {
    /// What is known when nothing has been deployed.
    pub(crate) fn nothing() -> Self {
        Self {
            ok: false,
            reason: None,
            device_status: None,
            instance_status: None,
            health: None,
            separation: None,
            lacking: None,
            missing: Vec::new(),
            cameras: Vec::new(),
            latency_ms: Latency {
                p50: None,
                p99: None,
            },
            seconds_to_first_detection: None,
            visits: None,
        }
    }

    /// Fills in what the observer has seen.
    pub(crate) fn take(&mut self, seen: &Observer) {
        self.separation = seen.network.as_ref().map(|network| network.separation);
        self.missing = seen
            .network
            .as_ref()
            .map_or(Vec::new(), |network| network.missing.clone());
        self.cameras = seen
            .cameras
            .iter()
            .map(|(name, view)| Camera {
                name: name.clone(),
                frames: view.frames,
                fps: view.metrics.map(|metrics| round(metrics.fps, 1)),
                detections: view.detections,
                precision: view.score.precision().map(|value| round(value, 4)),
                recall: view.score.recall().map(|value| round(value, 4)),
            })
            .collect();
        let slowest = |value: fn(&parapet_device::reported::StreamMetrics) -> f64| {
            seen.cameras
                .iter()
                .filter_map(|(_, view)| view.metrics.as_ref().map(value))
                .max_by(f64::total_cmp)
                .map(|value| round(value, 1))
        };
        self.latency_ms = Latency {
            p50: slowest(|metrics| metrics.latency_p50_ms),
            p99: slowest(|metrics| metrics.latency_p99_ms),
        };
    }
}

/// What a camera still lacks for a check to succeed; `None` when it lacks nothing.
pub(crate) fn lacks(name: &str, view: &CameraView) -> Option<String> {
    if view.frames < FRAMES {
        let why = view
            .reason
            .as_ref()
            .map_or(String::new(), |reason| format!(" ({reason})"));
        return Some(format!(
            "camera {name}: {} of {FRAMES} frames{why}",
            view.frames
        ));
    }
    view.truth.as_ref()?;
    let (precision, recall) = (view.score.precision(), view.score.recall());
    if precision.is_none_or(|value| value < PRECISION) {
        return Some(format!(
            "camera {name}: precision {precision:.3?}, {PRECISION} is needed"
        ));
    }
    if recall.is_none_or(|value| value < RECALL) {
        return Some(format!(
            "camera {name}: recall {recall:.3?}, {RECALL} is needed"
        ));
    }
    None
}

/// What the zones of an appliance whose cameras have a network of their own still lack.
pub(crate) fn lacks_separation(network: Option<&NetworkReport>) -> Option<String> {
    let network = match network {
        None => return Some("the agent does not say how the networks are kept apart".to_owned()),
        Some(network) if network.separation == Separation::Separated => return None,
        Some(network) => network,
    };
    Some(format!(
        "networks are {}, separated is needed: {}",
        network.separation,
        network.missing.join("; ")
    ))
}

/// Rounds for people: the figures are measurements, not constants of nature.
pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

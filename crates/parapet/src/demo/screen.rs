//! What a person sees of the demo in a terminal. All on standard error: standard output is for
//! the JSON of a check.

use std::io::{IsTerminal as _, Write as _};

use parapet_device::reported::{InstanceState, NodeStatus};

use super::observe::Observer;
use super::place::Place;

/// The terminal.
pub(crate) struct Screen {
    quiet: bool,
    live: bool,
}

impl Screen {
    /// `quiet` keeps to one line a step.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            live: !quiet && std::io::stderr().is_terminal(),
        }
    }

    /// A step of the preparation begins.
    pub(crate) fn step(&self, text: &str) {
        let mark = if self.quiet { "demo:" } else { "  ·" };
        eprintln!("{mark} {text}");
    }

    /// Where to go from here.
    pub(crate) fn addresses(place: &Place, api_port: u16) {
        let server = place.server();
        eprintln!();
        eprintln!("  Console   https://127.0.0.1:{api_port}/console/");
        eprintln!(
            "            sign in with the link of: parapet console --data {}",
            server.display()
        );
        eprintln!("  AWS CLI   source {}", server.join("admin/env").display());
        eprintln!("            aws panorama list-devices");
        eprintln!(
            "  Data      {} (Ctrl-C stops; the next run goes on here)",
            place.dir.display()
        );
        eprintln!();
    }

    /// The live line: device, instance, each camera, latency.
    pub(crate) fn status(&self, seen: &Observer) {
        let line = line(seen);
        if self.live {
            let width = terminal_width();
            let cut: String = line.chars().take(width.saturating_sub(1)).collect();
            eprint!("\r\x1b[2K{cut}");
            // A closed terminal is no reason to stop.
            let _: std::io::Result<()> = std::io::stderr().flush();
        }
    }

    /// Leaves the live line.
    pub(crate) fn end(&self) {
        if self.live {
            eprintln!();
        }
        eprintln!("  · stopping");
    }
}

fn line(seen: &Observer) -> String {
    let device = if seen.online { "ONLINE" } else { "offline" };
    let healthy = seen.report.as_ref().is_some_and(|report| {
        report.state == InstanceState::Running
            && report
                .nodes
                .iter()
                .all(|node| node.status == NodeStatus::Running)
    });
    let instance = match &seen.report {
        None => "waiting".to_owned(),
        Some(_) if healthy => "RUNNING".to_owned(),
        Some(report) if report.state == InstanceState::Running => "ERROR".to_owned(),
        Some(report) => format!("{:?}", report.state),
    };
    let mut parts = vec![format!("device {device}"), format!("instance {instance}")];
    if let Some(network) = &seen.network {
        parts.push(format!("networks {}", network.separation));
    }
    let (mut p50, mut p99, mut detections) = (0_f64, 0_f64, 0_f64);
    for (name, camera) in &seen.cameras {
        parts.push(match (&camera.reason, &camera.metrics) {
            (Some(reason), _) => format!("{name} {reason}"),
            (None, Some(metrics)) => format!("{name} {:.1} fps", metrics.fps),
            (None, None) => format!("{name} -"),
        });
        detections += camera.detections_per_second();
        if let Some(metrics) = camera.metrics {
            p50 = p50.max(metrics.latency_p50_ms);
            p99 = p99.max(metrics.latency_p99_ms);
        }
    }
    parts.push(format!("{detections:.0} detections/s"));
    parts.push(format!("latency {p50:.0}/{p99:.0} ms p50/p99"));
    parts.join(" | ")
}

fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(std::io::stderr())
        .map_or(120, |size| usize::from(size.ws_col))
        .max(40)
}

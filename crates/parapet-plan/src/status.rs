//! Desired and reported to what the API says of an instance (`spec/api.md` 4.5, `design.md`,
//! "When a node fails").
//!
//! A decision table, top down. The state is never set by hand; the only memory are two facts that
//! a report once proved: the instance ran, the instance is gone.

use parapet_device::reported::{InstanceReport, InstanceState, NodeStatus, Reason};
use parapet_device::{Generation, InstanceId, NodeName, Reported};

/// `ApplicationInstanceStatus`, as far as it can come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// No document holds it yet.
    DeploymentPending,
    /// A document holds it; the device has not confirmed that document.
    DeploymentRequested,
    /// The device installs or starts it.
    DeploymentInProgress,
    /// It runs, or has run: what fails afterwards shows in its health.
    DeploymentSucceeded,
    /// The device cannot install or start it.
    DeploymentFailed,
    /// Documents still hold it.
    RemovalPending,
    /// No document holds it; the device has not confirmed that document.
    RemovalRequested,
    /// The device still holds it.
    RemovalInProgress,
    /// It is gone.
    RemovalSucceeded,
}

impl Status {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeploymentPending => "DEPLOYMENT_PENDING",
            Self::DeploymentRequested => "DEPLOYMENT_REQUESTED",
            Self::DeploymentInProgress => "DEPLOYMENT_IN_PROGRESS",
            Self::DeploymentSucceeded => "DEPLOYMENT_SUCCEEDED",
            Self::DeploymentFailed => "DEPLOYMENT_FAILED",
            Self::RemovalPending => "REMOVAL_PENDING",
            Self::RemovalRequested => "REMOVAL_REQUESTED",
            Self::RemovalInProgress => "REMOVAL_IN_PROGRESS",
            Self::RemovalSucceeded => "REMOVAL_SUCCEEDED",
        }
    }
}

/// `ApplicationInstanceHealthStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Every node runs or is paused.
    Running,
    /// A node does not work, or the instance could not be started.
    Error,
    /// Nothing is known, or not all of it.
    NotAvailable,
}

impl Health {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Error => "ERROR",
            Self::NotAvailable => "NOT_AVAILABLE",
        }
    }
}

/// What is wanted of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It shall run, since this generation of its device's document; `None` before it is planned.
    Running(Option<Generation>),
    /// It shall be gone, likewise.
    Removed(Option<Generation>),
}

/// All that is known of an instance.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// Which instance.
    pub instance: &'a InstanceId,
    /// What is wanted.
    pub wanted: Wanted,
    /// The newest report of its device.
    pub reported: Option<&'a Reported>,
    /// Whether a report has ever said that it runs.
    pub deployed: bool,
    /// Whether a report after its removal has ever left it out.
    pub removed: bool,
    /// Whether the device has been silent for long: what it said of its health counts no more.
    pub stale: bool,
}

/// What the API says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceStatus {
    /// `Status`.
    pub status: Status,
    /// `HealthStatus`.
    pub health: Health,
    /// `StatusDescription`, 1 to 255 characters.
    pub description: String,
}

/// What the API says of an instance. See the module.
#[must_use]
pub fn status(situation: &Situation<'_>) -> InstanceStatus {
    let report = situation.report();
    let status = match situation.wanted {
        Wanted::Running(since) => deployment(situation, since, report),
        Wanted::Removed(since) => removal(situation, since, report),
    };
    let health = match situation.wanted {
        Wanted::Running(_) if !situation.stale => report.map_or(Health::NotAvailable, health),
        _ => Health::NotAvailable,
    };
    let fault = report
        .filter(|_| matches!(situation.wanted, Wanted::Running(_)))
        .and_then(fault);
    let description = match (status, fault) {
        // A fault of nodes while others are still starting would read as the outcome.
        (Status::DeploymentSucceeded | Status::DeploymentFailed, Some(fault)) => fault,
        (status, _) => words(status).to_owned(),
    };
    InstanceStatus {
        status,
        health,
        description: description.chars().take(255).collect(),
    }
}

impl<'a> Situation<'a> {
    fn report(&self) -> Option<&'a InstanceReport> {
        self.reported?
            .instances
            .iter()
            .find(|report| report.id == *self.instance)
    }

    /// Whether the device has confirmed the document of that generation.
    fn confirmed(&self, since: Generation) -> bool {
        self.reported
            .is_some_and(|reported| reported.observed_generation >= since)
    }
}

fn deployment(
    situation: &Situation<'_>,
    since: Option<Generation>,
    report: Option<&InstanceReport>,
) -> Status {
    if situation.deployed {
        return Status::DeploymentSucceeded;
    }
    match (report.map(|report| report.state), since) {
        (Some(InstanceState::Running), _) => Status::DeploymentSucceeded,
        (Some(InstanceState::InstallError | InstanceState::LaunchError), _) => {
            Status::DeploymentFailed
        }
        (Some(InstanceState::InstallInProgress | InstanceState::Starting), _) => {
            Status::DeploymentInProgress
        }
        (Some(InstanceState::RemovalInProgress) | None, Some(since)) => {
            if situation.confirmed(since) {
                Status::DeploymentInProgress
            } else {
                Status::DeploymentRequested
            }
        }
        (Some(InstanceState::RemovalInProgress) | None, None) => Status::DeploymentPending,
    }
}

fn removal(
    situation: &Situation<'_>,
    since: Option<Generation>,
    report: Option<&InstanceReport>,
) -> Status {
    if situation.removed {
        return Status::RemovalSucceeded;
    }
    let Some(since) = since else {
        return Status::RemovalPending;
    };
    match (situation.confirmed(since), report) {
        (
            _,
            Some(InstanceReport {
                state: InstanceState::RemovalInProgress,
                ..
            }),
        )
        | (true, Some(_)) => Status::RemovalInProgress,
        (true, None) => Status::RemovalSucceeded,
        (false, _) => Status::RemovalRequested,
    }
}

fn health(report: &InstanceReport) -> Health {
    let failed = matches!(
        report.state,
        InstanceState::InstallError | InstanceState::LaunchError
    );
    if failed
        || report
            .nodes
            .iter()
            .any(|node| node.status == NodeStatus::Error)
    {
        return Health::Error;
    }
    let works = |status| matches!(status, NodeStatus::Running | NodeStatus::Paused);
    if report.state == InstanceState::Running && report.nodes.iter().all(|n| works(n.status)) {
        Health::Running
    } else {
        Health::NotAvailable
    }
}

/// What does not work, as `<node>: <code>: <remedy>`.
fn fault(report: &InstanceReport) -> Option<String> {
    if let Some(reason) = &report.reason {
        return Some(instance_reason(reason));
    }
    let mut failed = report
        .nodes
        .iter()
        .filter(|node| node.status == NodeStatus::Error);
    let first = failed.next()?;
    let text = match &first.reason {
        Some(reason) => node_reason(&first.node, reason),
        None => format!("{}: error: see the log of the node", first.node),
    };
    match failed.count() {
        0 => Some(text),
        // The beginning is what counts when the whole is cut.
        more => Some(format!("{text} (and {more} more)")),
    }
}

/// A node's reason as one line: `StatusReason` on a node instance, and part of the description.
#[must_use]
pub fn node_reason(node: &NodeName, reason: &Reason) -> String {
    format!("{node}: {}: {}", reason.code, reason.message)
        .chars()
        .take(255)
        .collect()
}

/// An instance's reason. Where a node is to blame its message begins with the node's name
/// (see [`crate::plan()`]), which goes to the front.
fn instance_reason(reason: &Reason) -> String {
    match reason.message.split_once(": ") {
        Some((node, rest)) if node.parse::<NodeName>().is_ok() => {
            let rest = rest
                .strip_prefix(&format!("{}: ", reason.code))
                .unwrap_or(rest);
            format!("{node}: {}: {rest}", reason.code)
        }
        _ => format!("{}: {}", reason.code, reason.message),
    }
}

fn words(status: Status) -> &'static str {
    match status {
        Status::DeploymentPending => "Deployment Workflow has been scheduled.",
        Status::DeploymentRequested => "The device has been asked to deploy the application.",
        Status::DeploymentInProgress => "The device installs and starts the application.",
        Status::DeploymentSucceeded => "Application deployed successfully.",
        Status::DeploymentFailed => "The device could not deploy the application; see its log.",
        Status::RemovalPending => "Removal has been scheduled.",
        Status::RemovalRequested => "The device has been asked to remove the application.",
        Status::RemovalInProgress => "The device removes the application.",
        Status::RemovalSucceeded => "Application removed successfully.",
    }
}

//! What is known of an application instance at this moment, from desired and reported.

use std::time::Duration;

use parapet_api::{
    ApplicationInstanceHealthStatus, ApplicationInstanceStatus, DesiredState as WireDesired,
    DeviceReportedStatus, NodeInstanceStatus, ReportedRuntimeContextState, Timestamp,
    WireEnum as _,
};
use parapet_device::Generation;
use parapet_device::reported::{InstanceReport, InstanceState, NodeStatus};
use parapet_plan::{Situation, Wanted, node_reason, status};
use rusqlite::Connection;

use super::presence::Presence;
use super::standing::Standing;
use crate::store::instances::{DesiredState, Instance, InstanceNode};
use crate::store::{Micros, Scope, StoreError, devices};

/// How long a device may be silent before what it said of its nodes' health counts no more.
const STALE: Duration = Duration::from_mins(5);

/// An instance as it stands.
#[derive(Debug, Clone)]
pub struct InstanceStanding {
    /// `Status`.
    pub status: ApplicationInstanceStatus,
    /// `HealthStatus`.
    pub health: ApplicationInstanceHealthStatus,
    /// `StatusDescription`.
    pub description: String,
    /// What the device last said of the instance, and when.
    report: Option<(InstanceReport, Micros)>,
    stale: bool,
}

impl InstanceStanding {
    /// Puts together what store and memory know.
    pub fn of(
        connection: &Connection,
        presence: &Presence,
        scope: &Scope,
        instance: &Instance,
        now: Micros,
    ) -> Result<Self, StoreError> {
        // A device that is gone has no report; what it proved stands in the instance's row.
        let device = match devices::get(connection, scope, &instance.device)? {
            Some(device) => Some(Standing::of(presence, scope, &device, now)?),
            None => None,
        };
        let stale = device.as_ref().is_none_or(|device| {
            !device.known.online
                && device
                    .known
                    .last_contact
                    .is_none_or(|contact| contact.after(STALE) < now)
        });
        let last = device.and_then(|device| device.report);
        let id = instance.id.parse().map_err(|_| StoreError::Value {
            what: "instance ID",
            value: instance.id.clone(),
        })?;
        let since = (instance.generation > 0).then_some(Generation(instance.generation));
        let outcome = status(&Situation {
            instance: &id,
            wanted: match instance.desired_state {
                DesiredState::Running => Wanted::Running(since),
                DesiredState::Removed => Wanted::Removed(since),
            },
            reported: last.as_ref().map(|last| last.report.as_ref()),
            deployed: instance.deployed.is_some(),
            removed: instance.removed.is_some(),
            stale,
        });
        let report = last.and_then(|last| {
            let report = last
                .report
                .instances
                .iter()
                .find(|report| report.id == id)?;
            Some((report.clone(), last.at))
        });
        let unknown = |what, value: &str| StoreError::Value {
            what,
            value: value.to_owned(),
        };
        let (status, health) = (outcome.status.as_str(), outcome.health.as_str());
        Ok(Self {
            status: ApplicationInstanceStatus::from_wire(status)
                .ok_or_else(|| unknown("instance status", status))?,
            health: ApplicationInstanceHealthStatus::from_wire(health)
                .ok_or_else(|| unknown("health status", health))?,
            description: outcome.description,
            report,
            stale,
        })
    }

    /// What the device last said of the instance, and when.
    #[must_use]
    pub fn report(&self) -> Option<(&InstanceReport, Micros)> {
        self.report.as_ref().map(|(report, at)| (report, *at))
    }

    /// `RuntimeContextStates`: one entry once the device has said something of the instance.
    #[must_use]
    pub fn runtime_context_states(&self, instance: &Instance) -> Vec<ReportedRuntimeContextState> {
        self.report
            .iter()
            .map(|(report, at)| ReportedRuntimeContextState {
                desired_state: match instance.desired_state {
                    DesiredState::Running => WireDesired::Running,
                    DesiredState::Removed => WireDesired::Removed,
                },
                device_reported_status: reported_status(report.state),
                device_reported_time: Timestamp::from_micros(at.0),
                runtime_context_name: instance.device.clone(),
            })
            .collect()
    }

    /// `CurrentStatus` and `StatusReason` of a node.
    #[must_use]
    pub fn node(&self, node: &InstanceNode) -> (NodeInstanceStatus, Option<String>) {
        let reported = self
            .report
            .as_ref()
            .filter(|_| !self.stale)
            .and_then(|(report, _)| report.nodes.iter().find(|n| n.node.as_str() == node.node));
        let Some(reported) = reported else {
            // A camera that waits for a signal is paused before anybody says so.
            let removed = self.status == ApplicationInstanceStatus::RemovalSucceeded;
            let status = if node.paused && !removed {
                NodeInstanceStatus::Paused
            } else {
                NodeInstanceStatus::NotAvailable
            };
            return (status, None);
        };
        let status = match reported.status {
            NodeStatus::Running => NodeInstanceStatus::Running,
            NodeStatus::Error => NodeInstanceStatus::Error,
            NodeStatus::NotAvailable => NodeInstanceStatus::NotAvailable,
            NodeStatus::Paused => NodeInstanceStatus::Paused,
        };
        let reason = reported
            .reason
            .as_ref()
            .map(|reason| node_reason(&reported.node, reason));
        (status, reason)
    }
}

fn reported_status(state: InstanceState) -> DeviceReportedStatus {
    match state {
        InstanceState::InstallInProgress => DeviceReportedStatus::InstallInProgress,
        InstanceState::InstallError => DeviceReportedStatus::InstallError,
        InstanceState::Starting => DeviceReportedStatus::Starting,
        InstanceState::Running => DeviceReportedStatus::Running,
        InstanceState::LaunchError => DeviceReportedStatus::LaunchError,
        InstanceState::RemovalInProgress => DeviceReportedStatus::RemovalInProgress,
    }
}

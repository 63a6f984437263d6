//! What a device says of itself, taken in: `PUT /v1/device/reported`.
//!
//! The newest report stays in memory with its metrics; the store gets it when something other than
//! numbers changed, together with the facts it proves about instances (ran once, is gone).

use std::sync::Arc;

use parapet_device::Reported;
use parapet_device::reported::InstanceState;
use thiserror::Error;

use super::presence::{DeviceKey, Presence};
use crate::store::devices::Provisioning;
use crate::store::instances::{DesiredState, Instance};
use crate::store::{self, Micros, Store, StoreError};

/// More instances than any device holds; beyond it a report is nonsense.
const INSTANCES: usize = 256;
/// More nodes than any graph has.
const NODES: usize = 256;
/// Longest free text in a report, in bytes: a reason's 200 characters, or a version.
const TEXT_BYTES: usize = 800;
/// Hosts that the applications of an instance asked for; the agent lists no more.
const ASKED: usize = 64;
/// Interfaces of a host, and what it lacks.
const NETWORK_ENTRIES: usize = 64;

/// Why a report is not taken.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A newer one of the same boot is known.
    #[error("take report {got}: report {newest} of the same boot is known")]
    Stale {
        /// Number of this report.
        got: u64,
        /// Number of the newest.
        newest: u64,
    },
    /// It is out of bounds.
    #[error("take a report: {what} has {got}, at most {limit} are allowed")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// How large it is.
        got: usize,
        /// How large it may be.
        limit: usize,
    },
    /// Its writer speaks another protocol.
    #[error("take a report of version {0}: this server knows version 1; update it first")]
    Version(u32),
    /// The device was deleted meanwhile.
    #[error("take a report: the device is deleted")]
    Deleted,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes a report of a device that the gateway has authenticated.
pub async fn accept(
    store: &Store,
    presence: &Arc<Presence>,
    key: &DeviceKey,
    report: Reported,
) -> Result<(), ReportError> {
    check(&report)?;
    let now = Micros::now();
    let before = presence.last_report(key).map(|last| last.report);
    let report = Arc::new(report);
    presence
        .keep_report(key, Arc::clone(&report), now)
        .map_err(|stale| ReportError::Stale {
            got: report.seq,
            newest: stale.newest,
        })?;
    let lasting = lasting_part(&report);
    if before.is_some_and(|before| lasting_part(&before) == lasting) {
        return Ok(());
    }
    let outcome = write(store, presence, key, lasting, &report, now).await;
    if outcome.is_err() {
        // The store does not have it: the next report must not be taken for a repetition.
        presence.forget_report(key, &report);
    }
    outcome
}

async fn write(
    store: &Store,
    presence: &Arc<Presence>,
    key: &DeviceKey,
    lasting: Reported,
    report: &Arc<Reported>,
    now: Micros,
) -> Result<(), ReportError> {
    let json = serde_json::to_string(&lasting).map_err(|source| StoreError::Document {
        what: "report",
        source,
    })?;
    let (key, report, presence) = (key.clone(), Arc::clone(report), Arc::clone(presence));
    store
        .write(move |tx| {
            // Writes of one device's reports may arrive here out of order; only the newest counts,
            // and it holds all the older ones prove.
            if !presence
                .last_report(&key)
                .is_some_and(|last| Arc::ptr_eq(&last.report, &report))
            {
                return Ok(());
            }
            let scope = &key.scope;
            let device =
                store::devices::get(tx, scope, &key.device)?.ok_or(ReportError::Deleted)?;
            store::devices::set_reported(tx, scope, &key.device, &json, now)?;
            if device.provisioning == Provisioning::Pending {
                let succeeded = Provisioning::Succeeded;
                store::devices::set_provisioning(tx, scope, &key.device, succeeded, now)?;
            }
            let held = store::instances::held_by(tx, scope, &key.device)?;
            let facts = facts(&held, &report);
            for id in &facts.running {
                store::instances::set_deployed(tx, scope, id, now)?;
            }
            for id in &facts.gone {
                store::instances::set_removed(tx, scope, id, now)?;
            }
            if !facts.gone.is_empty() {
                store::cameras::forget_unused(tx, scope)?;
            }
            Ok(())
        })
        .await
}

fn check(report: &Reported) -> Result<(), ReportError> {
    if report.version != parapet_device::PROTOCOL_VERSION {
        return Err(ReportError::Version(report.version));
    }
    let within = |what, got, limit| {
        if got > limit {
            Err(ReportError::TooLarge { what, got, limit })
        } else {
            Ok(())
        }
    };
    within("software", report.software.len(), TEXT_BYTES)?;
    within("boot_id", report.boot_id.len(), TEXT_BYTES)?;
    within("instances", report.instances.len(), INSTANCES)?;
    if let Some(network) = &report.network {
        for list in [&network.uplink, &network.cameras, &network.missing] {
            within("network", list.len(), NETWORK_ENTRIES)?;
            for text in list {
                within("network", text.len(), TEXT_BYTES)?;
            }
        }
    }
    for instance in &report.instances {
        within("nodes", instance.nodes.len(), NODES)?;
        within("asked", instance.asked.len(), ASKED)?;
        for asked in &instance.asked {
            within("asked", asked.host.len(), TEXT_BYTES)?;
        }
        let reasons = instance
            .nodes
            .iter()
            .filter_map(|node| node.reason.as_ref());
        for reason in reasons.chain(&instance.reason) {
            within(
                "reason",
                reason.code.len().max(reason.message.len()),
                TEXT_BYTES,
            )?;
        }
    }
    Ok(())
}

/// A report without what changes all the time.
fn lasting_part(report: &Reported) -> Reported {
    let mut lasting = report.clone();
    lasting.seq = 0;
    for node in lasting
        .instances
        .iter_mut()
        .flat_map(|instance| &mut instance.nodes)
    {
        node.stream = None;
    }
    for asked in lasting
        .instances
        .iter_mut()
        .flat_map(|instance| &mut instance.asked)
    {
        asked.count = 0;
    }
    lasting
}

/// What a report proves for good.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    /// These ran.
    running: Vec<String>,
    /// These were to be removed and the device holds them no longer.
    gone: Vec<String>,
}

fn facts(held: &[Instance], report: &Reported) -> Facts {
    let mut facts = Facts::default();
    for instance in held {
        let reported = report
            .instances
            .iter()
            .find(|r| r.id.as_str() == instance.id);
        match (instance.desired_state, reported) {
            (DesiredState::Running, Some(reported))
                if reported.state == InstanceState::Running && instance.deployed.is_none() =>
            {
                facts.running.push(instance.id.clone());
            }
            // A report made before the device saw the removal says nothing about it.
            (DesiredState::Removed, None)
                if report.observed_generation.0 >= instance.generation =>
            {
                facts.gone.push(instance.id.clone());
            }
            _ => {}
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use parapet_device::Generation;
    use parapet_device::reported::{Asked, InstanceReport, NodeReport, NodeStatus, StreamMetrics};

    fn instance(id: &str, desired_state: DesiredState, generation: u64) -> Instance {
        Instance {
            id: id.to_owned(),
            name: None,
            description: None,
            device: "device-a".to_owned(),
            device_name: "a".to_owned(),
            role_arn: None,
            replaces: None,
            manifest: String::new(),
            overrides: None,
            deployment_json: String::new(),
            desired_state,
            generation,
            deployed: None,
            removed: None,
            created: Micros(0),
            updated: Micros(0),
        }
    }

    fn report(observed: u64, instances: &[(&str, InstanceState)]) -> Reported {
        Reported {
            version: parapet_device::PROTOCOL_VERSION,
            boot_id: "boot".to_owned(),
            seq: 1,
            software: "0.1.0".to_owned(),
            observed_generation: Generation(observed),
            applied_generation: Generation(observed),
            instances: instances
                .iter()
                .map(|(id, state)| InstanceReport {
                    id: id.parse().expect("an instance ID"),
                    state: *state,
                    reason: None,
                    nodes: Vec::new(),
                    asked: Vec::new(),
                })
                .collect(),
            network: None,
        }
    }

    #[test]
    fn an_instance_is_gone_only_after_the_device_saw_its_removal() {
        let held = [instance("applicationInstance-a", DesiredState::Removed, 6)];
        let gone = |report| facts(&held, &report).gone.len();
        assert_eq!(gone(report(5, &[])), 0);
        assert_eq!(gone(report(6, &[])), 1);
        let state = InstanceState::RemovalInProgress;
        assert_eq!(gone(report(6, &[("applicationInstance-a", state)])), 0);
    }

    #[test]
    fn an_instance_ran_once_it_is_reported_running() {
        let held = [instance("applicationInstance-a", DesiredState::Running, 6)];
        for (state, ran) in [
            (InstanceState::InstallInProgress, 0),
            (InstanceState::Starting, 0),
            (InstanceState::LaunchError, 0),
            (InstanceState::Running, 1),
        ] {
            let facts = facts(&held, &report(6, &[("applicationInstance-a", state)]));
            assert_eq!(facts.running.len(), ran, "{state:?}");
        }
    }

    #[test]
    fn metrics_and_numbers_alone_are_not_worth_a_write() {
        let mut one = report(1, &[("applicationInstance-a", InstanceState::Running)]);
        one.instances[0].nodes.push(NodeReport {
            node: "cam".parse().expect("a node name"),
            status: NodeStatus::Running,
            reason: None,
            stream: Some(StreamMetrics {
                frames: 1,
                fps: 25.0,
                latency_p50_ms: 1.0,
                latency_p99_ms: 2.0,
                width: 1280,
                height: 720,
            }),
        });
        let mut two = one.clone();
        two.seq = 2;
        two.instances[0].nodes[0].stream = None;
        assert_eq!(lasting_part(&one), lasting_part(&two));
        two.instances[0].nodes[0].status = NodeStatus::Error;
        assert_ne!(lasting_part(&one), lasting_part(&two));
    }

    #[test]
    fn a_report_out_of_bounds_is_refused() {
        let mut large = report(1, &[("applicationInstance-a", InstanceState::Running)]);
        large.software = "1".repeat(TEXT_BYTES + 1);
        assert!(matches!(
            check(&large),
            Err(ReportError::TooLarge {
                what: "software",
                ..
            })
        ));
        let mut curious = report(1, &[("applicationInstance-a", InstanceState::Running)]);
        let asked = Asked {
            node: "code".parse().expect("a node name"),
            host: "a.example".to_owned(),
            port: 443,
            allowed: false,
            count: 1,
        };
        curious.instances[0].asked = vec![asked; ASKED + 1];
        assert!(matches!(
            check(&curious),
            Err(ReportError::TooLarge { what: "asked", .. })
        ));
        curious.instances[0].asked.truncate(1);
        check(&curious).expect("one host is within bounds");
        curious.instances[0].asked[0].host = "a".repeat(TEXT_BYTES + 1);
        assert!(check(&curious).is_err());
        let foreign = Reported {
            version: 2,
            ..report(1, &[])
        };
        assert!(matches!(check(&foreign), Err(ReportError::Version(2))));
    }
}

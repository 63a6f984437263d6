//! What is known of a device at this moment: its record, its presence and its newest report.

use std::sync::Arc;

use parapet_device::Reported;

use super::presence::{DeviceKey, LastReport, Presence};
use crate::registry::device_status::Known;
use crate::store::devices::Device;
use crate::store::{Micros, Scope, StoreError};

/// A device as it stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What its status is made from.
    pub known: Known,
    /// Its newest report.
    pub report: Option<LastReport>,
}

impl Standing {
    /// Puts together what the store and the memory know.
    pub fn of(
        presence: &Presence,
        scope: &Scope,
        device: &Device,
        now: Micros,
    ) -> Result<Self, StoreError> {
        let key = DeviceKey {
            scope: scope.clone(),
            device: device.id.clone(),
        };
        let report = match presence.last_report(&key) {
            Some(report) => Some(report),
            None => stored_report(device)?,
        };
        let known = Known {
            provisioning: device.provisioning,
            online: presence.is_online(&key),
            // After a restart of the server the stored report is the last sign of life known.
            last_contact: presence.last_contact(&key).or(device.reported),
            reported: report.is_some(),
            now,
        };
        Ok(Self { known, report })
    }

    /// `CurrentSoftware`; scripts take `NOT_AVAILABLE` as older than anything.
    #[must_use]
    pub fn software(&self) -> String {
        match &self.report {
            Some(last) => last.report.software.clone(),
            None => "NOT_AVAILABLE".to_owned(),
        }
    }
}

/// The newest report in the store.
fn stored_report(device: &Device) -> Result<Option<LastReport>, StoreError> {
    let (Some(json), Some(at)) = (&device.reported_json, device.reported) else {
        return Ok(None);
    };
    let report: Reported = serde_json::from_str(json).map_err(|source| StoreError::Document {
        what: "report",
        source,
    })?;
    Ok(Some(LastReport {
        report: Arc::new(report),
        at,
    }))
}

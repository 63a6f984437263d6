//! What a device's status is, from what is known of it (`spec/api.md` 4.1).

use std::time::Duration;

use parapet_api::{DeviceAggregatedStatus, DeviceConnectionStatus, DeviceStatus};

use crate::store::Micros;
use crate::store::devices::Provisioning;

/// How long a device may be away before it is marked as away too long. Nothing stops for it.
pub const LEASE: Duration = Duration::from_hours(5 * 24);

/// The newest software there is for devices: agents are released with the server.
pub const LATEST_SOFTWARE: &str = env!("CARGO_PKG_VERSION");

/// What is known of a device.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// How far its registration is.
    pub provisioning: Provisioning,
    /// Whether its session is fresh.
    pub online: bool,
    /// Its last sign of life, by the server's clock; the lease runs from there.
    pub last_contact: Option<Micros>,
    /// Whether it ever reported.
    pub reported: bool,
    /// The present.
    pub now: Micros,
}

impl Known {
    /// `LeaseExpirationTime`.
    #[must_use]
    pub fn lease_end(&self) -> Option<Micros> {
        self.last_contact.map(|contact| contact.after(LEASE))
    }

    /// `DeviceConnectionStatus`.
    #[must_use]
    pub fn connection(&self) -> DeviceConnectionStatus {
        match self.provisioning {
            Provisioning::AwaitingProvisioning => DeviceConnectionStatus::AwaitingCredentials,
            Provisioning::Failed => DeviceConnectionStatus::Error,
            Provisioning::Pending | Provisioning::Succeeded => match (self.online, self.reported) {
                (true, _) => DeviceConnectionStatus::Online,
                (false, true) => DeviceConnectionStatus::Offline,
                (false, false) => DeviceConnectionStatus::NotAvailable,
            },
        }
    }

    /// `ProvisioningStatus`.
    #[must_use]
    pub fn provisioning(&self) -> DeviceStatus {
        match self.provisioning {
            Provisioning::AwaitingProvisioning => DeviceStatus::AwaitingProvisioning,
            Provisioning::Pending => DeviceStatus::Pending,
            Provisioning::Succeeded => DeviceStatus::Succeeded,
            Provisioning::Failed => DeviceStatus::Failed,
        }
    }

    /// `DeviceAggregatedStatus`, in the order of precedence of the page above.
    #[must_use]
    pub fn aggregated(&self) -> DeviceAggregatedStatus {
        match self.provisioning {
            Provisioning::AwaitingProvisioning => DeviceAggregatedStatus::AwaitingProvisioning,
            Provisioning::Pending => DeviceAggregatedStatus::Pending,
            Provisioning::Failed => DeviceAggregatedStatus::Failed,
            Provisioning::Succeeded => {
                if self.online {
                    DeviceAggregatedStatus::Online
                } else if self.lease_end().is_some_and(|end| end < self.now) {
                    DeviceAggregatedStatus::LeaseExpired
                } else {
                    DeviceAggregatedStatus::Offline
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use parapet_api::WireEnum as _;

    use super::*;

    #[test]
    fn every_state_of_a_device_has_its_words() {
        use Provisioning::{AwaitingProvisioning, Failed, Pending, Succeeded};
        let now = Micros(1_000_000_000_000_000);
        let recent = Some(Micros(now.0 - 60_000_000));
        let long_ago = Some(Micros(now.0 - 6 * 24 * 3600 * 1_000_000));
        for (provisioning, online, last_contact, reported, connection, aggregated) in [
            (
                AwaitingProvisioning,
                false,
                None,
                false,
                "AWAITING_CREDENTIALS",
                "AWAITING_PROVISIONING",
            ),
            (Pending, true, recent, false, "ONLINE", "PENDING"),
            (Pending, false, recent, false, "NOT_AVAILABLE", "PENDING"),
            (Succeeded, true, recent, true, "ONLINE", "ONLINE"),
            (Succeeded, false, recent, true, "OFFLINE", "OFFLINE"),
            (Succeeded, false, long_ago, true, "OFFLINE", "LEASE_EXPIRED"),
            (Failed, false, None, false, "ERROR", "FAILED"),
        ] {
            let known = Known {
                provisioning,
                online,
                last_contact,
                reported,
                now,
            };
            assert_eq!(
                (known.connection().as_str(), known.aggregated().as_str()),
                (connection, aggregated),
                "{known:?}"
            );
        }
    }

    #[test]
    fn the_lease_runs_five_days_from_the_last_contact() {
        let now = Micros(0);
        let known = Known {
            provisioning: Provisioning::Succeeded,
            online: true,
            last_contact: Some(now),
            reported: true,
            now,
        };
        assert_eq!(known.lease_end(), Some(Micros(5 * 24 * 3600 * 1_000_000)));
    }
}

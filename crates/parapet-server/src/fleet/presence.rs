//! Who has been in contact, in memory: a heartbeat writes nothing to the database.
//!
//! A device counts as online while one of its requests is open (a held `GET desired`) or shortly
//! after the last. Also keeps each device's newest report with its metrics; the store has the
//! newest one that differed in more than those.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parapet_device::Reported;

use crate::store::{Micros, Scope};

/// How long after its last sign of life a device still counts as online. Twice the longest pause
/// between an agent's reports, so that one lost report does not flap the status.
const FRESH: Duration = Duration::from_secs(30);

/// A device, wherever it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeviceKey {
    /// Account and region.
    pub scope: Scope,
    /// `device-…`.
    pub device: String,
}

/// What is known of all devices right now.
#[derive(Default)]
pub struct Presence {
    contacts: Mutex<HashMap<DeviceKey, Contact>>,
}

struct Contact {
    open_requests: usize,
    last: Instant,
    last_wall: Micros,
    report: Option<Arc<Reported>>,
    /// When the report came.
    reported: Option<Micros>,
}

/// A report and when it came.
#[derive(Debug, Clone)]
pub struct LastReport {
    /// The report with its metrics.
    pub report: Arc<Reported>,
    /// By the server's clock.
    pub at: Micros,
}

/// A report that arrived after a newer one of the same boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// The newest number seen.
    pub newest: u64,
}

/// Keeps a device online while its request is open; dropped with the request.
pub struct OpenRequest<'p> {
    presence: &'p Presence,
    key: DeviceKey,
}

impl Presence {
    /// Notes a sign of life and keeps the device online until the answer is dropped.
    #[must_use]
    pub fn open(&self, key: &DeviceKey) -> OpenRequest<'_> {
        self.entry(key, |contact| contact.open_requests += 1);
        OpenRequest {
            presence: self,
            key: key.clone(),
        }
    }

    /// Whether the device's session is fresh.
    #[must_use]
    pub fn is_online(&self, key: &DeviceKey) -> bool {
        self.lock()
            .get(key)
            .is_some_and(|contact| contact.open_requests > 0 || contact.last.elapsed() < FRESH)
    }

    /// Last sign of life since the server's start.
    #[must_use]
    pub fn last_contact(&self, key: &DeviceKey) -> Option<Micros> {
        let contacts = self.lock();
        let contact = contacts.get(key)?;
        Some(if contact.open_requests > 0 {
            Micros::now()
        } else {
            contact.last_wall
        })
    }

    /// The newest report since the server's start.
    #[must_use]
    pub fn last_report(&self, key: &DeviceKey) -> Option<LastReport> {
        let contacts = self.lock();
        let contact = contacts.get(key)?;
        let report = contact.report.clone()?;
        Some(LastReport {
            report,
            at: contact.reported?,
        })
    }

    /// Keeps a report unless a newer one of the same boot is known.
    pub(super) fn keep_report(
        &self,
        key: &DeviceKey,
        report: Arc<Reported>,
        at: Micros,
    ) -> Result<(), Stale> {
        self.entry(key, |contact| {
            if let Some(known) = &contact.report
                && known.boot_id == report.boot_id
                && known.seq >= report.seq
            {
                return Err(Stale { newest: known.seq });
            }
            contact.report = Some(report);
            contact.reported = Some(at);
            Ok(())
        })
    }

    /// Takes a kept report back, unless a newer one stands there by now.
    pub(super) fn forget_report(&self, key: &DeviceKey, report: &Arc<Reported>) {
        if let Some(contact) = self.lock().get_mut(key)
            && contact
                .report
                .as_ref()
                .is_some_and(|kept| Arc::ptr_eq(kept, report))
        {
            contact.report = None;
            contact.reported = None;
        }
    }

    /// Forgets a deleted device.
    pub(crate) fn forget(&self, key: &DeviceKey) {
        self.lock().remove(key);
    }

    fn entry<T>(&self, key: &DeviceKey, change: impl FnOnce(&mut Contact) -> T) -> T {
        let mut contacts = self.lock();
        let contact = contacts.entry(key.clone()).or_insert_with(|| Contact {
            open_requests: 0,
            last: Instant::now(),
            last_wall: Micros::now(),
            report: None,
            reported: None,
        });
        contact.last = Instant::now();
        contact.last_wall = Micros::now();
        change(contact)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceKey, Contact>> {
        // Every change above is complete before it can panic.
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        // Absent when the device was deleted while its request was open.
        if let Some(contact) = self.presence.lock().get_mut(&self.key) {
            contact.open_requests = contact.open_requests.saturating_sub(1);
            contact.last = Instant::now();
            contact.last_wall = Micros::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DeviceKey {
        DeviceKey {
            scope: Scope {
                account: "123456789012".to_owned(),
                region: "us-west-2".to_owned(),
            },
            device: "device-a".to_owned(),
        }
    }

    fn report(boot: &str, seq: u64) -> Arc<Reported> {
        Arc::new(Reported {
            version: parapet_device::PROTOCOL_VERSION,
            boot_id: boot.to_owned(),
            seq,
            software: "0.1.0".to_owned(),
            observed_generation: parapet_device::Generation(0),
            applied_generation: parapet_device::Generation(0),
            instances: Vec::new(),
            network: None,
        })
    }

    #[test]
    fn a_device_is_online_while_and_shortly_after_it_asks() {
        let presence = Presence::default();
        assert!(!presence.is_online(&key()));
        let request = presence.open(&key());
        assert!(presence.is_online(&key()));
        drop(request);
        assert!(presence.is_online(&key()));
        presence.forget(&key());
        assert!(!presence.is_online(&key()));
    }

    #[test]
    fn a_device_that_went_silent_is_offline_unless_a_request_is_open() {
        let presence = Presence::default();
        drop(presence.open(&key()));
        let Some(long_ago) = Instant::now().checked_sub(FRESH) else {
            // The machine started less than 30 s ago, its clock has no such instant.
            return;
        };
        presence.lock().get_mut(&key()).expect("a contact").last = long_ago;
        assert!(!presence.is_online(&key()));
        let _request = presence.open(&key());
        presence.lock().get_mut(&key()).expect("a contact").last = long_ago;
        assert!(presence.is_online(&key()));
    }

    #[test]
    fn an_older_report_of_the_same_boot_is_refused() {
        let presence = Presence::default();
        let now = Micros::now();
        assert_eq!(presence.keep_report(&key(), report("one", 5), now), Ok(()));
        for seq in [4, 5] {
            let refused = presence.keep_report(&key(), report("one", seq), now);
            assert_eq!(refused, Err(Stale { newest: 5 }));
        }
        assert_eq!(presence.keep_report(&key(), report("two", 1), now), Ok(()));
        assert_eq!(
            presence.last_report(&key()).map(|last| last.report.seq),
            Some(1)
        );
    }
}

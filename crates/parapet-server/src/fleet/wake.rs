//! Wakes the held `GET desired` of a device when its document has changed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::presence::DeviceKey;

/// What is announced of a device's document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// Nothing since the server's start; the store knows.
    Nothing,
    /// A document of at least this generation is durable.
    Generation(u64),
    /// The device is deleted.
    Deleted,
}

/// One channel for each device that somebody waits for or announces to.
#[derive(Default)]
pub struct Wake {
    channels: Mutex<HashMap<DeviceKey, watch::Sender<Announcement>>>,
}

impl Wake {
    /// Subscribes to a device's announcements. Subscribe first, then read the store, then wait:
    /// in that order no change is missed.
    #[must_use]
    pub fn subscribe(&self, key: &DeviceKey) -> watch::Receiver<Announcement> {
        let mut channels = self.lock();
        // Waiters of devices that went away leave a channel behind; it goes with the next change.
        channels.retain(|other, channel| other == key || channel.receiver_count() > 0);
        channels
            .entry(key.clone())
            .or_insert_with(|| watch::Sender::new(Announcement::Nothing))
            .subscribe()
    }

    /// Announces a document that has been committed.
    pub fn announce(&self, key: &DeviceKey, generation: u64) {
        if let Some(channel) = self.lock().get(key) {
            channel.send_if_modified(|last| match *last {
                // Commits are in order, announcements after them need not be.
                Announcement::Generation(known) if known >= generation => false,
                Announcement::Deleted => false,
                Announcement::Nothing | Announcement::Generation(_) => {
                    *last = Announcement::Generation(generation);
                    true
                }
            });
        }
    }

    /// Announces that a device is deleted, and forgets it.
    pub fn announce_deleted(&self, key: &DeviceKey) {
        if let Some(channel) = self.lock().remove(key) {
            channel.send_replace(Announcement::Deleted);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceKey, watch::Sender<Announcement>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scope;

    fn key(device: &str) -> DeviceKey {
        DeviceKey {
            scope: Scope {
                account: "123456789012".to_owned(),
                region: "us-west-2".to_owned(),
            },
            device: device.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_waiter_hears_of_its_own_device_only() {
        let wake = Wake::default();
        let mut mine = wake.subscribe(&key("device-a"));
        let theirs = wake.subscribe(&key("device-b"));
        wake.announce(&key("device-a"), 3);
        mine.changed().await.expect("the channel lives");
        assert_eq!(*mine.borrow(), Announcement::Generation(3));
        assert!(!theirs.has_changed().expect("the channel lives"));
    }

    #[test]
    fn a_late_announcement_does_not_go_back() {
        let wake = Wake::default();
        let waiter = wake.subscribe(&key("device-a"));
        wake.announce(&key("device-a"), 3);
        wake.announce(&key("device-a"), 2);
        assert_eq!(*waiter.borrow(), Announcement::Generation(3));
    }

    #[test]
    fn a_waiter_hears_that_its_device_is_deleted() {
        let wake = Wake::default();
        let waiter = wake.subscribe(&key("device-a"));
        wake.announce_deleted(&key("device-a"));
        assert_eq!(*waiter.borrow(), Announcement::Deleted);
    }

    #[test]
    fn channels_nobody_waits_at_are_let_go() {
        let wake = Wake::default();
        for number in 0..100 {
            drop(wake.subscribe(&key(&format!("device-{number}"))));
        }
        assert_eq!(wake.lock().len(), 1);
    }
}

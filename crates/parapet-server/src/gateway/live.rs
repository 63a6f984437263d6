//! Live pictures between devices and whoever watches, in memory, the newest alone.
//!
//! Owns no task. A device's session takes its commands from here and hands pictures in; a watcher
//! holds a [`Watch`]. A view is switched on at the device with its first watcher and off with its
//! last, and on again when the device comes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use parapet_device::live::{LiveCommand, LiveHeader, View};
use tokio::sync::{mpsc, watch};

use crate::fleet::DeviceKey;

/// Views of one device that can be watched at a time.
const VIEWS: usize = 32;

/// One picture.
#[derive(Debug, Clone)]
pub struct Picture {
    /// What the device says of it.
    pub header: LiveHeader,
    /// The JPEG.
    pub bytes: Bytes,
}

/// Commands that wait for a device; more than its views need at a time.
const COMMANDS: usize = 4 * VIEWS;

type Newest = Option<Arc<Picture>>;

/// All that is watched, and the devices that are connected.
#[derive(Default)]
pub struct Live {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<DeviceKey, Session>,
    views: HashMap<(DeviceKey, View), Watched>,
    last_session: u64,
}

struct Session {
    number: u64,
    commands: mpsc::Sender<LiveCommand>,
}

struct Watched {
    pictures: watch::Sender<Newest>,
    watchers: usize,
}

/// Commands for a device's session; ended by a newer session of the same device.
pub(super) struct Attachment {
    pub(super) commands: mpsc::Receiver<LiveCommand>,
    number: u64,
    key: DeviceKey,
    live: Arc<Live>,
}

/// Somebody watches a view; dropped when not any more.
pub struct Watch {
    pictures: watch::Receiver<Newest>,
    place: (DeviceKey, View),
    live: Arc<Live>,
}

impl Live {
    /// Watches a view; `None` when too many are watched of this device.
    #[must_use]
    pub fn watch(self: &Arc<Self>, key: &DeviceKey, view: &View) -> Option<Watch> {
        let place = (key.clone(), view.clone());
        let mut state = self.lock();
        let of_device = state
            .views
            .keys()
            .filter(|(device, _)| device == key)
            .count();
        let known = state.views.contains_key(&place);
        if !known && of_device >= VIEWS {
            return None;
        }
        let watched = state.views.entry(place.clone()).or_insert_with(|| Watched {
            pictures: watch::Sender::new(None),
            watchers: 0,
        });
        watched.watchers += 1;
        let pictures = watched.pictures.subscribe();
        if !known {
            state.tell(key, view, true);
        }
        drop(state);
        Some(Watch {
            pictures,
            place,
            live: Arc::clone(self),
        })
    }

    /// A device has connected: from now on this is its session.
    pub(super) fn attach(self: &Arc<Self>, key: &DeviceKey) -> Attachment {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let mut state = self.lock();
        state.last_session += 1;
        let number = state.last_session;
        state
            .sessions
            .insert(key.clone(), Session { number, commands });
        let watched = state.views.keys().filter(|(device, _)| device == key);
        let views = watched.map(|(_, view)| view.clone()).collect::<Vec<_>>();
        for view in &views {
            state.tell(key, view, true);
        }
        drop(state);
        Attachment {
            commands: queue,
            number,
            key: key.clone(),
            live: Arc::clone(self),
        }
    }

    /// Takes a picture of a device in; of a view that nobody watches it is dropped.
    pub(super) fn deliver(&self, key: &DeviceKey, picture: Picture) {
        let place = (key.clone(), picture.header.view.clone());
        if let Some(watched) = self.lock().views.get(&place) {
            watched.pictures.send_replace(Some(Arc::new(picture)));
        }
    }

    /// Whether a device has its live channel open.
    #[must_use]
    pub fn is_attached(&self, key: &DeviceKey) -> bool {
        self.lock().sessions.contains_key(key)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change below is complete before it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, key: &DeviceKey, view: &View, on: bool) {
        let Some(session) = self.sessions.get(key) else {
            return;
        };
        let command = LiveCommand {
            view: view.clone(),
            on,
        };
        if session.commands.try_send(command).is_err() {
            // It has ended, or does not listen any more: without its sender it ends, and the next
            // session of the device is told everything.
            self.sessions.remove(key);
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut state = self.live.lock();
        if state
            .sessions
            .get(&self.key)
            .is_some_and(|session| session.number == self.number)
        {
            state.sessions.remove(&self.key);
        }
    }
}

impl Watch {
    /// Waits for a picture that this watcher has not had; those in between are skipped.
    pub async fn next(&mut self) -> Option<Arc<Picture>> {
        loop {
            self.pictures.changed().await.ok()?;
            if let Some(picture) = self.pictures.borrow_and_update().clone() {
                return Some(picture);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.live.lock();
        let Some(watched) = state.views.get_mut(&self.place) else {
            return;
        };
        watched.watchers = watched.watchers.saturating_sub(1);
        if watched.watchers == 0 {
            state.views.remove(&self.place);
            state.tell(&self.place.0, &self.place.1, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Scope;

    fn key() -> DeviceKey {
        DeviceKey {
            scope: Scope {
                account: "123456789012".to_owned(),
                region: "us-west-2".to_owned(),
            },
            device: "device-a".to_owned(),
        }
    }

    fn view() -> View {
        View::Display {
            instance: "applicationInstance-a".parse().expect("an ID"),
            node: "screen".parse().expect("a name"),
        }
    }

    fn picture(byte: u8) -> Picture {
        Picture {
            header: LiveHeader {
                view: view(),
                content_type: "image/jpeg".to_owned(),
                time_stamp: parapet_device::TimeStamp::from_micros(1),
            },
            bytes: Bytes::from(vec![byte]),
        }
    }

    #[tokio::test]
    async fn a_view_is_on_while_somebody_watches() {
        let live = Arc::new(Live::default());
        let mut device = live.attach(&key());
        let first = live.watch(&key(), &view()).expect("a watch");
        let second = live.watch(&key(), &view()).expect("a watch");
        assert_eq!(
            device.commands.recv().await,
            Some(LiveCommand {
                view: view(),
                on: true
            })
        );
        drop(first);
        assert!(device.commands.try_recv().is_err());
        drop(second);
        assert_eq!(
            device.commands.recv().await,
            Some(LiveCommand {
                view: view(),
                on: false
            })
        );
    }

    #[tokio::test]
    async fn a_watcher_gets_the_newest_picture() {
        let live = Arc::new(Live::default());
        let mut watch = live.watch(&key(), &view()).expect("a watch");
        live.deliver(&key(), picture(1));
        live.deliver(&key(), picture(2));
        assert_eq!(watch.next().await.expect("a picture").bytes[..], [2]);
    }

    #[tokio::test]
    async fn a_device_that_comes_back_is_told_what_is_watched_and_the_older_session_ends() {
        let live = Arc::new(Live::default());
        let _watch = live.watch(&key(), &view()).expect("a watch");
        let mut older = live.attach(&key());
        assert_eq!(
            older.commands.recv().await,
            Some(LiveCommand {
                view: view(),
                on: true
            })
        );
        let mut newer = live.attach(&key());
        assert_eq!(
            newer.commands.recv().await,
            Some(LiveCommand {
                view: view(),
                on: true
            })
        );
        assert_eq!(older.commands.recv().await, None);
        drop(older);
        assert!(live.is_attached(&key()));
        drop(newer);
        assert!(!live.is_attached(&key()));
    }
}

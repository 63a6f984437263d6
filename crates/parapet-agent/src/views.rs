//! What is watched at present, and the newest picture of each view on its way out.
//!
//! Written by the live channel (what is watched) and by displays (pictures); read by the same two
//! the other way round. A newer picture replaces one that has not been sent: nothing queues.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parapet_device::live::{LiveHeader, View};
use tokio::sync::{Notify, watch};

use crate::launcher::lock;

/// Views watched at a time; each costs a picture being encoded.
const MOST_VIEWS: usize = 64;

struct Inner {
    watched: watch::Sender<BTreeSet<View>>,
    pictures: Mutex<BTreeMap<View, (LiveHeader, Bytes)>>,
    picture: Notify,
}

/// Shared by everything that shows pictures.
#[derive(Clone)]
pub(crate) struct Views {
    inner: Arc<Inner>,
}

impl Views {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            watched: watch::Sender::new(BTreeSet::new()),
            pictures: Mutex::default(),
            picture: Notify::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Somebody begins or ends to watch.
    pub(crate) fn watch(&self, view: View, on: bool) {
        if !on {
            lock(&self.inner.pictures).remove(&view);
        }
        self.inner.watched.send_if_modified(|watched| {
            if on {
                watched.len() < MOST_VIEWS && watched.insert(view)
            } else {
                watched.remove(&view)
            }
        });
    }

    /// Nobody watches any more: the live channel has ended.
    pub(crate) fn watch_nothing(&self) {
        self.inner.watched.send_replace(BTreeSet::new());
        lock(&self.inner.pictures).clear();
    }

    /// Whether somebody watches.
    pub(crate) fn is_watched(&self, view: &View) -> bool {
        self.inner.watched.borrow().contains(view)
    }

    /// Waits until somebody watches.
    pub(crate) async fn watched(&self, view: &View) {
        let mut watched = self.inner.watched.subscribe();
        // The sender lives in `self`.
        let _ = watched.wait_for(|watched| watched.contains(view)).await;
    }

    /// Gives the newest picture of a view.
    pub(crate) fn publish(&self, header: LiveHeader, picture: Bytes) {
        if !self.is_watched(&header.view) {
            return;
        }
        lock(&self.inner.pictures).insert(header.view.clone(), (header, picture));
        self.inner.picture.notify_one();
    }

    /// Takes pictures, waiting for one; for the live channel alone.
    pub(crate) async fn pictures(&self) -> BTreeMap<View, (LiveHeader, Bytes)> {
        loop {
            let pictures = std::mem::take(&mut *lock(&self.inner.pictures));
            if !pictures.is_empty() {
                return pictures;
            }
            self.inner.picture.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use parapet_device::TimeStamp;

    use super::*;

    fn header(node: &str, time: u64) -> LiveHeader {
        LiveHeader {
            view: View::Camera {
                instance: "applicationInstance-a".parse().unwrap(),
                node: node.parse().unwrap(),
            },
            content_type: "image/jpeg".to_owned(),
            time_stamp: TimeStamp::from_micros(time),
        }
    }

    #[tokio::test]
    async fn the_newest_picture_of_a_watched_view_wins() {
        let views = Views::new();
        views.publish(header("a", 1), Bytes::from_static(b"unseen"));
        views.watch(header("a", 0).view, true);
        views.watch(header("b", 0).view, true);
        for time in [2, 3] {
            views.publish(header("a", time), Bytes::from_static(b"a"));
        }
        views.publish(header("b", 1), Bytes::from_static(b"b"));
        let times: Vec<_> = views
            .pictures()
            .await
            .into_values()
            .map(|(h, _)| h.time_stamp.as_micros())
            .collect();
        assert_eq!(times, [3, 1]);
        views.publish(header("a", 4), Bytes::from_static(b"a"));
        views.watch_nothing();
        views.publish(header("a", 5), Bytes::from_static(b"a"));
        assert_eq!(views.pictures().now_or_never(), None);
    }

    use futures_util::FutureExt;
}

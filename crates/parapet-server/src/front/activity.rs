//! Whether a connection is in use: how many of its requests are open, and since when none is.
//!
//! A request is open until the last byte of its answer has gone to the kernel or its stream was
//! given up, not only until its head is made: a long download is no idle connection.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::ResponseBody;

/// What is known of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    open: usize,
    answered: bool,
    since: Instant,
}

/// How long a connection may be without a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdleLimits {
    /// Before its first one.
    pub(super) first: Duration,
    /// After one.
    pub(super) later: Duration,
    /// When others wait for its place.
    pub(super) pressed: Duration,
}

/// An open request.
#[derive(Debug)]
pub(super) struct Open(Arc<Activity>);

/// The body of an answer, open until it is dropped.
pub(super) struct Held {
    body: ResponseBody,
    _open: Open,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            open: 0,
            answered: false,
            since: Instant::now(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
        })
    }

    /// Notes a request.
    pub(super) fn open(self: &Arc<Self>) -> Open {
        let mut state = self.lock();
        state.open += 1;
        state.answered = true;
        Open(Arc::clone(self))
    }

    /// Returns when the connection was idle for too long. A change of `pressure` says that others
    /// wait for its place.
    pub(super) async fn idle(&self, limits: IdleLimits, mut pressure: watch::Receiver<()>) {
        let mut pressed = false;
        loop {
            let now = Instant::now();
            let end = self.end(limits, pressed, now);
            if end.is_some_and(|end| end <= now) {
                return;
            }
            // With requests open there is nothing to wait for but their end: look again later.
            let next = end.unwrap_or(now + limits.first);
            pressed = tokio::select! {
                () = sleep_until(next) => false,
                changed = pressure.changed() => changed.is_ok(),
            };
        }
    }

    /// When it will have been idle for too long; `None` while it is in use.
    fn end(&self, limits: IdleLimits, pressed: bool, now: Instant) -> Option<Instant> {
        let state = self.lock();
        if state.open > 0 {
            return None;
        }
        let limit = match (pressed, state.answered) {
            // Only those that are idle already: a place that is pressed for once is not for ever.
            (true, _) if now - state.since >= limits.pressed => limits.pressed,
            (_, false) => limits.first,
            (_, true) => limits.later,
        };
        Some(state.since + limit)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open = state.open.saturating_sub(1);
        state.since = Instant::now();
    }
}

impl Held {
    pub(super) fn new(body: ResponseBody, open: Open) -> Self {
        Self { body, _open: open }
    }
}

impl Body for Held {
    type Data = <ResponseBody as Body>::Data;
    type Error = <ResponseBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::empty;

    const LIMITS: IdleLimits = IdleLimits {
        first: Duration::from_secs(10),
        later: Duration::from_mins(1),
        pressed: Duration::from_secs(1),
    };

    /// Seconds from its last use until a connection counts as idle.
    fn idle_after(activity: &Activity, pressed: bool, unused_s: u64) -> Option<u64> {
        let since = activity.lock().since;
        let now = since + Duration::from_secs(unused_s);
        let end = activity.end(LIMITS, pressed, now)?;
        Some((end - since).as_secs())
    }

    #[test]
    fn a_connection_without_a_request_ends_soon() {
        let activity = Activity::new();
        assert_eq!(idle_after(&activity, false, 0), Some(10));
    }

    #[test]
    fn an_answer_on_its_way_is_in_use_and_after_it_the_connection_is_kept_for_a_minute() {
        let activity = Activity::new();
        let held = Held::new(empty(), activity.open());
        assert_eq!(idle_after(&activity, true, 3_600), None);
        let second = activity.open();
        drop(held);
        assert_eq!(idle_after(&activity, false, 0), None);
        drop(second);
        assert_eq!(idle_after(&activity, false, 0), Some(60));
    }

    #[test]
    fn an_idle_connection_gives_way_under_pressure_and_one_just_used_does_not() {
        let activity = Activity::new();
        drop(activity.open());
        assert_eq!(idle_after(&activity, true, 0), Some(60));
        assert_eq!(idle_after(&activity, true, 5), Some(1));
    }
}

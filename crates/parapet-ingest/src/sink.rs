//! Where a camera's dialogue, or a file, leaves what it reads.

use std::cell::RefCell;
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::clock::StreamClock;
use crate::outbox::Outbox;

/// All of it: what waits for the agent, and the camera's clock.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) outbox: RefCell<Outbox>,
    pub(crate) clock: RefCell<StreamClock>,
    /// Something has been put into the outbox.
    pub(crate) wake: Notify,
}

/// Microseconds since the epoch by the host's clock.
pub(crate) fn now() -> i64 {
    // A clock before 1970 is as good as one at 1970: wrong.
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

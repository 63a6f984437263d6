//! The parts of a running server that its services share.
//!
//! Made once at start, read-only afterwards; what changes inside (database, presence, wake-ups)
//! guards itself.

use std::sync::Arc;

use parapet_auth::MasterKey;
use tokio_util::task::TaskTracker;

use crate::fleet::{Presence, Wake};
use crate::identity::Enrollment;
use crate::registry::Quotas;
use crate::s3::Blobs;
use crate::store::Store;

/// What an operation may use.
pub struct Context {
    /// The account that this server serves.
    pub account: String,
    /// The region in all ARNs; other regions are aliases of it.
    pub region: String,
    /// Durable state.
    pub store: Store,
    /// Files by content.
    pub blobs: Blobs,
    /// Opens what is wrapped in the store.
    pub master_key: Arc<MasterKey>,
    /// Issues what a new device needs to enrol.
    pub enrollment: Enrollment,
    /// Which devices are there, and their newest reports.
    pub presence: Arc<Presence>,
    /// Wakes devices whose document changed.
    pub wake: Arc<Wake>,
    /// How much of everything there may be.
    pub quotas: Quotas,
    /// Work that goes on after its request was answered; awaited at shutdown.
    pub tasks: TaskTracker,
}

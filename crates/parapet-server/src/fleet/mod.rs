//! The control plane's side of the devices: who is there, what they report, what they shall do.
//!
//! Owns the presence table and the wake-up channels (both in memory), and the two ways between
//! store and device: a change of the registry becomes the next desired document
//! ([`plan`]), a report becomes facts about instances ([`report`]). The gateway calls in with
//! devices that it has authenticated; nothing here speaks HTTP.

pub mod instance;
pub mod plan;
pub mod presence;
pub mod report;
pub mod standing;
pub mod wake;

pub use presence::{DeviceKey, LastReport, OpenRequest, Presence};
pub use standing::Standing;
pub use wake::{Announcement, Wake};

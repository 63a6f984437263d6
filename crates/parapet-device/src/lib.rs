//! The device protocol: the one versioned surface between control plane and appliance.
//!
//! Owns the documents that travel over it (desired, reported, enrolment, live view) and the
//! identifiers in them. Does no I/O: `parapet-server` serves these shapes, `parapet-agent` asks
//! for them, `docs/device-protocol.md` describes them for other implementers. Stored copies carry
//! `version`, so that an older agent can say what it does not understand.

#![forbid(unsafe_code)]

pub mod confinement;
pub mod desired;
pub mod enroll;
pub mod id;
pub mod live;
pub mod reported;

pub use desired::DesiredDocument;
pub use id::{BadId, BlobDigest, DeviceId, Generation, InstanceId, NodeName, SecretId, TimeStamp};
pub use reported::Reported;

/// Version of every document of this crate.
pub const PROTOCOL_VERSION: u32 = 1;

//! The rules of Panorama: from state and wish to change or refusal. No I/O, no clock.
//!
//! `parapet-api` has checked the shape of a request before it comes here, `parapet-manifest` owns
//! the rules of documents, `parapet-plan` those of devices; here is what lies between: names,
//! quotas, life cycles, storage keys, cameras.

pub mod camera;
pub mod confinement;
pub mod device_status;
mod invalid;
pub mod node;
pub mod quotas;
pub mod storage;
pub mod system;
pub mod version;

pub use invalid::Invalid;
pub use quotas::Quotas;

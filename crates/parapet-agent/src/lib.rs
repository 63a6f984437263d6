//! The appliance: fetches what it shall run, runs it, and says how it goes.
//!
//! `link` -> `ledger` -> `parapet-plan` -> `engine` -> the parts: cameras, models, applications,
//! screens. Starts every worker and application through the launcher and links none of them. Is an
//! ordinary user: root is left to the launcher before the first thread. Never reaches a camera,
//! never maps what an application wrote, never runs anything of a package itself.
//!
//! Entry points: [`Config::load`], [`run`], [`run_launcher`], [`reset`], and [`read_status`] and [`examine`] for those who look
//! from outside.

#![forbid(unsafe_code)]

mod application;
mod at_rest;
mod backoff;
mod board;
mod camera;
mod config;
mod display;
mod durable;
mod engine;
pub mod examine;
mod frames;
mod gateway;
mod inbound;
mod launcher;
mod ledger;
mod limits;
mod link;
mod logs;
mod machine;
mod metrics;
mod model;
mod packets;
mod rate;
mod relay;
mod reset;
mod sdk;
mod secrets;
mod start;
mod state;
mod status;
mod storage;
mod store;
mod views;

pub use at_rest::{
    DataError, EncryptError, HeldBy, KeyError, KeySettings, TpmUse, Unlocked, encrypt_data,
};
pub use camera::certificates::{CertificatesError, forget_certificate, known_cameras};
pub use camera::place::{RTSP_PORT, RTSPS_PORT};
pub use config::{Config, ConfigError};
pub use limits::{Cpus, Defaults, Size, ValueError, human};
pub use reset::{ResetError, reset};
pub use start::{AgentError, load_zones, remove_zones, run, run_launcher, unlock};
pub use status::{Status, read_status};

/// Targets of `parapet-fuzz` have a bound on memory.
#[cfg(test)]
#[global_allocator]
static MEMORY: parapet_fuzz::Counting = parapet_fuzz::Counting;

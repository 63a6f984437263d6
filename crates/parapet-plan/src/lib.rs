//! The decisions between control plane and appliance, as functions from values to values.
//!
//! On the server, [`desired`](desired()) turns the registry's state into a device's one document,
//! and [`status`](status()) turns desired and reported into what the API says. On the device,
//! [`plan`](plan()) turns desired and observed into ordered steps and a report of what is awaited.
//! Shells on both sides read, call and execute; they decide nothing. There is no clock, no
//! randomness, no file and no socket here (`cargo xtask check-deps`).

#![forbid(unsafe_code)]

pub mod desired;
pub mod observed;
pub mod plan;
pub mod status;
pub mod step;

pub use desired::{
    CameraSettings, DesiredError, InstanceSpec, NodeAsset, desired, paused_at_start,
};
pub use observed::{Asset, AssetKind, AssetState, Capacity, Observed, ObservedInstance, PartState};
pub use plan::{InstancePlan, PlanReport, plan};
pub use status::{Health, InstanceStatus, Situation, Status, Wanted, node_reason, status};
pub use step::Step;

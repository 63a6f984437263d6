//! The control plane.

#![forbid(unsafe_code)]

pub mod fleet;
pub mod registry;
pub mod store;

//! The control plane: a signed API for operators, a door of its own for devices, a console.
//!
//! The way of a call: [`front`] (TLS, signature, principal) -> the service's folder, a file an
//! operation (policy, then effect) -> `registry` (pure rules) -> [`store`] (durable) -> answer. A
//! change becomes the next desired document of a device, which [`gateway`] hands out.
//!
//! [`Server::start`] owns all tasks: one for each listener (and one for each of its connections),
//! one that renews the TLS certificate. They end with [`Server::stop`].

#![forbid(unsafe_code)]

pub mod audit;
pub mod backup;
pub mod blobs;
pub mod call;
pub mod config;
pub mod console;
pub mod context;
pub mod directory;
pub mod fleet;
pub mod front;
pub mod gateway;
pub mod iam;
pub mod identity;
pub mod metrics;
pub mod panorama;
pub mod parapet;
pub mod query;
pub mod random;
pub mod registry;
pub mod s3;
mod server;
pub mod store;
pub mod sts;

pub use config::{ConfigError, ServerConfig};
pub use server::{Server, StartError, run};

/// Targets of `parapet-fuzz` have a bound on memory.
#[cfg(test)]
#[global_allocator]
static MEMORY: parapet_fuzz::Counting = parapet_fuzz::Counting;

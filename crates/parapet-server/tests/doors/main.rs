//! The control plane through its real doors, one server a test: TLS, signatures, the device
//! protocol, objects and the console.

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, and says at what"
)]

mod audit;
mod authorization;
mod console;
mod credentials;
mod devices;
mod objects;
mod plane;
mod repetition;
mod secrets;
mod transport;

//! The control plane through its real doors, one server a test: TLS, signatures, the device
//! protocol, objects and the console.

#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking, and says at what"
)]

mod audit;
mod credentials;
mod devices;
mod objects;
mod plane;
mod secrets;
mod transport;

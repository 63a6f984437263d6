//! Signatures through the crate's public door: what was signed is believed, what was changed is
//! not, and a session is good with its own token only.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says at what"
)]

mod attacks;
mod botocore;
mod properties;
mod sessions;
mod wire;

//! Signatures through the crate's public door: what was signed is believed, what was changed is
//! not, and a session is good with its own token only.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says at what"
)]

mod attacks;
mod botocore;
mod fuzz;
mod properties;
mod sessions;
mod wire;

#[global_allocator]
static MEMORY: parapet_fuzz::Counting = parapet_fuzz::Counting;

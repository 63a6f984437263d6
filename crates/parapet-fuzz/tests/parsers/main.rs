//! Targets whose parsers are public, and the driver itself.

#![expect(
    clippy::expect_used,
    reason = "to panic is how a target says that a promise is broken"
)]

mod drives;
mod fuzz;
mod words;

#[global_allocator]
static MEMORY: parapet_fuzz::Counting = parapet_fuzz::Counting;

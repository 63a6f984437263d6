//! What a stream and a frame are.
//!
//! Owns the messages between the agent and its workers ([`protocol`]), the frame ring
//! ([`ring`]), overlays and tiling. Knows no process, no network and no clock.

pub mod protocol;

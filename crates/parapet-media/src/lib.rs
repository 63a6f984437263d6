//! What a stream and a frame are.
//!
//! Owns the messages between the agent and its workers ([`protocol`]), the frame ring ([`ring`])
//! with the rule of who may write a slot ([`slots`]), and what a display needs: [`overlay`] and
//! [`tile`] on a [`picture`]. Knows no process, no network and no clock.

pub mod overlay;
pub mod picture;
pub mod protocol;
pub mod ring;
pub mod slots;
pub mod tile;

//! The kernel's door: processes in namespaces, and the sockets that reach into them.
//!
//! Owns [`channel`] (packets with descriptors between the agent and what it starts), [`launch`]
//! (the typed requests that the launcher answers) and [`spawn`] (one ordered set-up per start).
//! Holds no policy of its own and parses nothing that a camera, a package or a network peer wrote.

pub mod channel;
pub mod launch;

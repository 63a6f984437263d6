//! Access units to pictures: the decoder worker.
//!
//! [`decoder`] wraps libav's codecs, [`size`] says how large a picture becomes, [`colour`] turns
//! planes into BGR pixels, [`worker`] is the conversation with the agent. The only part of the
//! appliance that hands hostile bytes to C code, so it runs in a process of its own that opens no
//! file and no socket: it gets access units and gives a sealed ring. Never uses libav's demuxers.

pub mod colour;
pub mod decoder;
pub mod size;
pub mod worker;

//! The messages of `docs/sdk-protocol.md`, version 1, between SDK and agent.

use parapet_device::TimeStamp;
use parapet_media::protocol::TensorShape;
use serde::{Deserialize, Serialize};

/// Version of the wire format.
pub(super) const VERSION: u32 = 1;

/// SDK to agent. Unknown members are ignored: a newer SDK may say more.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Request {
    Hello {
        version: u32,
        #[serde(default)]
        sdk: String,
        #[serde(default)]
        python: String,
    },
    Get {
        seq: u64,
        port: String,
    },
    Cancel {
        seq: u64,
    },
    Got {
        seq: u64,
    },
    Release {
        leases: Vec<u64>,
    },
    Put {
        port: String,
        frames: Vec<PutFrame>,
        #[serde(default)]
        more: bool,
    },
    Model {
        seq: u64,
        name: String,
    },
    Log {
        #[serde(default)]
        level: String,
        message: String,
    },
}

/// One picture of a `put`.
#[derive(Debug, Deserialize)]
pub(super) struct PutFrame {
    pub(super) time: TimeStamp,
    pub(super) lease: Option<u64>,
    pub(super) pixels: Option<PutPixels>,
    #[serde(default)]
    pub(super) rects: Vec<[f32; 4]>,
    #[serde(default)]
    pub(super) labels: Vec<(String, f32, f32)>,
}

/// Changed pixels, in a descriptor of the packet.
#[derive(Debug, Deserialize)]
pub(super) struct PutPixels {
    pub(super) fd: usize,
    pub(super) offset: u64,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Agent to SDK.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    Welcome {
        version: u32,
        instance: String,
        node: String,
        inputs: Vec<Port>,
        outputs: Vec<OutputPort>,
        models: Vec<String>,
        hold: u32,
        hold_bytes: u64,
    },
    Error {
        code: &'static str,
        message: String,
    },
    Ring {
        ring: u64,
        width: u32,
        height: u32,
        slots: u32,
        slot_bytes: u64,
    },
    RingEnd {
        ring: u64,
    },
    Frames {
        seq: u64,
        watched: bool,
        frames: Vec<Frame>,
    },
    Cancelled {
        seq: u64,
    },
    Model {
        seq: u64,
        inputs: Vec<TensorShape>,
        outputs: Vec<TensorShape>,
    },
}

/// An input port.
#[derive(Debug, Serialize)]
pub(super) struct Port {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<serde_json::Value>,
}

/// An output port.
#[derive(Debug, Serialize)]
pub(super) struct OutputPort {
    pub(super) name: String,
}

/// A frame in a ring.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Frame {
    pub(super) lease: u64,
    pub(super) ring: u64,
    pub(super) slot: u32,
    pub(super) stream: String,
    pub(super) uri: String,
    pub(super) cached: bool,
    pub(super) time: TimeStamp,
}

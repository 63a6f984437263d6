//! The live channel `GET /v1/device/live`: a WebSocket that the device dials and keeps open.
//!
//! The server says what is watched ([`LiveCommand`], a text message); the device answers with
//! binary messages: four bytes of header length (big endian), a JSON [`LiveHeader`], the picture.
//! The newest wins: neither side queues more than one picture of a view.

use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, NodeName, TimeStamp};

/// What can be watched.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum View {
    /// What an application put on a screen: tiled, with boxes and labels.
    Display {
        /// The instance.
        instance: InstanceId,
        /// Its display node.
        node: NodeName,
    },
    /// A camera's picture as it comes.
    Camera {
        /// The instance.
        instance: InstanceId,
        /// Its camera node.
        node: NodeName,
    },
}

/// Server to device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveCommand {
    /// Which view.
    pub view: View,
    /// Send it, or stop.
    pub on: bool,
}

/// Device to server, before each picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveHeader {
    /// Which view.
    pub view: View,
    /// `image/jpeg`.
    pub content_type: String,
    /// Time of the newest frame in the picture.
    pub time_stamp: TimeStamp,
}

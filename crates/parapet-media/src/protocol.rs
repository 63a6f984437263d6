//! The worker protocol: what the agent and its workers say to each other.
//!
//! Headers of packets on a `SOCK_SEQPACKET` channel (`parapet-sandbox::channel`), one channel per
//! worker, all workers started by the launcher with that channel as descriptor 3. The first packet
//! a worker sends is [`Hello`]; the agent refuses another version. A worker ends when its channel
//! does.
//!
//! Times are microseconds since the epoch, positions and sizes pixels.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A worker's first packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Version of the executable, equal to the agent's.
    pub version: String,
}

/// A compressed format that Parapet reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// ITU-T H.264, Annex B, parameter sets in front of every key frame.
    H264,
    /// ITU-T H.265, likewise.
    H265,
    /// One JPEG per access unit.
    Mjpeg,
}

/// Agent to ingest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum IngestRequest {
    /// Read this camera from now on, at once; whatever was read before ends. No `Debug`: it holds
    /// a password.
    Open {
        /// `rtsp://host[:port]/path` or `rtsps://…`, no credentials in it.
        url: String,
        /// Where its host is, as the agent has looked it up: the one address that is connected to.
        address: SocketAddr,
        /// User name and password, if the camera has any.
        credentials: Option<(String, String)>,
        /// For `rtsps`.
        #[serde(default)]
        tls: Option<CameraTls>,
    },
    /// Play this file from now on, at once, in place of a camera. One descriptor: the file, open
    /// for reading.
    Play,
    /// Try again at once, even after a refused password.
    Retry,
}

/// How a camera is spoken to in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraTls {
    /// Where ingest listens to itself: a loopback address that its user alone reaches
    /// (`parapet_sandbox::zones::plain_side`).
    pub plain: SocketAddr,
    /// The certificate that the camera has shown before; without one the first that it shows is
    /// taken, and told ([`IngestEvent::Certificate`]).
    pub pin: Option<Fingerprint>,
}

/// SHA-256 of a certificate in DER; written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(pub [u8; 32]);

/// A text that is no [`Fingerprint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a certificate's fingerprint; it is 64 hexadecimal digits")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NoFingerprint)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NoFingerprint;

    fn try_from(text: String) -> Result<Self, NoFingerprint> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Ingest to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum IngestEvent {
    /// A dialogue has begun and this is the stream; sent again after each reconnection.
    Stream {
        /// Its format.
        codec: Codec,
    },
    /// The camera was asked without a pin, and this is its certificate from now on. Sent before
    /// the camera hears anything of a password.
    Certificate {
        /// Which camera, as in [`IngestRequest::Open`].
        address: SocketAddr,
        /// Of the certificate itself, not of its authority.
        sha256: Fingerprint,
    },
    /// An access unit in decoding order, or a part of one. The bytes are the payload.
    AccessUnit {
        /// Presentation time, microseconds since the epoch (`design.md`, Time).
        time: u64,
        /// The camera's own claim of that time, where it makes one.
        claimed: Option<u64>,
        /// Decodable without what came before.
        key: bool,
        /// More packets with bytes of this access unit follow.
        more: bool,
    },
    /// The dialogue failed.
    Failed {
        /// At which stage.
        code: CameraFault,
        /// What happened and what to do, without secrets, at most 200 characters.
        message: String,
        /// Milliseconds until the next try; `None` waits for [`IngestRequest`].
        retry_ms: Option<u64>,
    },
}

/// Why a camera gives no frames, told apart by the stage that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraFault {
    /// Nothing listens at the address.
    Refused,
    /// The address cannot be reached or resolved.
    Unreachable,
    /// The camera refuses user name or password. Never retried by itself.
    Unauthorized,
    /// The camera shows another certificate than before, or no TLS that can be spoken.
    Certificate,
    /// A file in the place of a camera cannot be played.
    File,
    /// The camera does not answer in time.
    Timeout,
    /// The description of the stream cannot be used.
    BadSdp,
    /// The camera breaks RTSP or RTP.
    Protocol,
    /// The stream is in no format of [`Codec`].
    UnsupportedCodec,
    /// The stream cannot be decoded.
    Decode,
    /// The camera has stopped sending.
    Stall,
}

impl CameraFault {
    /// The code in status, API and console (`design.md`, When a node fails).
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Unauthorized => "unauthorized",
            Self::Certificate => "certificate",
            Self::File => "file",
            Self::Timeout => "timeout",
            Self::BadSdp => "bad_sdp",
            Self::Protocol => "protocol",
            Self::UnsupportedCodec => "unsupported_codec",
            Self::Decode => "decode",
            Self::Stall => "stall",
        }
    }
}

/// Agent to decoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum CodecRequest {
    /// First, and again when the stream's format changes.
    Decode {
        /// The format.
        codec: Codec,
        /// Slots of the ring to make.
        slots: u32,
    },
    /// An access unit or a part of one, as in [`IngestEvent::AccessUnit`].
    AccessUnit {
        /// Presentation time.
        time: u64,
        /// Decodable without what came before.
        key: bool,
        /// More packets follow.
        more: bool,
    },
    /// The slot may be written again. Only slots that the decoder has handed over are freed.
    Free {
        /// Which ring.
        ring: u32,
        /// Which slot of it.
        slot: u32,
    },
}

/// Decoder to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum CodecEvent {
    /// A ring for the pictures that follow. One descriptor: the sealed memfd. The ring before it
    /// gets no further frame, but its slots stay as they are until the agent lets go of it.
    Ring {
        /// Counts the rings of this process from 1.
        ring: u32,
        /// Its shape.
        layout: RingLayout,
    },
    /// A picture is in this slot; the slot belongs to the agent until [`CodecRequest::Free`].
    Frame {
        /// Which ring.
        ring: u32,
        /// Which slot of it.
        slot: u32,
        /// Grows with every picture of this process.
        generation: u64,
        /// Presentation time, microseconds since the epoch.
        time: u64,
    },
    /// The stream cannot be decoded at present.
    Failed {
        /// `UnsupportedCodec` or `Decode`.
        code: CameraFault,
        /// What happened and what to do, at most 200 characters.
        message: String,
    },
}

/// Shape of a frame ring: `slots` pictures of `height` rows of `width` BGR pixels, rows without
/// gaps, each slot starting at a multiple of the page size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingLayout {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Number of slots.
    pub slots: u32,
    /// Distance between slots in bytes: `width * height * 3` rounded up to whole pages.
    pub slot_bytes: u64,
}

/// Agent to model worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum InferRequest {
    /// First, once. One descriptor: the `.onnx` file, open for reading.
    Load {
        /// What the package's descriptor promises of the inputs.
        inputs: Vec<TensorShape>,
        /// Threads to compute with.
        threads: u32,
    },
    /// Serve calls on this channel too. One descriptor: a `SOCK_SEQPACKET` socket that speaks
    /// `docs/sdk-protocol.md`, section Models.
    Attach,
}

/// Model worker to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum InferEvent {
    /// The model answers calls from now on.
    Loaded {
        /// Inputs as the model declares them, unknown extents given by the descriptor.
        inputs: Vec<TensorShape>,
        /// Outputs as the model declares them; 0 stands for an extent that depends on the input.
        outputs: Vec<TensorShape>,
    },
    /// The model can never answer calls.
    Failed {
        /// `model_load` or `model_descriptor`.
        code: String,
        /// What does not fit and what to do, at most 200 characters.
        message: String,
    },
}

/// A tensor's name, element type and shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorShape {
    /// Its name in the model.
    pub name: String,
    /// `NumPy`'s name of the element type, e.g. `float32`; empty where a descriptor does not say.
    pub dtype: String,
    /// Its shape, batch first.
    pub shape: Vec<u64>,
}

//! The conversation with the agent (`parapet_media::protocol`): access units in, slots out.
//!
//! One thread, one loop: what the agent sends is read, decoded and answered in order. Owns the
//! decoder and the current ring. When the agent holds every slot, pictures are decoded but not
//! converted, so that the next one after a `Free` is the newest. Whatever the stream does, the
//! loop goes on; it ends with the channel, or when the agent breaks the protocol.

use std::time::{Duration, Instant};

use parapet_media::protocol::{CameraFault, Codec, CodecEvent, CodecRequest, Hello};
use parapet_media::ring::{MAX_SLOTS, RingError, RingWriter};
use parapet_media::slots::SlotError;
use parapet_sandbox::channel::{Channel, ChannelError, Packet};
use thiserror::Error;

use crate::colour::Converter;
use crate::decoder::{DecodeError, Decoder, Picture};
use crate::size::picture_size;

/// Largest access unit; the agent has the same bound.
const MAX_UNIT: usize = 8 * 1024 * 1024;
/// The agent hears of failures at most this often: a broken stream fails with each access unit.
const FAILURE_INTERVAL: Duration = Duration::from_secs(1);
/// A picture whose time is by less than this below the one before came out of order and is left
/// out; by more, the host's clock was set back, and time begins anew.
const CLOCK_STEP_US: u64 = 2_000_000;

/// Why the worker ends.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// The agent is gone in the middle of a packet, or sent what is none.
    #[error("talk to the agent")]
    Channel(#[from] ChannelError),
    /// Access units without a format.
    #[error("decode an access unit before the format is known")]
    NoFormat,
    /// A number of slots that no ring has.
    #[error("make a ring of {0} slots: 1 to {MAX_SLOTS} are possible")]
    Slots(u32),
    /// A slot that the agent does not own.
    #[error("take a slot back")]
    Free(#[from] SlotError),
    /// A ring that was never made.
    #[error("take back a slot of ring {0}, which was never made")]
    NoSuchRing(u32),
    /// No memory for pictures.
    #[error("make room for pictures")]
    Ring(#[from] RingError),
}

/// Serves the agent until it closes the channel.
pub fn run(channel: &Channel) -> Result<(), WorkerError> {
    channel.send(
        &Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        &[],
        &[],
    )?;
    let mut worker = Worker {
        channel,
        stream: Stream::Unknown,
        unit: Vec::new(),
        oversized: false,
        output: Output {
            channel,
            slots: 0,
            rings: 0,
            ring: None,
            generation: 0,
            last_time: 0,
            converter: Converter::default(),
        },
        last_failure: None,
    };
    while let Some(Packet {
        header, payload, ..
    }) = channel.recv::<CodecRequest>()?
    {
        worker.take(&header, &payload)?;
    }
    Ok(())
}

/// What the access units are for.
enum Stream {
    /// No format has been named.
    Unknown,
    /// There is no decoder for the format; access units are left out.
    Undecodable,
    Open(Box<Decoder>),
}

struct Worker<'a> {
    channel: &'a Channel,
    stream: Stream,
    /// Parts of the access unit that is coming in.
    unit: Vec<u8>,
    /// The access unit that is coming in is too large and only waited out.
    oversized: bool,
    output: Output<'a>,
    last_failure: Option<Instant>,
}

impl Worker<'_> {
    fn take(&mut self, request: &CodecRequest, payload: &[u8]) -> Result<(), WorkerError> {
        match *request {
            CodecRequest::Decode { codec, slots } => self.begin(codec, slots),
            CodecRequest::AccessUnit { time, key, more } => self.part(payload, time, key, more),
            CodecRequest::Free { ring, slot } => self.output.free(ring, slot),
        }
    }

    fn begin(&mut self, codec: Codec, slots: u32) -> Result<(), WorkerError> {
        if !(1..=MAX_SLOTS).contains(&slots) {
            return Err(WorkerError::Slots(slots));
        }
        self.unit.clear();
        self.oversized = false;
        self.output.slots = slots;
        match Decoder::open(codec) {
            Ok(decoder) => self.stream = Stream::Open(Box::new(decoder)),
            Err(error) => {
                self.stream = Stream::Undecodable;
                self.report(&error)?;
            }
        }
        Ok(())
    }

    fn part(&mut self, part: &[u8], time: u64, key: bool, more: bool) -> Result<(), WorkerError> {
        if matches!(self.stream, Stream::Unknown) {
            return Err(WorkerError::NoFormat);
        }
        self.oversized |= self.unit.len() + part.len() > MAX_UNIT;
        if !self.oversized {
            self.unit.extend_from_slice(part);
        }
        if more {
            return Ok(());
        }
        let mut outcome = Ok(());
        if let Stream::Open(decoder) = &mut self.stream {
            let output = &mut self.output;
            // An oversized unit is given as an empty one: damage, after which a key frame is
            // waited for.
            let unit: &[u8] = if self.oversized { &[] } else { &self.unit };
            let decoded = decoder.decode(unit, time, key, |picture| {
                if outcome.is_ok() {
                    outcome = output.show(picture);
                }
            });
            outcome?;
            if let Err(error) = decoded {
                self.report(&error)?;
            }
        }
        self.unit.clear();
        self.oversized = false;
        Ok(())
    }

    fn report(&mut self, error: &DecodeError) -> Result<(), WorkerError> {
        if self
            .last_failure
            .is_some_and(|last| last.elapsed() < FAILURE_INTERVAL)
        {
            return Ok(());
        }
        self.last_failure = Some(Instant::now());
        let (code, remedy) = match error {
            DecodeError::Damaged => (
                CameraFault::Decode,
                "; it goes on with the next key frame; check the network",
            ),
            DecodeError::Unsupported | DecodeError::TooLarge { .. } => (
                CameraFault::UnsupportedCodec,
                "; change the stream's settings in the camera",
            ),
            DecodeError::PixelFormat(_) => (CameraFault::UnsupportedCodec, ""),
            DecodeError::NoDecoder(_) | DecodeError::Open { .. } => (
                CameraFault::UnsupportedCodec,
                "; install a libavcodec that has it",
            ),
        };
        let message = format!("failed to {error}{remedy}");
        self.channel
            .send(&CodecEvent::Failed { code, message }, &[], &[])?;
        Ok(())
    }
}

/// Where pictures go.
struct Output<'a> {
    channel: &'a Channel,
    /// Slots of the rings to make.
    slots: u32,
    /// Rings made so far, so the current one's number.
    rings: u32,
    ring: Option<RingWriter>,
    generation: u64,
    last_time: u64,
    converter: Converter,
}

impl Output<'_> {
    fn show(&mut self, picture: &Picture<'_>) -> Result<(), WorkerError> {
        let Picture { time, planes } = picture;
        let time = *time;
        if time <= self.last_time && self.last_time - time < CLOCK_STEP_US {
            return Ok(());
        }
        self.last_time = time;
        self.generation += 1;
        let (width, height) = picture_size(planes.width, planes.height);
        let generation = self.generation;
        self.fit_ring(width, height)?;
        let Some(mut slot) = self.ring.as_mut().and_then(RingWriter::slot) else {
            return Ok(());
        };
        // Sizes come from the decoder and the ring alike, so this does not fail; if it did, the
        // slot stays here and the picture is left out.
        if self
            .converter
            .convert(planes, width, height, &mut slot)
            .is_err()
        {
            return Ok(());
        }
        let slot = slot.hand_over();
        let event = CodecEvent::Frame {
            ring: self.rings,
            slot,
            generation,
            time,
        };
        self.channel.send(&event, &[], &[])?;
        Ok(())
    }

    /// Makes a new ring when pictures have changed their size.
    fn fit_ring(&mut self, width: u32, height: u32) -> Result<(), WorkerError> {
        let fits = self.ring.as_ref().is_some_and(|ring| {
            let layout = ring.layout();
            (layout.width, layout.height, layout.slots) == (width, height, self.slots)
        });
        if !fits {
            // The old one first: two at a time are more memory than was admitted.
            self.ring = None;
            let ring = RingWriter::create(width, height, self.slots)?;
            self.rings += 1;
            let event = CodecEvent::Ring {
                ring: self.rings,
                layout: ring.layout(),
            };
            self.channel.send(&event, &[], &[ring.memory()])?;
            self.ring = Some(ring);
        }
        Ok(())
    }

    fn free(&mut self, number: u32, slot: u32) -> Result<(), WorkerError> {
        if number == 0 || number > self.rings {
            return Err(WorkerError::NoSuchRing(number));
        }
        // Slots of earlier rings are of no use to anybody.
        if number == self.rings
            && let Some(ring) = &mut self.ring
        {
            ring.free(slot)?;
        }
        Ok(())
    }
}

//! The decoder half of a camera: takes access units from the queue, hands pictures to the pool.
//!
//! A decoder that dies, or does what it must not, is replaced; its rings end with their last lease
//! and the new one begins at the next key frame.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parapet_media::protocol::{Codec, CodecEvent, CodecRequest, RingLayout};
use parapet_media::ring::{RingError, RingReader};
use parapet_plan::plan::FRAME_BYTES;
use parapet_sandbox::channel::{ChannelError, MAX_PAYLOAD};
use parapet_sandbox::launch::Worker;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{CameraFrames, Health, Unit};
use crate::backoff::Backoff;
use crate::frames::{DecoderFault, Freed};
use crate::launcher::{Launcher, Process};
use crate::logs;
use crate::packets::PacketSocket;

/// A decoder that takes no packet for so long is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// Why a decoder is replaced.
#[derive(Debug, Error)]
enum DecodeError {
    #[error("talk to the decoder")]
    Channel(#[from] ChannelError),
    #[error("feed the decoder: it takes nothing for {} s", STUCK.as_secs())]
    Stuck,
    #[error("follow the decoder")]
    Fault(#[from] DecoderFault),
    #[error("take a ring without memory")]
    NoMemory,
    #[error("take a ring of shape {0:?}: it is not the one asked for")]
    Shape(RingLayout),
    #[error("take a ring")]
    Ring(#[from] RingError),
    #[error("follow the decoder: it closed its channel")]
    Closed,
}

/// Runs until it is dropped or the ingest half is.
pub(super) async fn run(
    launcher: Launcher,
    frames: Arc<CameraFrames>,
    mut queue: mpsc::Receiver<Unit>,
    slots: u32,
    health: Health,
) {
    let mut backoff = Backoff::for_processes();
    // No decoder without something to decode: a camera that never answers costs no process.
    let mut first = queue.recv().await;
    while let Some(unit) = first.take() {
        match launcher.worker(Worker::Codec).await {
            Err(error) => {
                tracing::warn!(
                    instance = %health.line().instance(),
                    node = %health.line().node(),
                    error = &error as &dyn std::error::Error,
                    "decoder cannot be started"
                );
                health.decode(Some(("launch", error.to_string())));
            }
            Ok((mut process, socket)) => {
                let _log = logs::forward(process.take_output(), health.line(), "decoder");
                follow(
                    &mut process,
                    &socket,
                    &frames,
                    unit,
                    &mut queue,
                    slots,
                    &health,
                )
                .await;
            }
        }
        tokio::time::sleep(backoff.next()).await;
        first = next_key(&mut queue).await;
    }
}

async fn follow(
    process: &mut Process,
    socket: &PacketSocket,
    frames: &CameraFrames,
    first: Unit,
    queue: &mut mpsc::Receiver<Unit>,
    slots: u32,
    health: &Health,
) {
    let (frees, freed) = mpsc::unbounded_channel();
    frames.begin_decoder(frees);
    let ended = tokio::select! {
        end = process.exited() => Ok(end),
        error = feed(socket, first, queue, freed, slots) => Err(error),
        error = take(socket, frames, slots, health) => Err(error),
    };
    frames.end_decoder();
    match ended {
        Ok(end) => tracing::warn!(
            instance = %health.line().instance(), node = %health.line().node(), %end,
            "decoder ended and is started again"
        ),
        Err(error) => tracing::warn!(
            instance = %health.line().instance(), node = %health.line().node(),
            error = &error as &dyn std::error::Error,
            "decoder is replaced"
        ),
    }
}

/// What came while no decoder was there is of no use; a key frame is.
async fn next_key(queue: &mut mpsc::Receiver<Unit>) -> Option<Unit> {
    loop {
        let unit = queue.recv().await?;
        if unit.key {
            return Some(unit);
        }
    }
}

async fn feed(
    socket: &PacketSocket,
    first: Unit,
    queue: &mut mpsc::Receiver<Unit>,
    mut freed: mpsc::UnboundedReceiver<Freed>,
    slots: u32,
) -> DecodeError {
    let mut codec = None;
    let mut next = Some(first);
    loop {
        let sent = if let Some(unit) = next.take() {
            send_unit(socket, &unit, &mut codec, slots).await
        } else {
            tokio::select! {
                // Slots first: without them a unit becomes no picture.
                biased;
                Some(Freed { ring, slot }) = freed.recv() => {
                    send(socket, &CodecRequest::Free { ring, slot }, &[]).await
                }
                unit = queue.recv() => {
                    let Some(unit) = unit else { return DecodeError::Closed };
                    next = Some(unit);
                    Ok(())
                }
            }
        };
        if let Err(error) = sent {
            return error;
        }
    }
}

async fn send_unit(
    socket: &PacketSocket,
    unit: &Unit,
    codec: &mut Option<Codec>,
    slots: u32,
) -> Result<(), DecodeError> {
    if *codec != Some(unit.codec) {
        send(
            socket,
            &CodecRequest::Decode {
                codec: unit.codec,
                slots,
            },
            &[],
        )
        .await?;
        *codec = Some(unit.codec);
    }
    let mut parts = unit.data.chunks(MAX_PAYLOAD).peekable();
    while let Some(part) = parts.next() {
        let more = parts.peek().is_some();
        let header = CodecRequest::AccessUnit {
            time: unit.time,
            key: unit.key,
            more,
        };
        send(socket, &header, part).await?;
    }
    Ok(())
}

async fn send(
    socket: &PacketSocket,
    request: &CodecRequest,
    payload: &[u8],
) -> Result<(), DecodeError> {
    timeout(STUCK, socket.send(request, payload, &[]))
        .await
        .map_err(|_| DecodeError::Stuck)??;
    Ok(())
}

async fn take(
    socket: &PacketSocket,
    frames: &CameraFrames,
    slots: u32,
    health: &Health,
) -> DecodeError {
    loop {
        let packet = match socket.recv::<CodecEvent>().await {
            Ok(Some(packet)) => packet,
            Ok(None) => return DecodeError::Closed,
            Err(error) => return error.into(),
        };
        match packet.header {
            CodecEvent::Ring { ring, layout } => {
                match check_ring(layout, slots, packet.fds.into_iter().next()) {
                    Ok(memory) => frames.begin_ring(ring, layout, Arc::new(memory)),
                    Err(error) => return error,
                }
            }
            CodecEvent::Frame {
                ring,
                slot,
                generation: _,
                time,
            } => {
                if let Err(fault) = frames.push(ring, slot, time) {
                    return fault.into();
                }
                health.frame();
            }
            CodecEvent::Failed { code, message } => {
                health.decode(Some((code.code(), message)));
            }
        }
    }
}

/// The memory goes on to applications, which map it: it must be as long as it claims and stay so,
/// and no larger than the deployment was granted.
fn check_ring(
    layout: RingLayout,
    slots: u32,
    memory: Option<OwnedFd>,
) -> Result<RingReader, DecodeError> {
    let memory = memory.ok_or(DecodeError::NoMemory)?;
    if layout.slots != slots || layout.picture_bytes() as u64 > FRAME_BYTES {
        return Err(DecodeError::Shape(layout));
    }
    Ok(RingReader::open(memory, layout)?)
}

#[cfg(test)]
mod tests {
    use parapet_media::ring::RingWriter;

    use super::*;

    #[test]
    fn a_ring_is_taken_only_as_it_was_asked_for() {
        let ring = RingWriter::create(32, 32, 3).unwrap();
        let memory = || Some(ring.memory().try_clone_to_owned().unwrap());
        assert!(check_ring(ring.layout(), 3, memory()).is_ok());
        assert!(matches!(
            check_ring(ring.layout(), 3, None),
            Err(DecodeError::NoMemory)
        ));
        assert!(matches!(
            check_ring(ring.layout(), 4, memory()),
            Err(DecodeError::Shape(_))
        ));
        let larger = RingLayout {
            width: 64,
            ..ring.layout()
        };
        assert!(matches!(
            check_ring(larger, 3, memory()),
            Err(DecodeError::Ring(_))
        ));
        let huge = RingWriter::create(4096, 2160, 1).unwrap();
        let memory = huge.memory().try_clone_to_owned().unwrap();
        let refused = check_ring(huge.layout(), 1, Some(memory));
        assert!(matches!(refused, Err(DecodeError::Shape(_))));
    }
}

//! A file in the place of a camera, played in its own time and from the beginning again at its end.
//!
//! MP4 or MOV with H.264 or H.265, as a descriptor that the agent has opened; no file is opened
//! here. Pictures go out as a camera's do: Annex B, parameter sets in front of each key frame.

mod bounds;
#[cfg(test)]
mod fuzz;

use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parapet_media::protocol::{CameraFault, Codec, IngestEvent};
use re_mp4::{Mp4, StsdBoxContent, TrackKind};
use tokio::time::{Instant, sleep_until};

use crate::fault::{Fault, bounded};
use crate::outbox::MAX_UNIT;
use crate::sink::{Sink, now};
use bounds::{Bounded, MOST_SAMPLES};

const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// Longest file that is one loop.
const LONGEST_US: u64 = 24 * 3600 * 1_000_000;
/// Pictures a second, over the whole file: more are no camera's, and would take a processor.
const FASTEST: u64 = 240;

/// Plays for ever; what it returns is why it cannot.
pub(crate) async fn run(file: &File, sink: &Sink) -> Fault {
    let clip = match Clip::read(file) {
        Ok(clip) => clip,
        Err(fault) => return fault,
    };
    match play(&clip, file, sink).await {
        Ok(never) => match never {},
        Err(fault) => fault,
    }
}

async fn play(clip: &Clip, file: &File, sink: &Sink) -> Result<Infallible, Fault> {
    let stream = IngestEvent::Stream { codec: clip.codec };
    sink.outbox.borrow_mut().event(stream);
    // Wall time of the loop's beginning, and the same moment on the clock that is waited by.
    let (mut wall, mut begun) = (now(), Instant::now());
    loop {
        for sample in &clip.samples {
            sleep_until(begun + Duration::from_micros(sample.decode_us)).await;
            let unit = clip.unit(file, sample)?;
            let time = wall.saturating_add_unsigned(sample.shown_us);
            let mut outbox = sink.outbox.borrow_mut();
            outbox.unit(u64::try_from(time).unwrap_or(0), None, sample.key, unit);
            drop(outbox);
            sink.wake.notify_one();
        }
        wall = wall.saturating_add_unsigned(clip.length_us);
        begun += Duration::from_micros(clip.length_us);
        // A host that slept does not catch up.
        if begun.elapsed() > Duration::from_secs(1) {
            (wall, begun) = (now(), Instant::now());
        }
    }
}

/// What a file holds, without its pictures.
struct Clip {
    codec: Codec,
    /// In front of each key frame.
    parameter_sets: Bytes,
    /// Bytes of a length in front of each unit.
    length_bytes: usize,
    samples: Vec<Sample>,
    length_us: u64,
}

struct Sample {
    offset: u64,
    size: usize,
    key: bool,
    /// From the loop's beginning.
    decode_us: u64,
    shown_us: u64,
}

impl Clip {
    fn read(file: &File) -> Result<Self, Fault> {
        let read = catch_unwind(AssertUnwindSafe(|| {
            let bounded = Bounded::new(file)?;
            let size = bounded.size;
            Ok::<_, Box<dyn std::error::Error>>((Mp4::read(bounded, size)?, size))
        }));
        let (mp4, size) = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return Err(no_clip(&format!(" ({error})"))),
            // The parser relies on what a file says of itself.
            Err(_) => return Err(no_clip(" (it contradicts itself)")),
        };
        Self::of(&mp4, size)
    }

    fn of(mp4: &Mp4, size: u64) -> Result<Self, Fault> {
        let mut tracks = mp4.tracks().values();
        let track = tracks
            .find(|track| track.kind == Some(TrackKind::Video))
            .ok_or_else(|| no_clip(" (it holds no video)"))?;
        let mut sets = BytesMut::new();
        let mut add = |unit: &[u8]| {
            sets.extend_from_slice(&START_CODE);
            sets.extend_from_slice(unit);
        };
        let (codec, length_bytes) = match &track.trak(mp4).mdia.minf.stbl.stsd.contents {
            StsdBoxContent::Avc1(avc) => {
                let of = &avc.avcc.contents;
                for unit in of
                    .sequence_parameter_sets
                    .iter()
                    .chain(&of.picture_parameter_sets)
                {
                    add(&unit.bytes);
                }
                (Codec::H264, of.length_size_minus_one)
            }
            StsdBoxContent::Hvc1(hevc) | StsdBoxContent::Hev1(hevc) => {
                let of = &hevc.hvcc.contents;
                for unit in of.arrays.iter().flat_map(|array| &array.nalus) {
                    add(&unit.data);
                }
                (Codec::H265, of.length_size_minus_one)
            }
            _ => {
                return Err(Fault::lasting(
                    CameraFault::UnsupportedCodec,
                    "the file's video is neither H.264 nor H.265; convert it, e.g. with \
                     `ffmpeg -i FILE -c:v libx264 -an NEW.mp4`",
                ));
            }
        };
        let count = track.samples.len() as u64;
        if !(1..=MOST_SAMPLES).contains(&count) {
            return Err(no_clip(" (it holds no picture, or too many)"));
        }
        let scale = track.timescale.max(1);
        let micros = |units: i64| {
            let units = u128::from(units.max(0).unsigned_abs());
            u64::try_from(units * 1_000_000 / u128::from(scale)).unwrap_or(u64::MAX)
        };
        let first = track
            .samples
            .first()
            .map_or(0, |sample| sample.decode_timestamp);
        let samples: Vec<Sample> = track
            .samples
            .iter()
            .map(|sample| Sample {
                offset: sample.offset,
                size: usize::try_from(sample.size).unwrap_or(usize::MAX),
                key: sample.is_sync,
                decode_us: micros(sample.decode_timestamp.saturating_sub(first)),
                shown_us: micros(sample.composition_timestamp),
            })
            .collect();
        let last = track.samples.iter().map(|sample| {
            let units = i64::try_from(sample.duration).unwrap_or(i64::MAX);
            micros(sample.composition_timestamp.saturating_add(units))
        });
        let length_us = last.max().unwrap_or(0);
        let late = |sample: &Sample| sample.decode_us > length_us || sample.shown_us > length_us;
        let outside = |sample: &Sample| {
            sample.size == 0
                || sample.size > MAX_UNIT / 2
                || sample.offset.saturating_add(sample.size as u64) > size
        };
        if !(1..=LONGEST_US).contains(&length_us) || samples.iter().any(late) {
            return Err(no_clip(" (its times make no clip of a day at most)"));
        }
        // A clip of one picture may be as short as that picture's time.
        if count > 1 + length_us * FASTEST / 1_000_000 {
            return Err(no_clip(" (more than 240 pictures a second)"));
        }
        if samples.iter().any(outside) {
            return Err(no_clip(
                " (a picture lies outside it, or is larger than 4 MiB)",
            ));
        }
        if !samples.first().is_some_and(|sample| sample.key) {
            return Err(no_clip(" (it does not begin with a key frame)"));
        }
        Ok(Self {
            codec,
            parameter_sets: sets.freeze(),
            length_bytes: usize::from(length_bytes & 3) + 1,
            samples,
            length_us,
        })
    }

    /// One picture as a camera sends it.
    fn unit(&self, file: &File, sample: &Sample) -> Result<Bytes, Fault> {
        let mut raw = vec![0; sample.size];
        file.read_exact_at(&mut raw, sample.offset)
            .map_err(|error| no_clip(&format!(" ({error})")))?;
        let sets: &[u8] = if sample.key {
            &self.parameter_sets
        } else {
            &[]
        };
        annex_b(&raw, self.length_bytes, sets)
            .filter(|unit| unit.len() <= MAX_UNIT)
            .ok_or_else(|| no_clip(" (a picture's lengths contradict its size)"))
    }
}

/// Lengths in front of units become start codes.
fn annex_b(raw: &[u8], length_bytes: usize, sets: &[u8]) -> Option<Bytes> {
    let mut unit = BytesMut::with_capacity(sets.len() + raw.len() + 64);
    unit.extend_from_slice(sets);
    let mut rest = raw;
    while !rest.is_empty() {
        let (length, after) = rest.split_at_checked(length_bytes)?;
        let length = length
            .iter()
            .fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        let (body, after) = after.split_at_checked(length)?;
        if !body.is_empty() {
            unit.extend_from_slice(&START_CODE);
            unit.extend_from_slice(body);
        }
        rest = after;
    }
    Some(unit.freeze())
}

fn no_clip(why: &str) -> Fault {
    Fault::lasting(
        CameraFault::File,
        format!("the file is no MP4 that can be played{}", bounded(why, 120)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_start_codes_with_parameter_sets_in_front() {
        let raw = [0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let unit = annex_b(&raw, 4, &[0, 0, 0, 1, 5]).unwrap();
        assert_eq!(unit[..], [0, 0, 0, 1, 5, 0, 0, 0, 1, 7, 8, 0, 0, 0, 1, 9]);
        assert_eq!(annex_b(&[0, 3, 1, 2], 2, &[]), None);
        assert_eq!(annex_b(&[0], 2, &[]), None);
    }

    fn read(bytes: &[u8]) -> Result<Clip, Fault> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        Clip::read(&file)
    }

    #[test]
    fn what_is_no_clip_is_said_once() {
        for bytes in [
            &b""[..],
            b"#!/bin/sh\nexec id\n",
            b"\0\0\0\x14ftypisom\0\0\0\0isom",
        ] {
            let fault = read(bytes).err().unwrap();
            assert_eq!((fault.code, fault.last), (CameraFault::File, true));
        }
    }
}

//! A clip from a file, as it is: its own pictures, order and times; nothing is encoded again.
//!
//! libavformat takes the container apart. Parameter sets that the container keeps apart from the
//! pictures are put before each picture to start from, as cameras send them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use ffmpeg_next::format::context::StreamIo;
use ffmpeg_next::{Error as AvError, Packet, Rational, codec, format, media, packet};

use crate::units::{AccessUnit, ParameterSets};

/// A clip is held in memory; this is hours of an ordinary camera.
const LARGEST_CLIP: u64 = 1 << 30;

/// Why a file cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// The file cannot be read, or is no container that libavformat knows.
    #[error("open {path} as a video")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: AvError,
    },
    /// The file is too large to be held.
    #[error("hold {path}: it is larger than {LARGEST_CLIP} bytes; cut it, e.g. with ffmpeg -t")]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// There is no H.264 picture in it.
    #[error("play {path}: it has no H.264 video, which is all that is sent; convert it first")]
    NotH264 {
        /// Which file.
        path: PathBuf,
    },
    /// The container's parameter sets cannot be had.
    #[error("find the parameter sets of {path}")]
    Packet {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: AvError,
    },
    /// A picture has no time.
    #[error("play {path}: pictures in it have no times; put it into an MP4 file first")]
    NoTime {
        /// Which file.
        path: PathBuf,
    },
}

/// A picture of a clip.
#[derive(Debug)]
pub(crate) struct ClipUnit {
    /// What is sent.
    pub(crate) unit: AccessUnit,
    /// When it is shown, in microseconds after the clip's first picture.
    pub(crate) shown_us: u64,
    /// When it is sent: a camera cannot send a picture before it was taken, nor overtake itself.
    pub(crate) sent_us: u64,
}

/// A clip, ready to be served, in the order of decoding.
#[derive(Debug)]
pub(crate) struct Clip {
    /// Its pictures.
    pub(crate) units: Vec<ClipUnit>,
    /// What a decoder needs first.
    pub(crate) parameter_sets: ParameterSets,
    /// From the first picture to the end of the last.
    pub(crate) length_us: u64,
}

impl Clip {
    /// Reads a file.
    pub(crate) fn open(path: &Path) -> Result<Self, ClipError> {
        let path = path.to_owned();
        let opened = |source| ClipError::Open {
            path: path.clone(),
            source,
        };
        ffmpeg_next::init().map_err(opened)?;
        // A missing or unreadable file is reported by the demuxer, with its own reason.
        if std::fs::metadata(&path).is_ok_and(|file| file.len() > LARGEST_CLIP) {
            return Err(ClipError::TooLarge { path });
        }
        let mut input = format::input(&path).map_err(opened)?;
        let not_h264 = || ClipError::NotH264 { path: path.clone() };
        let stream = input
            .streams()
            .best(media::Type::Video)
            .ok_or_else(not_h264)?;
        let (number, base, parameters) = (stream.index(), stream.time_base(), stream.parameters());
        if parameters.id() != codec::Id::H264 {
            return Err(not_h264());
        }
        let broken = |source| ClipError::Packet {
            path: path.clone(),
            source,
        };
        let mut packets = Vec::new();
        for (_, packet) in input
            .packets()
            .filter(|(stream, _)| stream.index() == number)
        {
            let time = packet
                .pts()
                .ok_or_else(|| ClipError::NoTime { path: path.clone() })?;
            let bytes = Bytes::copy_from_slice(packet.data().unwrap_or_default());
            packets.push((bytes, micros(time, base), micros(packet.duration(), base)));
        }
        let lengths = length_bytes(&packets);
        let mut shown: Vec<(AccessUnit, i64, i64)> = packets
            .into_iter()
            .map(|(bytes, time, lasts)| {
                let prefixed = lengths.and_then(|size| AccessUnit::from_prefixed(&bytes, size));
                let unit = prefixed.unwrap_or_else(|| AccessUnit::from_bytes(&bytes));
                (unit, time, lasts)
            })
            .collect();
        // What comes before the first picture to start from cannot be decoded by anybody.
        let start = shown
            .iter()
            .position(|(unit, ..)| unit.is_key)
            .ok_or_else(not_h264)?;
        shown.drain(..start);
        let parameter_sets = match (shown[0].0.parameter_sets(), lengths) {
            (Some(sets), _) => sets,
            (None, Some(size)) => container_sets(&parameters, size)
                .map_err(broken)?
                .ok_or_else(not_h264)?,
            (None, None) => return Err(not_h264()),
        };
        for (unit, ..) in &mut shown {
            unit.complete(&parameter_sets);
        }
        let first = shown
            .iter()
            .map(|(_, time, _)| *time)
            .min()
            .unwrap_or_default();
        let end = shown
            .iter()
            .map(|(_, time, lasts)| time + lasts)
            .max()
            .unwrap_or_default();
        let mut sent_us = 0;
        let units = shown
            .into_iter()
            .map(|(unit, time, _)| {
                let shown_us = (time - first).unsigned_abs();
                sent_us = shown_us.max(sent_us);
                ClipUnit {
                    unit,
                    shown_us,
                    sent_us,
                }
            })
            .collect();
        Ok(Self {
            units,
            parameter_sets,
            length_us: (end - first).unsigned_abs(),
        })
    }
}

fn micros(ticks: i64, base: Rational) -> i64 {
    let scaled = i128::from(ticks) * i128::from(base.0) * 1_000_000 / i128::from(base.1.max(1));
    // 292,000 years: what lies beyond is a broken file, and any value serves.
    i64::try_from(scaled).unwrap_or_default()
}

/// How many bytes give the length of a NAL unit; `None` in a byte stream with start codes. Told by
/// what adds up in every packet: a length of 256 to 511 looks like a start code.
fn length_bytes(packets: &[(Bytes, i64, i64)]) -> Option<usize> {
    [4, 2, 1, 3].into_iter().find(|size| {
        packets
            .iter()
            .all(|(bytes, ..)| AccessUnit::from_prefixed(bytes, *size).is_some())
    })
}

/// The parameter sets that the container keeps apart from the pictures. libavformat's raw muxer
/// puts them before a picture to start from; it is given the shortest one there is.
fn container_sets(
    parameters: &codec::Parameters,
    length_bytes: usize,
) -> Result<Option<ParameterSets>, AvError> {
    const KEY_SLICE: [u8; 2] = [0x65, 0x88];
    let mut picture = vec![0; length_bytes];
    picture[length_bytes - 1] = KEY_SLICE.len() as u8;
    picture.extend_from_slice(&KEY_SLICE);
    let sink = Sink::default();
    let io = StreamIo::from_write(sink.clone())?;
    let mut output = format::output_to_stream(io, None, Some("h264"))?;
    output
        .add_stream(codec::Id::None)?
        .set_parameters(parameters.clone());
    output.write_header()?;
    let mut packet = Packet::copy(&picture);
    packet.set_flags(packet::Flags::KEY);
    packet.write(&mut output)?;
    output.write_trailer()?;
    drop(output);
    let mut bytes = sink.0.lock().unwrap_or_else(PoisonError::into_inner);
    let stream = Bytes::from(std::mem::take(&mut *bytes));
    Ok(AccessUnit::from_bytes(&stream).parameter_sets())
}

/// What a muxer writes into.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

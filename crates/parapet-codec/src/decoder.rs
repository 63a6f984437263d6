//! libav's decoders behind a safe door: one access unit in, pictures out in presentation order.
//!
//! One thread: frame threads would add a frame of delay each. A damaged stream is an error, never
//! a smeared picture; the decoder then waits for the next key frame.

#![expect(unsafe_code, reason = "a decoded picture's planes are C memory")]

use std::slice;

use ffmpeg_next::codec::decoder::{Opened, find};
use ffmpeg_next::codec::{Context, Id};
use ffmpeg_next::color::{Range as AvRange, Space};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Dictionary, Packet, frame};
use parapet_media::protocol::Codec;
use parapet_media::ring::MAX_SIDE;
use thiserror::Error;

use crate::colour::{Matrix, Plane, Planes, Range, Sampling, matrix_by_size};

/// Why there is no picture.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The library was built without this decoder.
    #[error("open a decoder for {0:?}: the system's libavcodec has none")]
    NoDecoder(Codec),
    /// The decoder did not open.
    #[error("open a decoder for {codec:?}")]
    Open {
        /// For what.
        codec: Codec,
        /// libav's reason.
        #[source]
        source: ffmpeg_next::Error,
    },
    /// Bytes that are no stream of this format, or parts of it were lost.
    #[error("decode the stream: it is damaged")]
    Damaged,
    /// A valid stream that libav cannot decode.
    #[error("decode the stream: it uses a feature that is not supported")]
    Unsupported,
    /// A picture beyond [`MAX_SIDE`].
    #[error("decode a picture of {width}x{height}: at most {MAX_SIDE}x{MAX_SIDE} are possible")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Samples that [`crate::colour`] does not know.
    #[error("convert pictures of the format {0:?}: choose 8-bit or 10-bit 4:2:0 in the camera")]
    PixelFormat(Pixel),
}

/// A decoder of one stream.
pub struct Decoder {
    opened: Opened,
    awaits_key: bool,
    frame: frame::Video,
    narrow: [Vec<u8>; 3],
}

/// A decoded picture.
#[derive(Debug)]
pub struct Picture<'a> {
    /// The time given with its access unit.
    pub time: u64,
    /// Its samples.
    pub planes: Planes<'a>,
}

impl Decoder {
    /// Opens a decoder, which waits for a key frame.
    pub fn open(codec: Codec) -> Result<Self, DecodeError> {
        // Hostile bytes make libav chatty; what matters comes back as errors.
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
        let id = match codec {
            Codec::H264 => Id::H264,
            Codec::H265 => Id::HEVC,
            Codec::Mjpeg => Id::MJPEG,
        };
        let found = find(id).ok_or(DecodeError::NoDecoder(codec))?;
        let mut options = Dictionary::new();
        options.set("threads", "1");
        // Checked by libav before it allocates anything for a picture.
        options.set(
            "max_pixels",
            &(u64::from(MAX_SIDE) * u64::from(MAX_SIDE)).to_string(),
        );
        let opened = Context::new_with_codec(found)
            .decoder()
            .open_as_with(found, options)
            .map_err(|source| DecodeError::Open { codec, source })?;
        Ok(Self {
            opened,
            awaits_key: true,
            frame: frame::Video::empty(),
            narrow: Default::default(),
        })
    }

    /// Decodes one access unit and gives `show` the pictures that are complete by it, in
    /// presentation order. What comes before the first key frame, or after damage before the next,
    /// is skipped. `show` is not called with damaged pictures.
    pub fn decode(
        &mut self,
        unit: &[u8],
        time: u64,
        key: bool,
        mut show: impl FnMut(&Picture<'_>),
    ) -> Result<(), DecodeError> {
        if self.awaits_key && !key {
            return Ok(());
        }
        // libav takes an empty packet as the end of the stream.
        if unit.is_empty() {
            return Err(self.stop(DecodeError::Damaged));
        }
        self.awaits_key = false;
        let mut packet = Packet::copy(unit);
        packet.set_pts(Some(i64::try_from(time).unwrap_or(i64::MAX)));
        if let Err(error) = self.opened.send_packet(&packet) {
            return Err(self.stop(meaning(error)));
        }
        loop {
            match self.opened.receive_frame(&mut self.frame) {
                Ok(()) => {}
                Err(ffmpeg_next::Error::Other {
                    errno: ffmpeg_next::error::EAGAIN,
                }) => return Ok(()),
                Err(error) => return Err(self.stop(meaning(error))),
            }
            if self.frame.has_decode_errors() || self.frame.is_corrupt() {
                return Err(self.stop(DecodeError::Damaged));
            }
            let time = self
                .frame
                .pts()
                .and_then(|pts| u64::try_from(pts).ok())
                .unwrap_or(time);
            match planes(&self.frame, &mut self.narrow) {
                Ok(planes) => show(&Picture { time, planes }),
                Err(error) => return Err(self.stop(error)),
            }
        }
    }

    fn stop(&mut self, error: DecodeError) -> DecodeError {
        self.opened.flush();
        self.awaits_key = true;
        error
    }
}

fn meaning(error: ffmpeg_next::Error) -> DecodeError {
    match error {
        ffmpeg_next::Error::PatchWelcome | ffmpeg_next::Error::Experimental => {
            DecodeError::Unsupported
        }
        _ => DecodeError::Damaged,
    }
}

/// The picture's samples, 10-bit ones narrowed into the buffers.
fn planes<'a>(
    frame: &'a frame::Video,
    narrow: &'a mut [Vec<u8>; 3],
) -> Result<Planes<'a>, DecodeError> {
    let (width, height) = (frame.width(), frame.height());
    if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
        return Err(DecodeError::TooLarge { width, height });
    }
    let format = frame.format();
    let (sampling, deep) = match format {
        Pixel::GRAY8 => (Sampling::Grey, false),
        Pixel::YUV420P | Pixel::YUVJ420P => (Sampling::S420, false),
        Pixel::YUV422P | Pixel::YUVJ422P => (Sampling::S422, false),
        Pixel::YUV444P | Pixel::YUVJ444P => (Sampling::S444, false),
        Pixel::YUV420P10LE => (Sampling::S420, true),
        Pixel::YUV422P10LE => (Sampling::S422, true),
        Pixel::YUV444P10LE => (Sampling::S444, true),
        other => return Err(DecodeError::PixelFormat(other)),
    };
    let matrix = match frame.color_space() {
        Space::BT709 => Matrix::Bt709,
        Space::BT470BG | Space::SMPTE170M => Matrix::Bt601,
        Space::FCC => Matrix::Fcc,
        Space::SMPTE240M => Matrix::Smpte240,
        Space::BT2020NCL | Space::BT2020CL => Matrix::Bt2020,
        Space::RGB | Space::YCGCO => return Err(DecodeError::PixelFormat(format)),
        _ => matrix_by_size(width, height),
    };
    let full_by_format = matches!(format, Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P);
    let range = match frame.color_range() {
        AvRange::JPEG => Range::Full,
        AvRange::Unspecified if full_by_format => Range::Full,
        AvRange::MPEG | AvRange::Unspecified => Range::Limited,
    };
    let mut planes = [Plane::default(); 3];
    let count = if sampling == Sampling::Grey { 1 } else { 3 };
    for ((index, plane), narrow) in planes.iter_mut().enumerate().zip(narrow).take(count) {
        let (columns, rows) = if index == 0 {
            (width, height)
        } else {
            sampling.chroma(width, height)
        };
        let (columns, rows) = (columns as usize, rows as usize);
        let row_bytes = columns * if deep { 2 } else { 1 };
        let Some((bytes, stride)) = plane_bytes(frame, index, row_bytes, rows) else {
            return Err(DecodeError::PixelFormat(format));
        };
        *plane = if deep {
            narrow.clear();
            for row in bytes.chunks(stride) {
                narrow.extend(row[..row_bytes].chunks_exact(2).map(|sample| {
                    // 10 bits, little endian: the upper 8.
                    (u16::from_le_bytes([sample[0], sample[1]]) >> 2) as u8
                }));
            }
            Plane {
                bytes: narrow,
                stride: columns,
            }
        } else {
            Plane { bytes, stride }
        };
    }
    Ok(Planes {
        planes,
        width,
        height,
        sampling,
        matrix,
        range,
    })
}

/// The bytes of `rows` rows of `row_bytes` and their distance.
fn plane_bytes(
    frame: &frame::Video,
    index: usize,
    row_bytes: usize,
    rows: usize,
) -> Option<(&[u8], usize)> {
    // SAFETY: `as_ptr` gives the AVFrame that `frame` owns.
    let (data, stride) = unsafe {
        let raw = &*frame.as_ptr();
        (*raw.data.get(index)?, *raw.linesize.get(index)?)
    };
    // None of the decoders used here stores pictures upside down.
    let stride = usize::try_from(stride).ok()?;
    if data.is_null() || stride < row_bytes || rows == 0 {
        return None;
    }
    // SAFETY: libav allocated the plane for rows `stride` apart of at least the cropped picture's
    // width and height, which `row_bytes` and `rows` are for this pixel format; the slice ends with
    // the last sample of the last row and lives no longer than the borrow of `frame`, during which
    // nothing is decoded into it. The decoder has initialised what it shows.
    let bytes = unsafe { slice::from_raw_parts(data, stride * (rows - 1) + row_bytes) };
    Some((bytes, stride))
}

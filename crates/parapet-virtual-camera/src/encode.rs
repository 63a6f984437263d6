//! Pictures to H.264: High profile without reordering, a picture to start from every second.

use ffmpeg_next::codec::{self, encoder};
use ffmpeg_next::{Dictionary, Error as AvError, Packet, Rational, color, format, frame};

use crate::scene::{Scene, SceneParameters, YuvPicture};
use crate::truth::Truth;

/// Why a scene could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The system's libavcodec has no x264.
    #[error("find the encoder libx264 in the system's libavcodec; install the full libavcodec")]
    NoEncoder,
    /// libavcodec refused.
    #[error("{step}")]
    Codec {
        /// What was attempted.
        step: &'static str,
        /// What it answered.
        source: AvError,
    },
}

/// Draws and encodes a whole loop: a byte stream with a delimiter before each picture, and its truth.
///
/// `seconds` of pictures cost about a core for a third of that time, so this is done once and kept.
pub(crate) fn encode(
    scene: &mut Scene,
    of: SceneParameters,
) -> Result<(Vec<u8>, Truth), EncodeError> {
    let mut encoder = open(of)?;
    let mut picture = frame::Video::new(format::Pixel::YUV420P, of.width, of.height);
    let mut stream = Vec::new();
    let mut frames = Vec::with_capacity(of.frames() as usize);
    for index in 0..of.frames() {
        // The encoder keeps a reference to what it was sent: draw into planes of our own and
        // copy, as libavcodec copies on write only when asked to.
        let mut planes = Planes::new(of);
        frames.push(scene.draw(index, &mut planes.picture()));
        planes.copy_to(&mut picture);
        picture.set_pts(Some(i64::from(index)));
        encoder
            .send_frame(&picture)
            .map_err(|source| EncodeError::Codec {
                step: "encode a picture",
                source,
            })?;
        drain(&mut encoder, &mut stream)?;
        picture = frame::Video::new(format::Pixel::YUV420P, of.width, of.height);
    }
    encoder.send_eof().map_err(|source| EncodeError::Codec {
        step: "end the stream",
        source,
    })?;
    drain(&mut encoder, &mut stream)?;
    Ok((
        stream,
        Truth {
            width: of.width,
            height: of.height,
            fps: of.fps,
            frames,
        },
    ))
}

fn open(of: SceneParameters) -> Result<encoder::video::Encoder, EncodeError> {
    let failed = |step| move |source| EncodeError::Codec { step, source };
    ffmpeg_next::init().map_err(failed("initialise libavcodec"))?;
    // x264 tells its statistics otherwise; the level is the whole process's.
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Error);
    let codec = encoder::find_by_name("libx264").ok_or(EncodeError::NoEncoder)?;
    let mut video = codec::Context::new_with_codec(codec)
        .encoder()
        .video()
        .map_err(failed("make an encoder"))?;
    // At most 60, by the scene's own check.
    let fps = of.fps.cast_signed();
    video.set_width(of.width);
    video.set_height(of.height);
    video.set_format(format::Pixel::YUV420P);
    video.set_time_base(Rational(1, fps));
    video.set_frame_rate(Some(Rational(fps, 1)));
    video.set_gop(of.fps);
    video.set_max_b_frames(0);
    video.set_colorspace(color::Space::BT709);
    video.set_color_primaries(color::Primaries::BT709);
    video.set_color_transfer_characteristic(color::TransferCharacteristic::BT709);
    video.set_color_range(color::Range::MPEG);
    // 4 Mb/s is what a 2 megapixel camera sends; smaller pictures stay below by quality alone.
    let options = [
        ("preset", "veryfast"),
        ("profile", "high"),
        ("crf", "24"),
        ("maxrate", "4000000"),
        ("bufsize", "4000000"),
        ("aud", "1"),
        // A fixed number of threads and no scene cuts: the same bytes on every machine.
        ("threads", "2"),
        ("sc_threshold", "0"),
    ];
    let mut dictionary = Dictionary::new();
    for (name, value) in options {
        dictionary.set(name, value);
    }
    video
        .open_with(dictionary)
        .map_err(failed("open the encoder libx264"))
}

fn drain(encoder: &mut encoder::video::Encoder, stream: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut packet = Packet::empty();
    loop {
        match encoder.receive_packet(&mut packet) {
            Ok(()) => stream.extend_from_slice(packet.data().unwrap_or_default()),
            Err(AvError::Eof) => return Ok(()),
            Err(AvError::Other { errno }) if errno == ffmpeg_next::util::error::EAGAIN => {
                return Ok(());
            }
            Err(source) => {
                return Err(EncodeError::Codec {
                    step: "encode a picture",
                    source,
                });
            }
        }
    }
}

struct Planes {
    width: usize,
    luma: Vec<u8>,
    blue: Vec<u8>,
    red: Vec<u8>,
}

impl Planes {
    fn new(of: SceneParameters) -> Self {
        let (width, area) = (of.width as usize, (of.width * of.height) as usize);
        Self {
            width,
            luma: vec![0; area],
            blue: vec![0; area / 4],
            red: vec![0; area / 4],
        }
    }

    fn picture(&mut self) -> YuvPicture<'_> {
        YuvPicture {
            luma: &mut self.luma,
            luma_stride: self.width,
            blue: &mut self.blue,
            red: &mut self.red,
            chroma_stride: self.width / 2,
        }
    }

    fn copy_to(&self, frame: &mut frame::Video) {
        let planes = [
            (&self.luma, self.width),
            (&self.blue, self.width / 2),
            (&self.red, self.width / 2),
        ];
        for (at, (plane, width)) in planes.into_iter().enumerate() {
            let stride = frame.stride(at);
            let rows = frame.data_mut(at).chunks_mut(stride);
            for (row, from) in rows.zip(plane.chunks(width)) {
                row[..width].copy_from_slice(from);
            }
        }
    }
}

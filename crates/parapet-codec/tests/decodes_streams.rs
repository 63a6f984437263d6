//! The decoder as the agent runs it: a process with a channel, real encoded streams, sealed rings.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ffmpeg_next::codec::{Context, encoder};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Dictionary, Packet, frame};
use parapet_media::protocol::{CameraFault, Codec, CodecEvent, CodecRequest, Hello};
use parapet_media::ring::RingReader;
use parapet_sandbox::channel::{Channel, MAX_PAYLOAD, Packet as Received};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Presentation time of picture 0.
const EPOCH_US: u64 = 1_800_000_000_000_000;
const FRAME_US: u64 = 40_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// An encoded access unit of picture `shown`.
struct Unit {
    shown: u64,
    key: bool,
    data: Vec<u8>,
}

/// The brightness that tells picture `shown` from its neighbours.
fn luma(shown: u64) -> u8 {
    u8::try_from(30 + shown % 50 * 4).unwrap()
}

/// Encodes plain pictures, the brightness of each its number; in decoding order.
fn encode(
    name: &str,
    format: Pixel,
    (width, height): (u32, u32),
    count: u64,
    options: &[(&str, &str)],
) -> Vec<Unit> {
    ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Error);
    let codec = encoder::find_by_name(name).unwrap_or_else(|| panic!("libavcodec has no {name}"));
    let mut video = Context::new_with_codec(codec).encoder().video().unwrap();
    video.set_width(width);
    video.set_height(height);
    video.set_format(format);
    video.set_time_base((1, 25));
    let mut dictionary = Dictionary::new();
    for (key, value) in options {
        dictionary.set(key, value);
    }
    let mut video = video.open_with(dictionary).unwrap();
    let mut units = Vec::new();
    for shown in 0..=count {
        if shown == count {
            video.send_eof().unwrap();
        } else {
            let mut picture = frame::Video::new(format, width, height);
            picture.data_mut(0).fill(luma(shown));
            picture.data_mut(1).fill(128);
            picture.data_mut(2).fill(128);
            picture.set_pts(Some(i64::try_from(shown).unwrap()));
            video.send_frame(&picture).unwrap();
        }
        let mut packet = Packet::empty();
        while video.receive_packet(&mut packet).is_ok() {
            units.push(Unit {
                shown: u64::try_from(packet.pts().unwrap()).unwrap(),
                key: packet.is_key(),
                data: packet.data().unwrap().to_vec(),
            });
        }
    }
    units
}

fn h264(size: (u32, u32), count: u64, options: &[(&str, &str)]) -> Vec<Unit> {
    let mut all = vec![("preset", "veryfast"), ("crf", "18")];
    all.extend(options);
    encode("libx264", Pixel::YUV420P, size, count, &all)
}

#[derive(Debug)]
struct Shown {
    ring: u32,
    slot: u32,
    generation: u64,
    time: u64,
    /// Brightness of all pixels, which are alike.
    grey: u8,
}

impl Shown {
    fn assert_is(&self, number: u64) {
        assert_eq!(self.time, EPOCH_US + number * FRAME_US);
        let expected = (f64::from(luma(number)) - 16.0) * 255.0 / 219.0;
        let off = (f64::from(self.grey) - expected).abs();
        assert!(
            off <= 3.0,
            "picture {number} has {} in place of {expected}",
            self.grey
        );
    }
}

struct Worker {
    child: Child,
    channel: Channel,
    rings: Vec<RingReader>,
    failures: Vec<(CameraFault, String)>,
    shown: Vec<Shown>,
}

impl Worker {
    fn start(codec: Codec, slots: u32) -> Self {
        let (channel, theirs) = Channel::pair().unwrap();
        // The shell moves the socket to where the launcher puts it.
        let child = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" 3<&0 </dev/null",
                env!("CARGO_BIN_EXE_parapet-codec"),
            ])
            .stdin(Stdio::from(theirs.into_fd()))
            .spawn()
            .unwrap();
        let mut worker = Self {
            child,
            channel,
            rings: Vec::new(),
            failures: Vec::new(),
            shown: Vec::new(),
        };
        worker.wait("the greeting");
        let hello = worker.channel.recv::<Hello>().unwrap().unwrap();
        assert_eq!(hello.header.version, env!("CARGO_PKG_VERSION"));
        worker.send(&CodecRequest::Decode { codec, slots });
        worker
    }

    fn send(&self, request: &CodecRequest) {
        self.channel.send(request, &[], &[]).unwrap();
    }

    fn readable(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).unwrap();
        let mut fds = [PollFd::new(&self.channel, PollFlags::IN)];
        poll(&mut fds, Some(&limit)).unwrap() > 0
    }

    fn wait(&mut self, what: &str) {
        assert!(
            self.readable(PATIENCE),
            "waited {PATIENCE:?} for {what}; so far: {:?} {:?}",
            self.shown,
            self.failures
        );
    }

    /// Takes one event in; `None` at the end.
    fn take(&mut self, what: &str) -> Option<()> {
        self.wait(what);
        let Received { header, fds, .. } = self.channel.recv::<CodecEvent>().unwrap()?;
        match header {
            CodecEvent::Ring { ring, layout } => {
                assert_eq!(
                    ring as usize,
                    self.rings.len() + 1,
                    "rings are counted from 1"
                );
                let memory = fds
                    .into_iter()
                    .next()
                    .expect("a ring comes with its memory");
                self.rings.push(RingReader::open(memory, layout).unwrap());
            }
            CodecEvent::Frame {
                ring,
                slot,
                generation,
                time,
            } => {
                assert_eq!(
                    ring as usize,
                    self.rings.len(),
                    "a frame is in the newest ring"
                );
                let pixels = self.rings.last().unwrap().copy(slot).unwrap();
                let (low, high) = (pixels.iter().min().unwrap(), pixels.iter().max().unwrap());
                assert!(
                    high - low <= 4,
                    "a plain picture became one of {low} to {high}"
                );
                let grey = pixels[pixels.len() / 2];
                self.shown.push(Shown {
                    ring,
                    slot,
                    generation,
                    time,
                    grey,
                });
            }
            CodecEvent::Failed { code, message } => self.failures.push((code, message)),
        }
        Some(())
    }

    fn feed(&mut self, unit: &Unit) {
        let mut parts = unit.data.chunks(MAX_PAYLOAD).peekable();
        let time = EPOCH_US + unit.shown * FRAME_US;
        while let Some(part) = parts.next() {
            let more = parts.peek().is_some();
            let request = CodecRequest::AccessUnit {
                time,
                key: unit.key,
                more,
            };
            self.channel.send(&request, part, &[]).unwrap();
        }
        // What is there already, so that neither side's socket ever fills.
        while self.readable(Duration::ZERO) {
            self.take("an event").expect("the worker lives");
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.take(what)
                .unwrap_or_else(|| panic!("the worker ended before {what}"));
        }
    }

    /// Closes the channel and waits for everything that was under way.
    fn end(mut self) -> (Vec<Shown>, Vec<(CameraFault, String)>) {
        rustix::net::shutdown(self.channel.as_fd(), rustix::net::Shutdown::Write).unwrap();
        while self.take("the end").is_some() {}
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "the worker ended with {status}");
                return (self.shown, self.failures);
            }
            std::thread::yield_now();
        }
        panic!("the worker has closed its channel but not ended");
    }
}

#[test]
fn pictures_come_in_presentation_order_each_once_with_b_frames() {
    let units = h264(
        (320, 180),
        50,
        &[("bf", "3"), ("g", "25"), ("b_strategy", "0")],
    );
    let reordered = units
        .windows(2)
        .filter(|pair| pair[1].shown < pair[0].shown)
        .count();
    assert!(reordered > 5, "the clip has B-frames");
    let mut worker = Worker::start(Codec::H264, 50);
    for unit in &units {
        worker.feed(unit);
    }
    let (shown, failures) = worker.end();
    assert_eq!(failures, []);
    // The last ones wait for what would have come before them.
    assert!((46..=50).contains(&shown.len()), "{} of 50", shown.len());
    for (number, picture) in (0..).zip(&shown) {
        picture.assert_is(number);
        assert_eq!((picture.ring, picture.generation), (1, number + 1));
    }
}

#[test]
fn without_b_frames_a_picture_comes_with_its_own_access_unit() {
    let mut worker = Worker::start(Codec::H264, 4);
    for (count, unit) in h264((640, 360), 12, &[("bf", "0"), ("tune", "zerolatency")])
        .iter()
        .enumerate()
    {
        worker.feed(unit);
        worker.until("the picture of the last access unit", |w| {
            w.shown.len() == count + 1
        });
        let last = worker.shown.last().unwrap();
        last.assert_is(unit.shown);
        let (ring, slot) = (last.ring, last.slot);
        worker.send(&CodecRequest::Free { ring, slot });
    }
    worker.end();
}

#[test]
fn a_held_slot_is_never_written_and_a_freed_one_gets_the_newest() {
    let units = h264((320, 180), 40, &[("bf", "0"), ("tune", "zerolatency")]);
    let mut worker = Worker::start(Codec::H264, 3);
    for unit in &units[..20] {
        worker.feed(unit);
    }
    worker.until("three pictures", |w| w.shown.len() == 3);
    let held: Vec<_> = (0..3)
        .map(|slot| worker.rings[0].copy(slot).unwrap())
        .collect();
    for unit in &units[20..30] {
        worker.feed(unit);
    }
    let freed = worker.shown[1].slot;
    worker.send(&CodecRequest::Free {
        ring: 1,
        slot: freed,
    });
    for unit in &units[30..] {
        worker.feed(unit);
    }
    worker.until("the picture after the free slot", |w| w.shown.len() == 4);
    let last = worker.shown.last().unwrap();
    assert_eq!(last.slot, freed);
    last.assert_is(30);
    for slot in (0..3).filter(|slot| *slot != freed) {
        let now = worker.rings[0].copy(slot).unwrap();
        assert!(
            now == held[slot as usize],
            "slot {slot} was written while it was held"
        );
    }
    let (shown, _) = worker.end();
    assert_eq!(shown.len(), 4);
}

#[test]
fn garbage_ends_at_the_next_key_frame_and_is_reported_once_a_second() {
    let units = h264(
        (320, 180),
        30,
        &[("bf", "0"), ("tune", "zerolatency"), ("g", "10")],
    );
    let mut worker = Worker::start(Codec::H264, 40);
    // Before the first key frame nothing is decoded.
    for unit in &units[1..5] {
        worker.feed(unit);
    }
    for unit in &units[..5] {
        worker.feed(unit);
    }
    // A pseudo-random stream, seed 1: bytes that no decoder expects, with and without start codes.
    let mut state = 1_u32;
    let mut noise = |count: usize, head: &[u8]| -> Vec<u8> {
        let tail = (0..count).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        head.iter().copied().chain(tail).collect()
    };
    for head in [
        &[][..],
        &[0, 0, 0, 1, 0x65],
        &[0, 0, 0, 1, 0x41],
        &[0, 0, 0, 1, 0x67],
        &[0, 0, 1],
    ] {
        for size in [1, 100, 5000, 200_000] {
            worker.feed(&Unit {
                shown: 5,
                key: true,
                data: noise(size, head),
            });
        }
    }
    for unit in &units[5..] {
        worker.feed(unit);
    }
    let (shown, failures) = worker.end();
    assert!(!failures.is_empty() && failures.len() < 5, "{failures:?}");
    for (code, message) in &failures {
        assert_eq!(*code, CameraFault::Decode, "{message}");
        assert!(message.len() <= 200);
    }
    let numbers: Vec<_> = shown
        .iter()
        .map(|p| (p.time - EPOCH_US) / FRAME_US)
        .collect();
    let expected: Vec<_> = (0..5).chain(10..30).collect();
    assert_eq!(numbers, expected);
    for picture in &shown {
        picture.assert_is((picture.time - EPOCH_US) / FRAME_US);
    }
}

#[test]
fn an_endless_access_unit_is_dropped() {
    let units = h264(
        (320, 180),
        4,
        &[("bf", "0"), ("g", "2"), ("tune", "zerolatency")],
    );
    let mut worker = Worker::start(Codec::H264, 4);
    worker.feed(&units[0]);
    worker.feed(&Unit {
        shown: 1,
        key: false,
        data: vec![1; 9 * 1024 * 1024],
    });
    worker.feed(&units[2]);
    let (shown, failures) = worker.end();
    assert_eq!(shown.len(), 2);
    assert_eq!(failures.len(), 1);
}

#[test]
fn another_size_gets_another_ring_and_large_pictures_are_scaled() {
    let mut worker = Worker::start(Codec::H264, 2);
    for (size, ring, becomes) in [
        ((320, 180), 1, (320, 180)),
        ((2560, 1440), 2, (1920, 1080)),
        ((322, 178), 3, (322, 178)),
    ] {
        for unit in h264(size, 1, &[("tune", "zerolatency")]) {
            worker.feed(&Unit {
                shown: u64::from(ring),
                ..unit
            });
        }
        worker.until("the ring of the new size", |w| {
            w.shown.len() == ring as usize
        });
        let layout = worker.rings.last().unwrap().layout();
        assert_eq!(
            (layout.width, layout.height, layout.slots),
            (becomes.0, becomes.1, 2)
        );
        assert_eq!(worker.shown.last().unwrap().ring, ring);
    }
    // A slot of a ring that is over may still be freed.
    let slot = worker.shown[0].slot;
    worker.send(&CodecRequest::Free { ring: 1, slot });
    worker.end();
}

#[test]
fn mjpeg_and_h265_are_decoded_too() {
    let clips = [
        (
            Codec::Mjpeg,
            encode(
                "mjpeg",
                Pixel::YUVJ420P,
                (320, 180),
                5,
                &[("qmin", "2"), ("qmax", "2")],
            ),
        ),
        (
            Codec::H265,
            encode(
                "libx265",
                Pixel::YUV420P,
                (320, 180),
                5,
                &[
                    ("preset", "ultrafast"),
                    ("x265-params", "bframes=0:log-level=none:repeat-headers=1"),
                ],
            ),
        ),
    ];
    for (codec, units) in clips {
        let mut worker = Worker::start(codec, 8);
        for unit in &units {
            worker.feed(unit);
        }
        let (shown, failures) = worker.end();
        assert_eq!(failures, [], "{codec:?}");
        assert_eq!(shown.len(), units.len(), "{codec:?}");
        for (number, picture) in (0..).zip(&shown) {
            if codec == Codec::Mjpeg {
                // Full range: brightness is luma itself.
                assert!(picture.grey.abs_diff(luma(number)) <= 3, "{picture:?}");
            } else {
                picture.assert_is(number);
            }
        }
    }
}

#[test]
fn an_agent_that_frees_what_it_does_not_hold_ends_the_worker() {
    for request in [
        CodecRequest::Free { ring: 7, slot: 0 },
        CodecRequest::Free { ring: 1, slot: 1 },
    ] {
        let mut worker = Worker::start(Codec::H264, 2);
        for unit in h264((64, 64), 1, &[("tune", "zerolatency")]) {
            worker.feed(&unit);
        }
        worker.until("the first picture", |w| w.shown.len() == 1);
        assert_eq!(worker.shown[0].slot, 0);
        worker.send(&request);
        while worker.take("the end").is_some() {}
        assert!(!worker.child.wait().unwrap().success());
    }
}

//! Ingest as the agent runs it: a process with a channel, reading the virtual camera over TCP.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parapet_media::protocol::{
    CameraFault, CameraTls, Codec, Fingerprint, Hello, IngestEvent, IngestRequest,
};
use parapet_sandbox::channel::{Channel, Packet};
use parapet_sandbox::zones::plain_side;
use parapet_virtual_camera::{
    AuthScheme, Credentials, Fault, Options, Picture, SceneParameters, VirtualCamera,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::runtime::Runtime;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// Above the longest limit of a stage (10 s for an answer) on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
const FPS: u32 = 25;
const USER: &str = "watcher";
const PASSWORD: &str = "correct horse";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

fn camera(fault: Fault) -> VirtualCamera {
    camera_with(fault, None)
}

fn camera_with(fault: Fault, tls: Option<PathBuf>) -> VirtualCamera {
    // The scene is encoded once for all tests; a second one at the same time would only be slower.
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let of = SceneParameters {
        width: 320,
        height: 180,
        fps: FPS,
        seconds: 2,
        seed: 3,
    };
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("scenes");
    let credentials = Credentials {
        user: USER.to_owned(),
        password: PASSWORD.to_owned(),
        scheme: AuthScheme::Digest,
    };
    RUNTIME
        .block_on(VirtualCamera::start(Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            name: "gate".to_owned(),
            credentials: Some(credentials),
            picture: Picture::Scene { of, cache },
            tls,
            fault,
        }))
        .unwrap()
}

struct Ingest {
    child: Child,
    channel: Channel,
    /// Everything but access units, for messages of failures.
    heard: Vec<IngestEvent>,
}

impl Ingest {
    fn start() -> Self {
        let (channel, theirs) = Channel::pair().unwrap();
        // The shell moves the socket to where the launcher puts it.
        let child = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" 3<&0 </dev/null",
                env!("CARGO_BIN_EXE_parapet-ingest"),
            ])
            .stdin(Stdio::from(theirs.into_fd()))
            .spawn()
            .unwrap();
        let mut ingest = Self {
            child,
            channel,
            heard: Vec::new(),
        };
        ingest.wait("the greeting");
        let hello = ingest.channel.recv::<Hello>().unwrap().unwrap();
        assert_eq!(hello.header.version, env!("CARGO_PKG_VERSION"));
        ingest
    }

    fn open(&self, url: &str, password: &str) {
        self.open_in(url, password, None);
    }

    /// `pin`: the certificate that the camera is known by, if any.
    fn open_tls(&self, url: &str, pin: Option<Fingerprint>) {
        // One for each process and each of its tests at a time.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst) as u32;
        let plain = plain_side(std::process::id().wrapping_mul(31).wrapping_add(number));
        self.open_in(url, PASSWORD, Some(CameraTls { plain, pin }));
    }

    fn open_in(&self, url: &str, password: &str, tls: Option<CameraTls>) {
        // What the agent does before: a host as it is written, a name as this host's own.
        let host = url.split('/').nth(2).unwrap_or_default();
        let address = host.parse().unwrap_or(([127, 0, 0, 1], 1).into());
        let credentials = Some((USER.to_owned(), password.to_owned()));
        let request = IngestRequest::Open {
            url: url.to_owned(),
            address,
            credentials,
            tls,
        };
        self.channel.send(&request, &[], &[]).unwrap();
    }

    fn readable(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).unwrap();
        poll(
            &mut [PollFd::new(&self.channel, PollFlags::IN)],
            Some(&limit),
        )
        .unwrap()
            > 0
    }

    fn wait(&mut self, what: &str) {
        assert!(
            self.readable(PATIENCE),
            "waited {PATIENCE:?} for {what}; heard {:?}",
            self.heard
        );
    }

    fn next(&mut self, what: &str) -> Packet<IngestEvent> {
        self.wait(what);
        let packet = self
            .channel
            .recv::<IngestEvent>()
            .unwrap()
            .expect("ingest lives");
        if !matches!(packet.header, IngestEvent::AccessUnit { .. }) {
            self.heard.push(packet.header.clone());
        }
        packet
    }

    fn stream(&mut self) -> Codec {
        loop {
            match self.next("a stream").header {
                IngestEvent::Stream { codec } => return codec,
                IngestEvent::AccessUnit { .. } | IngestEvent::Certificate { .. } => {}
                IngestEvent::Failed { code, message, .. } => panic!("{code:?}: {message}"),
            }
        }
    }

    /// A whole access unit: time, claim, key, bytes.
    fn unit(&mut self) -> (u64, Option<u64>, bool, Vec<u8>) {
        let mut bytes = Vec::new();
        loop {
            let packet = self.next("an access unit");
            let IngestEvent::AccessUnit {
                time,
                claimed,
                key,
                more,
            } = packet.header
            else {
                panic!("an access unit was expected; heard {:?}", self.heard);
            };
            bytes.extend(packet.payload);
            if !more {
                return (time, claimed, key, bytes);
            }
        }
    }

    /// The certificate that is told at first sight.
    fn certificate(&mut self) -> (SocketAddr, Fingerprint) {
        match self.next("a certificate").header {
            IngestEvent::Certificate { address, sha256 } => (address, sha256),
            other => panic!("a certificate was expected, not {other:?}"),
        }
    }

    /// The next failure, whatever comes before it.
    fn failure(&mut self) -> (CameraFault, String, Option<u64>) {
        loop {
            if let IngestEvent::Failed {
                code,
                message,
                retry_ms,
            } = self.next("a failure").header
            {
                assert!(
                    message.chars().count() <= 200 && !message.contains(PASSWORD),
                    "{message}"
                );
                return (code, message, retry_ms);
            }
        }
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // A failed test leaves no process behind. It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes connections on to a camera and counts the passwords that go by.
struct Guard {
    passwords: Arc<AtomicUsize>,
}

impl Guard {
    fn before(camera: &VirtualCamera) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let passwords = Arc::new(AtomicUsize::new(0));
        let target: SocketAddr = camera.url().split('/').nth(2).unwrap().parse().unwrap();
        let counter = Arc::clone(&passwords);
        // Ends with the test's process: it waits in `accept`.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(target).unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let counter = Arc::clone(&counter);
                thread::spawn(move || pass(from, to, Some(&counter)));
                thread::spawn(move || pass(server, client, None));
            }
        });
        let url = camera
            .url()
            .replace(&target.to_string(), &address.to_string());
        (Self { passwords }, url)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, counter: Option<&AtomicUsize>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        // A request is one write and so, on loopback, one read.
        let text = String::from_utf8_lossy(&buffer[..count]);
        if let Some(counter) = counter {
            counter.fetch_add(text.matches("Authorization:").count(), Ordering::SeqCst);
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_good_camera_gives_access_units_with_exact_times() {
    let camera = camera(Fault::None);
    let mut ingest = Ingest::start();
    ingest.open(camera.url(), PASSWORD);
    assert_eq!(ingest.stream(), Codec::H264);
    let (mut keys, mut before) = (0, 0);
    for count in 0..60 {
        let (time, claimed, key, bytes) = ingest.unit();
        assert!(bytes.starts_with(&[0, 0, 0, 1]), "Annex B");
        let kinds: Vec<_> = bytes
            .windows(5)
            .filter(|w| w[..4] == [0, 0, 0, 1])
            .map(|w| w[4] & 31)
            .collect();
        if key {
            keys += 1;
            assert!(
                kinds.contains(&7) && kinds.contains(&8),
                "parameter sets: {kinds:?}"
            );
        }
        assert_eq!(key, kinds.contains(&5), "{kinds:?}");
        assert!(key || count > 0, "the first is a key frame");
        // The camera's clock is the host's, and its times are multiples of a frame's: whoever
        // looks up the truth by time finds the right picture. The first group may have been
        // timed by its arrival, before the first sender report.
        if keys > 1 {
            let frame_us = 1_000_000 / u64::from(FPS);
            let off = (time + frame_us / 2) % frame_us;
            assert!(off.abs_diff(frame_us / 2) < 1_000, "{time} is {off} off");
        }
        assert!(claimed.is_some() || keys <= 1, "sender reports");
        assert!(time > before);
        before = time;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let age = i128::try_from(now.as_micros()).unwrap() - i128::from(time);
        assert!((-500_000..5_000_000).contains(&age), "taken {age} us ago");
    }
    assert!(keys >= 2);
    assert_eq!(ingest.heard.len(), 1, "{:?}", ingest.heard);
}

#[test]
fn a_wrong_password_is_tried_once_until_somebody_asks() {
    let camera = camera(Fault::None);
    let (guard, url) = Guard::before(&camera);
    let mut ingest = Ingest::start();
    ingest.open(&url, "wrong");
    let (code, message, retry) = ingest.failure();
    assert_eq!(
        (code, retry),
        (CameraFault::Unauthorized, None),
        "{message}"
    );
    // The shortest back-off is half a second: four of them pass without a word or a try.
    assert!(
        !ingest.readable(Duration::from_secs(2)),
        "ingest went on by itself"
    );
    assert_eq!(guard.passwords.load(Ordering::SeqCst), 1);

    ingest
        .channel
        .send(&IngestRequest::Retry, &[], &[])
        .unwrap();
    assert_eq!(ingest.failure().0, CameraFault::Unauthorized);
    assert_eq!(guard.passwords.load(Ordering::SeqCst), 2);

    ingest.open(&url, PASSWORD);
    assert_eq!(ingest.stream(), Codec::H264);
}

#[test]
fn each_way_to_fail_has_its_code() {
    let cases = [
        (Fault::RefusePassword, CameraFault::Unauthorized),
        (Fault::Garbage, CameraFault::Protocol),
        (Fault::Stall(10), CameraFault::Stall),
        (Fault::Close(10), CameraFault::Protocol),
        (Fault::WrongCodec, CameraFault::UnsupportedCodec),
        (Fault::BadSdp, CameraFault::BadSdp),
        (Fault::NoDescribe, CameraFault::Timeout),
    ];
    // At the same time: most of them wait for a limit.
    let waiting: Vec<_> = cases
        .into_iter()
        .map(|(fault, expected)| {
            let camera = camera(fault);
            let mut ingest = Ingest::start();
            ingest.open(camera.url(), PASSWORD);
            let test = thread::spawn(move || (ingest.failure(), camera.url().to_owned()));
            (fault, expected, test)
        })
        .collect();
    for (fault, expected, test) in waiting {
        let ((code, message, retry), _) = test.join().unwrap();
        assert_eq!(code, expected, "{fault:?}: {message}");
        assert_eq!(
            retry.is_none(),
            expected == CameraFault::Unauthorized,
            "{fault:?}"
        );
    }
}

#[test]
fn an_address_where_nothing_listens_is_refused_and_tried_again_with_growing_waits() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut ingest = Ingest::start();
    ingest.open(&format!("rtsp://127.0.0.1:{port}/x"), PASSWORD);
    let waits: Vec<_> = (0..3)
        .map(|_| {
            let (code, _, retry) = ingest.failure();
            assert_eq!(code, CameraFault::Refused);
            retry.unwrap()
        })
        .collect();
    assert!((375..=500).contains(&waits[0]), "{waits:?}");
    assert!((750..=1000).contains(&waits[1]), "{waits:?}");
    assert!((1500..=2000).contains(&waits[2]), "{waits:?}");
    // Another address is tried at once, whatever the wait was.
    ingest.open("http://127.0.0.1/x", PASSWORD);
    let (code, _, retry) = ingest.failure();
    assert_eq!((code, retry), (CameraFault::Unreachable, None));
    // A name is never looked up here: what counts is the address that came with it.
    ingest.open("rtsp://name.invalid/x", PASSWORD);
    assert_eq!(ingest.failure().0, CameraFault::Refused);
}

#[test]
fn after_a_lost_connection_the_stream_goes_on_and_its_time_too() {
    let camera = camera(Fault::Close(30));
    let mut ingest = Ingest::start();
    ingest.open(camera.url(), PASSWORD);
    ingest.stream();
    let mut latest = 0;
    loop {
        match ingest.next("the end of the first session").header {
            IngestEvent::AccessUnit { time, .. } => latest = time,
            IngestEvent::Failed { code, .. } => {
                assert_eq!(code, CameraFault::Protocol);
                break;
            }
            other => panic!("{other:?} before the end of the first session"),
        }
    }
    camera.set_fault(Fault::None);
    ingest.stream();
    for count in 0..30 {
        let (time, _, key, _) = ingest.unit();
        assert!(key || count > 0, "it begins with a key frame");
        assert!(time > latest);
        latest = time;
    }
}

#[test]
fn a_camera_in_tls_is_known_by_its_certificate_from_its_first_sight_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("camera.pem");
    let first = camera_with(Fault::Close(30), Some(file.clone()));
    let url = first.url().to_owned();
    let mut ingest = Ingest::start();
    ingest.open_tls(&url, None);
    let (address, known) = ingest.certificate();
    assert!(url.contains(&format!("//{address}/")), "{url}");
    let shown = CertificateDer::from_pem_file(&file).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &shown);
    assert_eq!(digest.as_ref(), known.0);
    assert_eq!(ingest.stream(), Codec::H264);
    assert_eq!(
        ingest.failure().0,
        CameraFault::Protocol,
        "it closes after 30 pictures"
    );
    first.set_fault(Fault::None);
    // The same process, the same certificate: nothing is told again.
    ingest.stream();
    ingest.unit();
    assert_eq!(
        ingest
            .heard
            .iter()
            .filter(|event| matches!(event, IngestEvent::Certificate { .. }))
            .count(),
        1
    );

    // A process that is told what the camera is known by.
    let mut again = Ingest::start();
    again.open_tls(&url, Some(known));
    again.stream();
    again.unit();
    assert!(
        !again
            .heard
            .iter()
            .any(|event| matches!(event, IngestEvent::Certificate { .. }))
    );

    // Somebody else in its place never hears of a password.
    let other = camera_with(Fault::None, Some(dir.path().join("other.pem")));
    again.open_tls(other.url(), Some(known));
    let (code, message, retry) = again.failure();
    assert_eq!(code, CameraFault::Certificate);
    assert!(message.contains("forget-certificate"), "{message}");
    assert!(message.contains(&known.to_string()[..16]), "{message}");
    assert!(retry.is_some(), "the right one may come back");
    assert_eq!(other.playing(), 0);
}

#[test]
fn what_speaks_no_tls_is_told_and_is_no_reason_to_speak_without() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let count = client.read(&mut buffer).unwrap();
        client
            .write_all(b"RTSP/1.0 400 Bad Request\r\n\r\n")
            .unwrap();
        buffer[..count].to_vec()
    });
    let mut ingest = Ingest::start();
    ingest.open_tls(&format!("rtsps://{address}/gate"), None);
    let (code, message, _) = ingest.failure();
    assert_eq!(code, CameraFault::Certificate);
    assert!(message.contains("port of its rtsps"), "{message}");
    let heard = heard.join().unwrap();
    assert_eq!(
        heard.first(),
        Some(&22),
        "a handshake of TLS and nothing else"
    );
    // And an address without TLS is not read in TLS.
    ingest.open_tls(&format!("rtsp://{address}/gate"), None);
    assert_eq!(ingest.failure().0, CameraFault::Unreachable);
}

/// A clip of a second and 25 pictures, with pictures that are shown in another order than decoded.
fn clip(dir: &Path, encoder: &str) -> std::fs::File {
    let path = dir.join("clip.mp4");
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc=size=320x180:rate=25:duration=1",
        ])
        .args([
            "-c:v", encoder, "-bf", "2", "-g", "10", "-pix_fmt", "yuv420p",
        ])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success(), "ffmpeg made no clip");
    std::fs::File::open(path).unwrap()
}

#[test]
fn a_file_plays_a_camera_in_its_own_time_and_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    for (encoder, codec) in [("libx264", Codec::H264), ("libx265", Codec::H265)] {
        let file = clip(dir.path(), encoder);
        let mut ingest = Ingest::start();
        let begun = Instant::now();
        ingest
            .channel
            .send(&IngestRequest::Play, &[], &[file.as_fd()])
            .unwrap();
        assert_eq!(ingest.stream(), codec);
        let (mut times, mut keys) = (Vec::new(), 0);
        for count in 0..60 {
            let (time, _, key, bytes) = ingest.unit();
            assert!(bytes.starts_with(&[0, 0, 0, 1]), "Annex B");
            assert!(key || count % 25 != 0, "each round begins with a key frame");
            keys += u32::from(key);
            times.push(time);
        }
        assert!(begun.elapsed() > Duration::from_secs(2), "in its own time");
        assert!(keys >= 6, "{keys} key frames");
        assert!(
            times.windows(2).any(|pair| pair[1] < pair[0]),
            "in the order of decoding"
        );
        times.sort_unstable();
        let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
        // The last round is cut off in the middle of its order.
        for step in steps.take(50) {
            assert!(
                (39_999..=40_001).contains(&step),
                "{step} us between pictures"
            );
        }
    }
}

#[test]
fn what_is_no_clip_is_a_fault_and_the_process_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no.mp4");
    std::fs::write(&path, "#!/bin/sh").unwrap();
    let mut ingest = Ingest::start();
    let file = std::fs::File::open(&path).unwrap();
    ingest
        .channel
        .send(&IngestRequest::Play, &[], &[file.as_fd()])
        .unwrap();
    assert_eq!(ingest.failure().0, CameraFault::File);
    let file = clip(dir.path(), "libx264");
    ingest
        .channel
        .send(&IngestRequest::Play, &[], &[file.as_fd()])
        .unwrap();
    ingest.stream();
}

#[test]
fn a_slow_agent_loses_access_units_but_no_order_and_no_memory() {
    let camera = camera(Fault::None);
    let mut ingest = Ingest::start();
    ingest.open(camera.url(), PASSWORD);
    ingest.stream();
    ingest.unit();
    // Nothing is read for so long that the queue of 64 units and the socket, which holds about as
    // many, are full, also where the camera falls behind on a busy machine. Nothing is waited for
    // here but the camera's own time.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(100));
    }
    let frame_us = 1_000_000 / u64::from(FPS);
    let (mut latest, mut gaps) = (0, 0);
    for _ in 0..250 {
        let (time, _, key, _) = ingest.unit();
        if latest != 0 && time > latest + frame_us * 3 / 2 {
            gaps += 1;
            assert!(key, "after a gap comes a key frame");
        }
        assert!(time > latest);
        latest = time;
    }
    assert!((1..=2).contains(&gaps), "{gaps} gaps");
}

#[test]
fn the_process_ends_with_its_channel() {
    let mut ingest = Ingest::start();
    let (other, _) = Channel::pair().unwrap();
    drop(std::mem::replace(&mut ingest.channel, other));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = ingest.child.try_wait().unwrap() {
            break status;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "the channel is closed, the process lives"
        );
        thread::yield_now();
    };
    assert!(status.success());
}

//! The camera as its clients see it: over a socket, by RTSP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parapet_virtual_camera::{
    AuthScheme, Credentials, Fault, Options, Picture, SceneParameters, VirtualCamera,
};

const FPS: u64 = 10;
const SCENE: SceneParameters = SceneParameters {
    width: 320,
    height: 180,
    fps: FPS as u32,
    seconds: 3,
    seed: 5,
};
const LIMIT: Duration = Duration::from_secs(20);

fn options(cache: &Path) -> Options {
    Options {
        listen: ([127, 0, 0, 1], 0).into(),
        name: "gate".to_owned(),
        credentials: None,
        picture: Picture::Scene {
            of: SCENE,
            cache: cache.to_owned(),
        },
        tls: None,
        fault: Fault::None,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn wall_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_micros() as u64
}

/// A client that knows just enough.
struct Client {
    socket: TcpStream,
    url: String,
    number: u32,
}

impl Client {
    fn connect(url: &str) -> Self {
        let address = url
            .strip_prefix("rtsp://")
            .unwrap()
            .split('/')
            .next()
            .unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self {
            socket,
            url: url.to_owned(),
            number: 0,
        }
    }

    fn send(&mut self, method: &str, more: &str) {
        self.number += 1;
        let url = if method == "SETUP" {
            format!("{}/trackID=0", self.url)
        } else {
            self.url.clone()
        };
        let text = format!(
            "{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{more}\r\n",
            self.number
        );
        self.socket.write_all(text.as_bytes()).unwrap();
    }

    fn ask(&mut self, method: &str, more: &str) -> String {
        self.send(method, more);
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.socket.read_exact(&mut byte).expect("an answer");
            head.extend_from_slice(&byte);
        }
        let head = String::from_utf8(head).unwrap();
        let length = header(&head, "Content-Length").map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).expect("a body");
        head + &String::from_utf8(body).unwrap()
    }

    fn play(url: &str) -> Self {
        let mut client = Self::connect(url);
        let set_up = client.ask(
            "SETUP",
            "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        );
        let session = header(&set_up, "Session")
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        let played = client.ask("PLAY", &format!("Session: {session}\r\n"));
        assert!(played.starts_with("RTSP/1.0 200"), "{played}");
        client
    }

    /// The next interleaved packet: its channel and bytes.
    fn packet(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 4];
        self.socket.read_exact(&mut head)?;
        if head[0] != b'$' {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        let mut packet = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
        self.socket.read_exact(&mut packet)?;
        Ok((head[1], packet))
    }

    /// Whether the last packet of a picture arrives.
    fn picture(&mut self) -> std::io::Result<()> {
        loop {
            let (channel, packet) = self.packet()?;
            if channel == 0 && packet[1] & 0x80 != 0 {
                return Ok(());
            }
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()))
}

fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !found {
        eprintln!("skipped: ffmpeg is not installed");
    }
    found
}

#[test]
fn the_first_report_and_the_rtp_time_name_the_picture_of_the_loop() {
    let cache = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let camera = runtime
        .block_on(VirtualCamera::start(options(cache.path())))
        .unwrap();
    let mut client = Client::play(camera.url());
    let (channel, report) = client.packet().unwrap();
    assert_eq!((channel, report[1]), (1, 200), "a report comes first");
    let seconds = word(&report, 8) - 2_208_988_800;
    let anchor_us = seconds * 1_000_000 + ((word(&report, 12) * 1_000_000) >> 32);
    let anchor_rtp = word(&report, 16) as u32;
    let mut numbers = Vec::new();
    while numbers.len() < 15 {
        let (channel, packet) = client.packet().unwrap();
        if channel != 0 || packet[1] & 0x80 == 0 {
            continue;
        }
        let ticks = (word(&packet, 4) as u32).wrapping_sub(anchor_rtp);
        let taken_us = anchor_us + u64::from(ticks) * 100 / 9;
        // Taken at k / fps, and not sent before.
        let number = (taken_us * FPS + 500_000) / 1_000_000;
        assert!(
            taken_us.abs_diff(number * 1_000_000 / FPS) <= 12,
            "{taken_us}"
        );
        assert!(wall_us() + 12 >= taken_us, "sent before its time");
        numbers.push(number);
    }
    assert_eq!(
        numbers[0] % FPS,
        0,
        "the first picture is one to start from"
    );
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
    assert_eq!(camera.truth().unwrap().frames.len() as u64, 3 * FPS);
}

#[test]
fn an_independent_client_decodes_what_was_encoded() {
    if !has_ffmpeg() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let credentials = Credentials {
        user: "viewer".to_owned(),
        password: "p@ss word".to_owned(),
        scheme: AuthScheme::Digest,
    };
    for scheme in [AuthScheme::Digest, AuthScheme::Basic] {
        let credentials = Some(Credentials {
            scheme,
            ..credentials.clone()
        });
        let options = Options {
            credentials,
            ..options(cache.path())
        };
        let camera = runtime.block_on(VirtualCamera::start(options)).unwrap();
        let url = camera
            .url()
            .replace("rtsp://", "rtsp://viewer:p%40ss%20word@");
        let seen = pictures(&["-rtsp_transport", "tcp", "-i", &url, "-frames:v", "25"]);
        let [clip, _] = parapet_virtual_camera::cached_files(cache.path(), SCENE);
        let made = pictures(&["-i", clip.to_str().unwrap()]);
        assert_eq!((seen.len(), made.len()), (25, 30));
        let begin = made
            .iter()
            .position(|picture| *picture == seen[0])
            .expect("a picture of the loop");
        let expected: Vec<_> = made.iter().cycle().skip(begin).take(25).cloned().collect();
        assert_eq!(seen, expected);
        let wrong = camera.url().replace("rtsp://", "rtsp://viewer:wrong@");
        let refused = Command::new("ffmpeg")
            .args([
                "-v",
                "error",
                "-rtsp_transport",
                "tcp",
                "-i",
                &wrong,
                "-f",
                "null",
                "-",
            ])
            .output()
            .unwrap();
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains("401"),
            "{refused:?}"
        );
    }
}

/// Hashes of the pictures that ffmpeg decodes.
fn pictures(arguments: &[&str]) -> Vec<String> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error"])
        .args(arguments)
        .args(["-f", "framemd5", "-"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect()
}

#[test]
fn a_clip_is_streamed_whole_in_its_own_order_once_it_is_started() {
    if !has_ffmpeg() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("clip.mp4");
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=192x108:r=12:d=2",
        ])
        .args([
            "-c:v", "libx264", "-bf", "2", "-g", "12", "-pix_fmt", "yuv420p",
        ])
        .arg(&file)
        .status()
        .unwrap();
    assert!(made.success());
    let runtime = runtime();
    let options = Options {
        picture: Picture::File(file.clone()),
        ..options(directory.path())
    };
    let camera = runtime.block_on(VirtualCamera::start(options)).unwrap();
    // Without a look ahead, as the client would wait for more pictures than the clip has; and
    // copied before it is decoded, as without it ffmpeg shows reordered pictures only in part.
    let copy = directory.path().join("copy.h264");
    let mut client = Command::new("ffmpeg")
        .args(["-v", "fatal", "-rtsp_transport", "tcp"])
        .args([
            "-probesize",
            "32",
            "-analyzeduration",
            "0",
            "-i",
            camera.url(),
        ])
        .args(["-c", "copy", "-f", "h264"])
        .arg(&copy)
        .spawn()
        .unwrap();
    let epoch_us = runtime.block_on(async {
        let begun = tokio::time::timeout(LIMIT, camera.start_clip()).await;
        let epoch_us = begun.expect("somebody who plays");
        assert_eq!(
            camera.start_clip().await,
            epoch_us,
            "asked twice, it begins once"
        );
        tokio::time::timeout(LIMIT, camera.clip_over(epoch_us))
            .await
            .expect("the clip's end");
        epoch_us
    });
    assert!(
        (2_000_000..3_000_000).contains(&(wall_us() - epoch_us)),
        "two seconds of pictures"
    );
    // The end of the camera ends the client, which until then waits for more.
    drop(camera);
    assert!(client.wait().unwrap().success());
    let seen = pictures(&["-i", copy.to_str().unwrap()]);
    assert_eq!(seen.len(), 24);
    assert_eq!(seen, pictures(&["-i", file.to_str().unwrap()]));
}

#[test]
fn faults_show_at_the_stage_they_are_meant_for() {
    let cache = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let credentials = Credentials {
        user: "viewer".to_owned(),
        password: "right".to_owned(),
        scheme: AuthScheme::Basic,
    };
    let guarded = Options {
        credentials: Some(credentials),
        ..options(cache.path())
    };
    let camera = runtime.block_on(VirtualCamera::start(guarded)).unwrap();
    let mut client = Client::connect(camera.url());
    let right = "Authorization: Basic dmlld2VyOnJpZ2h0\r\n";
    assert!(client.ask("DESCRIBE", right).contains("H264/90000"));
    camera.set_fault(Fault::RefusePassword);
    assert!(client.ask("DESCRIBE", right).starts_with("RTSP/1.0 401"));
    camera.set_fault(Fault::WrongCodec);
    assert!(client.ask("DESCRIBE", right).contains("VP8/90000"));
    camera.set_fault(Fault::BadSdp);
    assert!(client.ask("DESCRIBE", right).contains("v=banana"));
    // No answer to DESCRIBE: the next request's answer comes first.
    camera.set_fault(Fault::NoDescribe);
    client.send("DESCRIBE", right);
    assert!(
        client.ask("OPTIONS", "").contains("CSeq: 6\r\n"),
        "DESCRIBE was answered"
    );
}

#[test]
fn a_session_can_be_filled_with_garbage_closed_and_stalled() {
    let cache = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let camera = runtime
        .block_on(VirtualCamera::start(options(cache.path())))
        .unwrap();
    camera.set_fault(Fault::Garbage);
    let mut client = Client::play(camera.url());
    let error = (0..100)
        .find_map(|_| client.packet().err())
        .expect("something that is no packet");
    assert_ne!(
        error.kind(),
        std::io::ErrorKind::WouldBlock,
        "nothing was sent"
    );

    camera.set_fault(Fault::Close(3));
    let mut client = Client::play(camera.url());
    let pictures = std::iter::from_fn(|| client.picture().ok()).count();
    assert_eq!(pictures, 3);

    camera.set_fault(Fault::Stall(2));
    let mut client = Client::play(camera.url());
    (0..2).for_each(|_| client.picture().expect("pictures before the stall"));
    client
        .socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    assert_eq!(
        client.packet().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    client.socket.set_read_timeout(Some(LIMIT)).unwrap();
    camera.set_fault(Fault::None);
    client.picture().expect("pictures after the stall");
}

#[test]
fn wrong_requests_are_answered_and_cost_nobody_else_a_picture() {
    let cache = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let camera = runtime
        .block_on(VirtualCamera::start(options(cache.path())))
        .unwrap();
    let mut viewer = Client::play(camera.url());
    let mut client = Client::connect(&camera.url().replace("gate", "other"));
    assert!(client.ask("DESCRIBE", "").starts_with("RTSP/1.0 404"));
    let mut client = Client::connect(camera.url());
    assert!(
        client
            .ask("PLAY", "Session: 1\r\n")
            .starts_with("RTSP/1.0 454")
    );
    let udp = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
    assert!(client.ask("SETUP", udp).starts_with("RTSP/1.0 461"));
    assert!(client.ask("RECORD", "").starts_with("RTSP/1.0 501"));
    client.socket.write_all(&vec![0xff; 20_000]).unwrap();
    let mut rest = Vec::new();
    // Closed with unread bytes, so the end may be a reset.
    let _ = client.socket.read_to_end(&mut rest);
    for _ in 0..5 {
        viewer.picture().expect("pictures for the one who behaves");
    }
}

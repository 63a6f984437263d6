//! A hostile application: any packets, in any order, with any descriptors.
//!
//! An input is a list of packets, each with a member `fds` that names descriptors of [`Handles`]
//! and a member `raw` for bytes that are sent as they are; what is no such list is one packet.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use parapet_device::live::View;
use parapet_fuzz::{Limits, Target};
use parapet_media::protocol::TensorShape;
use parapet_media::ring::{RingReader, RingWriter};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use serde_json::Value;
use tokio::time::timeout;

use super::*;
use crate::board::Board;
use crate::model::Signature;
use crate::packets::PacketSocket;
use crate::views::Views;

const WORDS: &[&str] = &[
    "op",
    "hello",
    "get",
    "cancel",
    "got",
    "release",
    "put",
    "model",
    "log",
    "seq",
    "port",
    "video_in",
    "second_in",
    "video_out",
    "score",
    "net",
    "leases",
    "frames",
    "pixels",
    "more",
    "fds",
    "raw",
];
/// Slots of a ring.
const SLOTS: u32 = 12;

/// What an application may send along.
struct Handles([OwnedFd; 5]);

impl Handles {
    fn new() -> Self {
        let picture = memfd_create("picture", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&picture, 64 * 48 * 3).unwrap();
        // The largest picture that is shown, and it costs its sender nothing.
        let hole = memfd_create("hole", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&hole, 8192 * 8192 * 3).unwrap();
        let (pipe, _) = io::pipe().unwrap();
        let (socket, _) = Channel::pair().unwrap();
        let directory = std::fs::File::open("/proc/self").unwrap();
        Self([
            picture,
            hole,
            pipe.into(),
            socket.into_fd(),
            directory.into(),
        ])
    }

    fn of(&self, packet: &Value) -> Vec<BorrowedFd<'_>> {
        let wanted = packet["fds"].as_array().into_iter().flatten().take(4);
        wanted
            .filter_map(|n| self.0.get(usize::try_from(n.as_u64()?).ok()?))
            .map(OwnedFd::as_fd)
            .collect()
    }
}

/// A code node with two cameras, two ports of them, a model and a screen that somebody watches.
struct Bench {
    node: Arc<Node>,
    cameras: [Arc<CameraFrames>; 2],
}

fn bench(ring: &Arc<RingReader>, is_watched: bool) -> Bench {
    let (board, views) = (Board::new(), Views::new());
    let instance = "applicationInstance-abcdefghijklmnopqrstuvwxyz"
        .parse()
        .unwrap();
    let name = |name: &str| -> NodeName { name.parse().unwrap() };
    let wake = watch::Sender::new(0);
    let cameras = ["east", "west"]
        .map(|stream| CameraFrames::of_ring(stream, wake.clone(), Arc::clone(ring)));
    let screen = Screen::start(&views, &board.line(&instance, &name("screen"), None));
    let view = View::Display {
        instance: instance.clone(),
        node: name("screen"),
    };
    views.watch(view, is_watched);
    let (model, mut asked) = ModelHandle::without_worker();
    tokio::spawn(async move {
        while let Some(answer) = asked.recv().await {
            let tensor = TensorShape {
                name: "x".to_owned(),
                dtype: "float32".to_owned(),
                shape: vec![1],
            };
            let signature = Signature {
                inputs: vec![tensor],
                outputs: Vec::new(),
            };
            let (socket, _) = Channel::pair().unwrap();
            let _ = answer.send((Arc::new(signature), socket.into_fd()));
        }
    });
    let input = |name: &str, source: Value| Input {
        name: name.to_owned(),
        source: serde_json::from_value(source).unwrap(),
    };
    let node = Node {
        line: board.line(&instance, &name("code"), None),
        inputs: vec![
            input(
                "video_in",
                serde_json::json!({ "type": "media", "cameras": ["east", "west"] }),
            ),
            input(
                "second_in",
                serde_json::json!({ "type": "media", "cameras": ["west"] }),
            ),
            input(
                "score",
                serde_json::json!({ "type": "float32", "value": 0.5 }),
            ),
        ],
        outputs: vec![Output {
            name: "video_out".to_owned(),
            displays: vec![name("screen")],
        }],
        cameras: ["east", "west"]
            .map(name)
            .into_iter()
            .zip(cameras.clone())
            .collect(),
        models: [(name("net"), model)].into(),
        screens: [(name("screen"), Arc::new(screen))].into(),
        wake,
        connected: AtomicU32::new(0),
        said: Mutex::default(),
    };
    let node = Arc::new(node);
    Bench { node, cameras }
}

/// How many packets came back. The session ends with its application, and with it all it held.
async fn converse(input: &[u8], handles: &Handles, ring: &Arc<RingReader>) -> usize {
    let packets = match serde_json::from_slice(input) {
        Ok(Value::Array(packets)) => packets,
        _ => Vec::new(),
    };
    let is_watched = packets.iter().any(|packet| packet["watched"] == true);
    let Bench { node, cameras } = bench(ring, is_watched);
    let (ours, theirs) = Channel::pair().unwrap();
    let session = tokio::spawn(session::run(ours, Arc::clone(&node)));
    let theirs = theirs.into_fd();
    let raw = theirs.try_clone().unwrap();
    let socket = PacketSocket::new(Channel::from_fd(theirs)).unwrap();
    let mut came = 0;
    let speaking = async {
        if packets.is_empty() {
            let _ = rustix::io::write(&raw, input);
        }
        for (number, packet) in packets.iter().enumerate() {
            for camera in &cameras {
                // Where the slot is held the camera stands still.
                camera.show(number as u32 % SLOTS, number as u64 + 1);
            }
            let sent = match packet.get("raw").and_then(Value::as_str) {
                Some(bytes) => rustix::io::write(&raw, bytes.as_bytes()).is_ok(),
                None => socket.send(packet, &[], &handles.of(packet)).await.is_ok(),
            };
            if !sent {
                break;
            }
            tokio::task::yield_now().await;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    };
    let hearing = async {
        while let Ok(Some(packet)) = socket.recv::<Value>().await {
            assert!(packet.header["event"].is_string(), "{}", packet.header);
            came += 1;
        }
    };
    tokio::select! {
        () = speaking => {}
        () = hearing => {}
    }
    drop((socket, raw));
    let ended = timeout(Duration::from_secs(3), session).await;
    ended
        .expect("a session ends with its application")
        .expect("without a panic");
    assert!(!node.is_connected());
    drop(node);
    // A picture that is being made holds its frames until it is.
    let freed = timeout(Duration::from_secs(3), async {
        while cameras.iter().any(|camera| camera.leases() > 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    freed.await.expect("leases end with the session");
    came
}

#[test]
fn sdk_breaks_no_promise() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let handles = Handles::new();
    let mut writer = RingWriter::create(16, 16, SLOTS).unwrap();
    while let Some(slot) = writer.slot() {
        let _ = slot.hand_over();
    }
    let memory = writer.memory().try_clone_to_owned().unwrap();
    let ring = Arc::new(RingReader::open(memory, writer.layout()).unwrap());
    let target = Target {
        name: "sdk",
        words: WORDS,
        // More than the welcome.
        run: &|input| runtime.block_on(converse(input, &handles, &ring)) > 1,
    };
    let limits = Limits {
        // What the pictures of one `put` may take.
        memory: crate::display::MOST_BYTES as usize + 64 * 1024 * 1024,
        ..Limits::default()
    };
    parapet_fuzz::feed_within(&target, limits);
}

#[tokio::test]
async fn what_an_sdk_says_reaches_the_log_in_bounded_printable_lines() {
    let mut writer = RingWriter::create(16, 16, SLOTS).unwrap();
    let _ = writer.slot().unwrap().hand_over();
    let memory = writer.memory().try_clone_to_owned().unwrap();
    let ring = Arc::new(RingReader::open(memory, writer.layout()).unwrap());
    let Bench { node, .. } = bench(&ring, false);
    let (now, mut lines) = (Instant::now(), Vec::new());
    for _ in 0..1000 {
        let message = "held\nERROR forged\u{1b}[2J".repeat(100);
        node.say(&message, now, |line| lines.push(line.to_owned()));
    }
    assert_eq!(lines.len(), 100);
    assert!(
        lines
            .iter()
            .all(|line| line.len() == 500 && !line.contains(char::is_control))
    );
}

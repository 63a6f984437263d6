//! The whole appliance but its processes: a launcher and workers that are threads of the test,
//! speaking the real protocols, and an SDK on the real socket.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use parapet_device::reported::{NodeReport, NodeStatus};
use parapet_media::protocol::{
    Codec, CodecEvent, CodecRequest, Hello, InferEvent, InferRequest, IngestEvent, IngestRequest,
};
use parapet_media::ring::RingWriter;
use parapet_sandbox::channel::Channel;
use parapet_sandbox::launch::{LaunchEvent, LaunchRequest, Worker};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::{Value, json};

use super::*;
use crate::camera::certificates::CameraCertificates;
use crate::launcher::lock;
use crate::link::Origin;
use crate::packets::PacketSocket;
use crate::storage::Pace;

const LIMIT: Duration = Duration::from_secs(20);
/// Not whole pages, and whole numbers of eight bytes.
const WIDTH: u32 = 40;
const HEIGHT: u32 = 20;

/// Address and credentials as an ingest was told them.
type Opened = (String, Option<(String, String)>);

/// A launcher whose processes are threads. What a test may do to them is here.
struct FakeLauncher {
    channel: Arc<Channel>,
    /// Ends of the workers' channels, by id: shutting one down is the worker's death.
    workers: Mutex<BTreeMap<u64, (Worker, OwnedFd)>>,
    applications: Mutex<Vec<(u64, Vec<String>)>>,
    opened: Mutex<Vec<Opened>>,
    /// What every instance is said to hold on disk.
    held_bytes: AtomicU64,
}

impl FakeLauncher {
    fn start() -> (Arc<Self>, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        let fake = Arc::new(Self {
            channel: Arc::new(ours),
            workers: Mutex::default(),
            applications: Mutex::default(),
            held_bytes: AtomicU64::new(0),
            opened: Mutex::default(),
        });
        let served = Arc::clone(&fake);
        std::thread::spawn(move || served.serve());
        (fake, theirs)
    }

    fn event(&self, event: &LaunchEvent) {
        // The agent may have ended first.
        let _ = self.channel.send(event, &[], &[]);
    }

    fn serve(self: Arc<Self>) {
        let version = crate::launcher::VERSION.to_owned();
        self.event(&LaunchEvent::Ready {
            version,
            privileged: false,
            network: parapet_sandbox::launch::NetworkFound::flat(Vec::new()),
            applications: "own".to_owned(),
            missing: Vec::new(),
        });
        while let Ok(Some(packet)) = self.channel.recv::<LaunchRequest>() {
            match packet.header {
                LaunchRequest::Worker { id, worker } => {
                    let channel = Channel::from_fd(packet.fds.into_iter().next().unwrap());
                    let end = channel.as_fd().try_clone_to_owned().unwrap();
                    lock(&self.workers).insert(id, (worker, end));
                    self.event(&LaunchEvent::Started {
                        id,
                        pid: 1,
                        no_gateway: None,
                    });
                    let fake = Arc::clone(&self);
                    std::thread::spawn(move || {
                        let version = crate::launcher::VERSION.to_owned();
                        // A worker that is no longer wanted may find its channel closed.
                        if channel.send(&Hello { version }, &[], &[]).is_ok() {
                            match worker {
                                Worker::Ingest => ingest(&channel, &fake),
                                Worker::Codec => codec(&channel),
                                Worker::Infer => infer(&channel),
                            }
                        }
                        lock(&fake.workers).remove(&id);
                        fake.event(&LaunchEvent::Exited {
                            id,
                            code: 137,
                            out_of_memory: false,
                        });
                    });
                }
                LaunchRequest::Application {
                    id,
                    instance,
                    node,
                    command,
                    ..
                } => {
                    let argv = [vec![instance, node], command].concat();
                    lock(&self.applications).push((id, argv));
                    self.event(&LaunchEvent::Started {
                        id,
                        pid: 1,
                        no_gateway: None,
                    });
                }
                LaunchRequest::Reach { id, .. } => {
                    self.event(&LaunchEvent::Reached { id, error: None });
                }
                LaunchRequest::Socket { id } => {
                    let error = Some("not in this test".to_owned());
                    self.event(&LaunchEvent::Socket { id, error });
                }
                LaunchRequest::Signal { id, .. } => self.kill(id),
                LaunchRequest::Measure { instance } => {
                    let bytes = self.held_bytes.load(Ordering::Relaxed);
                    self.event(&LaunchEvent::Measured {
                        instance,
                        bytes,
                        error: None,
                    });
                }
                LaunchRequest::Remove { instance } => {
                    self.event(&LaunchEvent::Removed {
                        instance,
                        error: None,
                    });
                }
            }
        }
    }

    fn kill(&self, id: u64) {
        if let Some((_, end)) = lock(&self.workers).get(&id) {
            let _ = rustix::net::shutdown(end, rustix::net::Shutdown::Both);
        } else if lock(&self.applications)
            .iter()
            .any(|(known, _)| *known == id)
        {
            lock(&self.applications).retain(|(known, _)| *known != id);
            self.event(&LaunchEvent::Exited {
                id,
                code: 137,
                out_of_memory: false,
            });
        }
    }

    fn kill_all(&self, wanted: Worker) {
        let ids: Vec<u64> = lock(&self.workers)
            .iter()
            .filter(|(_, (worker, _))| *worker == wanted)
            .map(|(id, _)| *id)
            .collect();
        assert!(!ids.is_empty(), "no {wanted:?} to kill");
        for id in ids {
            self.kill(id);
        }
    }
}

/// A camera of 100 frames a second whose access units are their own number.
fn ingest(channel: &Channel, fake: &FakeLauncher) {
    let (opened, camera) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut number = 0u64;
            let Ok(()) = camera.recv() else { return };
            let _ = channel.send(&IngestEvent::Stream { codec: Codec::H264 }, &[], &[]);
            // The pause of a camera between two frames; it ends with its channel.
            while camera.recv_timeout(Duration::from_millis(10))
                != Err(mpsc::RecvTimeoutError::Disconnected)
            {
                number += 1;
                let unit = IngestEvent::AccessUnit {
                    time: number,
                    claimed: None,
                    key: true,
                    more: false,
                };
                if channel.send(&unit, &number.to_le_bytes(), &[]).is_err() {
                    return;
                }
            }
        });
        while let Ok(Some(packet)) = channel.recv::<IngestRequest>() {
            if let IngestRequest::Open {
                url, credentials, ..
            } = packet.header
            {
                lock(&fake.opened).push((url.clone(), credentials));
                if url.contains("closed") {
                    let code = parapet_media::protocol::CameraFault::Refused;
                    let message = "nothing listens".to_owned();
                    let failed = IngestEvent::Failed {
                        code,
                        message,
                        retry_ms: Some(1000),
                    };
                    channel.send(&failed, &[], &[]).unwrap();
                } else {
                    let _ = opened.send(());
                }
            }
        }
        drop(opened);
    });
}

/// Writes each unit's bytes into a free slot. `RingWriter` fails where the agent frees what it
/// does not own.
fn codec(channel: &Channel) {
    let mut ring: Option<RingWriter> = None;
    let mut generation = 0;
    while let Ok(Some(packet)) = channel.recv::<CodecRequest>() {
        let sent = match packet.header {
            CodecRequest::Decode { slots, .. } => {
                let made = ring.insert(RingWriter::create(WIDTH, HEIGHT, slots).unwrap());
                let event = CodecEvent::Ring {
                    ring: 1,
                    layout: made.layout(),
                };
                channel.send(&event, &[], &[made.memory()])
            }
            CodecRequest::AccessUnit { time, .. } => {
                let Some(mut slot) = ring.as_mut().and_then(RingWriter::slot) else {
                    continue;
                };
                for pixel in slot.chunks_exact_mut(8) {
                    pixel.copy_from_slice(&packet.payload);
                }
                let slot = slot.hand_over();
                generation += 1;
                channel.send(
                    &CodecEvent::Frame {
                        ring: 1,
                        slot,
                        generation,
                        time,
                    },
                    &[],
                    &[],
                )
            }
            CodecRequest::Free { slot, .. } => {
                ring.as_mut()
                    .expect("freed before there was a ring")
                    .free(slot)
                    .unwrap();
                Ok(())
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A model that loads files of the bytes `good`, and serves nothing.
fn infer(channel: &Channel) {
    while let Ok(Some(packet)) = channel.recv::<InferRequest>() {
        let event = match packet.header {
            InferRequest::Attach => continue,
            InferRequest::Load { inputs, .. } => {
                let mut text = String::new();
                let mut file = File::from(packet.fds.into_iter().next().unwrap());
                std::io::Read::read_to_string(&mut file, &mut text).unwrap();
                if text == "good" {
                    InferEvent::Loaded {
                        inputs,
                        outputs: Vec::new(),
                    }
                } else {
                    let code = "model_load".to_owned();
                    InferEvent::Failed {
                        code,
                        message: "it is no model".to_owned(),
                    }
                }
            }
        };
        if channel.send(&event, &[], &[]).is_err() {
            return;
        }
    }
}

/// A running engine and its surroundings.
struct House {
    dir: tempfile::TempDir,
    fake: Arc<FakeLauncher>,
    board: Board,
    documents: watch::Sender<Option<DesiredDocument>>,
    applied: watch::Receiver<Generation>,
    generation: u64,
    engine: tokio::task::JoinHandle<()>,
}

const ID: &str = "applicationInstance-a";

impl House {
    async fn build(ring_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        std::fs::create_dir_all(dir.path().join("blobs")).unwrap();
        std::fs::create_dir_all(root.join("device")).unwrap();
        let secrets = r#"{"secret-a":{"version":1,"username":"u","password":"p"},
            "secret-b":{"version":2,"username":"u","password":"q"}}"#;
        std::fs::write(dir.path().join("desired.json.secrets.json"), secrets).unwrap();
        let origin = Origin::File(dir.path().join("desired.json"));
        let (fake, channel) = FakeLauncher::start();
        let (launcher, _) = Launcher::connect(channel).await.unwrap();
        let board = Board::new();
        let (documents, desired) = watch::channel(None);
        let (applied_sender, applied) = watch::channel(Generation(0));
        let storage = Storage::with_pace(Pace {
            look: Duration::from_millis(10),
            measure: Duration::from_millis(10),
            hold: Duration::from_millis(50),
        });
        std::fs::create_dir_all(root.join("device")).unwrap();
        let vault = crate::at_rest::Vault::in_file(&root.join("device"));
        let context = Context {
            secrets: Arc::new(Secrets::open(vault.clone(), origin.clone()).unwrap()),
            store: Arc::new(Store::open(&root, origin).unwrap()),
            root,
            launcher,
            board: board.clone(),
            views: Views::new(),
            capacity: Capacity {
                ring_bytes,
                hold: 4,
            },
            limits: Defaults::of_this_machine(),
            storage: storage.clone(),
            outside: Arc::new(Outside {
                hosts: Vec::new(),
                off_limits: crate::gateway::OffLimits::default(),
            }),
            inbound: Arc::new(Inbound::new(
                Vec::new(),
                crate::inbound::Certificates::new(vault, Vec::new()),
            )),
            region: "us-west-2".to_owned(),
            places: Arc::new(Places {
                on_host: true,
                ..Default::default()
            }),
            certificates: Arc::new(CameraCertificates::below(dir.path())),
            files: Files::default(),
        };
        let kept = storage.keep(context.root.clone(), context.launcher.clone());
        tokio::spawn(kept);
        let engine = tokio::spawn(run(context, desired, applied_sender));
        Self {
            dir,
            fake,
            board,
            documents,
            applied,
            generation: 0,
            engine,
        }
    }

    /// A tar.gz with one file, as a blob.
    fn blob(&self, name: &str, bytes: &[u8]) -> Value {
        let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gz);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
        let bytes = tar.into_inner().unwrap().finish().unwrap();
        let sha256 = hex::encode(digest(&SHA256, &bytes));
        std::fs::write(self.dir.path().join("blobs").join(&sha256), &bytes).unwrap();
        json!({"sha256": sha256, "bytes": bytes.len()})
    }

    fn instance(&self, cameras: &[(&str, &str)], model: &str) -> Value {
        let names: Vec<&str> = cameras.iter().map(|(name, _)| *name).collect();
        let cameras: Vec<Value> = cameras
            .iter()
            .map(|(name, url)| {
                json!({"node": name, "stream": format!("stream-{name}"), "url": url,
                    "secret": {"id": "secret-a", "version": 1}, "paused": false})
            })
            .collect();
        let application = json!({
            "node": "code", "asset": self.blob("app.py", b"print()"), "command": ["python3"],
            "environment": [],
            "inputs": [
                {"name": "video_in", "source": {"type": "media", "cameras": names}},
                {"name": "threshold", "source": {"type": "float32", "value": 0.5}},
            ],
            "outputs": [{"name": "video_out", "displays": ["screen"]}],
        });
        let tensor = json!({"name": "data", "shape": [1, 3, 8, 8]});
        let asset = self.blob("net.onnx", model.as_bytes());
        json!({"id": ID, "name": "a", "cameras": cameras, "displays": ["screen"],
            "models": [{"node": "net", "asset": asset, "inputs": [tensor]}],
            "applications": [application]})
    }

    fn desire(&mut self, instances: &[Value]) {
        self.generation += 1;
        let document = json!({"version": 1, "device": "device-a", "generation": self.generation,
            "instances": instances});
        self.documents
            .send_replace(Some(serde_json::from_value(document).unwrap()));
    }

    async fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            let report = self.board.report();
            assert!(
                begin.elapsed() < LIMIT,
                "waited in vain for: {what}; {report:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn wait_state(&self, state: InstanceState) {
        self.wait(&format!("{state:?}"), |house| {
            house
                .board
                .report()
                .first()
                .is_some_and(|i| i.state == state)
        })
        .await;
    }

    async fn wait_node(&self, node: &str, status: NodeStatus) -> NodeReport {
        let find = |house: &Self| {
            let report = house.board.report();
            let nodes = report
                .into_iter()
                .next()
                .map(|i| i.nodes)
                .unwrap_or_default();
            nodes
                .into_iter()
                .find(|n| n.node.as_str() == node && n.status == status)
        };
        self.wait(&format!("{node} {status:?}"), |house| find(house).is_some())
            .await;
        find(self).unwrap()
    }

    async fn sdk(&self) -> Sdk {
        let path = self
            .dir
            .path()
            .join("state/instances")
            .join(ID)
            .join("run/code/sdk.sock");
        self.wait("the SDK's socket", |_| path.exists()).await;
        Sdk::connect(&path).await
    }
}

/// An SDK that holds no more than it is asked to.
struct Sdk {
    socket: PacketSocket,
    rings: BTreeMap<u64, (File, u64)>,
    seq: u64,
    welcome: Value,
}

impl Sdk {
    async fn connect(path: &Path) -> Self {
        let fd = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::connect(&fd, &SocketAddrUnix::new(path).unwrap()).unwrap();
        let socket = PacketSocket::new(Channel::from_fd(fd)).unwrap();
        let mut sdk = Self {
            socket,
            rings: BTreeMap::new(),
            seq: 0,
            welcome: Value::Null,
        };
        sdk.send(json!({"op": "hello", "version": 1, "sdk": "test", "python": "3"}))
            .await;
        sdk.welcome = sdk.recv().await.0;
        sdk
    }

    async fn send(&self, message: Value) {
        self.socket.send(&message, &[], &[]).await.unwrap();
    }

    async fn recv(&self) -> (Value, Vec<OwnedFd>) {
        let packet = timeout(LIMIT, self.socket.recv::<Value>()).await;
        let packet = packet
            .expect("no packet in time")
            .unwrap()
            .expect("the agent closed");
        (packet.header, packet.fds)
    }

    /// Asks for frames; notes rings on the way.
    async fn get(&mut self) -> Vec<Value> {
        self.seq += 1;
        self.send(json!({"op": "get", "seq": self.seq, "port": "video_in"}))
            .await;
        loop {
            let (event, fds) = self.recv().await;
            match event["event"].as_str().unwrap() {
                "ring" => {
                    let memory = File::from(fds.into_iter().next().unwrap());
                    let number = event["ring"].as_u64().unwrap();
                    self.rings
                        .insert(number, (memory, event["slot_bytes"].as_u64().unwrap()));
                }
                "ring_end" => {}
                "frames" => {
                    assert_eq!(event["seq"], self.seq);
                    self.send(json!({"op": "got", "seq": self.seq})).await;
                    return event["frames"].as_array().unwrap().clone();
                }
                other => panic!("unexpected {other}"),
            }
        }
    }

    /// What the camera's unit said: its number, all over the picture.
    fn pixels(&self, frame: &Value) -> u64 {
        let (memory, slot_bytes) = &self.rings[&frame["ring"].as_u64().unwrap()];
        let mut bytes = vec![0; (WIDTH * HEIGHT * 3) as usize];
        memory
            .read_exact_at(&mut bytes, frame["slot"].as_u64().unwrap() * slot_bytes)
            .unwrap();
        let first = bytes[..8].to_vec();
        assert!(
            bytes.chunks_exact(8).all(|c| c == first),
            "the picture is torn"
        );
        u64::from_le_bytes(first.try_into().unwrap())
    }

    async fn release(&self, frames: &[Value]) {
        let leases: Vec<&Value> = frames.iter().map(|frame| &frame["lease"]).collect();
        self.send(json!({"op": "release", "leases": leases})).await;
    }
}

fn time(frame: &Value) -> u64 {
    frame["time"][0].as_u64().unwrap() * 1_000_000 + frame["time"][1].as_u64().unwrap()
}

const BUDGET: u64 = 1_000_000_000;

#[tokio::test]
async fn frames_of_two_cameras_reach_the_application_and_are_counted() {
    let mut house = House::build(BUDGET).await;
    house.desire(&[house.instance(
        &[("a", "rtsp://127.0.0.1/a"), ("b", "rtsp://127.0.0.1/b")],
        "good",
    )]);
    house.wait_state(InstanceState::Running).await;
    house.wait_node("net", NodeStatus::Running).await;
    house.wait_node("screen", NodeStatus::Running).await;
    let mut sdk = house.sdk().await;
    assert_eq!(sdk.welcome["event"], "welcome");
    assert_eq!(sdk.welcome["models"], json!(["net"]));
    assert_eq!(
        sdk.welcome["inputs"][1],
        json!({"name": "threshold", "type": "float32", "value": 0.5})
    );
    house.wait_node("code", NodeStatus::Running).await;
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut fresh = 0;
    while fresh < 50 {
        let frames = sdk.get().await;
        assert!(
            frames.iter().any(|frame| frame["cached"] == false),
            "all are cached: {frames:?}"
        );
        for frame in &frames {
            let stream = frame["stream"].as_str().unwrap().to_owned();
            assert_eq!(
                sdk.pixels(frame),
                time(frame),
                "the picture of another moment"
            );
            let before = last.insert(stream, time(frame));
            if frame["cached"] == true {
                assert_eq!(before, Some(time(frame)));
            } else {
                assert!(before.is_none_or(|before| before < time(frame)));
                fresh += 1;
            }
        }
        sdk.release(&frames).await;
    }
    assert_eq!(last.keys().collect::<Vec<_>>(), ["stream-a", "stream-b"]);
    let counted = |house: &House| -> u64 {
        let report = house.board.report();
        report[0]
            .nodes
            .iter()
            .filter_map(|node| node.stream)
            .map(|stream| stream.frames)
            .sum()
    };
    house
        .wait("the count of frames", |house| counted(house) == fresh)
        .await;
    assert_eq!(house.applied.borrow().0, 1);
}

#[tokio::test]
async fn held_frames_stay_as_they_are_while_decoder_and_ingest_die() {
    let mut house = House::build(BUDGET).await;
    house.desire(&[house.instance(&[("a", "rtsp://127.0.0.1/a")], "good")]);
    let mut sdk = house.sdk().await;
    let mut held = Vec::new();
    for victim in [Worker::Codec, Worker::Ingest, Worker::Codec] {
        let frames = sdk.get().await;
        let seen = sdk.pixels(&frames[0]);
        held.push((frames[0].clone(), seen));
        house.fake.kill_all(victim);
        // Frames go on, and what is held is what it was.
        for _ in 0..10 {
            let frames = sdk.get().await;
            assert_eq!(sdk.pixels(&frames[0]), time(&frames[0]));
            sdk.release(&frames).await;
        }
        for (frame, seen) in &held {
            assert_eq!(sdk.pixels(frame), *seen, "a held frame was written");
        }
    }
    let frames: Vec<Value> = held.into_iter().map(|(frame, _)| frame).collect();
    sdk.release(&frames).await;
    house.wait_node("a", NodeStatus::Running).await;
}

#[tokio::test]
async fn an_application_that_holds_all_it_may_gets_no_more_and_starves_nobody_after_its_death() {
    let mut house = House::build(BUDGET).await;
    house.desire(&[house.instance(&[("a", "rtsp://127.0.0.1/a")], "good")]);
    let mut greedy = house.sdk().await;
    for _ in 0..4 {
        greedy.get().await;
    }
    greedy
        .send(json!({"op": "get", "seq": 99, "port": "video_in"}))
        .await;
    greedy.send(json!({"op": "cancel", "seq": 99})).await;
    assert_eq!(
        greedy.recv().await.0,
        json!({"event": "cancelled", "seq": 99})
    );
    drop(greedy);
    let mut next = house.sdk().await;
    for _ in 0..30 {
        let frames = next.get().await;
        next.release(&frames).await;
    }
}

#[tokio::test]
async fn a_camera_that_fails_says_why_and_costs_the_other_nothing() {
    let mut house = House::build(BUDGET).await;
    let broken = [
        ("a", "rtsp://127.0.0.1/a"),
        ("b", "rtsp://127.0.0.1/closed"),
    ];
    house.desire(&[house.instance(&broken, "good")]);
    let failed = house.wait_node("b", NodeStatus::Error).await;
    assert_eq!(failed.reason.unwrap().code, "refused");
    let mut sdk = house.sdk().await;
    let frames = sdk.get().await;
    assert_eq!(frames.len(), 1, "a camera without any frame is left out");
    sdk.release(&frames).await;
    house.wait_node("a", NodeStatus::Running).await;
    let opened = lock(&house.fake.opened).len();

    // Address and password change in place: one camera is told, the other notices nothing.
    let mut mended = house.instance(
        &[("a", "rtsp://127.0.0.1/a"), ("b", "rtsp://127.0.0.1/b")],
        "good",
    );
    mended["cameras"][1]["secret"] = json!({"id": "secret-b", "version": 2});
    house.desire(&[mended]);
    house.wait_node("b", NodeStatus::Running).await;
    let told: Vec<_> = lock(&house.fake.opened)[opened..].to_vec();
    assert_eq!(
        told,
        [(
            "rtsp://127.0.0.1/b".to_owned(),
            Some(("u".to_owned(), "q".to_owned()))
        )]
    );
    let begin = Instant::now();
    loop {
        let frames = sdk.get().await;
        sdk.release(&frames).await;
        if frames.len() == 2 {
            break;
        }
        assert!(begin.elapsed() < LIMIT, "the mended camera never comes");
    }
}

#[tokio::test]
async fn a_model_that_cannot_load_fails_the_deployment_and_its_application_is_ended() {
    let mut house = House::build(BUDGET).await;
    house.desire(&[house.instance(&[("a", "rtsp://127.0.0.1/a")], "bad")]);
    house.wait_state(InstanceState::LaunchError).await;
    let report = house.board.report();
    let reason = report[0].reason.clone().unwrap();
    assert_eq!(reason.code, "model_load");
    assert!(reason.message.contains("net") && reason.message.contains("it is no model"));
    house
        .wait("the end of all applications", |house| {
            lock(&house.fake.applications).is_empty()
        })
        .await;
    // Failed for good is carried out. The engine says so after the last application's end.
    house
        .wait("the document to count as carried out", |house| {
            house.applied.borrow().0 == 1
        })
        .await;
}

#[tokio::test]
async fn a_dead_model_comes_back_and_waiting_questions_are_answered() {
    let mut house = House::build(BUDGET).await;
    house.desire(&[house.instance(&[("a", "rtsp://127.0.0.1/a")], "good")]);
    house.wait_node("net", NodeStatus::Running).await;
    let sdk = house.sdk().await;
    house.fake.kill_all(Worker::Infer);
    sdk.send(json!({"op": "model", "seq": 7, "name": "net"}))
        .await;
    let (event, fds) = sdk.recv().await;
    assert_eq!(
        (event["event"].as_str(), event["seq"].as_u64()),
        (Some("model"), Some(7))
    );
    assert_eq!(event["inputs"][0]["name"], "data");
    assert_eq!(fds.len(), 1);
}

#[tokio::test]
async fn an_application_that_ends_is_started_again() {
    let mut house = House::build(BUDGET).await;
    house.desire(&[house.instance(&[("a", "rtsp://127.0.0.1/a")], "good")]);
    house.wait_state(InstanceState::Running).await;
    let (id, argv) = lock(&house.fake.applications)[0].clone();
    assert_eq!(argv, [ID, "code", "python3"]);
    house.fake.kill(id);
    house
        .wait("another process", |house| {
            lock(&house.fake.applications)
                .iter()
                .any(|(other, _)| *other > id)
        })
        .await;
    assert_eq!(house.board.report()[0].state, InstanceState::Running);
}

#[tokio::test]
async fn what_does_not_fit_the_memory_is_refused_and_the_rest_goes_on() {
    let mut house = House::build(50_000_000).await;
    house.desire(&[house.instance(
        &[("a", "rtsp://127.0.0.1/a"), ("b", "rtsp://127.0.0.1/b")],
        "good",
    )]);
    house.wait_state(InstanceState::InstallError).await;
    assert_eq!(
        house.board.report()[0].reason.as_ref().unwrap().code,
        "memory"
    );
    house.desire(&[house.instance(&[("a", "rtsp://127.0.0.1/a")], "good")]);
    house.wait_state(InstanceState::Running).await;
}

#[tokio::test]
async fn a_removed_instance_leaves_nothing() {
    let mut house = House::build(BUDGET).await;
    house.desire(&[house.instance(&[("a", "rtsp://127.0.0.1/a")], "good")]);
    house.wait_state(InstanceState::Running).await;
    house.desire(&[]);
    house
        .wait("the end of the instance", |house| {
            house.board.report().is_empty()
        })
        .await;
    house
        .wait("the end of all processes", |house| {
            lock(&house.fake.workers).is_empty() && lock(&house.fake.applications).is_empty()
        })
        .await;
    let left = |name| {
        std::fs::read_dir(house.dir.path().join("state").join(name))
            .unwrap()
            .count()
    };
    house
        .wait("the end of its assets", |_| {
            left("images") + left("models") + left("blobs") == 0
        })
        .await;
    let mut house = house;
    let (nothing, _) = watch::channel(None);
    drop(std::mem::replace(&mut house.documents, nothing));
    timeout(LIMIT, house.engine)
        .await
        .expect("the engine does not end")
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_fills_the_disk_is_held_until_it_does_not() {
    let mut house = House::build(BUDGET).await;
    let mut instance = house.instance(&[], "good");
    instance["applications"][0]["confinement"] = json!({"limits": {"storage_bytes": 1000}});
    house.desire(&[instance.clone()]);
    house.wait_state(InstanceState::Running).await;
    let runs = |house: &House| lock(&house.fake.applications).len();
    let held = |house: &House| {
        let report = house.board.report();
        let mut nodes = report.iter().flat_map(|instance| &instance.nodes);
        nodes.any(|node| node.reason.as_ref().is_some_and(|r| r.code == "storage"))
    };
    assert_eq!(runs(&house), 1);
    house.fake.held_bytes.store(1001, Ordering::Relaxed);
    house
        .wait("the application is held", |house| {
            runs(house) == 0 && held(house)
        })
        .await;
    // Less is held: it runs again.
    house.fake.held_bytes.store(999, Ordering::Relaxed);
    house.wait("it runs again", |house| runs(house) == 1).await;
    // As when more is allowed.
    house.fake.held_bytes.store(5000, Ordering::Relaxed);
    house
        .wait("it is held again", |house| runs(house) == 0)
        .await;
    instance["applications"][0]["confinement"] = json!({"limits": {"storage_bytes": 6000}});
    house.desire(&[instance]);
    house.wait("it runs again", |house| runs(house) == 1).await;
}

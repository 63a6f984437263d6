//! One connection of an SDK: its questions, its leases, and what it was told of rings.
//!
//! Reads packets and the node's wake-up; writes answers. Everything it holds is released when the
//! task ends, however it ends. A question is answered when a camera of its port has a frame that
//! this connection's port has not seen.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use parapet_device::desired::InputSource;
use parapet_device::{NodeName, TimeStamp};
use parapet_sandbox::channel::{Channel, ChannelError, Packet};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::wire::{self, Event, OutputPort, Port, PutFrame, Request};
use super::{HOLD, HOLD_BYTES, Node, Presence};
use crate::camera::CameraFrames;
use crate::display::{Leased, Picture, Pixels, Put};
use crate::frames::{Frame, RingId};
use crate::launcher::lock;
use crate::model::Attached;
use crate::packets::PacketSocket;

/// An SDK that takes no packet for so long is stuck, and its leases are needed.
const STUCK: Duration = Duration::from_secs(30);
/// An SDK says hello at once.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// Pictures in a `put`; a tiling of more shows nothing.
const MOST_PICTURES: usize = 64;
/// Overlays of a picture (`docs/sdk-protocol.md`).
const MOST_OVERLAYS: usize = 64;
/// Model questions under way.
const MOST_QUESTIONS: usize = 64;
/// Answers whose `got` may still come; one a port, in truth.
const MOST_UNCONFIRMED: usize = 64;

/// Why a session is over.
#[derive(Debug, Error)]
enum SessionError {
    #[error("talk to the SDK")]
    Channel(#[from] ChannelError),
    #[error("talk to the SDK: it takes nothing for {} s", STUCK.as_secs())]
    Stuck,
    #[error("talk to the SDK: it says no hello")]
    NoHello,
    #[error("talk to the SDK: it speaks version {0}, this agent {version}", version = wire::VERSION)]
    Version(u32),
    #[error("follow the SDK: {0}")]
    Broken(&'static str),
}

/// Runs one connection to its end.
pub(super) async fn run(channel: Channel, node: Arc<Node>) {
    let (instance, name) = (node.line.instance().clone(), node.line.node().clone());
    match converse(channel, node).await {
        Ok(()) => {}
        Err(error) => tracing::warn!(
            %instance, node = %name,
            error = &error as &dyn std::error::Error,
            "SDK connection ended"
        ),
    }
}

async fn converse(channel: Channel, node: Arc<Node>) -> Result<(), SessionError> {
    let socket = PacketSocket::new(channel)?;
    let hello = timeout(HELLO_LIMIT, socket.recv::<Request>());
    let Some(packet) = hello.await.map_err(|_| SessionError::NoHello)?? else {
        return Ok(());
    };
    let Request::Hello {
        version,
        sdk,
        python,
    } = packet.header
    else {
        return Err(SessionError::NoHello);
    };
    let mut session = Session::new(socket, node);
    if version != wire::VERSION {
        let error = SessionError::Version(version);
        session
            .send(
                &Event::Error {
                    code: "version",
                    message: error.to_string(),
                },
                &[],
            )
            .await?;
        return Err(error);
    }
    tracing::info!(
        instance = %session.node.line.instance(), node = %session.node.line.node(), sdk, python,
        "SDK connected"
    );
    session.welcome().await?;
    let _presence = Presence::new(&session.node);
    session.serve().await
}

/// A port's cameras, and what the connection has seen of them.
struct MediaPort {
    cameras: Vec<NodeName>,
    /// Number of the newest frame returned, per camera.
    seen: BTreeMap<NodeName, u64>,
    /// The question that waits for an answer.
    waiting: Option<u64>,
}

struct Lease {
    node: NodeName,
    port: String,
    leased: Leased,
}

struct Unconfirmed {
    seq: u64,
    fresh: Vec<(NodeName, TimeStamp)>,
}

type Question = BoxFuture<'static, (u64, Option<Attached>)>;

struct Session {
    socket: PacketSocket,
    node: Arc<Node>,
    ports: BTreeMap<String, MediaPort>,
    leases: BTreeMap<u64, Lease>,
    leases_made: u64,
    /// Rings announced and not ended, by camera, newest last.
    rings: BTreeMap<NodeName, Vec<(RingId, u64)>>,
    rings_made: u64,
    unconfirmed: VecDeque<Unconfirmed>,
    questions: FuturesUnordered<Question>,
    /// To withdraw a question.
    asked: BTreeMap<u64, oneshot::Sender<()>>,
    /// Pictures of a `put` whose last packet has not come.
    pictures: Vec<Picture>,
}

impl Session {
    fn new(socket: PacketSocket, node: Arc<Node>) -> Self {
        let ports = node
            .inputs
            .iter()
            .filter_map(|input| match &input.source {
                InputSource::Media { cameras } => {
                    let cameras = cameras.clone();
                    let port = MediaPort {
                        cameras,
                        seen: BTreeMap::new(),
                        waiting: None,
                    };
                    Some((input.name.clone(), port))
                }
                _ => None,
            })
            .collect();
        Self {
            socket,
            node,
            ports,
            leases: BTreeMap::new(),
            leases_made: 0,
            rings: BTreeMap::new(),
            rings_made: 0,
            unconfirmed: VecDeque::new(),
            questions: FuturesUnordered::new(),
            asked: BTreeMap::new(),
            pictures: Vec::new(),
        }
    }

    async fn send(&mut self, event: &Event, fds: &[BorrowedFd<'_>]) -> Result<(), SessionError> {
        let sent = timeout(STUCK, self.socket.send(event, &[], fds));
        Ok(sent.await.map_err(|_| SessionError::Stuck)??)
    }

    async fn welcome(&mut self) -> Result<(), SessionError> {
        let welcome = Event::Welcome {
            version: wire::VERSION,
            instance: self.node.line.instance().to_string(),
            node: self.node.line.node().to_string(),
            inputs: self
                .node
                .inputs
                .iter()
                .map(|input| {
                    let (kind, value) = literal(&input.source);
                    Port {
                        name: input.name.clone(),
                        kind,
                        value,
                    }
                })
                .collect(),
            outputs: self
                .node
                .outputs
                .iter()
                .map(|output| OutputPort {
                    name: output.name.clone(),
                })
                .collect(),
            models: self.node.models.keys().map(ToString::to_string).collect(),
            hold: HOLD,
            hold_bytes: HOLD_BYTES,
        };
        self.send(&welcome, &[]).await
    }

    async fn serve(&mut self) -> Result<(), SessionError> {
        let mut wake = self.node.wake.subscribe();
        loop {
            tokio::select! {
                packet = self.socket.recv::<Request>() => match packet? {
                    None => return Ok(()),
                    Some(packet) => self.take(packet).await?,
                },
                // The instance, and this session with it, ends before the sender does.
                _ = wake.changed() => {}
                Some((seq, attached)) = self.questions.next() => self.model(seq, attached).await?,
            }
            self.answer().await?;
        }
    }

    async fn take(&mut self, packet: Packet<Request>) -> Result<(), SessionError> {
        match packet.header {
            Request::Hello { .. } => return Err(SessionError::Broken("it says hello twice")),
            Request::Get { seq, port } => {
                let port = self.ports.get_mut(&port).ok_or(SessionError::Broken(
                    "it asks for a port that is no media input",
                ))?;
                if port.waiting.replace(seq).is_some() {
                    return Err(SessionError::Broken("it asks twice for one port"));
                }
            }
            Request::Cancel { seq } => self.cancel(seq).await?,
            Request::Got { seq } => self.got(seq),
            Request::Release { leases } => {
                for lease in leases {
                    // One released twice, or never given, changes nothing.
                    self.leases.remove(&lease);
                }
            }
            Request::Put { port, frames, more } => self.put(&port, frames, more, packet.fds)?,
            Request::Model { seq, name } => self.ask(seq, &name)?,
            Request::Log { level, message } => {
                let (instance, node) = (self.node.line.instance(), self.node.line.node());
                self.node.say(&message, Instant::now(), |line| {
                    if level == "warning" || level == "error" {
                        tracing::warn!(%instance, %node, sdk = true, "{line}");
                    } else {
                        tracing::info!(%instance, %node, sdk = true, "{line}");
                    }
                });
            }
        }
        Ok(())
    }

    async fn cancel(&mut self, seq: u64) -> Result<(), SessionError> {
        let mut found = false;
        for port in self.ports.values_mut() {
            if port.waiting == Some(seq) {
                port.waiting = None;
                found = true;
            }
        }
        // Dropping the sender ends the question.
        found |= self.asked.remove(&seq).is_some();
        if found {
            self.send(&Event::Cancelled { seq }, &[]).await?;
        }
        Ok(())
    }

    fn got(&mut self, seq: u64) {
        let Some(at) = self.unconfirmed.iter().position(|answer| answer.seq == seq) else {
            return;
        };
        let Some(answer) = self.unconfirmed.remove(at) else {
            return;
        };
        // Before 1970 there were no cameras of this kind.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros();
        for (node, time) in answer.fresh {
            if let Some(camera) = self.node.cameras.get(&node) {
                let latency = (now as u64).saturating_sub(time.as_micros());
                lock(&camera.stats).returned(Instant::now(), latency);
            }
        }
    }

    /// Answers each question that can be answered.
    async fn answer(&mut self) -> Result<(), SessionError> {
        let names: Vec<String> = self
            .ports
            .iter()
            .filter(|(_, port)| port.waiting.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.answer_port(&name).await?;
        }
        Ok(())
    }

    async fn answer_port(&mut self, name: &str) -> Result<(), SessionError> {
        let node = Arc::clone(&self.node);
        let Some(port) = self.ports.get(name) else {
            return Ok(());
        };
        let Some(seq) = port.waiting else {
            return Ok(());
        };
        let cameras: Vec<(NodeName, &Arc<CameraFrames>)> = port
            .cameras
            .iter()
            .filter_map(|camera| Some((camera.clone(), node.cameras.get(camera)?)))
            .filter(|(_, camera)| !camera.paused())
            .collect();
        let unseen = |(name, camera): &(NodeName, &Arc<CameraFrames>)| {
            camera
                .newest()
                .is_some_and(|f| port.seen.get(name).is_none_or(|seen| f.number > *seen))
        };
        if !cameras.iter().any(unseen) || cameras.iter().any(|(c, _)| self.holds_too_much(c)) {
            return Ok(());
        }
        let mut frames = Vec::new();
        let mut fresh = Vec::new();
        for (camera_name, camera) in cameras {
            // Taken anew: the newest may have become newer since it was looked at.
            let Some(leased) = Leased::newest(camera) else {
                continue;
            };
            let frame = leased.frame();
            let time = TimeStamp::from_micros(frame.time);
            let Some(port) = self.ports.get_mut(name) else {
                return Ok(());
            };
            let seen = port.seen.insert(camera_name.clone(), frame.number);
            let cached = seen == Some(frame.number);
            let ring = self.announce(&camera_name, camera, frame).await?;
            let lease = match self.lease_of(name, &camera_name, frame) {
                Some(lease) => lease,
                None => self.lend(name, &camera_name, leased),
            };
            if !cached {
                fresh.push((camera_name.clone(), time));
            }
            frames.push(wire::Frame {
                lease,
                ring,
                slot: frame.slot,
                stream: camera.stream.clone(),
                uri: camera.url(),
                cached,
                time,
            });
        }
        if let Some(port) = self.ports.get_mut(name) {
            port.waiting = None;
        }
        if self.unconfirmed.len() == MOST_UNCONFIRMED {
            self.unconfirmed.pop_front();
        }
        self.unconfirmed.push_back(Unconfirmed { seq, fresh });
        let watched = node.is_watched();
        self.send(
            &Event::Frames {
                seq,
                watched,
                frames,
            },
            &[],
        )
        .await
    }

    /// The SDK gives frames back before it asks for more than it may hold; the answer waits for
    /// one that does not.
    fn holds_too_much(&self, camera: &NodeName) -> bool {
        self.leases
            .values()
            .filter(|lease| lease.node == *camera)
            .count()
            >= HOLD as usize
            && self.lease_of_newest(camera).is_none()
    }

    fn lease_of_newest(&self, camera: &NodeName) -> Option<u64> {
        let newest = self.node.cameras.get(camera)?.newest()?;
        let mut leases = self.leases.iter();
        leases
            .find(|(_, lease)| lease.node == *camera && lease.leased.frame() == newest)
            .map(|(number, _)| *number)
    }

    /// The lease that the port holds of this very frame.
    fn lease_of(&self, port: &str, camera: &NodeName, frame: Frame) -> Option<u64> {
        let mut leases = self.leases.iter();
        leases
            .find(|(_, lease)| {
                lease.port == port && lease.node == *camera && lease.leased.frame() == frame
            })
            .map(|(number, _)| *number)
    }

    fn lend(&mut self, port: &str, camera: &NodeName, leased: Leased) -> u64 {
        self.leases_made += 1;
        let lease = Lease {
            node: camera.clone(),
            port: port.to_owned(),
            leased,
        };
        self.leases.insert(self.leases_made, lease);
        self.leases_made
    }

    /// Tells the SDK of a ring before its first frame, and of the end of the one before.
    async fn announce(
        &mut self,
        name: &NodeName,
        camera: &CameraFrames,
        frame: Frame,
    ) -> Result<u64, SessionError> {
        let known = self.rings.entry(name.clone()).or_default();
        if let Some((_, number)) = known.iter().find(|(ring, _)| *ring == frame.ring) {
            return Ok(*number);
        }
        let ended = std::mem::take(known);
        self.rings_made += 1;
        let number = self.rings_made;
        known.push((frame.ring, number));
        let (layout, memory) = camera
            .ring(frame.ring)
            .ok_or(SessionError::Broken("a leased frame has no ring"))?;
        let event = Event::Ring {
            ring: number,
            width: layout.width,
            height: layout.height,
            slots: layout.slots,
            slot_bytes: layout.slot_bytes,
        };
        self.send(&event, &[memory.memory()]).await?;
        for (_, ring) in ended {
            self.send(&Event::RingEnd { ring }, &[]).await?;
        }
        Ok(number)
    }

    fn put(
        &mut self,
        port: &str,
        frames: Vec<PutFrame>,
        more: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<(), SessionError> {
        if self.pictures.len() + frames.len() > MOST_PICTURES {
            return Err(SessionError::Broken(
                "it puts more than 64 pictures at once",
            ));
        }
        let fds: Vec<Arc<OwnedFd>> = fds.into_iter().map(Arc::new).collect();
        for frame in frames {
            let pixels = match (&frame.pixels, frame.lease) {
                (Some(changed), _) => fds.get(changed.fd).map(|fd| Pixels::Changed {
                    memory: Arc::clone(fd),
                    offset: changed.offset,
                    width: changed.width,
                    height: changed.height,
                }),
                (None, Some(lease)) => self
                    .leases
                    .get(&lease)
                    .and_then(|lease| lease.leased.again())
                    .map(Pixels::Ring),
                (None, None) => None,
            };
            self.pictures.push(Picture {
                time: frame.time,
                pixels,
                rects: frame.rects.into_iter().take(MOST_OVERLAYS).collect(),
                labels: frame.labels.into_iter().take(MOST_OVERLAYS).collect(),
            });
        }
        if more {
            return Ok(());
        }
        let put = Arc::new(Put {
            pictures: std::mem::take(&mut self.pictures),
        });
        let output = self.node.outputs.iter().find(|output| output.name == port);
        for display in output.iter().flat_map(|output| &output.displays) {
            if let Some(screen) = self.node.screens.get(display) {
                screen.show(Arc::clone(&put));
            }
        }
        Ok(())
    }

    fn ask(&mut self, seq: u64, name: &str) -> Result<(), SessionError> {
        let model = self
            .node
            .models
            .iter()
            .find(|(node, _)| node.as_str() == name);
        let (_, model) = model.ok_or(SessionError::Broken(
            "it asks for a model that its graph lacks",
        ))?;
        if self.asked.len() == MOST_QUESTIONS {
            return Err(SessionError::Broken(
                "it asks for more than 64 models at once",
            ));
        }
        let model = model.clone();
        let (keep, withdrawn) = oneshot::channel();
        self.asked.insert(seq, keep);
        let question = async move {
            tokio::select! {
                attached = model.attach() => (seq, attached),
                _ = withdrawn => (seq, None),
            }
        };
        self.questions.push(question.boxed());
        Ok(())
    }

    async fn model(&mut self, seq: u64, attached: Option<Attached>) -> Result<(), SessionError> {
        // A model that ended for good is ended together with its instance.
        let (Some(_), Some((signature, socket))) = (self.asked.remove(&seq), attached) else {
            return Ok(());
        };
        let event = Event::Model {
            seq,
            inputs: signature.inputs.clone(),
            outputs: signature.outputs.clone(),
        };
        self.send(&event, &[socket.as_fd()]).await
    }
}

fn literal(source: &InputSource) -> (&'static str, Option<serde_json::Value>) {
    match source {
        InputSource::Media { .. } => ("media", None),
        InputSource::String { value } => ("string", Some(value.clone().into())),
        InputSource::Int32 { value } => ("int32", Some((*value).into())),
        InputSource::Float32 { value } => ("float32", Some(serde_json::json!(*value))),
        InputSource::Boolean { value } => ("boolean", Some((*value).into())),
    }
}

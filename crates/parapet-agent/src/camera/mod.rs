//! One camera: ingest process -> access units -> decoder process -> frames in a ring.
//!
//! Two tasks per camera, each the owner of one process: [`ingest`] (the RTSP dialogue; where the
//! camera is, [`place`] decides; whether it is still the same, [`certificates`]; a file in its
//! place, [`local`]) and [`decode`]. Between them a short queue of access units; when it is full, units are dropped up
//! to the next key frame. The two fail and come back apart from each other, and no other camera
//! notices. The untouched stream for the live view and for recording will branch off where
//! `ingest` has put an access unit together, before the queue.

mod assemble;
pub(crate) mod certificates;
mod decode;
mod ingest;
pub(crate) mod local;
pub(crate) mod place;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use parapet_device::desired::SecretRef;
use parapet_device::reported::NodeStatus;
use parapet_device::{InstanceId, NodeName};
use parapet_media::protocol::{Codec, RingLayout};
use parapet_media::ring::RingReader;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::board::{Board, Line};
use crate::frames::{DecoderFault, Frame, Freed, Pool, RingId};
use crate::launcher::{Launcher, lock};
use crate::metrics::StreamStats;
use crate::secrets::Secrets;

/// Access units waiting for the decoder: a second of an ordinary stream, so that a decoder's
/// restart costs no more than that.
const QUEUE: usize = 30;

/// A whole access unit.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    codec: Codec,
    time: u64,
    key: bool,
    data: Bytes,
}

/// What may change of a camera while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// `rtsp://…`, `rtsps://…` without credentials, or `file:///…`.
    pub(crate) url: String,
    /// Where to find user name and password.
    pub(crate) secret: Option<SecretRef>,
    /// No ingest while this is so.
    pub(crate) paused: bool,
}

/// What a frame's memory is: the decoder's sealed memfd.
pub(crate) type Memory = Arc<RingReader>;

struct Inner {
    pool: Pool<Memory>,
    /// To the living decoder.
    frees: Option<mpsc::UnboundedSender<Freed>>,
}

/// A camera as its consumers see it.
pub(crate) struct CameraFrames {
    /// `media.stream_id`.
    pub(crate) stream: String,
    /// Counters of what the application received.
    pub(crate) stats: Arc<Mutex<StreamStats>>,
    inner: Mutex<Inner>,
    source: watch::Sender<Source>,
    /// Of the whole instance: something is new.
    wake: watch::Sender<u64>,
}

impl CameraFrames {
    /// The newest frame.
    pub(crate) fn newest(&self) -> Option<Frame> {
        lock(&self.inner).pool.newest()
    }

    /// The newest frame, leased.
    pub(crate) fn lease_newest(&self) -> Option<Frame> {
        let mut inner = lock(&self.inner);
        let frame = inner.pool.newest()?;
        inner.pool.lease(frame).then_some(frame)
    }

    /// One more lease of a frame that somebody holds already.
    pub(crate) fn lease(&self, frame: Frame) -> bool {
        lock(&self.inner).pool.lease(frame)
    }

    /// Ends a lease.
    pub(crate) fn release(&self, frame: Frame) {
        let mut inner = lock(&self.inner);
        let freed = inner.pool.release(frame);
        inner.tell(freed);
    }

    /// Shape and memory of a ring that is in use.
    pub(crate) fn ring(&self, ring: RingId) -> Option<(RingLayout, Memory)> {
        lock(&self.inner)
            .pool
            .ring(ring)
            .map(|(layout, memory)| (layout, Arc::clone(memory)))
    }

    /// `media.stream_uri` at present.
    pub(crate) fn url(&self) -> String {
        self.source.borrow().url.clone()
    }

    /// Whether a signal holds the camera back.
    pub(crate) fn paused(&self) -> bool {
        self.source.borrow().paused
    }

    fn wake(&self) {
        self.wake.send_modify(|count| *count += 1);
    }

    fn begin_decoder(&self, frees: mpsc::UnboundedSender<Freed>) {
        lock(&self.inner).frees = Some(frees);
    }

    fn end_decoder(&self) {
        let mut inner = lock(&self.inner);
        inner.frees = None;
        inner.pool.end_decoder();
    }

    fn begin_ring(&self, worker_ring: u32, layout: RingLayout, memory: Memory) {
        lock(&self.inner)
            .pool
            .begin_ring(worker_ring, layout, memory);
        lock(&self.stats).set_size(layout.width, layout.height);
    }

    fn push(&self, ring: u32, slot: u32, time: u64) -> Result<(), DecoderFault> {
        let mut inner = lock(&self.inner);
        let freed = inner.pool.push(ring, slot, time)?;
        inner.tell(freed);
        drop(inner);
        self.wake();
        Ok(())
    }
}

/// A camera without its processes.
#[cfg(test)]
impl CameraFrames {
    pub(crate) fn of_ring(stream: &str, wake: watch::Sender<u64>, ring: Memory) -> Arc<Self> {
        let url = format!("rtsp://192.0.2.1/{stream}");
        let (secret, paused) = (None, false);
        let camera = Self {
            stream: stream.to_owned(),
            stats: Arc::new(Mutex::new(StreamStats::new())),
            inner: Mutex::new(Inner {
                pool: Pool::new(),
                frees: None,
            }),
            source: watch::Sender::new(Source {
                url,
                secret,
                paused,
            }),
            wake,
        };
        camera.begin_ring(0, ring.layout(), ring);
        Arc::new(camera)
    }

    /// A picture has come; `false` where the slot is still held.
    pub(crate) fn show(&self, slot: u32, time: u64) -> bool {
        self.push(0, slot, time).is_ok()
    }

    /// Leases of all frames.
    pub(crate) fn leases(&self) -> u32 {
        lock(&self.inner).pool.leases()
    }
}

impl Inner {
    fn tell(&self, freed: Option<Freed>) {
        if let (Some(freed), Some(frees)) = (freed, &self.frees) {
            // A decoder that has just ended needs no slot.
            let _ = frees.send(freed);
        }
    }
}

/// A running camera. Dropping it ends both processes.
pub(crate) struct Camera {
    /// What consumers use.
    pub(crate) frames: Arc<CameraFrames>,
    source: watch::Sender<Source>,
    _tasks: JoinSet<()>,
}

/// What a camera needs from the rest of the agent.
#[derive(Clone)]
pub(crate) struct CameraContext {
    pub(crate) launcher: Launcher,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) board: Board,
    pub(crate) places: Arc<place::Places>,
    pub(crate) certificates: Arc<certificates::CameraCertificates>,
    pub(crate) files: local::Files,
}

impl Camera {
    /// Starts reading.
    pub(crate) fn start(
        context: &CameraContext,
        instance: &InstanceId,
        node: &NodeName,
        stream: String,
        source: Source,
        slots: u32,
        wake: watch::Sender<u64>,
    ) -> Self {
        let stats = Arc::new(Mutex::new(StreamStats::new()));
        let line = context.board.line(instance, node, Some(Arc::clone(&stats)));
        let source = watch::Sender::new(source);
        let frames = Arc::new(CameraFrames {
            stream,
            stats,
            inner: Mutex::new(Inner {
                pool: Pool::new(),
                frees: None,
            }),
            source: source.clone(),
            wake,
        });
        let health = Health::new(line);
        let (units, queue) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(ingest::run(
            context.clone(),
            source.subscribe(),
            units,
            health.clone(),
        ));
        tasks.spawn(decode::run(
            context.launcher.clone(),
            Arc::clone(&frames),
            queue,
            slots,
            health,
        ));
        Self {
            frames,
            source,
            _tasks: tasks,
        }
    }

    /// Changes address, password or pause in place; wakes consumers, for whom a paused camera
    /// disappears from their lists.
    pub(crate) fn set_source(&self, source: Source) {
        let changed = self.source.send_if_modified(|old| {
            let changed = *old != source;
            *old = source;
            changed
        });
        if changed {
            self.frames.wake();
        }
    }
}

/// Two halves, one line on the board: the camera runs when frames come, and the fault shown is
/// that of the half nearest to the camera.
#[derive(Clone)]
pub(crate) struct Health {
    line: Line,
    state: Arc<Mutex<HealthState>>,
}

#[derive(Default)]
struct HealthState {
    paused: bool,
    ingest: Option<(&'static str, String)>,
    decode: Option<(&'static str, String)>,
    frames: bool,
}

impl Health {
    fn new(line: Line) -> Self {
        Self {
            line,
            state: Arc::default(),
        }
    }

    fn line(&self) -> &Line {
        &self.line
    }

    fn ingest(&self, fault: Option<(&'static str, String)>) {
        self.change(|state| {
            if fault.is_some() {
                state.frames = false;
            }
            state.ingest = fault;
        });
    }

    fn decode(&self, fault: Option<(&'static str, String)>) {
        self.change(|state| {
            if fault.is_some() {
                state.frames = false;
            }
            state.decode = fault;
        });
    }

    /// A frame has arrived: nothing is wrong.
    fn frame(&self) {
        let mut state = lock(&self.state);
        if state.frames && state.ingest.is_none() {
            return;
        }
        *state = HealthState {
            frames: true,
            paused: state.paused,
            ..HealthState::default()
        };
        self.show(&state);
    }

    fn paused(&self, paused: bool) {
        self.change(|state| {
            *state = HealthState {
                paused,
                ..HealthState::default()
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut HealthState)) {
        let mut state = lock(&self.state);
        change(&mut state);
        self.show(&state);
    }

    fn show(&self, state: &HealthState) {
        if state.paused {
            self.line.set(NodeStatus::Paused, None);
        } else if let Some((code, message)) = state.ingest.as_ref().or(state.decode.as_ref()) {
            self.line.error(code, message);
        } else if state.frames {
            self.line.running();
        } else {
            self.line.set(NodeStatus::NotAvailable, None);
        }
    }
}

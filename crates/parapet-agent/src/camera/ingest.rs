//! The ingest half of a camera: one process for its whole life, told anew where to look.
//!
//! Reads the wanted [`Source`], the camera's address by its name, its kept certificate and its
//! secret; writes access units into the queue and the camera's faults onto the board. The password goes into one message and nowhere else.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Mutex;
use std::time::Duration;

use parapet_media::protocol::{
    CameraFault, CameraTls, Codec, Fingerprint, IngestEvent, IngestRequest,
};
use parapet_sandbox::failure::with_causes;
use parapet_sandbox::launch::Worker;
use parapet_sandbox::zones::plain_side;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use url::Url;

use super::assemble::Assembler;
use super::place::{Place, Refusal};
use super::{CameraContext, Health, Source, Unit};
use crate::backoff::Backoff;
use crate::launcher::lock;
use crate::logs;
use crate::packets::PacketSocket;

/// Until a file that cannot be played is opened again: somebody may have put another one there.
const FILE_PAUSE: Duration = Duration::from_secs(10);

/// Runs until it is dropped.
pub(super) async fn run(
    context: CameraContext,
    mut source: watch::Receiver<Source>,
    units: mpsc::Sender<Unit>,
    health: Health,
) {
    let mut backoff = Backoff::for_processes();
    loop {
        if source.borrow_and_update().paused {
            health.paused(true);
            if source.wait_for(|source| !source.paused).await.is_err() {
                return;
            }
            health.paused(false);
        }
        match context.launcher.worker(Worker::Ingest).await {
            Err(error) => {
                tracing::warn!(
                    instance = %health.line().instance(),
                    node = %health.line().node(),
                    error = &error as &dyn std::error::Error,
                    "ingest cannot be started"
                );
                health.ingest(Some(("launch", error.to_string())));
            }
            Ok((mut process, socket)) => {
                let log = logs::forward(process.take_output(), health.line(), "ingest");
                let id = process.id();
                let end = tokio::select! {
                    end = process.exited() => end,
                    ended = converse(&context, id, &socket, &mut source, &units, &health) => {
                        match ended {
                            Ended::Paused => { drop(log); continue }
                            Ended::Agent => return,
                            Ended::Worker => process.exited_soon().await,
                        }
                    }
                };
                drop(log);
                tracing::warn!(
                    instance = %health.line().instance(),
                    node = %health.line().node(),
                    %end,
                    "ingest ended and is started again"
                );
            }
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Why a conversation is over.
enum Ended {
    Paused,
    Worker,
    Agent,
}

async fn converse(
    context: &CameraContext,
    id: u64,
    socket: &PacketSocket,
    source: &mut watch::Receiver<Source>,
    units: &mpsc::Sender<Unit>,
    health: &Health,
) -> Ended {
    let failed = Notify::new();
    let opened = Mutex::new(None);
    let talk = async {
        loop {
            let wanted = source.borrow_and_update().clone();
            if wanted.paused {
                return Ended::Paused;
            }
            // A password or a name that cannot be had yet must not hide that the address has
            // changed.
            let found = tokio::select! {
                found = open(context, id, socket, &wanted, health, &opened) => found,
                changed = source.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Ended::Agent,
                },
            };
            let Some(found) = found else {
                return Ended::Worker;
            };
            tokio::select! {
                changed = source.changed() => if changed.is_err() {
                    return Ended::Agent;
                },
                () = moved(context, &wanted, &found, &failed) => {}
            }
        }
    };
    tokio::select! {
        ended = talk => ended,
        () = receive(context, socket, units, health, &failed, &opened) => Ended::Worker,
    }
}

/// What is read.
enum Opened {
    Camera(Where),
    File,
}

/// What is to be read.
enum Found {
    Camera(Where),
    /// A file in its place.
    File(OwnedFd),
}

/// Where a camera is, and what it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Where {
    address: SocketAddr,
    tls: Option<KnownBy>,
    /// Looked up by a name, so that it may lie elsewhere the next time.
    named: bool,
}

/// A camera that is spoken to in TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownBy {
    /// `host:port`.
    place: String,
    certificate: Option<Fingerprint>,
}

/// Returns when a camera that fails has got another address under its name, when its certificate
/// has been forgotten, or when it is time to open a file anew.
async fn moved(context: &CameraContext, source: &Source, old: &Opened, failed: &Notify) {
    loop {
        failed.notified().await;
        let Opened::Camera(old) = old else {
            return tokio::time::sleep(FILE_PAUSE).await;
        };
        if !old.named && old.tls.is_none() {
            continue;
        }
        match find(context, source).await {
            Ok(Found::Camera(found)) if found != *old => return,
            // The same, or none for the moment: ingest tries again where it is.
            _ => {}
        }
    }
}

/// Tells the worker where to look, after the launcher has let it reach that; waits for address and
/// secret as long as it takes. `None` when the worker is to be started anew.
async fn open(
    context: &CameraContext,
    id: u64,
    socket: &PacketSocket,
    source: &Source,
    health: &Health,
    opened: &Mutex<Option<Where>>,
) -> Option<Opened> {
    let mut backoff = Backoff::for_network();
    let found = loop {
        match find(context, source).await {
            Ok(found) => break found,
            Err((code, why)) => health.ingest(Some((code.code(), why))),
        }
        tokio::time::sleep(backoff.next()).await;
    };
    backoff.reset();
    let found = match found {
        Found::Camera(found) => found,
        Found::File(file) => {
            *lock(opened) = None;
            let sent = socket
                .send(&IngestRequest::Play, &[], &[file.as_fd()])
                .await;
            return sent.ok().map(|()| Opened::File);
        }
    };
    let credentials = match &source.secret {
        None => None,
        Some(reference) => loop {
            match context.secrets.get(reference).await {
                Ok(secret) => break Some((secret.username, secret.password)),
                Err(error) => {
                    let why = with_causes(&error);
                    let message = format!("the camera's password is not here yet: {why}");
                    health.ingest(Some(("unauthorized", message)));
                    tokio::time::sleep(backoff.next()).await;
                }
            }
        },
    };
    let address = found.address;
    let tls = found.tls.as_ref().map(|known| CameraTls {
        // Other appliances of this host have other numbers.
        plain: plain_side(
            std::process::id()
                .wrapping_mul(4099)
                .wrapping_add(id as u32),
        ),
        pin: known.certificate,
    });
    let reached = [Some(address), tls.map(|tls| tls.plain)];
    let reached = reached.into_iter().flatten().collect();
    if let Err(error) = context.launcher.reach(id, reached).await {
        health.ingest(Some(("launch", error.to_string())));
        return None;
    }
    *lock(opened) = Some(found.clone());
    let request = IngestRequest::Open {
        url: source.url.clone(),
        address,
        credentials,
        tls,
    };
    let sent = socket.send(&request, &[], &[]).await;
    sent.ok().map(|()| Opened::Camera(found))
}

async fn find(context: &CameraContext, source: &Source) -> Result<Found, Refusal> {
    let url = Url::parse(&source.url).map_err(|error| {
        let why =
            format!("the camera's address is no URL ({error}); write rtsp://HOST[:PORT]/PATH");
        (CameraFault::Unreachable, why)
    })?;
    if url.scheme() == "file" {
        return context.files.open(&url).map(Found::File);
    }
    let place = Place::of(&url)?;
    let tls = if place.is_tls() {
        let name = place.name();
        let kept = context.certificates.of(&name);
        let certificate = kept.map_err(|error| (CameraFault::Certificate, with_causes(&error)))?;
        Some(KnownBy {
            place: name,
            certificate,
        })
    } else {
        None
    };
    Ok(Found::Camera(Where {
        address: context.places.find(&place).await?,
        tls,
        named: place.is_name(),
    }))
}

/// Keeps a certificate that the camera which is open has shown. Whether it was kept is no matter
/// of this dialogue, whose ingest holds the camera to it from now on.
fn keep(
    context: &CameraContext,
    health: &Health,
    opened: &Mutex<Option<Where>>,
    address: SocketAddr,
    shown: Fingerprint,
) {
    let known = match &*lock(opened) {
        Some(found) if found.address == address => found.tls.clone(),
        // Of a camera that is not read any more.
        _ => None,
    };
    let Some(known) = known else { return };
    let (instance, node) = (health.line().instance(), health.line().node());
    match context.certificates.keep(&known.place, shown) {
        Ok(()) => tracing::info!(
            %instance, %node, camera = known.place, certificate = %shown,
            "the camera's certificate is taken at first sight"
        ),
        Err(error) => tracing::error!(
            %instance, %node, camera = known.place,
            error = &error as &dyn std::error::Error,
            "the camera's certificate is not kept"
        ),
    }
}

async fn receive(
    context: &CameraContext,
    socket: &PacketSocket,
    units: &mpsc::Sender<Unit>,
    health: &Health,
    failed: &Notify,
    opened: &Mutex<Option<Where>>,
) {
    let mut assembler = Assembler::default();
    let mut codec = None;
    let mut gate = Gate::default();
    loop {
        let packet = match socket.recv::<IngestEvent>().await {
            Ok(Some(packet)) => packet,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(
                    instance = %health.line().instance(),
                    node = %health.line().node(),
                    error = &error as &dyn std::error::Error,
                    "ingest is ended: its packet cannot be read"
                );
                return;
            }
        };
        match packet.header {
            IngestEvent::Stream { codec: new } => {
                assembler = Assembler::default();
                codec = Some(new);
                gate.closed = true;
                health.ingest(None);
            }
            IngestEvent::Certificate { address, sha256 } => {
                keep(context, health, opened, address, sha256);
            }
            IngestEvent::AccessUnit {
                time,
                claimed: _,
                key,
                more,
            } => match assembler.add(&packet.payload, more) {
                Ok(None) => {}
                Ok(Some(data)) => {
                    if !pass(&mut gate, units, codec, time, key, data) {
                        return;
                    }
                }
                Err(error) => {
                    gate.closed = true;
                    health.ingest(Some(("protocol", error.to_string())));
                }
            },
            IngestEvent::Failed {
                code,
                message,
                retry_ms: _,
            } => {
                health.ingest(Some((code.code(), message)));
                failed.notify_one();
            }
        }
    }
}

/// After a loss, what refers to the lost unit is useless: closed until the next key frame.
#[derive(Default)]
struct Gate {
    closed: bool,
}

/// `false` when nobody takes units any more.
fn pass(
    gate: &mut Gate,
    units: &mpsc::Sender<Unit>,
    codec: Option<Codec>,
    time: u64,
    key: bool,
    data: bytes::Bytes,
) -> bool {
    let Some(codec) = codec else { return true };
    if gate.closed && !key {
        return true;
    }
    match units.try_send(Unit {
        codec,
        time,
        key,
        data,
    }) {
        Ok(()) => gate.closed = false,
        Err(TrySendError::Full(_)) => gate.closed = true,
        Err(TrySendError::Closed(_)) => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_to_the_next_key_frame() {
        let (sender, mut queue) = mpsc::channel(2);
        let mut gate = Gate::default();
        let mut give = |time, key| {
            let data = bytes::Bytes::new();
            assert!(pass(&mut gate, &sender, Some(Codec::H264), time, key, data));
        };
        give(1, true);
        give(2, false);
        give(3, false); // full
        assert_eq!(queue.try_recv().unwrap().time, 1);
        give(4, false); // room again, but it refers to 3
        give(5, true);
        assert_eq!(queue.try_recv().unwrap().time, 2);
        assert_eq!(queue.try_recv().unwrap().time, 5);
    }
}

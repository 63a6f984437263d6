//! Accepts connections and serves HTTP on them, within limits.
//!
//! Owns a task for each connection; [`Door::serve`] returns when the shutdown was told and all of
//! them have ended or their time was over. A connection is a handshake first (`handshakes`: few,
//! short, and the oldest gives way) and takes a place only after it (`places`), so that whoever
//! does not finish its handshake takes nothing from those who do. What a handshake computes is
//! computed one at a time on all processors but one, so that a flood of them leaves the last one to
//! requests.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::server::Acceptor;
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::activity::{Activity, Held, IdleLimits};
use super::capped::Capped;
use super::handshakes::{HandshakeLimits, Handshakes, Ticket, Turn};
use super::places::{PlaceLimits, Places};
use super::source::{NoTls, Source};
use super::tls::Tls;
use super::{ResponseBody, full};

/// From the connection to the last byte of the client's first message.
const HELLO: Duration = Duration::from_secs(3);
/// From the connection to the end of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a request's headers, and for the next request on an HTTP/1.1 connection.
const HEADERS: Duration = Duration::from_secs(10);
/// For an idle connection to say goodbye, and for open requests after the shutdown was told.
const GRACE: Duration = Duration::from_secs(3);
/// How long a peer may leave what was sent to it unacknowledged, or its window shut.
const STUCK: Duration = Duration::from_secs(30);
/// What a client's first message may be in bytes. With a post-quantum share, tickets and padding
/// real ones have up to 4 KiB.
const HELLO_BYTES: usize = 16 * 1024;
/// What may follow it until the end of the handshake: a second hello, a device's certificates.
const REST_BYTES: usize = 64 * 1024;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// Streams that the peer has reset and that were not seen yet, and that were reset for its faults
/// (the "rapid reset" of CVE-2023-44487, the "made you reset" of CVE-2025-8671).
const RESETS: usize = 32;
/// Bytes of all headers of a request.
const HEADER_BYTES: u32 = 64 * 1024;
/// What is held of an HTTP/1.1 connection: all headers, or part of a body.
const BUFFER_BYTES: usize = 2 * HEADER_BYTES as usize;
/// Headers of a request.
const HEADER_COUNT: usize = 100;
/// Bytes of a request's path and query. Presigned URLs with a session token have a few thousand.
const TARGET_BYTES: usize = 16 * 1024;

const IDLE: IdleLimits = IdleLimits {
    first: HEADERS,
    later: Duration::from_mins(1),
    pressed: Duration::from_secs(1),
};

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where from: the connection itself, whatever headers say.
    pub source: Source,
    /// Its verified certificate, where the listener asks for one.
    pub certificate: Option<CertificateDer<'static>>,
}

/// How many connections a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Before the end of their handshake.
    pub handshakes: HandshakeLimits,
    /// After it.
    pub places: PlaceLimits,
}

/// The right to compute for a handshake: all listeners of a server share these.
#[derive(Debug, Clone)]
pub struct HandshakeTurns(Arc<Semaphore>);

/// A listener with its TLS and its limits.
pub struct Door {
    tls: Tls,
    turns: HandshakeTurns,
    // Dropping an entry's sender tells its connection to go.
    handshakes: Mutex<Handshakes<oneshot::Sender<()>>>,
    places: Arc<Places>,
}

/// Why a connection did not become one.
#[derive(Debug, Error)]
enum Refusal {
    #[error("read the client's first message")]
    Hello(#[source] io::Error),
    #[error("read the client's first message within {} s", HELLO.as_secs())]
    HelloTime,
    #[error("agree on keys")]
    Handshake(#[source] io::Error),
    #[error("finish the handshake within {} s", HANDSHAKE.as_secs())]
    HandshakeTime,
    #[error(transparent)]
    NoTls(#[from] NoTls),
    #[error("go on with a handshake while newer ones wait")]
    GaveWay,
    #[error("find a place for a connection: all of its address, or all of all, are taken")]
    NoPlace,
}

impl HandshakeTurns {
    /// One for each processor but one, at least one.
    #[must_use]
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((processors - 1).max(1))))
    }
}

impl Default for HandshakeTurns {
    fn default() -> Self {
        Self::new()
    }
}

impl Door {
    /// With nobody in it.
    #[must_use]
    pub fn new(tls: Tls, turns: HandshakeTurns, limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            tls,
            turns,
            handshakes: Mutex::new(Handshakes::new(limits.handshakes)),
            places: Places::new(limits.places),
        })
    }

    /// Serves `handler` on `listener` until `shutdown` turns true.
    pub async fn serve<H, F>(
        self: Arc<Self>,
        listener: TcpListener,
        mut shutdown: watch::Receiver<bool>,
        handler: H,
    ) where
        H: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Response<ResponseBody>, std::convert::Infallible>>
            + Send
            + 'static,
    {
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = told(&mut shutdown) => break,
            };
            while tasks.try_join_next().is_some() {}
            match accepted {
                Ok((stream, address)) => {
                    let (alive, gone) = oneshot::channel();
                    let Some(ticket) = self.handshakes().enter(address.ip(), alive) else {
                        tracing::debug!(%address, "too many handshakes");
                        continue;
                    };
                    let door = Arc::clone(&self);
                    let (handler, stop) = (handler.clone(), shutdown.clone());
                    tasks.spawn(async move {
                        let arrival = Arrival {
                            door: &door,
                            ticket,
                            address,
                        };
                        if let Err(refusal) = arrival.serve(stream, gone, stop, handler).await {
                            let error = &refusal as &dyn std::error::Error;
                            tracing::debug!(%address, error, "failed to serve a connection");
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: wait for some to come back.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(GRACE, all).await.is_err() {
            tasks.shutdown().await;
        }
    }

    fn handshakes(&self) -> MutexGuard<'_, Handshakes<oneshot::Sender<()>>> {
        self.handshakes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that has a ticket for its handshake; gives it back when dropped.
struct Arrival<'a> {
    door: &'a Arc<Door>,
    ticket: Ticket,
    address: SocketAddr,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.door.handshakes().leave(self.ticket);
    }
}

impl Arrival<'_> {
    async fn serve<H, F>(
        self,
        stream: TcpStream,
        gone: oneshot::Receiver<()>,
        mut shutdown: watch::Receiver<bool>,
        handler: H,
    ) -> Result<(), Refusal>
    where
        H: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Result<Response<ResponseBody>, std::convert::Infallible>>
            + Send
            + 'static,
    {
        let address = self.address;
        let (places, pressure) = (&self.door.places, self.door.places.pressure());
        if let Err(error) = tune(&stream) {
            tracing::debug!(%address, %error, "could not set the options of a connection");
        }
        let admitted = async {
            let stream = self.handshake(stream).await?;
            let place = places.take(address.ip()).await.ok_or(Refusal::NoPlace)?;
            Ok::<_, Refusal>((stream, place))
        };
        let (stream, place) = tokio::select! {
            admitted = admitted => admitted?,
            // Its sender was dropped.
            _ = gone => return Err(Refusal::GaveWay),
            () = told(&mut shutdown) => return Ok(()),
        };
        drop(self);
        let tls = stream.get_ref().1;
        let certificate = tls
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|certificate| certificate.clone().into_owned());
        let peer = Peer {
            source: Source::of(address, tls)?,
            certificate,
        };
        let served = serve_http(stream, Arc::new(peer), pressure, shutdown, handler).await;
        drop(place);
        if let Err(error) = served {
            tracing::debug!(%address, %error, "a connection ended");
        }
        Ok(())
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<Capped<TcpStream>>, Refusal> {
        let begun = Instant::now();
        let io = Capped::new(stream, HELLO_BYTES);
        let hello = LazyConfigAcceptor::new(Acceptor::default(), io);
        let mut hello = timeout_at(begun + HELLO, hello)
            .await
            .map_err(|_| Refusal::HelloTime)?
            .map_err(Refusal::Hello)?;
        hello.io.allow(REST_BYTES);
        let config = self.door.tls.for_hello(&hello.client_hello());
        let accepted = self.in_turns(hello.into_stream(config));
        let mut stream = timeout_at(begun + HANDSHAKE, accepted)
            .await
            .map_err(|_| Refusal::HandshakeTime)?
            .map_err(Refusal::Handshake)?;
        stream.get_mut().0.lift();
        Ok(stream)
    }

    /// Polls a handshake, each time with the right to compute.
    async fn in_turns<T>(&self, handshake: impl Future<Output = T>) -> T {
        let mut handshake = pin!(handshake);
        loop {
            self.door.handshakes().turn(self.ticket, Turn::Server);
            {
                // Never closed; and without it the handshake is only less fair to requests.
                let _turn = self.door.turns.0.acquire().await;
                if let Poll::Ready(done) = futures_util::poll!(handshake.as_mut()) {
                    return done;
                }
            }
            self.door.handshakes().turn(self.ticket, Turn::Peer);
            woken().await;
        }
    }
}

/// Returns when the task is woken the next time.
async fn woken() {
    let mut slept = false;
    poll_fn(|_| {
        if std::mem::replace(&mut slept, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stuck_ms = u32::try_from(STUCK.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, stuck_ms)?;
    Ok(())
}

/// Serves the version of HTTP that the handshake has agreed on.
async fn serve_http<H, F>(
    stream: TlsStream<Capped<TcpStream>>,
    peer: Arc<Peer>,
    pressure: watch::Receiver<()>,
    shutdown: watch::Receiver<bool>,
    handler: H,
) -> hyper::Result<()>
where
    H: Fn(Arc<Peer>, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<ResponseBody>, std::convert::Infallible>> + Send + 'static,
{
    let activity = Activity::new();
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let requests = Arc::clone(&activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let open = requests.open();
        let answer = match beyond(&request) {
            Some(status) => Err(status),
            None => Ok(handler(Arc::clone(&peer), request)),
        };
        async move {
            let answer = match answer {
                Ok(answer) => answer.await?,
                Err(status) => refused(status),
            };
            Ok::<_, std::convert::Infallible>(
                answer.map(|body| Held::new(body, open).boxed_unsync()),
            )
        }
    });
    let io = TokioIo::new(stream);
    let idle = activity.idle(IDLE, pressure);
    if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADER_BYTES)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20))
            .serve_connection(io, service);
        drive(
            connection,
            http2::Connection::graceful_shutdown,
            idle,
            shutdown,
        )
        .await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_headers(HEADER_COUNT)
            .max_header_size(HEADER_BYTES as usize)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(io, service)
            .with_upgrades();
        drive(
            connection,
            http1::UpgradeableConnection::graceful_shutdown,
            idle,
            shutdown,
        )
        .await
    }
}

/// Drives a connection to its end: its own, the one of being idle, or the server's.
async fn drive<C>(
    connection: C,
    goodbye: impl Fn(Pin<&mut C>),
    idle: impl Future<Output = ()>,
    mut shutdown: watch::Receiver<bool>,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result,
        () = idle => {
            goodbye(connection.as_mut());
            // A peer that does not answer the goodbye is left.
            return timeout(GRACE, connection).await.unwrap_or(Ok(()));
        }
        () = told(&mut shutdown) => {}
    }
    goodbye(connection.as_mut());
    connection.await
}

/// Why a request is not looked at, where it is not.
fn beyond(request: &Request<Incoming>) -> Option<StatusCode> {
    if request.headers().len() > HEADER_COUNT {
        return Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let target = request.uri().path_and_query();
    let long = target.is_some_and(|target| target.as_str().len() > TARGET_BYTES);
    long.then_some(StatusCode::URI_TOO_LONG)
}

fn refused(status: StatusCode) -> Response<ResponseBody> {
    let mut answer = Response::new(full("this request is larger than what is read\n"));
    *answer.status_mut() = status;
    answer
}

/// Waits until the shutdown is told.
pub(crate) async fn told(shutdown: &mut watch::Receiver<bool>) {
    // When the sender is gone the server is gone.
    let _told = shutdown.wait_for(|told| *told).await;
}

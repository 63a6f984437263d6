//! Accepts connections and serves HTTP on them, within limits.
//!
//! Owns a task for each connection; [`serve`] returns when the shutdown was told and all of them
//! have ended or their time was over. A connection that does not finish its handshake or its
//! headers in time is closed; beyond the limit of connections new ones wait in the kernel's queue.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::ResponseBody;
use super::source::Source;

/// For the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a request's headers.
const HEADERS: Duration = Duration::from_secs(10);
/// For open requests after the shutdown was told.
const GRACE: Duration = Duration::from_secs(3);
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 64;
/// Bytes of all headers of a request.
const HEADER_BYTES: u32 = 64 * 1024;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where from: the connection itself, whatever headers say.
    pub source: Source,
    /// Its verified certificate, where the listener asks for one.
    pub certificate: Option<CertificateDer<'static>>,
}

/// Serves `handler` on `listener` until `shutdown` turns true.
pub async fn serve<H, F>(
    listener: TcpListener,
    tls: TlsAcceptor,
    connections: usize,
    mut shutdown: watch::Receiver<bool>,
    handler: H,
) where
    H: Fn(Arc<Peer>, http::Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<http::Response<ResponseBody>, std::convert::Infallible>>
        + Send
        + 'static,
{
    let places = Arc::new(Semaphore::new(connections));
    let mut tasks = JoinSet::new();
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = told(&mut shutdown) => break,
        };
        // The semaphore is never closed.
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut shutdown) => break,
        };
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, address)) => {
                let (tls, handler, stop) = (tls.clone(), handler.clone(), shutdown.clone());
                tasks.spawn(async move {
                    connection(stream, address, tls, stop, handler).await;
                    drop(place);
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

async fn connection<H, F>(
    stream: TcpStream,
    address: SocketAddr,
    tls: TlsAcceptor,
    mut shutdown: watch::Receiver<bool>,
    handler: H,
) where
    H: Fn(Arc<Peer>, http::Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<http::Response<ResponseBody>, std::convert::Infallible>>
        + Send
        + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "could not switch off delays");
    }
    let stream = match timeout(HANDSHAKE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%address, "TLS handshake timed out"),
    };
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|certificate| certificate.clone().into_owned());
    let source = match Source::of(address, stream.get_ref().1) {
        Ok(source) => source,
        Err(error) => return tracing::debug!(%address, %error, "TLS handshake failed"),
    };
    let peer = Arc::new(Peer {
        source,
        certificate,
    });
    let service = service_fn(move |request| handler(Arc::clone(&peer), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = told(&mut shutdown) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%address, %error, "connection ended");
    }
}

/// Waits until the shutdown is told.
pub(crate) async fn told(shutdown: &mut watch::Receiver<bool>) {
    // When the sender is gone the server is gone.
    let _told = shutdown.wait_for(|told| *told).await;
}

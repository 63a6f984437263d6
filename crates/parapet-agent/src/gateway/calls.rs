//! Calls of an application: taken, judged, connected and copied.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parapet_sandbox::gateway::ADDRESS;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::off_limits::is_synthetic;
use super::{Inner, names};
use crate::launcher::lock;
use crate::rate::Rate;
use crate::relay::{IDLE, relay};

/// Calls of one node at a time; further ones wait in its namespace.
const MOST: usize = 256;
/// Calls taken from one node.
const RATE: (u32, u32) = (200, 400);
/// For a name to be resolved.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// For one address to answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const MOST_ADDRESSES: usize = 8;
/// For a question for a name by TCP, and how many one connection may ask.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);
const MOST_QUESTIONS: usize = 16;

/// Why a call that the rule allows comes to nothing.
#[derive(Debug, Error)]
enum CallError {
    #[error("resolve the name")]
    Lookup(#[source] io::Error),
    #[error("resolve the name within {} s", LOOKUP_LIMIT.as_secs())]
    LookupTime,
    #[error("use {0}: {1}")]
    OffLimits(String, &'static str),
    #[error("connect")]
    Connect(#[source] io::Error),
    #[error("connect within {} s", CONNECT_LIMIT.as_secs())]
    ConnectTime,
}

/// Takes calls until it is dropped, and with it all calls.
pub(super) async fn take(inner: Arc<Inner>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MOST));
    let mut rate = Rate::new(RATE.0, RATE.1);
    let mut calls = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            // Keeps the set small.
            Some(_) = calls.join_next() => continue,
        };
        match (place, accepted) {
            (Ok(place), Ok((call, _))) => {
                // Calls beyond the rate wait in the application's namespace.
                rate.next().await;
                calls.spawn(serve(Arc::clone(&inner), call, place));
            }
            // Out of descriptors, most likely; do not spin. The semaphore is never closed.
            _ => sleep(Duration::from_millis(200)).await,
        }
    }
}

async fn serve(inner: Arc<Inner>, mut call: TcpStream, _place: OwnedSemaphorePermit) {
    // Gone before it was looked at.
    let Ok(to) = rustix::net::sockopt::ip_original_dst(&call) else {
        return;
    };
    if to == ADDRESS {
        // The resolver itself.
        let _ = by_tcp(&inner, &mut call).await;
        return;
    }
    let port = to.port();
    let host = inner.host(*to.ip());
    let allowed = inner.policy.borrow().allows(&host, port);
    lock(&inner.asked).record(&host, port, allowed);
    if !allowed {
        if !inner.policy.borrow().learns() {
            inner.tell(&host, port);
        }
        reset(&call);
        return;
    }
    let connected = {
        // Closed never.
        let _pending = inner.pending.acquire().await;
        inner.connect(&host, port).await
    };
    match connected {
        Ok(upstream) => {
            let revoked = async {
                let mut policy = inner.policy.subscribe();
                // The sender lives in `inner`.
                let _ = policy.wait_for(|policy| !policy.allows(&host, port)).await;
            };
            tokio::select! {
                // How a conversation ends is its own business.
                _ = relay(&mut call, upstream, IDLE) => {}
                () = revoked => reset(&call),
            }
        }
        Err(error) => {
            if inner.is_news(&host, port) {
                tracing::warn!(
                    instance = %inner.line.instance(), node = %inner.line.node(), host, port,
                    error = &error as &dyn std::error::Error, "call failed"
                );
            }
            reset(&call);
        }
    }
}

/// Has the application see its connection reset, and not a conversation that ends in order.
fn reset(call: &TcpStream) {
    // Else the application sees an end.
    let _ = rustix::net::sockopt::set_socket_linger(call, Some(Duration::ZERO));
}

impl Inner {
    /// Whom an address inside stands for.
    fn host(&self, address: Ipv4Addr) -> String {
        let name = is_synthetic(address)
            .then(|| lock(&self.table).name(address).map(str::to_owned))
            .flatten();
        name.unwrap_or_else(|| address.to_string())
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, CallError> {
        let off_limits = &self.outside.off_limits;
        let mut failure = CallError::Lookup(io::ErrorKind::NotFound.into());
        for address in self.resolve(host, port).await? {
            if let Some(reason) = off_limits.refuses(address.ip()) {
                failure = CallError::OffLimits(address.ip().to_string(), reason);
                continue;
            }
            match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(upstream)) => return Ok(upstream),
                Ok(Err(error)) => failure = CallError::Connect(error),
                Err(_) => failure = CallError::ConnectTime,
            }
        }
        Err(failure)
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, CallError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        if let Some(reason) = self.outside.off_limits.refuses_name(host) {
            return Err(CallError::OffLimits(host.to_owned(), reason));
        }
        // Closed never.
        let _turn = self.lookups.acquire().await;
        let found = timeout(LOOKUP_LIMIT, lookup_host((host, port)))
            .await
            .map_err(|_| CallError::LookupTime)?
            .map_err(CallError::Lookup)?;
        Ok(found.take(MOST_ADDRESSES).collect())
    }
}

/// Questions for names by TCP (RFC 1035 4.2.2): two bytes of length, then the packet.
async fn by_tcp(inner: &Inner, call: &mut TcpStream) -> io::Result<()> {
    for _ in 0..MOST_QUESTIONS {
        let mut bytes = [0; names::LONGEST];
        let length = timeout(QUESTION_LIMIT, call.read_u16()).await??;
        let Some(question) = bytes.get_mut(..usize::from(length)) else {
            return Ok(());
        };
        timeout(QUESTION_LIMIT, call.read_exact(question)).await??;
        let Some(answer) = inner.answer(question) else {
            return Ok(());
        };
        // An answer is a question and one record more.
        let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
        timeout(QUESTION_LIMIT, call.write_all(&framed)).await??;
    }
    Ok(())
}

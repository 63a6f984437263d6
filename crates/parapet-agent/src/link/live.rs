//! The live channel: a WebSocket that the device dials and holds open (`parapet-device::live`).
//!
//! Hears what is watched and sends the newest picture of each view. When it ends, nobody watches
//! any more, and it is dialled again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use parapet_device::live::{LiveCommand, LiveHeader};
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{client_async_with_config, tungstenite};
use url::Url;

use super::client::ControlPlane;
use crate::backoff::Backoff;
use crate::views::Views;

/// For the connection to come up.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Between signs of life.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Without one for so long the connection is dead; a picture that takes longer is, too.
const SILENT: Duration = Duration::from_secs(50);
/// Largest command.
const LARGEST_COMMAND: usize = 16 * 1024;

#[derive(Debug, Error)]
enum LiveError {
    #[error("read the control plane's address")]
    Address(#[from] url::ParseError),
    #[error("read the control plane's name")]
    Name(#[from] InvalidDnsNameError),
    #[error("read the control plane's address: it has no host")]
    NoHost,
    #[error("connect the live channel")]
    Connect(#[from] std::io::Error),
    #[error("use the live channel")]
    Socket(#[from] Box<tungstenite::Error>),
    #[error("use the live channel: nothing came or went for {} s", SILENT.as_secs())]
    Silent,
    #[error("use the live channel: the control plane has closed it")]
    Closed,
}

impl From<tungstenite::Error> for LiveError {
    fn from(error: tungstenite::Error) -> Self {
        Self::Socket(Box::new(error))
    }
}

/// Runs until it is dropped.
pub(crate) async fn run(server: Arc<ControlPlane>, views: Views) {
    let mut backoff = Backoff::for_network();
    loop {
        let Err(error) = converse(&server, &views, &mut backoff).await;
        views.watch_nothing();
        tracing::debug!(error = &error as &dyn std::error::Error, "live channel");
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn converse(
    server: &ControlPlane,
    views: &Views,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, LiveError> {
    let connecting = timeout(CONNECT_LIMIT, connect(server));
    let mut socket = connecting.await.map_err(|_| LiveError::Silent)??;
    backoff.reset();
    let mut pings = interval(PING_EVERY);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            message = socket.next() => {
                heard = Instant::now();
                match message.ok_or(LiveError::Closed)?? {
                    Message::Text(text) => match serde_json::from_str::<LiveCommand>(&text) {
                        Ok(command) => views.watch(command.view, command.on),
                        Err(error) => tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "a live command is not understood"
                        ),
                    },
                    Message::Close(_) => return Err(LiveError::Closed),
                    _ => {}
                }
            }
            pictures = views.pictures() => {
                for (header, picture) in pictures.into_values() {
                    let sent = socket.send(Message::Binary(message(&header, &picture)));
                    timeout(SILENT, sent).await.map_err(|_| LiveError::Silent)??;
                }
            }
            _ = pings.tick() => {
                if heard.elapsed() > SILENT {
                    return Err(LiveError::Silent);
                }
                let sent = socket.send(Message::Ping(Bytes::new()));
                timeout(SILENT, sent).await.map_err(|_| LiveError::Silent)??;
            }
        }
    }
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>;

async fn connect(server: &ControlPlane) -> Result<Socket, LiveError> {
    let mut url = Url::parse(server.endpoint())?.join("/v1/device/live")?;
    let port = url.port_or_known_default().ok_or(LiveError::NoHost)?;
    // The parser keeps the brackets of an IPv6 address; sockets and certificates have none.
    let host = url.host_str().ok_or(LiveError::NoHost)?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(host.clone())?;
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(server.tls())
        .connect(name, stream)
        .await?;
    url.set_scheme("wss").map_err(|()| LiveError::NoHost)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST_COMMAND))
        .max_frame_size(Some(LARGEST_COMMAND));
    let (socket, _) = client_async_with_config(url.as_str(), stream, Some(config)).await?;
    Ok(socket)
}

/// Four bytes of header length (big endian), the header, the picture.
fn message(header: &LiveHeader, picture: &[u8]) -> Bytes {
    // A header of names and numbers cannot fail to become JSON; an empty one is skipped there.
    let json = serde_json::to_vec(header).unwrap_or_default();
    let mut bytes = Vec::with_capacity(4 + json.len() + picture.len());
    bytes.extend_from_slice(&(json.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(picture);
    bytes.into()
}

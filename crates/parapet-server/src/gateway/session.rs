//! `GET /v1/device/live`: the WebSocket of one device.
//!
//! A task for each session: it owns the socket, reads commands from and writes pictures to
//! [`super::live`], and ends with the socket, when a newer session takes its place, when the device
//! is deleted, or when nothing came for a while.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parapet_device::live::LiveHeader;
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::live::{Attachment, Picture};
use super::{Answer, Refusal};
use crate::context::Context;
use crate::fleet::{Announcement, DeviceKey};
use crate::front;

/// Largest message: one JPEG of a large tiled screen.
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Largest JSON header of a picture.
const HEADER_BYTES: usize = 4 * 1024;
/// Between two pings.
const PING: Duration = Duration::from_secs(20);
/// Without any message (a pong is one) the device is gone.
const SILENCE: Duration = Duration::from_mins(1);
/// For a message to leave.
const SEND: Duration = Duration::from_secs(10);

pub(super) fn open(
    context: &Arc<Context>,
    key: DeviceKey,
    mut request: Request<Incoming>,
) -> Answer {
    let headers = request.headers();
    let has = |name: header::HeaderName, word: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|text| {
                text.to_ascii_lowercase()
                    .split(',')
                    .any(|w| w.trim() == word)
            })
    };
    let accept = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|_| has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade"))
        .filter(|_| has(header::SEC_WEBSOCKET_VERSION, "13"))
        .map(|key| derive_accept_key(key.as_bytes()))
        .ok_or_else(|| Refusal::Bad("open a WebSocket (version 13, HTTP/1.1) here".to_owned()))?;
    let upgrade = hyper::upgrade::on(&mut request);
    let context = Arc::clone(context);
    // The task ends with the connection, which the listener owns and closes at its shutdown.
    tokio::spawn(async move {
        match timeout(SEND, upgrade).await {
            Ok(Ok(upgraded)) => {
                let config = WebSocketConfig::default()
                    .max_message_size(Some(MESSAGE_BYTES))
                    .max_frame_size(Some(MESSAGE_BYTES));
                let socket = TokioIo::new(upgraded);
                let socket =
                    WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
                let device = key.device.clone();
                if let Err(error) = serve(&context, key, socket).await {
                    tracing::debug!(device, %error, "a live channel ended");
                }
            }
            Ok(Err(error)) => tracing::debug!(%error, "a live channel was not opened"),
            Err(_) => tracing::debug!("a live channel was not opened in time"),
        }
    });
    let mut answer = Response::new(front::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    front::set(&mut answer, header::UPGRADE, "websocket");
    front::set(&mut answer, header::CONNECTION, "upgrade");
    let accept = HeaderValue::from_str(&accept).map_err(|_| Refusal::Body)?;
    answer
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok(answer)
}

async fn serve<S>(
    context: &Arc<Context>,
    key: DeviceKey,
    mut socket: WebSocketStream<S>,
) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut attachment: Attachment = context.live.attach(&key);
    let mut announced = context.wake.subscribe(&key);
    let _open = context.presence.open(&key);
    let mut ping = interval(PING);
    let mut heard = Instant::now();
    loop {
        let out = tokio::select! {
            command = attachment.commands.recv() => match command {
                Some(command) => match serde_json::to_string(&command) {
                    Ok(text) => Message::text(text),
                    Err(error) => {
                        tracing::error!(%error, "could not write a live command");
                        continue;
                    }
                },
                // A newer session of this device has taken over.
                None => return socket.close(None).await,
            },
            message = socket.next() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Binary(bytes))) => match picture(&bytes) {
                        Some(picture) => context.live.deliver(&key, picture),
                        None => return socket.close(None).await,
                    },
                    Some(Ok(Message::Close(_))) | None => return Ok(()),
                    // Pings are answered by the library.
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                }
                continue;
            },
            changed = announced.changed() => {
                if *announced.borrow_and_update() == Announcement::Deleted {
                    return socket.close(None).await;
                }
                if changed.is_err() {
                    announced = context.wake.subscribe(&key);
                }
                continue;
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE {
                    return Ok(());
                }
                Message::Ping(Bytes::new())
            },
        };
        match timeout(SEND, socket.send(out)).await {
            Ok(sent) => sent?,
            Err(_) => return Ok(()),
        }
    }
}

/// Four bytes of length, the header, the picture.
fn picture(bytes: &Bytes) -> Option<Picture> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if length > HEADER_BYTES || length > rest.len() {
        return None;
    }
    let header: LiveHeader = serde_json::from_slice(&rest[..length]).ok()?;
    // Anything else would be a page of the console's origin, written by a device.
    (header.content_type == "image/jpeg").then(|| Picture {
        header,
        bytes: bytes.slice(4 + length..),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_a_jpeg_with_a_header_that_fits() {
        let header = r#"{"view":{"type":"camera","instance":"applicationInstance-a","node":"c"},"content_type":"image/jpeg","time_stamp":[1,2]}"#;
        let message = |length: u32, header: &str| {
            Bytes::from([&length.to_be_bytes()[..], header.as_bytes(), b"JPEG"].concat())
        };
        let length = u32::try_from(header.len()).expect("short");
        assert_eq!(
            picture(&message(length, header)).expect("good").bytes[..],
            *b"JPEG"
        );
        assert!(picture(&message(length + 5, header)).is_none());
        assert!(picture(&message(u32::MAX, header)).is_none());
        assert!(picture(&Bytes::from_static(b"abc")).is_none());
        let html = header.replace("image/jpeg", "text/html!");
        assert!(picture(&message(length, &html)).is_none());
    }
}

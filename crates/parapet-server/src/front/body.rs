//! Bodies: bounded ones that are read whole, and those of answers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body::Body as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use parapet_auth::Protocol;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::error;
use super::pace::Pace;

/// Any error of a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BodyError>;

/// Longest time for such a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// What any body may take of memory before its signature is known to be good.
const SMALL_BYTES: usize = 64 * 1024;
/// How many bodies may take more at a time: a flood of large ones then takes 256 MiB and no more.
static LARGE: Semaphore = Semaphore::const_new(256);

/// A body that was not read.
pub(crate) enum Unread {
    TooLarge(usize),
    TooSlow,
    Broken,
    Busy,
}

impl Unread {
    pub(super) fn response(&self, protocol: Protocol, request_id: &str) -> Response<ResponseBody> {
        let (status, code, text) = match self {
            Self::TooLarge(limit) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLargeException",
                format!("the body is larger than the {limit} bytes that are read"),
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "RequestTimeoutException",
                "the body did not arrive in time".to_owned(),
            ),
            Self::Broken => (
                StatusCode::BAD_REQUEST,
                "SerializationException",
                "the body could not be read to its end".to_owned(),
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailableException",
                "too many large bodies are on their way; try again soon".to_owned(),
            ),
        };
        error::plain(status, protocol, code, &text, request_id)
    }
}

/// All of a bounded body, which may not come too slowly.
pub(crate) async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Unread> {
    // What says of itself that it is too large need not be read.
    if body.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLarge(limit));
    }
    let begun = Instant::now();
    let mut pace = Pace::new(begun);
    let mut read = BytesMut::new();
    let mut large = None;
    loop {
        let end = pace.until().min(begun + BODY_TIME);
        let frame = match timeout_at(end, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(Unread::Broken),
            Ok(None) => return Ok(read.freeze()),
            Err(_) => return Err(Unread::TooSlow),
        };
        // Trailers are of no use to anybody here.
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if read.len() + piece.len() > limit {
            return Err(Unread::TooLarge(limit));
        }
        if read.len() + piece.len() > SMALL_BYTES && large.is_none() {
            large = Some(LARGE.try_acquire().map_err(|_| Unread::Busy)?);
        }
        pace.arrived(piece.len(), Instant::now());
        read.extend_from_slice(&piece);
    }
}

/// A body of these bytes.
pub fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// No body.
#[must_use]
pub fn empty() -> ResponseBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

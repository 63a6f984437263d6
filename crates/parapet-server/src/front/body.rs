//! Bodies: bounded ones that are read whole, and those of answers.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use parapet_auth::Protocol;
use tokio::time::timeout;

use super::error;

/// Any error of a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BodyError>;

/// Longest time for such a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A body that was not read.
pub(crate) enum Unread {
    TooLarge(usize),
    TooSlow,
    Broken,
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
        };
        error::plain(status, protocol, code, &text, request_id)
    }
}

/// All of a small body.
pub(crate) async fn read(body: Incoming, limit: usize) -> Result<Bytes, Unread> {
    let read = Limited::new(body, limit).collect();
    match timeout(BODY_TIME, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Unread::TooLarge(limit))
        }
        Ok(Err(_)) => Err(Unread::Broken),
        Err(_) => Err(Unread::TooSlow),
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

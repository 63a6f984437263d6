//! The front door: TLS, then the signature, then the service that the signature names.
//!
//! A request without a signature reaches the console and the health checks and nothing else. A
//! signed one is verified before anything proportional to its body happens for S3, and with its
//! whole bounded body for all other services; the path that was verified is the path that is
//! routed. Every answer carries a request ID, every error has the shape of its service's protocol.

mod activity;
mod capped;
pub mod error;
mod handshakes;
mod keys;
pub mod limits;
pub mod listener;
mod places;
pub mod source;
pub mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use parapet_auth::{AuthError, Authenticated, Claim, Credential, Protocol, RequestHead, Rules};
use tokio::time::timeout;

pub use self::handshakes::HandshakeLimits;
use self::listener::Peer;
pub use self::places::PlaceLimits;
use self::source::{Proxies, Source};
use crate::context::Context;
use crate::directory::KeyUse;
use crate::metrics::Metrics;
use crate::s3::S3Front;
use crate::store::Micros;
use crate::{console, panorama, parapet, random, sts};

/// Any error of a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, BodyError>;

/// Largest body of a signed request that is not S3's: graphs with overrides, and a margin.
const BODY_BYTES: usize = 1024 * 1024;
/// The same for the query protocol.
const QUERY_BODY_BYTES: usize = 16 * 1024;
/// Longest time for such a body to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// What answers requests on the API listener.
pub struct Front {
    context: Arc<Context>,
    s3: S3Front,
    keys: keys::Keys,
    metrics: Arc<Metrics>,
    region: String,
    strict_region: bool,
    proxies: Proxies,
}

impl Front {
    /// Over the server's parts.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        metrics: Arc<Metrics>,
        strict_region: bool,
        proxies: Proxies,
    ) -> Self {
        Self {
            s3: S3Front::new(Arc::clone(&context)),
            keys: keys::Keys::new(Arc::clone(&context)),
            region: context.scope.region.clone(),
            metrics,
            strict_region,
            proxies,
            context,
        }
    }

    /// Answers one request.
    pub async fn handle(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        let request_id = request_id();
        let source = self.proxies.source(&peer.source, request.headers());
        let mut answer = self.route(&source, request, &request_id).await;
        self.metrics.answered(answer.status());
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            answer
                .headers_mut()
                .entry("x-amzn-requestid")
                .or_insert(value);
        }
        answer.headers_mut().insert(
            header::STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=63072000"),
        );
        Ok(answer)
    }

    async fn route(
        &self,
        source: &Source,
        request: Request<Incoming>,
        request_id: &str,
    ) -> Response<ResponseBody> {
        let (parts, body) = request.into_parts();
        let head = match head_of(&parts) {
            Ok(head) => head,
            Err(error) => return error::auth(&error, Protocol::RestJson, request_id),
        };
        let rules = Rules {
            region: &self.region,
            strict_region: self.strict_region,
            now: now_seconds(),
        };
        let claim = match Claim::parse(&head, &rules) {
            Ok(claim) => claim,
            Err(AuthError::Missing) if is_public(&parts.method, parts.uri.path()) => {
                drop(head);
                return console::handle(&self.context, parts, body).await;
            }
            Err(error) => {
                let protocol = Protocol::of_service(service_hint(&head));
                return error::auth(&error, protocol, request_id);
            }
        };
        let service = claim.service().to_owned();
        let protocol = Protocol::of_service(&service);
        let refuse = |error: &AuthError| {
            let address = source.address;
            tracing::info!(request_id, service, %address, %error, "refused a signature");
            error::auth(error, protocol, request_id)
        };
        let found = match self.keys.find(claim.access_key(), claim.scope()).await {
            Ok(Some(found)) => found,
            Ok(None) => return refuse(&AuthError::UnknownKey),
            Err(error) => return internal(&error, protocol, request_id),
        };
        let credential = Credential::LongTerm(&found.signing);
        let caller = found.caller.clone();
        if service == "s3" {
            return match claim.verify_head(credential, caller) {
                Ok(proof) => {
                    self.used(&found, &proof);
                    drop(head);
                    let request = Request::from_parts(parts, body);
                    self.s3.handle(proof, request, request_id).await
                }
                Err(error) => refuse(&error),
            };
        }
        let limit = if protocol == Protocol::Query {
            QUERY_BODY_BYTES
        } else {
            BODY_BYTES
        };
        let body = match read(body, limit).await {
            Ok(body) => body,
            Err(refusal) => return refusal.response(protocol, request_id),
        };
        match claim.verify_whole(credential, caller, &body) {
            Ok(proof) => {
                self.used(&found, &proof);
                self.call(&service, &proof, &parts, &body, request_id).await
            }
            Err(error) => refuse(&error),
        }
    }

    /// A signature of this key was good.
    fn used(&self, found: &keys::Found, proof: &Authenticated) {
        found.proven();
        self.context.directory.used(KeyUse {
            key: proof.access_key(),
            service: &proof.scope().service,
            region: &proof.scope().region,
            at: Micros::now(),
        });
    }

    /// The verified request, by the service that its signature names.
    async fn call(
        &self,
        service: &str,
        proof: &Authenticated,
        parts: &http::request::Parts,
        body: &Bytes,
        request_id: &str,
    ) -> Response<ResponseBody> {
        let caller = proof.caller();
        let incoming = panorama::Incoming {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            body,
            request_id,
        };
        match service {
            "panorama" => panorama::handle(&self.context, caller, incoming)
                .await
                .map(full),
            "parapet" => parapet::handle(&self.context, caller, incoming)
                .await
                .map(full),
            "sts" => sts::handle(caller, incoming).map(full),
            other => error::plain(
                StatusCode::NOT_FOUND,
                Protocol::of_service(other),
                "UnknownOperationException",
                &format!(
                    "this server has no service {other:?}: it has panorama, parapet, s3 and sts"
                ),
                request_id,
            ),
        }
    }
}

/// A body that was not read.
pub(crate) enum Unread {
    TooLarge(usize),
    TooSlow,
    Broken,
}

impl Unread {
    fn response(&self, protocol: Protocol, request_id: &str) -> Response<ResponseBody> {
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

/// Sets a header whose value is known to be one.
pub(crate) fn set(answer: &mut Response<ResponseBody>, name: HeaderName, value: &'static str) {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

fn internal(
    error: &(dyn std::error::Error + 'static),
    protocol: Protocol,
    request_id: &str,
) -> Response<ResponseBody> {
    tracing::error!(request_id, error, "could not look up an access key");
    error::plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        protocol,
        "InternalServerException",
        "the server failed; see its log for this request ID",
        request_id,
    )
}

fn head_of(parts: &http::request::Parts) -> Result<RequestHead<'_>, AuthError> {
    // With HTTP/2 the host is in the URI, which came from `:authority`.
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    RequestHead::new(
        parts.method.as_str(),
        parts.uri.path(),
        parts.uri.query().unwrap_or_default(),
        authority,
        headers,
    )
}

/// What needs no signature: health, and the console, which looks for its own session.
fn is_public(method: &Method, path: &str) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let console = path == "/console" || path.starts_with("/console/");
    reads && (console || matches!(path, "/" | "/healthz" | "/readyz"))
}

/// Which protocol a request that cannot be parsed most likely speaks.
fn service_hint<'a>(head: &RequestHead<'a>) -> &'a str {
    head.header("authorization")
        .ok()
        .flatten()
        .and_then(|text| text.split("Credential=").nth(1))
        .and_then(|credential| credential.split('/').nth(3))
        .unwrap_or_else(|| {
            if head.query.contains("X-Amz-Algorithm") || head.query.contains("AWSAccessKeyId") {
                "s3"
            } else {
                ""
            }
        })
}

fn now_seconds() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

/// In the form that AWS tools print.
fn request_id() -> String {
    // Without randomness requests are only harder to tell apart.
    let hex = random::hex::<16>().unwrap_or_else(|_| "0".repeat(32));
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

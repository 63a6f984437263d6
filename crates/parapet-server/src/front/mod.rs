//! The front door: TLS, then the signature, then the service that the signature names.
//!
//! A request without a signature reaches the console, the health checks and the one action of STS
//! that an identity provider's token speaks for, and nothing else. A signed one is verified before
//! anything proportional to its body happens for S3, and with its whole bounded body for all other
//! services; the path that was verified is the path that is routed. Every answer carries a request
//! ID, every error has the shape of its service's protocol, and every call leaves one line in the
//! audit trail, whatever becomes of it.

mod activity;
mod body;
mod capped;
pub(crate) mod circumstances;
pub mod error;
mod handshakes;
mod keys;
pub mod limits;
pub mod listener;
pub(crate) mod pace;
mod places;
pub mod source;
pub mod tls;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming as Body;
use parapet_auth::{AuthError, Authenticated, Caller, Claim, Protocol, RequestHead, Rules};

pub use self::handshakes::HandshakeLimits;
use self::limits::{Limits, Throttled};
use self::listener::Peer;
pub use self::places::PlaceLimits;
use self::source::{Proxies, Source};
use crate::audit::{Draft, Opening, Outcome, Refused, UserIdentity};
use crate::call::{Call, Incoming, Once};
use crate::context::Context;
use crate::directory::KeyUse;
use crate::metrics::Metrics;
use crate::s3::S3Front;
use crate::store::Micros;
use crate::{console, iam, panorama, parapet, random, sts};

pub(crate) use body::read;
pub use body::{BodyError, ResponseBody, empty, full};

/// Largest body of a signed request that is not S3's: graphs with overrides, and a margin.
const BODY_BYTES: usize = 1024 * 1024;
/// The same for STS.
const STS_BODY_BYTES: usize = 16 * 1024;
/// The same for IAM: the longest policy, every character of it escaped.
const IAM_BODY_BYTES: usize = 64 * 1024;

/// What answers requests on the API listener.
pub struct Front {
    context: Arc<Context>,
    s3: S3Front,
    keys: keys::Keys,
    metrics: Arc<Metrics>,
    region: String,
    strict_region: bool,
    proxies: Proxies,
    limits: Arc<Limits>,
}

/// One request on its way to a service: what is known of it before anybody is believed.
struct Arrival<'a> {
    source: &'a Source,
    request_id: &'a str,
    protocol: Protocol,
    /// The access key that it claims to be signed with; empty without one.
    claimed: String,
    draft: Arc<Draft>,
}

impl Front {
    /// Over the server's parts.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        metrics: Arc<Metrics>,
        strict_region: bool,
        proxies: Proxies,
        limits: Arc<Limits>,
    ) -> Self {
        Self {
            s3: S3Front::new(Arc::clone(&context)),
            keys: keys::Keys::new(Arc::clone(&context)),
            region: context.scope.region.clone(),
            metrics,
            strict_region,
            proxies,
            limits,
            context,
        }
    }

    /// Answers one request.
    pub async fn handle(
        &self,
        peer: &Peer,
        request: Request<Body>,
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
        request: Request<Body>,
        request_id: &str,
    ) -> Response<ResponseBody> {
        let (parts, body) = request.into_parts();
        let admitted = self.limits.admit_address(source.address, Instant::now());
        if let Ok(()) = admitted
            && is_public(&parts)
        {
            return console::handle(&self.context, source, parts, body).await;
        }
        let mut arrival = self.arrive(source, &parts, request_id);
        if let Err(throttled) = admitted {
            return self.throttle(&arrival, &throttled);
        }
        let answer = self.verified(&mut arrival, parts, body).await;
        self.end(&arrival, answer).await
    }

    /// From a claim to a service's answer.
    async fn verified(
        &self,
        arrival: &mut Arrival<'_>,
        parts: Parts,
        body: Body,
    ) -> Response<ResponseBody> {
        let head = match head_of(&parts) {
            Ok(head) => head,
            Err(error) => return self.refuse(arrival, &error),
        };
        let rules = Rules {
            region: &self.region,
            strict_region: self.strict_region,
            now: now_seconds(),
        };
        let claim = match Claim::parse(&head, &rules) {
            Ok(claim) => claim,
            Err(AuthError::Missing) if may_be_web_identity(&parts) => {
                drop(head);
                return self.unsigned(arrival, &parts, body).await;
            }
            Err(error) => return self.refuse(arrival, &error),
        };
        arrival.protocol = Protocol::of_service(claim.service());
        claim.access_key().clone_into(&mut arrival.claimed);
        let may_verify =
            self.limits
                .may_verify(arrival.source.address, claim.access_key(), Instant::now());
        if let Err(throttled) = may_verify {
            return self.throttle(arrival, &throttled);
        }
        let found = match self.keys.find(&claim, rules.now).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return self.refuse(arrival, &error),
            Err(error) => return internal(&error, arrival),
        };
        let credential = found.credential();
        let caller = found.caller.clone();
        if claim.service() == "s3" {
            let proof = match claim.verify_head(credential, caller) {
                Ok(proof) => proof,
                Err(error) => return self.refuse(arrival, &error),
            };
            let call = match self.admit(arrival, &found, &proof, &parts) {
                Ok(call) => call,
                Err(throttled) => return self.throttle(arrival, &throttled),
            };
            drop(head);
            let request = Request::from_parts(parts, body);
            return self
                .s3
                .handle(call, proof, request, arrival.request_id)
                .await;
        }
        let limit = match claim.service() {
            "sts" => STS_BODY_BYTES,
            "iam" => IAM_BODY_BYTES,
            _ => BODY_BYTES,
        };
        let body = match read(body, limit).await {
            Ok(body) => body,
            Err(unread) => return unread.response(arrival.protocol, arrival.request_id),
        };
        let proof = match claim.verify_whole(credential, caller, &body) {
            Ok(proof) => proof,
            Err(error) => return self.refuse(arrival, &error),
        };
        match self.admit(arrival, &found, &proof, &parts) {
            Ok(call) => self.serve(&call, &proof, &parts, &body, arrival).await,
            Err(throttled) => self.throttle(arrival, &throttled),
        }
    }

    /// The one action that needs no signature: an identity provider's token speaks for it.
    async fn unsigned(
        &self,
        arrival: &mut Arrival<'_>,
        parts: &Parts,
        body: Body,
    ) -> Response<ResponseBody> {
        let body = match read(body, STS_BODY_BYTES).await {
            Ok(body) => body,
            Err(unread) => return unread.response(arrival.protocol, arrival.request_id),
        };
        if !sts::is_unsigned_action(&body) {
            return self.refuse(arrival, &AuthError::Missing);
        }
        arrival.protocol = Protocol::Query;
        let circumstances =
            circumstances::of_stranger(arrival.source, &parts.headers, &self.region);
        let stranger = sts::Stranger {
            ctx: &self.context,
            circumstances: &circumstances,
            draft: &arrival.draft,
        };
        let incoming = Incoming {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            query: "",
            body: &body,
            request_id: arrival.request_id,
        };
        sts::handle_unsigned(&stranger, incoming).await.map(full)
    }

    /// The line of the audit trail is begun before anybody is believed.
    fn arrive<'a>(&self, source: &'a Source, parts: &Parts, request_id: &'a str) -> Arrival<'a> {
        let text = |name: HeaderName| parts.headers.get(name).and_then(|v| v.to_str().ok());
        let draft = self.context.audit.begin(&Opening {
            request_id,
            source: source.address,
            user_agent: text(header::USER_AGENT),
            tls: Some((source.tls_version.as_str(), source.cipher)),
            host: text(header::HOST),
        });
        Arrival {
            source,
            request_id,
            protocol: Protocol::of_service(service_hint(parts)),
            claimed: String::new(),
            draft,
        }
    }

    /// The call of a caller who is now known, unless it asks too often.
    fn admit(
        &self,
        arrival: &Arrival<'_>,
        found: &keys::Found,
        proof: &Authenticated,
        parts: &Parts,
    ) -> Result<Call, Throttled> {
        if found.proven() {
            self.context.directory.used(KeyUse {
                key: proof.access_key(),
                service: &proof.scope().service,
                region: &proof.scope().region,
                at: Micros::now(),
            });
        }
        let caller = proof.caller().clone();
        arrival.draft.identify(UserIdentity::from(&caller));
        self.limits
            .admit_principal(&caller.principal.unique_id(), Instant::now())?;
        let circumstances =
            circumstances::of(arrival.source, &parts.headers, &caller, &self.region);
        Ok(Call {
            ctx: Arc::clone(&self.context),
            scope: self.context.scope.clone(),
            circumstances: Arc::new(circumstances),
            caller,
            draft: Arc::clone(&arrival.draft),
            once: Arc::new(Once::of(proof)),
        })
    }

    /// The verified request, by the service that its signature names.
    async fn serve(
        &self,
        call: &Call,
        proof: &Authenticated,
        parts: &Parts,
        body: &Bytes,
        arrival: &Arrival<'_>,
    ) -> Response<ResponseBody> {
        let incoming = Incoming {
            method: parts.method.as_str(),
            raw_path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            body,
            request_id: arrival.request_id,
        };
        let service = proof.scope().service.as_str();
        if service == "iam" && !may_manage_identities(&call.caller) {
            return error::plain(
                StatusCode::FORBIDDEN,
                arrival.protocol,
                "AccessDenied",
                "A session of GetSessionToken without a second factor cannot call IAM: get one \
                 with SerialNumber and TokenCode.",
                arrival.request_id,
            );
        }
        match service {
            "panorama" => panorama::handle(call, incoming).await.map(full),
            "parapet" => parapet::handle(call, incoming).await.map(full),
            "iam" => iam::handle(call, incoming).await.map(full),
            "sts" => sts::handle(call, incoming).await.map(full),
            other => error::plain(
                StatusCode::NOT_FOUND,
                arrival.protocol,
                "UnknownOperationException",
                &format!(
                    "this server has no service {other:?}: it has panorama, parapet, iam, sts and s3"
                ),
                arrival.request_id,
            ),
        }
    }

    /// A signature that is not believed: counted where it cost a verification, told in the trail.
    fn refuse(&self, arrival: &Arrival<'_>, error: &AuthError) -> Response<ResponseBody> {
        let (address, claimed) = (arrival.source.address, arrival.claimed.as_str());
        if !claimed.is_empty() {
            self.limits
                .failed_signature(address, claimed, Instant::now());
            arrival.draft.identify(UserIdentity::unknown(Some(claimed)));
        }
        let outcome = Outcome::failure(error.code(arrival.protocol), &error.to_string());
        self.context
            .audit
            .refuse(&arrival.draft, Refused::Signature, claimed, &outcome);
        error::auth(error, arrival.protocol, arrival.request_id)
    }

    fn throttle(&self, arrival: &Arrival<'_>, throttled: &Throttled) -> Response<ResponseBody> {
        let outcome = Outcome::failure("ThrottlingException", &throttled.to_string());
        self.context.audit.refuse(
            &arrival.draft,
            Refused::Throttled,
            &arrival.claimed,
            &outcome,
        );
        error::throttled(throttled, arrival.protocol, arrival.request_id)
    }

    /// Puts the outcome into the trail; an answer that cannot be told there is not given.
    async fn end(
        &self,
        arrival: &Arrival<'_>,
        mut answer: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        let outcome = match answer.extensions_mut().remove::<Outcome>() {
            Some(outcome) => outcome,
            None if answer.status().is_client_error() || answer.status().is_server_error() => {
                Outcome::failure(answer.status().as_str(), "")
            }
            None => Outcome::Success,
        };
        match self.context.audit.record(&arrival.draft, &outcome).await {
            Ok(()) => answer,
            Err(error) => error::plain(
                StatusCode::SERVICE_UNAVAILABLE,
                arrival.protocol,
                "ServiceUnavailableException",
                &error.to_string(),
                arrival.request_id,
            ),
        }
    }
}

/// Whether a caller may call IAM at all: a session of a user only with a second factor, as in the
/// original, so that who found such credentials cannot make keys that outlive them.
fn may_manage_identities(caller: &Caller) -> bool {
    caller
        .session
        .as_ref()
        .is_none_or(|session| session.is_role() || session.mfa.is_some())
}

/// Sets a header whose value is known to be one.
pub(crate) fn set(answer: &mut Response<ResponseBody>, name: HeaderName, value: &'static str) {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}

fn internal(
    error: &(dyn std::error::Error + 'static),
    arrival: &Arrival<'_>,
) -> Response<ResponseBody> {
    let (protocol, request_id) = (arrival.protocol, arrival.request_id);
    tracing::error!(request_id, error, "could not look up an access key");
    error::plain(
        StatusCode::INTERNAL_SERVER_ERROR,
        protocol,
        "InternalServerException",
        "the server failed; see its log for this request ID",
        request_id,
    )
}

fn head_of(parts: &Parts) -> Result<RequestHead<'_>, AuthError> {
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

/// What needs no signature, and has none: health, and the console, which looks for its own session.
fn is_public(parts: &Parts) -> bool {
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let path = parts.uri.path();
    let console = path == "/console" || path.starts_with("/console/");
    let signed = parts.headers.contains_key(header::AUTHORIZATION) || is_signed(parts.uri.query());
    reads && !signed && (console || matches!(path, "/" | "/healthz" | "/readyz"))
}

/// Whether a request without a signature has the shape of the one action that needs none.
fn may_be_web_identity(parts: &Parts) -> bool {
    parts.method == Method::POST && parts.uri.path() == "/" && parts.uri.query().is_none()
}

/// Whether a query is that of a presigned URL, of whatever age.
fn is_signed(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.contains("X-Amz-") || query.contains("AWSAccessKeyId"))
}

/// Which service a request most likely means that cannot be parsed.
fn service_hint(parts: &Parts) -> &str {
    parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split("Credential=").nth(1))
        .and_then(|credential| credential.split('/').nth(3))
        .unwrap_or_else(|| {
            if is_signed(parts.uri.query()) {
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

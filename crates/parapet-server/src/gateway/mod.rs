//! The devices' door: `docs/device-protocol.md`, on a listener of its own.
//!
//! TLS has verified that the client certificate comes from the claim or the device authority; here
//! the two are told apart, and on every request serial, end and device are compared with the
//! table, so that a deleted device is out at once. A claim reaches `enroll` and nothing else, a
//! device everything but that. A device sees what its current document names, and nothing of
//! another's. Never trusts a name that a device sends in a body.

mod blob;
mod desired;
mod live;
mod peer;
mod session;
mod trust;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use parapet_device::enroll::CertificateRequest;
use parapet_device::{DesiredDocument, Reported};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::audit::{Event, Refused};
use crate::context::{Context, SecretError};
use crate::fleet::DeviceKey;
use crate::fleet::report::{self, ReportError};
use crate::front::listener::Peer;
use crate::front::{self, ResponseBody, full};
use crate::identity::{Desk, EnrollError};
use crate::metrics::Metrics;
use crate::store::{self, Micros, StoreError};

pub use live::{Live, Picture, Watch};
pub use peer::DEVICE_URN;
use peer::Identity;

/// Largest report: 256 instances with their nodes and reasons.
const REPORT_BYTES: usize = 1024 * 1024;
/// Largest certificate request.
const REQUEST_BYTES: usize = 16 * 1024;

/// What answers requests on the device listener.
pub struct Gateway {
    context: Arc<Context>,
    trust: trust::Trust,
    metrics: Arc<Metrics>,
}

/// Why a device gets no answer it wants.
#[derive(Debug, Error)]
enum Refusal {
    #[error("the client certificate names no device")]
    Nobody,
    #[error("this certificate is not good any more: enrol the device anew")]
    Certificate,
    #[error("the device is deleted")]
    Deleted,
    #[error("there is no {0} here")]
    NotFound(&'static str),
    #[error("{0}")]
    Bad(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the body is too large, too slow or broken")]
    Body,
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("read a content")]
    File(#[from] std::io::Error),
}

type Answer = Result<Response<ResponseBody>, Refusal>;

impl Gateway {
    /// Over the server's parts.
    #[must_use]
    pub fn new(context: Arc<Context>, metrics: Arc<Metrics>) -> Self {
        Self {
            context,
            trust: trust::Trust::default(),
            metrics,
        }
    }

    /// Answers one request.
    pub async fn handle(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        self.metrics.device_asked();
        let path = request.uri().path().to_owned();
        let identity = peer.certificate.as_ref().and_then(|certificate| {
            peer::identify(&self.context.enrollment.authorities(), certificate)
        });
        let renew = matches!(identity, Some(Identity::Device { renew: true, .. }));
        let address = peer.source.address;
        let device = identity
            .as_ref()
            .map(|identity| identity.device().to_owned());
        let mut answer = match self.route(address, identity, request).await {
            Ok(answer) => answer,
            Err(refusal) => {
                refusal.log(&path);
                self.record(&refusal, address, device.as_deref());
                refusal.response()
            }
        };
        trust::tell(&self.context, renew, answer.headers_mut());
        Ok(answer)
    }

    /// Tells the audit trail of a certificate that was not taken.
    fn record(&self, refusal: &Refusal, address: IpAddr, device: Option<&str>) {
        if !refusal.is_of_certificate() {
            return;
        }
        let event = Event::CertificateRefused {
            address,
            device,
            reason: &refusal.to_string(),
        };
        self.context.audit.refused(
            Refused::Certificate,
            address,
            device.unwrap_or_default(),
            &event,
        );
    }

    async fn route(
        &self,
        address: IpAddr,
        identity: Option<Identity>,
        request: Request<Incoming>,
    ) -> Answer {
        let identity = identity.ok_or(Refusal::Nobody)?;
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let (device, serial) = match identity {
            Identity::Claim { device, serial } => {
                if method == Method::POST && path == "/v1/enroll" {
                    return self.enroll(address, device, serial, request).await;
                }
                return Err(Refusal::Certificate);
            }
            Identity::Device { device, serial, .. } => (device, serial),
        };
        let key = DeviceKey {
            scope: self.context.scope.clone(),
            device,
        };
        self.admit(&key, serial.clone()).await?;
        let _open = self.context.presence.open(&key);
        match (&method, path.as_str()) {
            (&Method::POST, "/v1/device/certificate") => {
                self.renew(address, key.device, serial, request).await
            }
            (&Method::GET, "/v1/device/authorities") => respond(&trust::authorities(&self.context)),
            (&Method::GET, "/v1/device/desired") => {
                desired::get(
                    &self.context,
                    &key,
                    request.uri().query().unwrap_or_default(),
                )
                .await
            }
            (&Method::PUT, "/v1/device/reported") => {
                self.trust
                    .note(&self.context, &key, request.headers())
                    .await?;
                self.reported(&key, request).await
            }
            (&Method::GET, "/v1/device/live") => session::open(&self.context, key, request),
            (&Method::GET, path) => {
                if let Some(id) = path.strip_prefix("/v1/device/secrets/") {
                    self.secret(&key, id).await
                } else if let Some(digest) = path.strip_prefix("/v1/blobs/sha256/") {
                    let range = request.headers().get(header::RANGE);
                    blob::get(&self.context, &key, digest, range).await
                } else {
                    Err(Refusal::NotFound("such path"))
                }
            }
            _ => Err(Refusal::NotFound("such path")),
        }
    }

    /// Compares the certificate with the table.
    async fn admit(&self, key: &DeviceKey, serial: String) -> Result<(), Refusal> {
        let wanted = key.clone();
        self.context
            .store
            .read(move |connection| {
                let DeviceKey { scope, device } = &wanted;
                let now = Micros::now();
                if store::certificates::good(connection, scope, device, &serial, now)?.is_some() {
                    return Ok(());
                }
                Err(match store::devices::get(connection, scope, device)? {
                    Some(_) => Refusal::Certificate,
                    None => Refusal::Deleted,
                })
            })
            .await
    }

    fn desk(&self, address: IpAddr) -> Desk<'_> {
        Desk {
            store: &self.context.store,
            audit: &self.context.audit,
            address,
        }
    }

    async fn enroll(
        &self,
        address: IpAddr,
        device: String,
        serial: String,
        request: Request<Incoming>,
    ) -> Answer {
        let request: CertificateRequest = json(request, REQUEST_BYTES).await?;
        let enrollment = &self.context.enrollment;
        let response = enrollment
            .enroll(&self.desk(address), device.clone(), serial, &request.csr)
            .await?;
        tracing::info!(device, number = response.serial, "a device has enrolled");
        respond(&response)
    }

    async fn renew(
        &self,
        address: IpAddr,
        device: String,
        shown: String,
        request: Request<Incoming>,
    ) -> Answer {
        let request: CertificateRequest = json(request, REQUEST_BYTES).await?;
        let enrollment = &self.context.enrollment;
        let response = enrollment
            .renew(&self.desk(address), device.clone(), shown, &request.csr)
            .await?;
        tracing::info!(
            device,
            number = response.serial,
            "a device has renewed its certificate"
        );
        respond(&response)
    }

    async fn reported(&self, key: &DeviceKey, request: Request<Incoming>) -> Answer {
        let reported: Reported = json(request, REPORT_BYTES).await?;
        let outcome =
            report::accept(&self.context.store, &self.context.presence, key, reported).await;
        match outcome {
            Ok(()) => {
                let mut answer = Response::new(front::empty());
                *answer.status_mut() = StatusCode::NO_CONTENT;
                Ok(answer)
            }
            Err(ReportError::Store(error)) => Err(error.into()),
            Err(ReportError::Deleted) => Err(Refusal::Deleted),
            Err(error @ ReportError::Stale { .. }) => Err(Refusal::Conflict(error.to_string())),
            Err(error) => Err(Refusal::Bad(error.to_string())),
        }
    }

    async fn secret(&self, key: &DeviceKey, id: &str) -> Answer {
        let missing = || Refusal::NotFound("such secret in the device's document");
        let document = current(&self.context, key).await?.ok_or_else(missing)?;
        let reference = document
            .instances
            .iter()
            .flat_map(|instance| &instance.cameras)
            .filter_map(|camera| camera.secret.as_ref())
            // Two cameras may name two versions while one is being changed: the newest is meant.
            .filter(|secret| secret.id.as_str() == id)
            .max_by_key(|secret| secret.version)
            .ok_or_else(missing)?;
        let (scope, wanted, version) = (key.scope.clone(), id.to_owned(), reference.version);
        let wrapped = self
            .context
            .store
            .read(move |connection| store::secrets::get(connection, &scope, &wanted, version))
            .await
            .map_err(Refusal::Store)?
            .ok_or_else(missing)?;
        let mut answer = respond(&self.context.open_camera(id, version, &wrapped)?)?;
        front::set(&mut answer, header::CACHE_CONTROL, "no-store");
        Ok(answer)
    }
}

/// The document that the device shall carry out now.
async fn current(context: &Context, key: &DeviceKey) -> Result<Option<DesiredDocument>, Refusal> {
    let wanted = key.clone();
    let stored = context
        .store
        .read(move |connection| store::desired::get(connection, &wanted.scope, &wanted.device))
        .await
        .map_err(Refusal::Store)?;
    let Some(stored) = stored else {
        return Ok(None);
    };
    let document =
        serde_json::from_str(&stored.document_json).map_err(|source| StoreError::Document {
            what: "desired document",
            source,
        })?;
    Ok(Some(document))
}

async fn json<T: DeserializeOwned>(request: Request<Incoming>, limit: usize) -> Result<T, Refusal> {
    let body = front::read(request.into_body(), limit)
        .await
        .map_err(|_| Refusal::Body)?;
    serde_json::from_slice(&body).map_err(|error| Refusal::Bad(format!("read the body: {error}")))
}

fn respond<T: Serialize>(value: &T) -> Answer {
    let body = serde_json::to_vec(value).map_err(|source| StoreError::Document {
        what: "answer",
        source,
    })?;
    Ok(json_answer(StatusCode::OK, body))
}

fn json_answer(status: StatusCode, body: impl Into<Bytes>) -> Response<ResponseBody> {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    answer
}

impl Refusal {
    /// Whether it says that the peer's certificate, or its claim, is not good.
    fn is_of_certificate(&self) -> bool {
        matches!(
            self,
            Self::Nobody
                | Self::Certificate
                | Self::Deleted
                | Self::Enroll(EnrollError::ClaimSpent | EnrollError::KeyKnown)
        )
    }

    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Nobody | Self::Certificate => (StatusCode::FORBIDDEN, "certificate"),
            Self::Deleted => (StatusCode::GONE, "deleted"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Bad(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::Body => (StatusCode::PAYLOAD_TOO_LARGE, "body"),
            Self::Enroll(EnrollError::ClaimSpent) => (StatusCode::FORBIDDEN, "claim"),
            Self::Enroll(
                EnrollError::Request(_) | EnrollError::KeyKind | EnrollError::KeyKnown,
            ) => (StatusCode::BAD_REQUEST, "certificate_request"),
            Self::Enroll(_) | Self::Store(_) | Self::Secret(_) | Self::File(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        }
    }

    fn response(&self) -> Response<ResponseBody> {
        let (status, code) = self.status();
        let message = if status.is_server_error() {
            "the server failed; see its log".to_owned()
        } else {
            self.to_string()
        };
        let body = serde_json::json!({ "code": code, "message": message }).to_string();
        json_answer(status, body)
    }

    fn log(&self, path: &str) {
        if self.status().0.is_server_error() {
            let error = self as &dyn std::error::Error;
            tracing::error!(path, error, "could not answer a device");
        } else {
            tracing::info!(path, error = %self, "refused a device");
        }
    }
}

//! Requests to the control plane (`docs/device-protocol.md`): TLS 1.3 with the device's
//! certificate, never resumed, HTTP/1.1.
//!
//! Every request has a time limit and every answer a size; nothing is tried again here.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_util::TryStreamExt;
use parapet_device::desired::CameraSecret;
use parapet_device::enroll::{
    AUTHORITIES_HEADER, CertificateRequest, CertificateResponse, RENEW_HEADER, TrustedAuthorities,
};
use parapet_device::{BlobDigest, DeviceId, Generation, Reported, SecretId};
use reqwest::{Response, StatusCode};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_util::io::StreamReader;

use super::BlobStream;
use super::identity::{Identity, IdentityError};
use crate::ledger::LARGEST_DOCUMENT;

/// For a connection to come up.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// For an ordinary request.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// How long the control plane may hold a question for a newer document.
const HOLD: Duration = Duration::from_mins(1);
/// Largest answer that is no document.
const LARGEST_ANSWER: usize = 256 * 1024;

/// Why a request has no answer.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    #[error("set up HTTP")]
    Http(#[source] reqwest::Error),
    #[error("use the identity")]
    Identity(#[from] IdentityError),
    #[error("reach {what}")]
    Request {
        what: &'static str,
        #[source]
        source: reqwest::Error,
    },
    #[error("read the answer to {what}: it is longer than {most} bytes")]
    TooLong { what: &'static str, most: usize },
    #[error("read the answer to {what}")]
    Parse {
        what: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("get the time: the control plane's answer has no date")]
    NoDate,
    #[error("{what}: the control plane answers {status}: {message}")]
    Refused {
        what: &'static str,
        status: StatusCode,
        message: String,
    },
}

/// What a question for a newer document brings.
pub(crate) enum Answer {
    /// The document, not parsed yet.
    Document(Vec<u8>),
    /// Nothing newer.
    Nothing,
    /// The device's document is newer than the control plane's: that was restored from a backup.
    Behind,
    /// The device is deleted.
    Deleted,
}

struct Link {
    identity: Identity,
    http: reqwest::Client,
    tls: Arc<ClientConfig>,
}

impl Link {
    fn new(identity: Identity) -> Result<Self, ClientError> {
        let tls = tls(
            &identity.authorities,
            vec![identity.certificate()],
            identity.key()?,
        )?;
        let http = http(tls.clone())?;
        Ok(Self {
            identity,
            http,
            tls: Arc::new(tls),
        })
    }
}

/// The control plane as this device sees it.
pub(crate) struct ControlPlane {
    device: DeviceId,
    endpoint: String,
    region: String,
    /// Replaced when the certificate is: a connection with the old one is of no use then.
    link: RwLock<Arc<Link>>,
    told: Mutex<Told>,
}

/// What the control plane's last answer said beside its body.
#[derive(Debug, Clone, Default)]
struct Told {
    /// Digest of the authorities that the device shall trust.
    authorities: Option<String>,
    /// Whether the certificate shall be renewed at once.
    renew: bool,
}

impl ControlPlane {
    pub(crate) fn new(identity: Identity) -> Result<Self, ClientError> {
        Ok(Self {
            device: identity.config.device.clone(),
            endpoint: identity.config.endpoint.trim_end_matches('/').to_owned(),
            region: identity.config.region.clone(),
            link: RwLock::new(Arc::new(Link::new(identity)?)),
            told: Mutex::default(),
        })
    }

    /// Who this device is.
    pub(crate) fn device(&self) -> &DeviceId {
        &self.device
    }

    /// `AWS_REGION` of its applications.
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Base URL of the device listener.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// For the live channel, which is no plain request.
    pub(crate) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.link().tls)
    }

    fn link(&self) -> Arc<Link> {
        // A writer only replaces the value, so poison says nothing.
        Arc::clone(&self.link.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for a document newer than `after`; answered when there is one, or after a while.
    pub(crate) async fn desired(&self, after: Generation) -> Result<Answer, ClientError> {
        let what = "get the desired document";
        let url = format!(
            "{}/v1/device/desired?after={after}&wait={}",
            self.endpoint,
            HOLD.as_secs()
        );
        let request = self.link().http.get(url).timeout(HOLD + REQUEST_LIMIT);
        let response = request
            .send()
            .await
            .map_err(|source| ClientError::Request { what, source })?;
        self.note(&response);
        match response.status() {
            StatusCode::OK => Ok(Answer::Document(
                body(what, response, LARGEST_DOCUMENT).await?,
            )),
            StatusCode::NOT_MODIFIED => Ok(Answer::Nothing),
            StatusCode::CONFLICT => Ok(Answer::Behind),
            StatusCode::GONE => Ok(Answer::Deleted),
            _ => Err(refused(what, response).await),
        }
    }

    /// Hands in a report. One that a newer has overtaken is no error.
    pub(crate) async fn report(&self, reported: &Reported) -> Result<(), ClientError> {
        let what = "put the report";
        let url = format!("{}/v1/device/reported", self.endpoint);
        let link = self.link();
        let request = link
            .http
            .put(url)
            .header(AUTHORITIES_HEADER, link.identity.authorities_digest())
            .json(reported)
            .timeout(REQUEST_LIMIT);
        let response = request
            .send()
            .await
            .map_err(|source| ClientError::Request { what, source })?;
        self.note(&response);
        match response.status() {
            StatusCode::CONFLICT => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(refused(what, response).await),
        }
    }

    /// A camera's credentials.
    pub(crate) async fn secret(&self, id: &SecretId) -> Result<CameraSecret, ClientError> {
        let what = "get a secret";
        let url = format!("{}/v1/device/secrets/{id}", self.endpoint);
        let request = self.link().http.get(url).timeout(REQUEST_LIMIT);
        let response = accepted(what, request).await?;
        let bytes = zeroize::Zeroizing::new(body(what, response, LARGEST_ANSWER).await?);
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Parse { what, source })
    }

    /// A blob's bytes from `offset` on. The reader sets its own time limits.
    pub(crate) async fn blob(
        &self,
        digest: &BlobDigest,
        offset: u64,
    ) -> Result<BlobStream, ClientError> {
        let what = "get a blob";
        let url = format!("{}/v1/blobs/sha256/{digest}", self.endpoint);
        let mut request = self.link().http.get(url);
        if offset > 0 {
            request = request.header(http::header::RANGE, format!("bytes={offset}-"));
        }
        let response = accepted(what, request).await?;
        let partial = response.status() == StatusCode::PARTIAL_CONTENT;
        if (offset > 0) != partial {
            let (status, message) = (response.status(), "the range is not honoured".to_owned());
            return Err(ClientError::Refused {
                what,
                status,
                message,
            });
        }
        let stream = response.bytes_stream().map_err(io::Error::other);
        Ok(Box::new(StreamReader::new(Box::pin(stream))))
    }

    /// Reads what an answer says of authorities and certificates.
    fn note(&self, response: &Response) {
        let text = |name| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let told = Told {
            authorities: text(AUTHORITIES_HEADER),
            renew: text(RENEW_HEADER).as_deref() == Some("now"),
        };
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    fn told(&self) -> Told {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.clone()
    }

    fn use_link(&self, link: Link) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(link);
    }

    /// Learns of other authorities when the control plane has named them; says whether it did.
    ///
    /// They are kept after a request under them alone was answered: a list that would lock this
    /// device out is not taken.
    pub(crate) async fn learn_authorities(&self) -> Result<bool, ClientError> {
        let link = self.link();
        let known = link.identity.authorities_digest();
        if self.told().authorities.is_none_or(|told| told == known) {
            return Ok(false);
        }
        let fetched = self.authorities(&link).await?;
        let identity = link.identity.trusting(&fetched.pem)?;
        let next = Link::new(identity)?;
        self.authorities(&next).await?;
        next.identity.keep_authorities(&fetched.pem)?;
        self.use_link(next);
        Ok(true)
    }

    /// The `Date` of an answer, as it was written. Changes nothing here or there.
    pub(crate) async fn date(&self) -> Result<String, ClientError> {
        let what = "get the time";
        let url = format!("{}/v1/device/authorities", self.endpoint);
        let request = self.link().http.get(url).timeout(REQUEST_LIMIT);
        let response = request
            .send()
            .await
            .map_err(|source| ClientError::Request { what, source })?;
        let date = response.headers().get(http::header::DATE);
        let date = date.and_then(|date| date.to_str().ok());
        date.map(str::to_owned).ok_or(ClientError::NoDate)
    }

    async fn authorities(&self, link: &Link) -> Result<TrustedAuthorities, ClientError> {
        let what = "get the authorities";
        let url = format!("{}/v1/device/authorities", self.endpoint);
        let request = link.http.get(url).timeout(REQUEST_LIMIT);
        let bytes = body(what, accepted(what, request).await?, LARGEST_ANSWER).await?;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Parse { what, source })
    }

    /// Renews the certificate when it is due, or when the control plane asks for it; says whether
    /// it did.
    pub(crate) async fn renew_if_due(&self, now: i64) -> Result<bool, ClientError> {
        let link = self.link();
        if !self.told().renew && now < link.identity.validity()?.renewal_at() {
            return Ok(false);
        }
        let url = format!("{}/v1/device/certificate", self.endpoint);
        let csr = link.identity.request()?;
        let response = match certificate(&link.http, &url, csr).await {
            Ok(response) => response,
            Err(error) => {
                if let ClientError::Refused { status, .. } = &error
                    && *status == StatusCode::BAD_REQUEST
                {
                    // The next attempt has another key.
                    link.identity.discard_request()?;
                }
                return Err(error);
            }
        };
        self.use_link(Link::new(link.identity.renewed(&response.certificate)?)?);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.renew = false;
        Ok(true)
    }
}

/// TLS as the device speaks it.
pub(crate) fn tls(
    authorities: &[CertificateDer<'static>],
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(ClientError::Tls)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(ClientError::Tls)?;
    // A resumed session would carry an old certificate's name past its end.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// HTTP on it: no proxies, no redirects, no compression.
pub(crate) fn http(tls: ClientConfig) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_LIMIT)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("parapet-agent/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(ClientError::Http)
}

/// Exchanges a certificate request for a certificate, at enrolment and at renewal.
pub(crate) async fn certificate(
    http: &reqwest::Client,
    url: &str,
    csr: String,
) -> Result<CertificateResponse, ClientError> {
    let what = "get a certificate";
    let request = http
        .post(url)
        .json(&CertificateRequest { csr })
        .timeout(REQUEST_LIMIT);
    let response = accepted(what, request).await?;
    let bytes = body(what, response, LARGEST_ANSWER).await?;
    serde_json::from_slice(&bytes).map_err(|source| ClientError::Parse { what, source })
}

async fn accepted(
    what: &'static str,
    request: reqwest::RequestBuilder,
) -> Result<Response, ClientError> {
    let response = request
        .send()
        .await
        .map_err(|source| ClientError::Request { what, source })?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(refused(what, response).await)
    }
}

async fn body(
    what: &'static str,
    mut response: Response,
    most: usize,
) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|source| ClientError::Request { what, source })?
    {
        if bytes.len() + chunk.len() > most {
            return Err(ClientError::TooLong { what, most });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn refused(what: &'static str, response: Response) -> ClientError {
    #[derive(serde::Deserialize)]
    struct Error {
        message: String,
    }
    let status = response.status();
    let message = match body(what, response, LARGEST_ANSWER).await {
        Ok(bytes) => serde_json::from_slice::<Error>(&bytes)
            .map(|e| e.message)
            .unwrap_or_default(),
        Err(_) => String::new(),
    };
    ClientError::Refused {
        what,
        status,
        message: message.chars().take(200).collect(),
    }
}

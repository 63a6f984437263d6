//! The operator's side of the signed API: the `parapet` service, and IAM's Query protocol.
//!
//! Finds endpoint, CA and key where the AWS tools find them (variables, `AWS_SHARED_CREDENTIALS_FILE`,
//! `AWS_CONFIG_FILE`, profiles; see [`files`]), or in `DIR/admin` of a control plane on this machine
//! with `--data DIR`.

pub(crate) mod files;
mod iam;
mod refusal;
mod xml;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use parapet_auth::sigv4::{SignRequest, sign};
use serde::Serialize;
use serde_json::Value;

use files::{Files, Identity, Settings};

pub(crate) use iam::{items, text};
pub(crate) use refusal::{Refusal, Refused};

/// Largest answer that is read.
const ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Which control plane, and as whom
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// Data directory of a control plane on this machine; else the AWS variables and files tell
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    // Not clap's `env`: keys in variables come before the profile of a variable.
    #[arg(long, help = "Profile of the AWS files [env: AWS_PROFILE]")]
    profile: Option<String>,
}

impl Access {
    /// The data directory that was named.
    pub(crate) fn data(&self) -> Option<&Path> {
        self.data.as_deref()
    }
}

/// A client that signs.
pub(crate) struct Client {
    settings: Settings,
    endpoint: url::Url,
    identity: Identity,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// One request, before it is signed.
struct Request<'a> {
    service: &'a str,
    method: &'a str,
    path: &'a str,
    content_type: &'a str,
    body: Vec<u8>,
}

/// What came back.
struct Answer {
    status: reqwest::StatusCode,
    text: String,
}

impl Client {
    /// Reads what the AWS tools would read.
    pub(crate) fn new(access: &Access) -> Result<Self> {
        let files = Files::find(access.data())?;
        let variable = |name: &str| {
            let set = access.data.is_none().then(|| std::env::var(name).ok());
            set.flatten().filter(|value| !value.is_empty())
        };
        let settings = Settings::read(&files, access.profile.as_deref(), variable);
        let identity = Identity::read(&files, access.profile.as_deref(), variable)?;
        let endpoint = settings
            .endpoint
            .as_deref()
            .context("no endpoint: set AWS_ENDPOINT_URL, or name a control plane with --data")?;
        let endpoint = url::Url::parse(endpoint)
            .with_context(|| format!("the endpoint {endpoint:?} is no URL"))?;
        Ok(Self {
            endpoint,
            identity,
            http: http_client(settings.ca_bundle.as_deref())?,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("start the network")?,
            settings,
        })
    }

    /// Where the control plane is and whom it trusts.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Asks an operation of Parapet's own that changes nothing; `path` may have a query.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.json("parapet", "GET", path, Vec::new())
    }

    /// Asks an operation of Panorama that changes nothing; `path` may have a query.
    pub(crate) fn panorama(&self, path: &str) -> Result<Value> {
        self.json("panorama", "GET", path, Vec::new())
    }

    /// All entries of a list of Panorama, page after page.
    pub(crate) fn panorama_list(
        &self,
        path: &str,
        filter: &[(&str, &str)],
        member: &str,
    ) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(filter);
            query.extend_pairs(token.iter().map(|token| ("nextToken", token)));
            let mut answer = self.panorama(&format!("{path}?{}", query.finish()))?;
            if let Some(Value::Array(entries)) = answer.get_mut(member).map(Value::take) {
                all.extend(entries);
            }
            match answer["NextToken"].as_str() {
                Some(next) if !next.is_empty() => token = Some(next.to_owned()),
                _ => return Ok(all),
            }
        }
    }

    /// Calls an operation of Parapet's own (service `parapet`).
    pub(crate) fn call(&self, method: &str, path: &str, body: &impl Serialize) -> Result<Value> {
        self.json(
            "parapet",
            method,
            path,
            serde_json::to_vec(body).context("write the request")?,
        )
    }

    fn json(&self, service: &str, method: &str, path: &str, body: Vec<u8>) -> Result<Value> {
        let answer = self.send(Request {
            service,
            method,
            path,
            content_type: "application/json",
            body,
        })?;
        let value: Value = serde_json::from_str(&answer.text).unwrap_or(Value::Null);
        if answer.status.is_success() {
            return Ok(value);
        }
        Err(Refused::new(answer.status, &value, &answer.text).into())
    }

    fn send(&self, request: Request<'_>) -> Result<Answer> {
        let url = self
            .endpoint
            .join(request.path)
            .context("write the request")?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => bail!("the endpoint {url} has no host"),
        };
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .context("read the clock")?
            .as_secs();
        let mut headers = vec![
            ("host", host.as_str()),
            ("content-type", request.content_type),
        ];
        if let Some(token) = &self.identity.session_token {
            headers.push(("x-amz-security-token", token));
        }
        let signed = sign(&SignRequest {
            method: request.method,
            target: &url[url::Position::BeforePath..url::Position::AfterQuery],
            headers: &headers,
            body: &request.body,
            access_key: &self.identity.access_key,
            secret_key: &self.identity.secret_key,
            region: &self.settings.region,
            service: request.service,
            now,
        })
        .context("sign the request")?;
        let method =
            reqwest::Method::from_bytes(request.method.as_bytes()).context("write the request")?;
        // The client writes `host` itself.
        let mut sent = self.http.request(method, url.clone()).body(request.body);
        for (name, value) in &headers[1..] {
            sent = sent.header(*name, *value);
        }
        for (name, value) in signed {
            sent = sent.header(name, value);
        }
        self.runtime.block_on(async {
            let mut answer = sent.send().await.context("reach the control plane")?;
            let mut body = Vec::new();
            while let Some(piece) = answer.chunk().await.context("read the answer")? {
                ensure!(
                    body.len() + piece.len() <= ANSWER_BYTES,
                    "read the answer: it has more than {ANSWER_BYTES} bytes"
                );
                body.extend_from_slice(&piece);
            }
            let text = String::from_utf8_lossy(&body).into_owned();
            Ok(Answer {
                status: answer.status(),
                text,
            })
        })
    }
}

fn http_client(ca_bundle: Option<&str>) -> Result<reqwest::Client> {
    let mut roots = rustls::RootCertStore::empty();
    let file = ca_bundle.context("no CA: set AWS_CA_BUNDLE, or ca_bundle in the AWS config")?;
    let pem = std::fs::read(file).with_context(|| format!("read the CA {file}"))?;
    for certificate in rustls_pki_types::pem::PemObject::pem_slice_iter(&pem) {
        roots
            .add(certificate.with_context(|| format!("read the CA {file}"))?)
            .with_context(|| format!("read the CA {file}"))?;
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(std::time::Duration::from_secs(30))
        .build()
        .context("set up HTTPS")
}

//! The operator's side of the signed API, for the verbs that have no AWS tool.
//!
//! Finds endpoint, CA and key where the AWS tools find them (`AWS_SHARED_CREDENTIALS_FILE`,
//! `AWS_CONFIG_FILE`, `AWS_ENDPOINT_URL`, `AWS_CA_BUNDLE`, profiles), or in `DIR/admin` of a control
//! plane on this machine with `--data DIR`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use parapet_auth::sigv4::{SignRequest, sign};
use serde::Serialize;
use serde_json::Value;

/// Which control plane, and as whom
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// Data directory of a control plane on this machine; else the AWS variables and files tell
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Profile of the AWS files
    #[arg(long, env = "AWS_PROFILE", default_value = "default")]
    profile: String,
}

impl Access {
    /// The data directory that was named.
    pub(crate) fn data(&self) -> Option<&Path> {
        self.data.as_deref()
    }
}

/// A client that signs.
pub(crate) struct Client {
    endpoint: url::Url,
    region: String,
    access_key: String,
    secret_key: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// Reads what the AWS tools would read.
    pub(crate) fn new(access: &Access) -> Result<Self> {
        let files = Files::find(access)?;
        let credentials = section(&files.credentials, &access.profile)?;
        let heading = if access.profile == "default" {
            "default".to_owned()
        } else {
            format!("profile {}", access.profile)
        };
        let config = section(&files.config, &heading).unwrap_or_default();
        let variable = |name: &str| {
            (access.data.is_none())
                .then(|| std::env::var(name).ok())
                .flatten()
        };
        let key = |name: &str| {
            credentials.get(name).cloned().with_context(|| {
                format!(
                    "{}: profile {:?} has no {name}",
                    files.credentials.display(),
                    access.profile
                )
            })
        };
        let endpoint = variable("AWS_ENDPOINT_URL")
            .or_else(|| config.get("endpoint_url").cloned())
            .context("no endpoint: set AWS_ENDPOINT_URL, or name a control plane with --data")?;
        let endpoint = url::Url::parse(&endpoint)
            .with_context(|| format!("the endpoint {endpoint:?} is no URL"))?;
        let region = variable("AWS_REGION")
            .or_else(|| config.get("region").cloned())
            .unwrap_or_else(|| "us-west-2".to_owned());
        let bundle = variable("AWS_CA_BUNDLE").or_else(|| config.get("ca_bundle").cloned());
        Ok(Self {
            endpoint,
            region,
            access_key: key("aws_access_key_id")?,
            secret_key: key("aws_secret_access_key")?,
            http: http_client(bundle.as_deref())?,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("start the network")?,
        })
    }

    /// Asks an operation of Parapet's own that changes nothing; `path` may have a query.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.send("GET", path, Vec::new())
    }

    /// Calls an operation of Parapet's own (service `parapet`).
    pub(crate) fn call(&self, method: &str, path: &str, body: &impl Serialize) -> Result<Value> {
        self.send(
            method,
            path,
            serde_json::to_vec(body).context("write the request")?,
        )
    }

    fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Result<Value> {
        let url = self.endpoint.join(path).context("write the request")?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => bail!("the endpoint {url} has no host"),
        };
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .context("read the clock")?
            .as_secs();
        let signed = sign(&SignRequest {
            method,
            target: &url[url::Position::BeforePath..url::Position::AfterQuery],
            headers: &[("host", &host), ("content-type", "application/json")],
            body: &body,
            access_key: &self.access_key,
            secret_key: &self.secret_key,
            region: &self.region,
            service: "parapet",
            now,
        })
        .context("sign the request")?;
        let method = reqwest::Method::from_bytes(method.as_bytes()).context("write the request")?;
        let mut request = self
            .http
            .request(method, url)
            .header("content-type", "application/json")
            .body(body);
        for (name, value) in signed {
            request = request.header(name, value);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.context("reach the control plane")?;
            let status = answer.status();
            let text = answer.text().await.context("read the answer")?;
            let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
            if status.is_success() {
                return Ok(value);
            }
            let message = value["Message"].as_str().or(value["message"].as_str());
            bail!(
                "the control plane refused ({status}): {}",
                message.unwrap_or(&text)
            )
        })
    }
}

struct Files {
    credentials: PathBuf,
    config: PathBuf,
}

impl Files {
    fn find(access: &Access) -> Result<Self> {
        if let Some(data) = &access.data {
            let admin = data.join("admin");
            return Ok(Self {
                credentials: admin.join("credentials"),
                config: admin.join("config"),
            });
        }
        let file = |variable: &str, name: &str| -> Result<PathBuf> {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .or_else(|| {
                    std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".aws").join(name))
                })
                .with_context(|| format!("set {variable}, or name a control plane with --data"))
        };
        Ok(Self {
            credentials: file("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
            config: file("AWS_CONFIG_FILE", "config")?,
        })
    }
}

/// One section of an AWS file. Nested settings (indented lines) are passed over.
fn section(file: &Path, name: &str) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read {}: is this the right control plane?", file.display()))?;
    let mut found = None;
    let mut here = false;
    for line in text.lines() {
        if let Some(heading) = line
            .trim()
            .strip_prefix('[')
            .and_then(|l| l.strip_suffix(']'))
        {
            here = heading.trim() == name;
            if here {
                found.get_or_insert_with(BTreeMap::new);
            }
        } else if here
            && !line.starts_with([' ', '\t', '#', ';'])
            && let (Some(values), Some((key, value))) = (found.as_mut(), line.split_once('='))
        {
            values.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    found.with_context(|| format!("{}: there is no section [{name}]", file.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_found_and_nested_settings_are_passed_over() -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let text = "[default]\nregion = us-west-2\ns3 =\n  addressing_style = path\n\
                    [profile other]\nregion=eu-central-1\n";
        std::fs::write(file.path(), text)?;
        assert_eq!(
            section(file.path(), "default")?
                .get("region")
                .map(String::as_str),
            Some("us-west-2")
        );
        assert!(!section(file.path(), "default")?.contains_key("addressing_style"));
        assert_eq!(section(file.path(), "profile other")?.len(), 1);
        assert!(section(file.path(), "missing").is_err());
        Ok(())
    }
}

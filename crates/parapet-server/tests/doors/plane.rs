//! A control plane of its own for each test, and a client that signs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parapet_auth::sigv4::{SignRequest, sign};
use parapet_server::{Server, ServerConfig};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

/// A running control plane; its directory goes with it.
pub(crate) struct Plane {
    pub(crate) server: Server,
    pub(crate) data: tempfile::TempDir,
}

/// A long-term access key.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = config(data.path().to_owned());
        change(&mut config);
        let server = Server::start(config).await.expect("a server");
        Self { server, data }
    }

    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.data.path().join("admin").join(name)).expect(name)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.server.api_addr)
    }

    pub(crate) fn tls(&self, identity: Option<(&str, &str)>) -> rustls::ClientConfig {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        self.tls_with(provider, rustls::DEFAULT_VERSIONS, identity)
    }

    pub(crate) fn tls_with(
        &self,
        provider: rustls::crypto::CryptoProvider,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<(&str, &str)>,
    ) -> rustls::ClientConfig {
        Self::tls_of(&self.file("ca.pem"), provider, versions, identity)
    }

    /// As somebody who trusts these authorities.
    pub(crate) fn tls_trusting(pem: &str, identity: Option<(&str, &str)>) -> rustls::ClientConfig {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Self::tls_of(pem, provider, rustls::DEFAULT_VERSIONS, identity)
    }

    fn tls_of(
        pem: &str,
        provider: rustls::crypto::CryptoProvider,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<(&str, &str)>,
    ) -> rustls::ClientConfig {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(ca.expect("PEM")).expect("a CA");
        }
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
                )
                .expect("an identity"),
        }
    }

    pub(crate) fn client(&self, identity: Option<(&str, &str)>) -> reqwest::Client {
        Self::client_of(self.tls(identity))
    }

    pub(crate) fn client_of(tls: rustls::ClientConfig) -> reqwest::Client {
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a client")
    }

    /// The first user's key.
    pub(crate) fn admin(&self) -> Key {
        let credentials = self.file("credentials");
        let value = |name: &str| {
            let line = credentials
                .lines()
                .find(|line| line.starts_with(name))
                .expect(name);
            line.split_once(" = ").expect("a value").1.to_owned()
        };
        Key {
            id: value("aws_access_key_id"),
            secret: value("aws_secret_access_key"),
        }
    }

    /// A request of the first user, signed and not sent yet.
    pub(crate) fn signed(
        &self,
        service: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> reqwest::RequestBuilder {
        let client = self.client(None);
        self.signed_by(
            &client,
            &self.admin(),
            service,
            method,
            target,
            headers,
            body,
        )
    }

    /// A request of anybody, signed and not sent yet.
    #[expect(clippy::too_many_arguments, reason = "all that makes a request")]
    pub(crate) fn signed_by(
        &self,
        client: &reqwest::Client,
        key: &Key,
        service: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> reqwest::RequestBuilder {
        let host = self.server.api_addr.to_string();
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        let all = [headers, &[("host", host.as_str())]].concat();
        let added = sign(&SignRequest {
            method,
            target,
            headers: &all,
            body,
            access_key: &key.id,
            secret_key: &key.secret,
            region: "us-west-2",
            service,
            now: since.as_secs(),
        })
        .expect("a signature");
        let method = method.parse().expect("a method");
        let url = format!("https://{host}{target}");
        let mut request = client.request(method, url).body(body.to_vec());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in added {
            request = request.header(name, value);
        }
        request
    }

    /// A call of IAM by the first user, which must succeed.
    pub(crate) async fn iam(&self, fields: &[(&str, &str)]) -> String {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.append_pair("Version", "2010-05-08");
        body.extend_pairs(fields);
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let (headers, body) = ([("content-type", kind)], body.finish());
        loop {
            let request = self.signed("iam", "POST", "/", &headers, body.as_bytes());
            let answer = request.send().await.expect("an answer");
            let status = answer.status();
            let text = answer.text().await.expect("a body");
            // The same within a second is signed the same; sign anew, as SDKs do.
            if element(&text, "Code") != Some("Throttling") {
                assert_eq!(status, 200, "{fields:?}: {text}");
                return text;
            }
        }
    }

    /// A new user without policies, and its key.
    pub(crate) async fn user(&self, name: &str) -> Key {
        self.iam(&[("Action", "CreateUser"), ("UserName", name)])
            .await;
        let made = self
            .iam(&[("Action", "CreateAccessKey"), ("UserName", name)])
            .await;
        Key {
            id: element(&made, "AccessKeyId").expect("a key").to_owned(),
            secret: element(&made, "SecretAccessKey")
                .expect("a secret")
                .to_owned(),
        }
    }

    /// A signed call of a service that speaks JSON.
    pub(crate) async fn call(
        &self,
        service: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> (u16, Value) {
        let headers = [("content-type", "application/json")];
        let body = body.to_string();
        let request = self.signed(service, method, path, &headers, body.as_bytes());
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }
}

/// The text of the first XML element of this name.
pub(crate) fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once("</")?.0)
}

/// Free ports, and the master key beside the data.
pub(crate) fn config(data: PathBuf) -> ServerConfig {
    let mut config = ServerConfig::new(data);
    for address in [
        &mut config.listen,
        &mut config.device_listen,
        &mut config.admin_listen,
    ] {
        address.set_port(0);
    }
    config.master_key_in_data = true;
    config
}

/// Waits for a condition, as long as a loaded machine may take.
pub(crate) async fn wait<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited in vain until {what}"
        );
        // Not as often as can be: the server that is waited for runs on the same thread.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

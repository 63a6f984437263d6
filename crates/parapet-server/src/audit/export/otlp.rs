//! OTLP/HTTP logs in JSON.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use url::Url;

use super::{ExportError, Signed};

/// A collector.
pub(in crate::audit) struct Otlp {
    url: Url,
    client: reqwest::Client,
}

impl Otlp {
    /// At a base URL; a path of its own is kept, else it is `/v1/logs`.
    pub(super) fn new(base: &Url, ca: Option<&Path>) -> Result<Self, ExportError> {
        let mut url = base.clone();
        if url.path() == "/" {
            url.set_path("/v1/logs");
        }
        let mut roots = rustls::RootCertStore::empty();
        if let Some(ca) = ca {
            let pem = std::fs::read(ca)?;
            for certificate in rustls_pki_types::CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate?)?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            // The collector is the one that was named, whatever the environment says.
            .no_proxy()
            .build()?;
        Ok(Self { url, client })
    }

    pub(super) async fn send(&self, signed: &Signed) -> Result<(), ExportError> {
        let answer = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .body(body(signed).to_string())
            .send()
            .await?;
        let status = answer.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(ExportError::Answer(status.as_u16()))
        }
    }
}

impl fmt::Display for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without credentials that somebody may have put into it.
        write!(
            f,
            "{}://{}:{}{}",
            self.url.scheme(),
            self.url.host_str().unwrap_or_default(),
            self.url.port_or_known_default().unwrap_or_default(),
            self.url.path()
        )
    }
}

fn body(signed: &Signed) -> Value {
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    let checkpoint = &signed.checkpoint;
    let nanos = i128::from(checkpoint.time.0) * 1_000;
    json!({ "resourceLogs": [{
        "resource": { "attributes": [
            text("service.name", "parapet-server"),
            text("cloud.account.id", &checkpoint.account),
        ]},
        "scopeLogs": [{
            "scope": { "name": "parapet.audit" },
            "logRecords": [{
                // 64-bit numbers are texts in the JSON of protocol buffers.
                "timeUnixNano": nanos.to_string(),
                "observedTimeUnixNano": nanos.to_string(),
                "severityNumber": 9,
                "severityText": "INFO",
                "eventName": "parapet.audit.checkpoint",
                "body": { "stringValue": signed.line },
                "attributes": [
                    { "key": "parapet.audit.sequence",
                      "value": { "intValue": checkpoint.head.sequence.to_string() } },
                    text("parapet.audit.hash", &checkpoint.head.hash.to_string()),
                    text("parapet.audit.key", &checkpoint.key),
                ],
            }],
        }],
    }]})
}

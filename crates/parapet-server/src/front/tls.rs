//! Two TLS configurations, never shared: one for clients of the API, one for devices.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};
use thiserror::Error;

use crate::identity::{Authorities, ServerCertificate};

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// rustls refuses the settings.
    #[error("set up TLS")]
    Rustls(#[from] rustls::Error),
    /// No verifier of client certificates.
    #[error("set up the verification of device certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// TLS 1.2 and 1.3 with forward secrecy; no client certificate.
pub fn api(certificate: Arc<ServerCertificate>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS 1.3 only, a client certificate of the claim or the device authority, and no resumption: a
/// resumed session would not look at the certificate's end again (`research/security.md` 4.3).
pub fn device(
    certificate: Arc<ServerCertificate>,
    authorities: &Authorities,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authorities.claim.der().clone())?;
    roots.add(authorities.device.der().clone())?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

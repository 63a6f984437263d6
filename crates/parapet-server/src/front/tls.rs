//! Two kinds of TLS, never shared: one for clients of the API, one for devices.
//!
//! Everything that is negotiated is listed here and nothing is left to a library's defaults: key
//! exchange with forward secrecy, authenticated encryption, nothing below TLS 1.2
//! (`research/security.md`, 4.3).

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs, aws_lc_rs::cipher_suite};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig,
    danger::ClientCertVerifier,
};
use rustls::{NamedGroup, SupportedCipherSuite, version};
use thiserror::Error;

/// What is offered, best first: the six of Mozilla's intermediate profile and their TLS 1.3
/// counterparts. A client's own order counts among them: all are good, and only it knows whether
/// its processor has AES.
const SUITES: [SupportedCipherSuite; 9] = [
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Key exchanges, best first.
static GROUPS: [&dyn SupportedKxGroup; 4] = [
    aws_lc_rs::kx_group::X25519MLKEM768,
    aws_lc_rs::kx_group::X25519,
    aws_lc_rs::kx_group::SECP256R1,
    aws_lc_rs::kx_group::SECP384R1,
];

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// rustls refuses the settings.
    #[error("set up TLS")]
    Rustls(#[from] rustls::Error),
}

/// The TLS of one listener.
#[derive(Debug, Clone)]
pub struct Tls {
    all: Arc<ServerConfig>,
    /// The same, but with no key exchange other than X25519MLKEM768: the library follows the
    /// client's order of key exchanges, and this is how the server's comes first.
    post_quantum: Arc<ServerConfig>,
}

impl Tls {
    /// TLS 1.2 and 1.3, no client certificate. A session can be resumed for twelve hours at most:
    /// the key of the tickets changes every six, and the one before it is still taken.
    pub fn api(certificate: &Arc<dyn ResolvesServerCert>) -> Result<Self, TlsError> {
        let ticketer = aws_lc_rs::Ticketer::new()?;
        let config = |provider, versions: &[_]| {
            let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(versions)?
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(certificate));
            config.ticketer = Arc::clone(&ticketer);
            Ok::<_, TlsError>(finish(config))
        };
        Ok(Self {
            all: config(provider(), &[&version::TLS13, &version::TLS12])?,
            post_quantum: config(post_quantum(), &[&version::TLS13])?,
        })
    }

    /// TLS 1.3 only, a client certificate of the claim or the device authority, and no resumption:
    /// a resumed session would not look at the certificate's end again.
    pub fn device(
        certificate: &Arc<dyn ResolvesServerCert>,
        verifier: &Arc<dyn ClientCertVerifier>,
    ) -> Result<Self, TlsError> {
        let config = |provider| {
            let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[&version::TLS13])?
                .with_client_cert_verifier(Arc::clone(verifier))
                .with_cert_resolver(Arc::clone(certificate));
            config.send_tls13_tickets = 0;
            Ok::<_, TlsError>(finish(config))
        };
        Ok(Self {
            all: config(provider())?,
            post_quantum: config(post_quantum())?,
        })
    }

    /// How to answer this client. One that can do X25519MLKEM768 does it, also when it would
    /// rather not, or has guessed another and has to say hello again.
    #[must_use]
    pub fn for_hello(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let hybrid = hello
            .named_groups()
            .is_some_and(|groups| groups.contains(&NamedGroup::X25519MLKEM768));
        // The hybrid is for TLS 1.3, whose suites a client of TLS 1.2 does not name.
        let tls13 = SUITES
            .iter()
            .filter(|suite| suite.tls13().is_some())
            .any(|suite| hello.cipher_suites().contains(&suite.suite()));
        Arc::clone(if hybrid && tls13 {
            &self.post_quantum
        } else {
            &self.all
        })
    }
}

/// What holds for both listeners.
fn finish(mut config: ServerConfig) -> Arc<ServerConfig> {
    // Without a table of sessions there are the tickets of the API and nothing else.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // Data before the handshake's end could be replayed.
    config.max_early_data_size = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

fn post_quantum() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![GROUPS[0]],
        ..provider()
    }
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: GROUPS.to_vec(),
        ..aws_lc_rs::default_provider()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_offered_without_forward_secrecy_and_authenticated_encryption() {
        let names: Vec<_> = provider()
            .cipher_suites
            .iter()
            .map(|suite| format!("{:?}", suite.suite()))
            .collect();
        for name in &names {
            assert!(
                name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"),
                "{name}"
            );
            assert!(
                name.contains("_GCM_") || name.contains("_CHACHA20_POLY1305_"),
                "{name}"
            );
        }
        assert_eq!(names.len(), 9);
        let groups: Vec<_> = provider()
            .kx_groups
            .iter()
            .map(|group| group.name())
            .collect();
        assert_eq!(
            groups,
            [
                NamedGroup::X25519MLKEM768,
                NamedGroup::X25519,
                NamedGroup::secp256r1,
                NamedGroup::secp384r1
            ]
        );
    }
}

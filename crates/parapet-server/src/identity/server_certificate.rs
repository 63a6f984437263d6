//! The server's TLS certificate: made at the start, replaced while it runs, never stored.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::IdentityError;
use super::authority::{Leaf, Succession};

/// Life of a certificate; Mozilla's modern profile asks for 90 days at most.
const LIFE: Duration = Duration::from_hours(90 * 24);

/// The certificate in use.
pub struct ServerCertificate {
    current: ArcSwap<CertifiedKey>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl std::fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("names", &self.names)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl ServerCertificate {
    /// Makes one for these names and addresses.
    pub fn new(
        authority: &Succession,
        names: Vec<String>,
        addresses: Vec<IpAddr>,
    ) -> Result<Self, IdentityError> {
        let first = make(authority, &names, &addresses)?;
        Ok(Self {
            current: ArcSwap::from_pointee(first),
            names,
            addresses,
        })
    }

    /// How long until it should be replaced: when a third of its life is left.
    #[must_use]
    pub fn renew_after() -> Duration {
        LIFE / 3 * 2
    }

    /// Puts a new one in its place; open connections keep theirs.
    pub fn renew(&self, authority: &Succession) -> Result<(), IdentityError> {
        self.current
            .store(Arc::new(make(authority, &self.names, &self.addresses)?));
        Ok(())
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn make(
    authority: &Succession,
    names: &[String],
    addresses: &[IpAddr],
) -> Result<CertifiedKey, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let leaf = authority.issue(&Leaf::Server { names, addresses }, &key, LIFE)?;
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der)?;
    Ok(CertifiedKey::new(vec![leaf.der], key))
}

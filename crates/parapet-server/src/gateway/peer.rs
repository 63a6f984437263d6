//! Who a verified client certificate stands for.

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::identity::Authorities;

/// Before the device ID in a certificate's URI name.
pub const DEVICE_URN: &str = "urn:parapet:device:";

/// The two authorities by their subject, each of which holds a random word of its own.
pub(super) struct Issuers {
    claim: Vec<u8>,
    device: Vec<u8>,
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// May enrol, once.
    Claim { device: String, serial: String },
    /// Is a device.
    Device { device: String, serial: String },
}

impl Issuers {
    pub(super) fn of(authorities: &Authorities) -> Self {
        let subject = |der: &CertificateDer<'_>| {
            X509Certificate::from_der(der)
                .map(|(_, certificate)| certificate.subject().as_raw().to_vec())
                // Our own certificate; an empty subject matches no issuer, which locks out.
                .unwrap_or_default()
        };
        Self {
            claim: subject(authorities.claim.der()),
            device: subject(authorities.device.der()),
        }
    }

    /// Reads a certificate that TLS has verified against one of the two.
    pub(super) fn identify(&self, certificate: &CertificateDer<'_>) -> Option<Identity> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        let mut uris = names
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => uri.strip_prefix(DEVICE_URN),
                _ => None,
            });
        let device = uris.next()?.to_owned();
        if uris.next().is_some() {
            return None;
        }
        let serial = hex::encode(certificate.raw_serial());
        let issuer = certificate.issuer().as_raw();
        if issuer.is_empty() {
            None
        } else if issuer == self.claim {
            Some(Identity::Claim { device, serial })
        } else if issuer == self.device {
            Some(Identity::Device { device, serial })
        } else {
            None
        }
    }
}

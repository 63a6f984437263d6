//! Who a verified client certificate stands for.

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::identity::Authorities;

/// Before the device ID in a certificate's URI name.
pub const DEVICE_URN: &str = "urn:parapet:device:";

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// May enrol, once.
    Claim { device: String, serial: String },
    /// Is a device.
    Device {
        device: String,
        serial: String,
        /// Whether its authority still signs: if not, the device shall renew it now.
        renew: bool,
    },
}

impl Identity {
    /// Whose certificate it is.
    pub(super) fn device(&self) -> &str {
        match self {
            Self::Claim { device, .. } | Self::Device { device, .. } => device,
        }
    }
}

/// Reads a certificate that TLS has verified against one of these authorities. Which one signed it
/// is told by the subject, which holds a random word of its own.
pub(super) fn identify(
    authorities: &Authorities,
    certificate: &CertificateDer<'_>,
) -> Option<Identity> {
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
    if authorities.claim.with_subject(issuer).is_some() {
        return Some(Identity::Claim { device, serial });
    }
    let authority = authorities.device.with_subject(issuer)?;
    Some(Identity::Device {
        device,
        serial,
        renew: authority.id() != authorities.device.signing().id(),
    })
}

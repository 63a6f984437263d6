//! Who the device is: its key, its certificate, whom it trusts, and where the control plane is.
//!
//! Owns `device/key.pem` (mode 0600, made here, never leaving), `device/certificate.pem`,
//! `device/ca.pem` and `device/config.json`. The certificate is written last: without it there is
//! no identity, whatever else is there.

use std::io;
use std::path::{Path, PathBuf};

use parapet_device::enroll::EnrollConfig;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::durable;

/// Why the identity cannot be used.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    #[error("read or write {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("find {path}: enrol the device anew", path = .0.display())]
    Missing(PathBuf),
    #[error("read {path}: it is damaged; enrol the device anew", path = .0.display())]
    Damaged(PathBuf),
    #[error("make a key or a certificate request")]
    Key(#[from] rcgen::Error),
}

/// A device's identity in memory.
pub(crate) struct Identity {
    directory: PathBuf,
    pub(crate) config: EnrollConfig,
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    key_pem: Zeroizing<String>,
    certificate: CertificateDer<'static>,
}

/// When a certificate begins and ends, seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

impl Validity {
    /// Due at two thirds of the life.
    pub(crate) fn renewal_at(self) -> i64 {
        self.not_before + (self.not_after - self.not_before) / 3 * 2
    }
}

impl Identity {
    /// Reads the identity; `None` without a certificate.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, IdentityError> {
        if read(&directory.join("certificate.pem"))?.is_none() {
            return Ok(None);
        }
        let need = |name: &str| -> Result<(PathBuf, Vec<u8>), IdentityError> {
            let path = directory.join(name);
            let bytes = read(&path)?.ok_or_else(|| IdentityError::Missing(path.clone()))?;
            Ok((path, bytes))
        };
        let (path, bytes) = need("config.json")?;
        let config = serde_json::from_slice(&bytes).map_err(|_| IdentityError::Damaged(path))?;
        let (path, bytes) = need("ca.pem")?;
        let authorities = certificates(&bytes).ok_or(IdentityError::Damaged(path))?;
        let (path, bytes) = need("certificate.pem")?;
        let certificate = certificates(&bytes)
            .and_then(|certificates| certificates.into_iter().next())
            .ok_or(IdentityError::Damaged(path))?;
        let (path, bytes) = need("key.pem")?;
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes).map_err(|_| IdentityError::Damaged(path.clone()))?;
        let key_pem = Zeroizing::new(text.to_owned());
        let directory = directory.to_owned();
        Ok(Some(Self {
            directory,
            config,
            authorities,
            key_pem,
            certificate,
        }))
    }

    /// The key, for TLS.
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|_| IdentityError::Damaged(self.directory.join("key.pem")))
    }

    /// The certificate, for TLS.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// When the certificate has to be renewed.
    pub(crate) fn validity(&self) -> Result<Validity, IdentityError> {
        let damaged = || IdentityError::Damaged(self.directory.join("certificate.pem"));
        let (_, parsed) = X509Certificate::from_der(&self.certificate).map_err(|_| damaged())?;
        let validity = parsed.validity();
        Ok(Validity {
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// A certificate request for the same key, so that a renewal replaces one file.
    pub(crate) fn request(&self) -> Result<String, IdentityError> {
        request(&KeyPair::from_pem(&self.key_pem)?)
    }

    /// Takes a renewed certificate.
    pub(crate) fn renewed(&self, certificate: &str) -> Result<Self, IdentityError> {
        let path = self.directory.join("certificate.pem");
        if certificates(certificate.as_bytes()).is_none_or(|certificates| certificates.is_empty()) {
            return Err(IdentityError::Damaged(path));
        }
        write(&path, certificate.as_bytes(), 0o644)?;
        Self::read(&self.directory)?.ok_or(IdentityError::Missing(path))
    }
}

/// Makes a key and the request that goes with it; the key is durable before anybody hears of it.
pub(crate) fn new_key(directory: &Path) -> Result<String, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let pem = Zeroizing::new(key.serialize_pem());
    write(&directory.join("key.pem"), pem.as_bytes(), 0o600)?;
    request(&key)
}

/// Writes the rest of a new identity, the certificate last.
pub(crate) fn write_new(
    directory: &Path,
    config: &EnrollConfig,
    ca: &[u8],
    certificate: &str,
) -> Result<(), IdentityError> {
    let path = directory.join("config.json");
    let config = serde_json::to_vec(config).map_err(|_| IdentityError::Damaged(path.clone()))?;
    write(&path, &config, 0o644)?;
    write(&directory.join("ca.pem"), ca, 0o644)?;
    write(
        &directory.join("certificate.pem"),
        certificate.as_bytes(),
        0o644,
    )
}

/// All certificates of a PEM text; `None` when it has none or is damaged.
pub(crate) fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

fn request(key: &KeyPair) -> Result<String, IdentityError> {
    Ok(CertificateParams::new(Vec::<String>::new())?
        .serialize_request(key)?
        .pem()?)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, IdentityError> {
    durable::read_if_there(path).map_err(|error| IdentityError::File(path.to_owned(), error))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IdentityError> {
    durable::replace(path, bytes, mode).map_err(|error| IdentityError::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_is_due_at_two_thirds_of_the_life() {
        let validity = Validity {
            not_before: 1_000,
            not_after: 1_000 + 90,
        };
        assert_eq!(validity.renewal_at(), 1_060);
    }

    #[test]
    fn the_key_is_readable_by_its_owner_only_and_signs_its_request() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let request = new_key(dir.path()).unwrap();
        assert!(
            request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"),
            "{request}"
        );
        let mode = std::fs::metadata(dir.path().join("key.pem"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            Identity::read(dir.path()).unwrap().is_none(),
            "no identity without certificate"
        );
    }
}

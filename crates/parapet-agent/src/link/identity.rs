//! Who the device is: its key, its certificate, whom it trusts, and where the control plane is.
//!
//! Owns `device/certificate.pem`, `device/ca.pem` and `device/config.json`, and the device's private
//! key, which is made here, never leaves, and lies sealed in the [`Vault`]. The certificate is
//! written last: without it there is no identity, whatever else is there. A renewal makes a new
//! key, the next one, which takes the other's place once the certificate is its own: killed
//! anywhere, the device has a key that fits its certificate.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use parapet_device::enroll::EnrollConfig;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::at_rest::{PrivateKey, Vault, VaultError};
use crate::durable;

/// Authorities of the control plane: one, two during a roll-over, and some room.
const MOST_AUTHORITIES: usize = 4;

/// Why the identity cannot be used.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    #[error("read or write {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("find {path}: enrol the device anew", path = .0.display())]
    Missing(PathBuf),
    #[error("read {path}: it is damaged; enrol the device anew", path = .0.display())]
    Damaged(PathBuf),
    #[error("read or write the device's key")]
    Vault(#[from] VaultError),
    #[error("make a key or a certificate request")]
    Key(#[from] rcgen::Error),
}

/// A device's identity in memory.
pub(crate) struct Identity {
    vault: Vault,
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
    pub(crate) fn read(vault: &Vault) -> Result<Option<Self>, IdentityError> {
        let path = vault.directory().join("certificate.pem");
        if let Some(bytes) = read(&path)? {
            let certificate = leaf(&bytes).ok_or(IdentityError::Damaged(path))?;
            promote_key(vault, &certificate)?;
        }
        Self::peek(vault)
    }

    /// The same, for somebody who only looks: nothing is put in its place.
    pub(crate) fn peek(vault: &Vault) -> Result<Option<Self>, IdentityError> {
        let directory = vault.directory();
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
        let certificate = leaf(&bytes).ok_or(IdentityError::Damaged(path))?;
        let key_pem = vault
            .private_key(PrivateKey::Device)?
            .ok_or_else(|| IdentityError::Missing(directory.join("key.sealed")))?;
        Ok(Some(Self {
            vault: vault.clone(),
            config,
            authorities,
            key_pem,
            certificate,
        }))
    }

    /// The key, for TLS.
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, IdentityError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|_| IdentityError::Damaged(self.vault.directory().join("key.sealed")))
    }

    /// The certificate, for TLS.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// When the certificate has to be renewed.
    pub(crate) fn validity(&self) -> Result<Validity, IdentityError> {
        let damaged = || IdentityError::Damaged(self.vault.directory().join("certificate.pem"));
        validity_of(&self.certificate).ok_or_else(damaged)
    }

    /// A certificate request for the next key. It is made once: after a lost answer the same is
    /// asked for again.
    pub(crate) fn request(&self) -> Result<String, IdentityError> {
        let next = self.vault.private_key(PrivateKey::Next)?;
        if let Some(key) = next.and_then(|pem| KeyPair::from_pem(&pem).ok()) {
            return request(&key);
        }
        make_key(&self.vault, PrivateKey::Next)
    }

    /// Gives the next key up: the control plane does not take it.
    pub(crate) fn discard_request(&self) -> Result<(), IdentityError> {
        Ok(self.vault.forget_private_key(PrivateKey::Next)?)
    }

    /// Takes a renewed certificate.
    pub(crate) fn renewed(&self, certificate: &str) -> Result<Self, IdentityError> {
        let path = self.vault.directory().join("certificate.pem");
        if certificates(certificate.as_bytes()).is_none_or(|certificates| certificates.is_empty()) {
            return Err(IdentityError::Damaged(path));
        }
        write(&path, certificate.as_bytes())?;
        Self::read(&self.vault)?.ok_or(IdentityError::Missing(path))
    }

    /// What tells these authorities from others, as the control plane computes it
    /// ([`parapet_device::enroll::AUTHORITIES_HEADER`]).
    pub(crate) fn authorities_digest(&self) -> String {
        let mut all: Vec<&[u8]> = self.authorities.iter().map(AsRef::as_ref).collect();
        all.sort_unstable();
        hex::encode(digest::digest(&digest::SHA256, &all.concat()))
    }

    /// The same identity with other authorities; on disk nothing has changed yet.
    pub(crate) fn trusting(&self, pem: &str) -> Result<Self, IdentityError> {
        let path = self.vault.directory().join("ca.pem");
        let authorities = certificates(pem.as_bytes())
            .filter(|all| all.len() <= MOST_AUTHORITIES)
            .ok_or(IdentityError::Damaged(path))?;
        Ok(Self {
            vault: self.vault.clone(),
            config: self.config.clone(),
            authorities,
            key_pem: self.key_pem.clone(),
            certificate: self.certificate.clone(),
        })
    }

    /// Keeps the authorities for the next start.
    pub(crate) fn keep_authorities(&self, pem: &str) -> Result<(), IdentityError> {
        write(&self.vault.directory().join("ca.pem"), pem.as_bytes())
    }
}

/// Begin and end of a certificate; `None` for a damaged one.
pub(crate) fn validity_of(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some(Validity {
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
    })
}

fn leaf(pem: &[u8]) -> Option<CertificateDer<'static>> {
    certificates(pem)?.into_iter().next()
}

/// Puts the next key in its place when the certificate is its own.
fn promote_key(vault: &Vault, certificate: &CertificateDer<'_>) -> Result<(), IdentityError> {
    let Some(pem) = vault.private_key(PrivateKey::Next)? else {
        return Ok(());
    };
    let fits = KeyPair::from_pem(&pem).is_ok_and(|key| {
        X509Certificate::from_der(certificate)
            .is_ok_and(|(_, parsed)| parsed.public_key().raw == key.subject_public_key_info())
    });
    if fits {
        vault.keep_private_key(PrivateKey::Device, &pem)?;
        vault.forget_private_key(PrivateKey::Next)?;
    }
    Ok(())
}

/// Makes a key and the request that goes with it; the key is durable before anybody hears of it.
pub(crate) fn new_key(vault: &Vault) -> Result<String, IdentityError> {
    make_key(vault, PrivateKey::Device)
}

fn make_key(vault: &Vault, which: PrivateKey) -> Result<String, IdentityError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let pem = Zeroizing::new(key.serialize_pem());
    vault.keep_private_key(which, &pem)?;
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
    write(&path, &config)?;
    write(&directory.join("ca.pem"), ca)?;
    write(&directory.join("certificate.pem"), certificate.as_bytes())
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

fn write(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    durable::replace(path, bytes, 0o644)
        .map_err(|error| IdentityError::File(path.to_owned(), error))
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
        let vault = Vault::in_file(dir.path());
        let request = new_key(&vault).unwrap();
        assert!(
            request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"),
            "{request}"
        );
        let mode = std::fs::metadata(dir.path().join("key.sealed"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            Identity::read(&vault).unwrap().is_none(),
            "no identity without certificate"
        );
    }

    /// A device with a certificate, and the authority that signs.
    fn enrolled(dir: &Path) -> rcgen::CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = rcgen::CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let config = EnrollConfig {
            version: 1,
            device: "device-a".parse().unwrap(),
            name: "n".to_owned(),
            arn: "a".to_owned(),
            account: "123456789012".to_owned(),
            region: "eu-central-1".to_owned(),
            endpoint: "https://127.0.0.1:1".to_owned(),
        };
        let request = new_key(&Vault::in_file(dir)).unwrap();
        write_new(dir, &config, ca.pem().as_bytes(), &signed(&ca, &request)).unwrap();
        ca
    }

    fn signed(ca: &rcgen::CertifiedIssuer<'static, KeyPair>, request: &str) -> String {
        let request = rcgen::CertificateSigningRequestParams::from_pem(request).unwrap();
        request.signed_by(ca).unwrap().pem()
    }

    fn read_again(dir: &Path) -> Identity {
        Identity::read(&Vault::in_file(dir)).unwrap().unwrap()
    }

    fn key_of(dir: &Path) -> String {
        let key = Vault::in_file(dir).private_key(PrivateKey::Device);
        key.unwrap().unwrap().to_string()
    }

    fn next_key_of(dir: &Path) -> Option<String> {
        let key = Vault::in_file(dir).private_key(PrivateKey::Next);
        key.unwrap().map(|pem| pem.to_string())
    }

    #[test]
    fn a_renewal_has_a_new_key_and_the_same_one_after_a_lost_answer() {
        let dir = tempfile::tempdir().unwrap();
        let ca = enrolled(dir.path());
        let identity = read_again(dir.path());
        let before = key_of(dir.path());
        identity.request().unwrap();
        let lost = next_key_of(dir.path()).unwrap();
        let request = identity.request().unwrap();
        assert_eq!(next_key_of(dir.path()).as_deref(), Some(lost.as_str()));
        assert_eq!(
            key_of(dir.path()),
            before,
            "not before the certificate is there"
        );
        let renewed = identity.renewed(&signed(&ca, &request)).unwrap();
        assert_eq!(key_of(dir.path()), lost);
        assert!(next_key_of(dir.path()).is_none());
        assert_ne!(renewed.certificate, identity.certificate);
    }

    #[test]
    fn a_device_that_is_killed_during_a_renewal_has_a_key_that_fits() {
        let dir = tempfile::tempdir().unwrap();
        let ca = enrolled(dir.path());
        let identity = read_again(dir.path());
        let before = key_of(dir.path());
        let request = identity.request().unwrap();
        // Killed before the certificate is written: the old key stays.
        read_again(dir.path());
        assert_eq!(key_of(dir.path()), before);
        // Killed right after: the next start takes the new key.
        let certificate = signed(&ca, &request);
        std::fs::write(dir.path().join("certificate.pem"), certificate).unwrap();
        read_again(dir.path());
        assert_ne!(key_of(dir.path()), before);
        assert!(next_key_of(dir.path()).is_none());
    }
}

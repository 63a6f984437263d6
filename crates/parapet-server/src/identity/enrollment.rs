//! Claims: the archive that turns an appliance into a device, and the exchange of a claim, or of an
//! older certificate, for a device certificate.
//!
//! The claim's key is made here, travels in the archive, and is not kept. It is good once, for five
//! minutes by this server's clock. The device's own key never comes here
//! (`docs/device-protocol.md`).

use std::io::{Cursor, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parapet_device::enroll::{CertificateResponse, EnrollConfig};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use thiserror::Error;
use tokio::sync::watch;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::IdentityError;
use super::authority::{self, Authorities, Leaf};
use crate::audit::{Audit, Event};
use crate::store::certificates::{self, ClaimRecord, DeviceCertificate};
use crate::store::devices::{self, Device, Provisioning};
use crate::store::{Micros, Scope, Store, StoreError};

/// Life of a claim (`spec/api.md`, `ProvisionDevice`).
const CLAIM_LIFE: Duration = Duration::from_mins(5);
/// Life of a device certificate; agents renew from the first day on, so a week offline is no harm.
const DEVICE_LIFE: Duration = Duration::from_hours(7 * 24);

/// `certificates-omni_NAME.zip`.
pub type Archive = Vec<u8>;

/// A claim for a new device.
pub struct Claim {
    /// The archive to hand to the operator.
    pub archive: Archive,
    /// To be stored in the transaction that makes the device
    /// ([`certificates::insert_claim`]).
    pub record: ClaimRecord,
}

/// Why a claim was not made, or not taken.
#[derive(Debug, Error)]
pub enum EnrollError {
    /// The certificate or its key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The archive.
    #[error("pack the archive of a claim")]
    Archive(#[from] zip::result::ZipError),
    /// The archive, while it is written.
    #[error("pack the archive of a claim")]
    Write(#[from] std::io::Error),
    /// `config.json`.
    #[error("write config.json of a claim")]
    Config(#[from] serde_json::Error),
    /// No certificate request, or its signature does not fit.
    #[error("read the certificate request: send a PKCS#10 request in PEM, signed by its own key")]
    Request(#[source] rcgen::Error),
    /// Another kind of key.
    #[error("take the key of the certificate request: it must be P-256")]
    KeyKind,
    /// The same key again.
    #[error("take the key of the certificate request: it was used before, make a new one")]
    KeyKnown,
    /// Used, expired, of a deleted device, or of nobody.
    #[error(
        "take the claim: it is used, expired, or its device is deleted; provision the device anew"
    )]
    ClaimSpent,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a device asks for a certificate: what that changes, and what is told of it.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// Holds claims and certificates.
    pub store: &'a Store,
    /// Hears of each certificate.
    pub audit: &'a Audit,
    /// Where the device is.
    pub address: IpAddr,
}

/// Makes claims and device certificates.
pub struct Enrollment {
    authorities: watch::Sender<Arc<Authorities>>,
    scope: Scope,
    endpoint: String,
}

impl Enrollment {
    /// With these authorities; `endpoint` is the URL under which devices reach this server.
    #[must_use]
    pub fn new(authorities: Authorities, scope: Scope, endpoint: String) -> Self {
        Self {
            authorities: watch::Sender::new(Arc::new(authorities)),
            scope,
            endpoint,
        }
    }

    /// The authorities of this moment.
    #[must_use]
    pub fn authorities(&self) -> Arc<Authorities> {
        Arc::clone(&self.authorities.borrow())
    }

    /// Tells of other authorities.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Authorities>> {
        self.authorities.subscribe()
    }

    /// Goes on with these, at the next handshake and the next signature.
    pub(super) fn replace(&self, authorities: Authorities) {
        self.authorities.send_replace(Arc::new(authorities));
    }

    /// A claim for a device that is about to be stored.
    pub fn claim(&self, device: &Device, now: Micros) -> Result<Claim, EnrollError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(IdentityError::from)?;
        let leaf = Leaf::Device { id: &device.id };
        let authorities = self.authorities();
        let claim = authorities.claim.issue(&leaf, &key, CLAIM_LIFE)?;
        let id = device.id.parse().map_err(|_| EnrollError::KeyKind)?;
        let config = EnrollConfig {
            version: parapet_device::PROTOCOL_VERSION,
            device: id,
            name: device.name.clone(),
            arn: self.device_arn(&device.id),
            account: self.scope.account.clone(),
            region: self.scope.region.clone(),
            endpoint: self.endpoint.clone(),
        };
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().unix_permissions(0o600);
        let config = serde_json::to_vec_pretty(&config)?;
        let private = zeroize::Zeroizing::new(key.serialize_pem());
        for (name, bytes) in [
            ("config.json", config.as_slice()),
            ("ca.pem", authorities.server.pem().as_bytes()),
            ("claim.crt", claim.pem.as_bytes()),
            ("claim.key", private.as_bytes()),
        ] {
            archive.start_file(name, options)?;
            archive.write_all(bytes)?;
        }
        let record = ClaimRecord {
            serial: claim.serial,
            device: device.id.clone(),
            // The row decides, not the certificate: `now` is this server's clock.
            expires: now.after(CLAIM_LIFE),
        };
        Ok(Claim {
            archive: archive.finish()?.into_inner(),
            record,
        })
    }

    /// Exchanges a claim for the device's first certificate, or, after the device was set up
    /// anew, for its next.
    pub async fn enroll(
        &self,
        desk: &Desk<'_>,
        device: String,
        claim_serial: String,
        request_pem: &str,
    ) -> Result<CertificateResponse, EnrollError> {
        let scope = self.scope.clone();
        let now = Micros::now();
        self.issue(desk, device.clone(), None, request_pem, move |tx| {
            if !certificates::use_claim(tx, &scope, &claim_serial, &device, now)? {
                return Err(EnrollError::ClaimSpent);
            }
            devices::set_provisioning(tx, &scope, &device, Provisioning::Pending, now)?;
            Ok(())
        })
        .await
    }

    /// The next certificate of a device that the gateway has authenticated by the certificate
    /// with the serial number `shown`.
    pub async fn renew(
        &self,
        desk: &Desk<'_>,
        device: String,
        shown: String,
        request_pem: &str,
    ) -> Result<CertificateResponse, EnrollError> {
        self.issue(desk, device, Some(shown), request_pem, |_| Ok(()))
            .await
    }

    fn device_arn(&self, device: &str) -> String {
        let Scope { account, region } = &self.scope;
        format!("arn:aws:panorama:{region}:{account}:device/{device}")
    }

    /// Signs and stores a certificate in one transaction with `first` and the record of it.
    async fn issue(
        &self,
        desk: &Desk<'_>,
        device: String,
        shown: Option<String>,
        request_pem: &str,
        first: impl FnOnce(&crate::store::Tx<'_>) -> Result<(), EnrollError> + Send + 'static,
    ) -> Result<CertificateResponse, EnrollError> {
        let key = authority::request_key(request_pem)
            .map_err(EnrollError::Request)?
            .ok_or(EnrollError::KeyKind)?;
        let leaf = Leaf::Device { id: &device };
        let authorities = self.authorities();
        let issued = authorities.device.issue(&leaf, &key, DEVICE_LIFE)?;
        let authority = authorities.device.signing().id().to_owned();
        let key_sha256 = authority::key_digest(&key);
        let (scope, serial, expires) = (self.scope.clone(), issued.serial, issued.expires);
        let (audit, address) = (desk.audit.clone(), desk.address);
        let arn = self.device_arn(&device);
        let number = desk
            .store
            .write(move |tx| {
                first(tx)?;
                let record = DeviceCertificate {
                    serial,
                    key_sha256,
                    authority,
                    expires,
                };
                let number = certificates::insert_certificate(
                    tx,
                    &scope,
                    &device,
                    &record,
                    shown.as_deref(),
                    Micros::now(),
                )?
                .ok_or(EnrollError::KeyKnown)?;
                let (device, arn) = (device.as_str(), arn.as_str());
                let event = if shown.is_some() {
                    Event::DeviceCertificateRenewed {
                        address,
                        device,
                        arn,
                        number,
                    }
                } else {
                    Event::DeviceEnrolled {
                        address,
                        device,
                        arn,
                        number,
                    }
                };
                audit.append(tx, &event)?;
                Ok::<_, EnrollError>(number)
            })
            .await?;
        Ok(CertificateResponse {
            certificate: issued.pem,
            serial: number,
            not_after: u64::try_from(issued.expires.0.div_euclid(1_000_000)).unwrap_or(0),
        })
    }
}

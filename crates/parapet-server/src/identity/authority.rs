//! The three certificate authorities: one for this server, one for claims, one for devices.
//!
//! Apart, so that a claim is never taken for a device nor a device for the server. All keys are
//! P-256. A leaf's validity, uses and names are always set here: a request's own wishes are never
//! copied.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest;
use parapet_auth::Label;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::{IdentityError, KeyRing};
use crate::random;
use crate::store::{self, Micros, Scope, Store};

/// Life of an authority: ten years.
const AUTHORITY_LIFE: Duration = Duration::from_hours(3650 * 24);
/// A leaf is valid from this long before it was made, for clocks that are slow.
const BEFORE: Duration = Duration::from_mins(5);

/// All three.
pub struct Authorities {
    /// Signs this server's TLS certificate; clients trust its certificate, `ca.pem`.
    pub server: Authority,
    /// Signs claims: one use, five minutes.
    pub claim: Authority,
    /// Signs device certificates.
    pub device: Authority,
}

/// One authority, ready to sign.
pub struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a leaf is for.
pub enum Leaf<'a> {
    /// The server's own: these names and addresses.
    Server {
        /// DNS names.
        names: &'a [String],
        /// IP addresses.
        addresses: &'a [IpAddr],
    },
    /// A claim or a device, named by `urn:parapet:device:<id>`.
    Device {
        /// `device-…`.
        id: &'a str,
    },
}

/// A signed leaf.
pub struct IssuedLeaf {
    /// PEM.
    pub pem: String,
    /// DER.
    pub der: CertificateDer<'static>,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// End of validity.
    pub expires: Micros,
}

impl Authorities {
    /// Opens the stored authorities, makes those that are missing.
    pub async fn load(
        store: &Store,
        scope: &Scope,
        master: &KeyRing,
    ) -> Result<Self, IdentityError> {
        Ok(Self {
            server: Authority::load(store, scope, master, "server").await?,
            claim: Authority::load(store, scope, master, "claim").await?,
            device: Authority::load(store, scope, master, "device").await?,
        })
    }
}

impl Authority {
    async fn load(
        store: &Store,
        scope: &Scope,
        master: &KeyRing,
        kind: &'static str,
    ) -> Result<Self, IdentityError> {
        let label = Label {
            table: "authorities",
            account: &scope.account,
            id: kind,
            column: "wrapped",
            version: 1,
        };
        let at = scope.clone();
        let stored = store
            .read(move |connection| store::authorities::get(connection, &at, kind))
            .await?;
        if let Some(stored) = stored {
            let key = master.unwrap(&label, &stored.wrapped)?;
            let key = KeyPair::try_from(key.as_slice())?;
            return Self::from_parts(stored.certificate_pem, key);
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate_pem = certificate_of(kind)?.self_signed(&key)?.pem();
        let plain = Zeroizing::new(key.serialize_der());
        let nonce = random::bytes().map_err(IdentityError::Random)?;
        let record = store::authorities::Authority {
            certificate_pem: certificate_pem.clone(),
            wrapped: master.wrap(&label, &plain, nonce)?,
        };
        let at = scope.clone();
        store
            .write(move |tx| store::authorities::insert(tx, &at, kind, &record, Micros::now()))
            .await?;
        Self::from_parts(certificate_pem, key)
    }

    fn from_parts(certificate_pem: String, key: KeyPair) -> Result<Self, IdentityError> {
        use rustls_pki_types::pem::PemObject as _;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self {
            certificate_pem,
            certificate,
            issuer,
        })
    }

    /// The certificate that others trust.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The same in DER.
    #[must_use]
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs a leaf for a public key.
    pub fn issue(
        &self,
        leaf: &Leaf<'_>,
        key: &impl PublicKeyData,
        life: Duration,
    ) -> Result<IssuedLeaf, IdentityError> {
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        match leaf {
            Leaf::Server { names, addresses } => {
                name.push(DnType::CommonName, "Parapet");
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                for dns in *names {
                    params
                        .subject_alt_names
                        .push(SanType::DnsName(dns.as_str().try_into()?));
                }
                let addresses = addresses.iter().copied().map(SanType::IpAddress);
                params.subject_alt_names.extend(addresses);
            }
            Leaf::Device { id } => {
                name.push(DnType::CommonName, "Parapet device");
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                let uri = format!("{}{id}", crate::gateway::DEVICE_URN);
                params
                    .subject_alt_names
                    .push(SanType::URI(uri.as_str().try_into()?));
            }
        }
        params.distinguished_name = name;
        let mut serial = random::bytes::<16>().map_err(IdentityError::Random)?;
        // Positive, and never shortened: DER drops leading zeros.
        serial[0] = (serial[0] & 0x7f) | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let now = Micros::now();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + since_epoch(now) - BEFORE;
        let expires = now.after(life);
        params.not_after = epoch + since_epoch(expires);
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(IssuedLeaf {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            serial: hex::encode(serial),
            expires,
        })
    }
}

/// A certificate request's public key, after its proof of possession; `None` when it is no P-256.
pub(crate) fn request_key(pem: &str) -> Result<Option<rcgen::PublicKey>, rcgen::Error> {
    let request = CertificateSigningRequestParams::from_pem(pem)?;
    let fits = *request.public_key.algorithm() == PKCS_ECDSA_P256_SHA256;
    Ok(fits.then_some(request.public_key))
}

/// SHA-256 of a public key, hexadecimal.
pub(crate) fn key_digest(key: &impl PublicKeyData) -> String {
    hex::encode(digest::digest(
        &digest::SHA256,
        &key.subject_public_key_info(),
    ))
}

fn certificate_of(kind: &str) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    // A word of its own in the name: two servers on one machine are told apart in trust stores.
    let own = random::hex::<4>().map_err(IdentityError::Random)?;
    name.push(DnType::CommonName, format!("Parapet {kind} CA {own}"));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = Micros::now();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now) - BEFORE;
    params.not_after = epoch + since_epoch(now.after(AUTHORITY_LIFE));
    Ok(params)
}

/// Certificates know whole seconds.
fn since_epoch(time: Micros) -> Duration {
    Duration::from_secs(u64::try_from(time.0.div_euclid(1_000_000)).unwrap_or(0))
}

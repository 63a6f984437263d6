//! The three certificate authorities: one for this server, one for claims, one for devices.
//!
//! Apart, so that a claim is never taken for a device nor a device for the server. All keys are
//! P-256. A leaf's validity, uses and names are always set here: a request's own wishes are never
//! copied. While one authority follows another both are trusted and one signs: [`Succession`];
//! the steps are in [`super::rollover`].

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use parapet_auth::Label;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::{IdentityError, KeyRing};
use crate::random;
use crate::store::authorities::{self, State};
use crate::store::{Micros, Scope, Store};

/// Life of an authority: ten years.
const AUTHORITY_LIFE: Duration = Duration::from_hours(3650 * 24);
/// A leaf is valid from this long before it was made, for clocks that are slow.
const BEFORE: Duration = Duration::from_mins(5);

/// What an authority signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This server's TLS certificate; clients and devices trust it, `ca.pem`.
    Server,
    /// Claims: one use, five minutes.
    Claim,
    /// Device certificates.
    Device,
}

impl Kind {
    /// As it is stored and written in requests.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Claim => "claim",
            Self::Device => "device",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Server, Self::Claim, Self::Device]
            .into_iter()
            .find(|kind| kind.text() == text)
    }
}

/// All three.
pub struct Authorities {
    /// Sign this server's TLS certificate.
    pub server: Succession,
    /// Sign claims.
    pub claim: Succession,
    /// Sign device certificates.
    pub device: Succession,
    /// Verifies certificates of claims and devices.
    verifier: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities")
            .field("server", &self.server)
            .field("claim", &self.claim)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

/// The authorities of one kind that are trusted now, one of which signs.
#[derive(Debug)]
pub struct Succession {
    signing: Authority,
    /// Follows: trusted, signs nothing yet.
    next: Option<Authority>,
    /// Went before: trusted until its leaves are gone.
    previous: Option<Authority>,
}

/// One authority, ready to sign. Its `Debug` shows the name only.
pub struct Authority {
    id: String,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    subject: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authority").field(&self.id).finish()
    }
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
        let server = Succession::load(store, scope, master, Kind::Server).await?;
        let claim = Succession::load(store, scope, master, Kind::Claim).await?;
        let device = Succession::load(store, scope, master, Kind::Device).await?;
        let mut roots = RootCertStore::empty();
        for authority in claim.trusted().chain(device.trusted()) {
            roots.add(authority.certificate.clone())?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self {
            server,
            claim,
            device,
            verifier,
        })
    }

    /// Those of a kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> &Succession {
        match kind {
            Kind::Server => &self.server,
            Kind::Claim => &self.claim,
            Kind::Device => &self.device,
        }
    }

    /// Verifies certificates of claims and devices against all that are trusted for them.
    pub(crate) fn verifier(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.verifier
    }
}

impl Succession {
    async fn load(
        store: &Store,
        scope: &Scope,
        master: &KeyRing,
        kind: Kind,
    ) -> Result<Self, IdentityError> {
        let at = scope.clone();
        let stored = store
            .read(move |connection| authorities::of_kind(connection, &at, kind.text()))
            .await?;
        let (mut signing, mut next, mut previous) = (None, None, None);
        for record in stored {
            let place = match record.state {
                State::Signing => &mut signing,
                State::Next => &mut next,
                State::Previous => &mut previous,
            };
            *place = Some(Authority::open(scope, master, record)?);
        }
        let signing = match signing {
            Some(signing) => signing,
            None => Authority::make(store, scope, master, kind, State::Signing).await?,
        };
        Ok(Self {
            signing,
            next,
            previous,
        })
    }

    /// The one that signs.
    #[must_use]
    pub fn signing(&self) -> &Authority {
        &self.signing
    }

    /// The one that will sign.
    #[must_use]
    pub fn next(&self) -> Option<&Authority> {
        self.next.as_ref()
    }

    /// The one that signed before.
    #[must_use]
    pub fn previous(&self) -> Option<&Authority> {
        self.previous.as_ref()
    }

    /// All that are trusted, the one that signs first.
    pub fn trusted(&self) -> impl Iterator<Item = &Authority> {
        std::iter::once(&self.signing)
            .chain(&self.next)
            .chain(&self.previous)
    }

    /// The certificates of all that are trusted, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.trusted().map(Authority::pem).collect()
    }

    /// What tells this set from another: SHA-256 over its certificates (DER, in the order of
    /// their bytes), hexadecimal. Devices compute the same (`docs/device-protocol.md`).
    #[must_use]
    pub fn digest(&self) -> String {
        let mut all: Vec<&[u8]> = self.trusted().map(|one| one.certificate.as_ref()).collect();
        all.sort_unstable();
        hex::encode(digest::digest(&digest::SHA256, &all.concat()))
    }

    /// The trusted authority with this subject (DER).
    pub(crate) fn with_subject(&self, subject: &[u8]) -> Option<&Authority> {
        self.trusted()
            .find(|authority| !subject.is_empty() && authority.subject == subject)
    }

    /// Signs a leaf for a public key.
    pub fn issue(
        &self,
        leaf: &Leaf<'_>,
        key: &impl PublicKeyData,
        life: Duration,
    ) -> Result<IssuedLeaf, IdentityError> {
        self.signing.issue(leaf, key, life)
    }
}

impl Authority {
    fn label<'a>(scope: &'a Scope, id: &'a str) -> Label<'a> {
        Label {
            table: "authorities",
            account: &scope.account,
            id,
            column: "wrapped",
            version: 1,
        }
    }

    fn open(
        scope: &Scope,
        master: &KeyRing,
        record: authorities::Authority,
    ) -> Result<Self, IdentityError> {
        let key = master.unwrap(&Self::label(scope, &record.id), &record.wrapped)?;
        let key = KeyPair::try_from(key.as_slice())?;
        Self::from_parts(record.id, record.certificate_pem, key)
    }

    /// Makes an authority and stores it in this state.
    pub(super) async fn make(
        store: &Store,
        scope: &Scope,
        master: &KeyRing,
        kind: Kind,
        state: State,
    ) -> Result<Self, IdentityError> {
        // A word of its own in the name: two servers on one machine, and two authorities of one
        // server, are told apart in trust stores.
        let own = random::hex::<4>().map_err(IdentityError::Random)?;
        let id = format!("{}-{own}", kind.text());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let name = format!("Parapet {} CA {own}", kind.text());
        let certificate_pem = certificate_of(name).self_signed(&key)?.pem();
        let plain = Zeroizing::new(key.serialize_der());
        let nonce = random::bytes().map_err(IdentityError::Random)?;
        let record = authorities::Authority {
            wrapped: master.wrap(&Self::label(scope, &id), &plain, nonce)?,
            id: id.clone(),
            state,
            certificate_pem: certificate_pem.clone(),
        };
        let at = scope.clone();
        store
            .write(move |tx| authorities::insert(tx, &at, kind.text(), &record, Micros::now()))
            .await?;
        Self::from_parts(id, certificate_pem, key)
    }

    fn from_parts(
        id: String,
        certificate_pem: String,
        key: KeyPair,
    ) -> Result<Self, IdentityError> {
        use rustls_pki_types::pem::PemObject as _;
        let damaged = || rcgen::Error::CouldNotParseCertificate;
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| damaged())?;
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| damaged())?;
        let subject = parsed.subject().as_raw().to_vec();
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self {
            id,
            certificate_pem,
            certificate,
            subject,
            issuer,
        })
    }

    /// Its name, and that of its row.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
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

fn certificate_of(common_name: String) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = Micros::now();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now) - BEFORE;
    params.not_after = epoch + since_epoch(now.after(AUTHORITY_LIFE));
    params
}

/// Certificates know whole seconds.
fn since_epoch(time: Micros) -> Duration {
    Duration::from_secs(u64::try_from(time.0.div_euclid(1_000_000)).unwrap_or(0))
}

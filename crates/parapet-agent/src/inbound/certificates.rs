//! TLS in front of an inbound port: who the appliance says it is, and whom it lets in.
//!
//! The appliance has an authority of its own for this, made on it at the first need:
//! a key that never leaves and lies sealed in the [`Vault`], and `device/inbound/ca.pem`, which
//! clients are given to trust. A certificate is made for the address that a client connects to, with the
//! names of the configuration beside it, and lives in memory. The device's certificate for the
//! control plane is another one: it opens that door and no other.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand;
use parapet_device::confinement::InboundTls;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::{RootCertStore, crypto, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::at_rest::{PrivateKey, Vault, VaultError};
use crate::durable;
use crate::launcher::lock;
use crate::link::identity::certificates;

/// The authority outlives the appliance; a certificate is made anew long before its end.
const AUTHORITY_LIFE: Duration = Duration::from_hours(24 * 365 * 20);
const LIFE: Duration = Duration::from_hours(24 * 30);
const RENEW: Duration = Duration::from_hours(24 * 7);
/// Clients' clocks differ.
const BEFORE: Duration = Duration::from_hours(24);
/// Addresses that the appliance has certificates for at a time.
const MOST_ADDRESSES: usize = 64;
/// Authorities of clients of one port.
const MOST_AUTHORITIES: usize = 32;

/// Why there is no TLS at a port.
#[derive(Debug, Error)]
pub(crate) enum CertificateError {
    #[error("read or write {path}: {1}", path = .0.display())]
    File(PathBuf, io::Error),
    #[error("read {path}: it is damaged; remove it, and give clients the new one", path = .0.display())]
    Damaged(PathBuf),
    #[error("read or write the authority's key")]
    Vault(#[from] VaultError),
    #[error("make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error(
        "read client_authorities: give up to {MOST_AUTHORITIES} certificates of authorities in PEM"
    )]
    Authorities,
    #[error("draw a random number")]
    Random,
}

/// The appliance's authority and its certificates.
pub(crate) struct Certificates {
    vault: Vault,
    names: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    authority: Option<Authority>,
    made: BTreeMap<IpAddr, Made>,
}

struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

#[derive(Clone)]
struct Made {
    at: SystemTime,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<Zeroizing<Vec<u8>>>,
}

impl Certificates {
    /// Kept in the vault; `names` are those that clients know the appliance by.
    pub(crate) fn new(vault: Vault, names: Vec<String>) -> Self {
        Self {
            vault,
            names,
            state: Mutex::default(),
        }
    }

    /// The certificate for clients that connect to `address`.
    fn of(&self, address: IpAddr) -> Result<Made, CertificateError> {
        let now = SystemTime::now();
        let mut state = lock(&self.state);
        let State { authority, made } = &mut *state;
        let old = |made: &Made| now.duration_since(made.at).map_or(true, |age| age > RENEW);
        if let Some(made) = made.get(&address).filter(|made| !old(made)) {
            return Ok(made.clone());
        }
        let authority = match authority {
            Some(authority) => authority,
            none => none.insert(self.authority(now)?),
        };
        let fresh = authority.make(address, &self.names, now)?;
        made.retain(|_, made| !old(made));
        if made.len() >= MOST_ADDRESSES {
            made.pop_first();
        }
        made.insert(address, fresh.clone());
        Ok(fresh)
    }

    /// Reads the authority, or makes it: the certificate last, so that there is none without key.
    fn authority(&self, now: SystemTime) -> Result<Authority, CertificateError> {
        let directory = self.vault.directory().join("inbound");
        let path = directory.join("ca.pem");
        let failed = |path: &PathBuf| {
            let path = path.clone();
            move |error| CertificateError::File(path, error)
        };
        if let Some(pem) = durable::read_if_there(&path).map_err(failed(&path))? {
            let key = self.vault.private_key(PrivateKey::Inbound)?;
            let key = key.and_then(|pem| KeyPair::from_pem(&pem).ok());
            let key = key.ok_or_else(|| CertificateError::Damaged(path.clone()))?;
            let certificate = certificates(&pem)
                .and_then(|all| all.into_iter().next())
                .ok_or_else(|| CertificateError::Damaged(path.clone()))?;
            let issuer = Issuer::from_ca_cert_der(&certificate, key)
                .map_err(|_| CertificateError::Damaged(path))?;
            return Ok(Authority {
                certificate,
                issuer,
            });
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let serial = serial()?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        // Two appliances' authorities are two names.
        let told_apart = hex::encode(&serial[..4]);
        name.push(
            DnType::CommonName,
            format!("Parapet appliance {told_apart}"),
        );
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        set_life(&mut params, now, AUTHORITY_LIFE);
        let certificate = params.self_signed(&key)?;
        let pem = Zeroizing::new(key.serialize_pem());
        self.vault.keep_private_key(PrivateKey::Inbound, &pem)?;
        durable::replace(&path, certificate.pem().as_bytes(), 0o644).map_err(failed(&path))?;
        let certificate = certificate.der().clone();
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        tracing::info!(
            file = %path.display(),
            "an authority for inbound ports was made: clients are to trust this file"
        );
        Ok(Authority {
            certificate,
            issuer,
        })
    }
}

impl Authority {
    fn make(
        &self,
        address: IpAddr,
        names: &[String],
        now: SystemTime,
    ) -> Result<Made, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "Parapet inbound port");
        params.distinguished_name = name;
        params.subject_alt_names.push(SanType::IpAddress(address));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&serial()?));
        set_life(&mut params, now, LIFE);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Made {
            at: now,
            chain: vec![certificate.der().clone(), self.certificate.clone()],
            key: Arc::new(Zeroizing::new(key.serialize_der())),
        })
    }
}

fn set_life(params: &mut CertificateParams, now: SystemTime, life: Duration) {
    // Certificates know whole seconds.
    let since = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since);
    params.not_before = now - BEFORE;
    params.not_after = now + life;
}

fn serial() -> Result<[u8; 16], CertificateError> {
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| CertificateError::Random)?;
    // Positive, and never shortened: DER drops leading zeros.
    serial[0] = (serial[0] & 0x7f) | 0x40;
    Ok(serial)
}

/// TLS of one port.
pub(super) struct Tls {
    certificates: Arc<Certificates>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Tls {
    pub(super) fn new(
        certificates: Arc<Certificates>,
        wanted: &InboundTls,
    ) -> Result<Self, CertificateError> {
        let clients = if wanted.client_authorities.is_empty() {
            None
        } else {
            Some(verifier(&wanted.client_authorities)?)
        };
        // The authority is there from now on, also for whoever carries it to the clients.
        certificates.of(IpAddr::from([127, 0, 0, 1]))?;
        Ok(Self {
            certificates,
            clients,
        })
    }

    /// For a client that has connected to `address`.
    pub(super) fn acceptor(&self, address: IpAddr) -> Result<TlsAcceptor, CertificateError> {
        let made = self.certificates.of(address.to_canonical())?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.key.to_vec()));
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let builder = match &self.clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(made.chain, key)?;
        // A resumed session would not look at a client's certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config).into())
    }
}

fn provider() -> Arc<crypto::CryptoProvider> {
    Arc::new(crypto::aws_lc_rs::default_provider())
}

fn verifier(pem: &str) -> Result<Arc<dyn ClientCertVerifier>, CertificateError> {
    let mut roots = RootCertStore::empty();
    let authorities = certificates(pem.as_bytes())
        .filter(|all| all.len() <= MOST_AUTHORITIES)
        .ok_or(CertificateError::Authorities)?;
    for authority in authorities {
        roots
            .add(authority)
            .map_err(|_| CertificateError::Authorities)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|_| CertificateError::Authorities)
}

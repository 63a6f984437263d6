//! The operator's own certificate for the API and the console: read from files, checked before it
//! is used, replaced while connections live.
//!
//! Devices never see it: their listener keeps the certificate of the server's own authority, which
//! is what they were given to trust.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::store::Micros;

/// Largest file that is read: a chain has a few thousand bytes, a system's bundle of authorities
/// some hundred thousand.
const FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Where a system keeps the authorities it trusts: Debian and its kin, Fedora and its kin, Alpine
/// and openSUSE.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// What the operator has configured: `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then those that lead to its authority, without the root.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
    /// PEM: the authorities that clients shall trust; the system's when this is `None`.
    pub ca_bundle: Option<PathBuf>,
}

/// Why a certificate of the operator's is not used.
#[derive(Debug, Error)]
pub enum CertificateFault {
    /// A file that cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No certificate inside.
    #[error("find a certificate in {0}: it must hold PEM, the server's own certificate first")]
    NoCertificate(PathBuf),
    /// No key inside.
    #[error("find a private key in {0}: it must hold one in PEM, not encrypted")]
    NoKey(PathBuf),
    /// Everybody on this machine can read the key.
    #[error("use the private key {path}: others may read it (mode {mode:o}); run chmod o= on it")]
    KeyMode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Certificate and key that do not belong together, or a kind of key that TLS does not take.
    #[error("use {certificate} with {key}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// No X.509 inside.
    #[error("read the certificate in {0}: it is no X.509")]
    Encoding(PathBuf),
    /// Too old or too new.
    #[error("use the certificate in {path}: it is valid from {from} to {to}, and now is not in it")]
    Validity {
        /// Which file.
        path: PathBuf,
        /// Begin.
        from: String,
        /// End.
        to: String,
    },
    /// Nobody could check it.
    #[error(
        "find the authorities that clients shall trust: set ca_bundle in [tls], this system has none at the usual places"
    )]
    NoBundle,
}

/// The certificate in use.
pub struct OperatorCertificate {
    files: CertificateFiles,
    /// Taken before the files were first read.
    stamps: [Option<Stamp>; 2],
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    not_after: String,
}

/// What tells that a file is another one, or has other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl CertificateFiles {
    /// What the files are now; `None` for one that is not there.
    pub(crate) fn stamps(&self) -> [Option<Stamp>; 2] {
        [&self.certificate, &self.key].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some(Stamp {
                device: found.dev(),
                inode: found.ino(),
                bytes: found.len(),
                // Of the inode, not of the content: a corrected mode is news too.
                changed: (found.ctime(), found.ctime_nsec()),
            })
        })
    }

    /// The authorities that clients shall trust, as PEM.
    pub fn authorities(&self) -> Result<String, CertificateFault> {
        let path = match &self.ca_bundle {
            Some(path) => path.as_path(),
            None => SYSTEM_BUNDLES
                .iter()
                .map(Path::new)
                .find(|path| path.is_file())
                .ok_or(CertificateFault::NoBundle)?,
        };
        let text = read(path)?;
        let found = CertificateDer::pem_slice_iter(&text).next();
        if !matches!(found, Some(Ok(_))) {
            return Err(CertificateFault::NoCertificate(path.to_owned()));
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn load(&self, now: Micros) -> Result<Loaded, CertificateFault> {
        let mode = open(&self.key)?
            .metadata()
            .map_err(|source| unread(&self.key, source))?
            .permissions()
            .mode()
            & 0o7777;
        if mode & 0o007 != 0 {
            let path = self.key.clone();
            return Err(CertificateFault::KeyMode { path, mode });
        }
        let missing = || CertificateFault::NoCertificate(self.certificate.clone());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(&self.certificate)?)
            .collect::<Result<_, _>>()
            .map_err(|_| missing())?;
        let leaf = chain.first().ok_or_else(missing)?;
        let not_after = check_validity(leaf, &self.certificate, now)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|_| CertificateFault::NoKey(self.key.clone()))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = key.map_err(|source| CertificateFault::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })?;
        Ok(Loaded {
            key: Arc::new(key),
            not_after,
        })
    }
}

impl std::fmt::Debug for OperatorCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorCertificate")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl OperatorCertificate {
    /// Reads and checks the files.
    pub fn load(files: CertificateFiles, now: Micros) -> Result<Self, CertificateFault> {
        let stamps = files.stamps();
        let current = ArcSwap::from_pointee(files.load(now)?);
        Ok(Self {
            files,
            stamps,
            current,
        })
    }

    /// Reads and checks them again. Where they are bad the certificate in use stays; open
    /// connections keep theirs in any case.
    pub fn reload(&self, now: Micros) -> Result<(), CertificateFault> {
        self.current.store(Arc::new(self.files.load(now)?));
        Ok(())
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> &CertificateFiles {
        &self.files
    }

    /// What the files were before [`load`](Self::load) read them: whatever changed since then has
    /// not been read.
    pub(crate) fn stamps(&self) -> [Option<Stamp>; 2] {
        self.stamps
    }

    /// The end of its validity, for people.
    #[must_use]
    pub fn not_after(&self) -> String {
        self.current.load().not_after.clone()
    }

    /// Whether it is for this host: a name, or an IP address.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let current = self.current.load();
        let Some(leaf) = current.key.cert.first() else {
            return false;
        };
        let bare = host.trim_matches(['[', ']']);
        match (
            ParsedCertificate::try_from(leaf),
            ServerName::try_from(bare),
        ) {
            (Ok(leaf), Ok(name)) => rustls::client::verify_server_name(&leaf, &name).is_ok(),
            _ => false,
        }
    }
}

impl ResolvesServerCert for OperatorCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

/// The end of a certificate's validity, when now is inside of it.
fn check_validity(
    leaf: &CertificateDer<'_>,
    path: &Path,
    now: Micros,
) -> Result<String, CertificateFault> {
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|_| CertificateFault::Encoding(path.to_owned()))?;
    let validity = parsed.validity();
    let (from, to) = (validity.not_before, validity.not_after);
    let now_s = now.0.div_euclid(1_000_000);
    if (from.timestamp()..=to.timestamp()).contains(&now_s) {
        return Ok(to.to_string());
    }
    Err(CertificateFault::Validity {
        path: path.to_owned(),
        from: from.to_string(),
        to: to.to_string(),
    })
}

fn open(path: &Path) -> Result<File, CertificateFault> {
    File::open(path).map_err(|source| unread(path, source))
}

/// All of a file, which may be a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateFault> {
    let mut bytes = Zeroizing::new(Vec::new());
    open(path)?
        .take(FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|source| unread(path, source))?;
    Ok(bytes)
}

fn unread(path: &Path, source: io::Error) -> CertificateFault {
    CertificateFault::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// A directory with `tls.pem` and `tls.key`, good for `localhost` for some days from now.
    fn files(days: i64) -> (tempfile::TempDir, CertificateFiles) {
        let dir = tempfile::tempdir().expect("a directory");
        let files = CertificateFiles {
            certificate: dir.path().join("tls.pem"),
            key: dir.path().join("tls.key"),
            ca_bundle: None,
        };
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("params");
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let now = std::time::Duration::from_micros(Micros::now().0.unsigned_abs());
        let day = std::time::Duration::from_hours(24);
        params.not_before = epoch + now - day * 10;
        params.not_after = if days < 0 {
            epoch + now - day * days.unsigned_abs().try_into().expect("days")
        } else {
            epoch + now + day * days.try_into().expect("days")
        };
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(&files.certificate, certificate.pem()).expect("a file");
        write_key(&files.key, &key.serialize_pem());
        (dir, files)
    }

    fn write_key(path: &Path, pem: &str) {
        fs::write(path, pem).expect("a file");
        fs::set_permissions(path, Permissions::from_mode(0o640)).expect("a mode");
    }

    fn refused(files: &CertificateFiles) -> String {
        let error = OperatorCertificate::load(files.clone(), Micros::now()).expect_err("a fault");
        let why = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", why.unwrap_or_default())
    }

    #[test]
    fn a_good_pair_is_used_for_its_names() {
        let (_dir, files) = files(30);
        let loaded = OperatorCertificate::load(files, Micros::now()).expect("good");
        assert!(loaded.is_for("localhost"));
        assert!(!loaded.is_for("192.0.2.1") && !loaded.is_for("example.com"));
        assert!(!loaded.is_for("not a host"));
    }

    #[test]
    fn a_pair_that_does_not_fit_or_is_out_of_date_is_refused() {
        let (_dir, good) = files(30);
        let (_other, other) = files(30);
        let mixed = CertificateFiles {
            key: other.key,
            ..good.clone()
        };
        assert!(refused(&mixed).contains("use "), "{}", refused(&mixed));
        let (_old, old) = files(-1);
        assert!(refused(&old).contains("valid from"), "{}", refused(&old));
        let early = OperatorCertificate::load(good, Micros(0)).expect_err("not yet");
        assert!(matches!(early, CertificateFault::Validity { .. }));
    }

    #[test]
    fn files_that_hold_something_else_are_refused() {
        let (_dir, files) = files(30);
        let swapped = CertificateFiles {
            certificate: files.key.clone(),
            ..files.clone()
        };
        assert!(refused(&swapped).contains("find a certificate"));
        fs::write(&files.key, "nonsense").expect("a file");
        assert!(refused(&files).contains("find a private key"));
        fs::remove_file(&files.key).expect("gone");
        assert!(refused(&files).contains("read "));
    }

    #[test]
    fn a_key_that_everybody_may_read_is_refused() {
        let (_dir, files) = files(30);
        fs::set_permissions(&files.key, Permissions::from_mode(0o644)).expect("a mode");
        assert!(refused(&files).contains("chmod o="));
    }

    #[test]
    fn a_bad_new_pair_leaves_the_old_one_in_use() {
        let (_dir, files) = files(30);
        let loaded = OperatorCertificate::load(files.clone(), Micros::now()).expect("good");
        let before = loaded.current.load_full();
        let stamps = files.stamps();
        write_key(&files.key, "nonsense");
        assert_ne!(files.stamps(), stamps, "the change is seen");
        loaded.reload(Micros::now()).expect_err("a fault");
        assert!(Arc::ptr_eq(&before, &loaded.current.load_full()));
    }

    #[test]
    fn what_clients_shall_trust_is_the_bundle_that_is_configured() {
        let (_dir, mut files) = files(30);
        files.ca_bundle = Some(files.certificate.clone());
        let text = fs::read_to_string(&files.certificate).expect("a file");
        assert_eq!(files.authorities().expect("a bundle"), text);
        files.ca_bundle = Some(files.key.clone());
        files.authorities().expect_err("no certificate");
    }
}

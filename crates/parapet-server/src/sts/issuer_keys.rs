//! Public keys of identity providers: from files of the operator, or from the issuer itself.
//!
//! Owns a cache. What is fetched is the discovery document of a *registered* issuer and the key set
//! that this document names, never anything that a token names: over HTTPS only, without redirects
//! and proxies, within time and size limits, and from no address that is the server's own or a
//! metadata service's. Addresses are checked when the connection is made, on what the name resolves
//! to at that moment (`RustFS` had four advisories about names that resolve to another address the
//! second time). Addresses of private networks are allowed: an issuer may well live there.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::{Duration, Instant};

use parapet_auth::web_identity::{KeySet, KeySetError};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::Mutex;

/// How long a set counts.
const FRESH: Duration = Duration::from_hours(1);
/// How soon an issuer is asked again, be it because a token names a key that is not there or because
/// it did not answer: whoever makes tokens up must not make us ask.
const PAUSE: Duration = Duration::from_mins(1);
/// Longest time for one document.
const TIME: Duration = Duration::from_secs(5);
/// Largest document.
const DOCUMENT_BYTES: usize = 64 * 1024;
/// Issuers whose keys are held.
const ISSUERS: usize = 256;

/// `[oidc]`.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// Certificate authorities that issuers' certificates are checked with.
    pub ca_file: PathBuf,
    /// Files with the key sets of issuers that are not asked, by the issuer's URL.
    pub keys: BTreeMap<String, PathBuf>,
}

impl Default for OidcSettings {
    fn default() -> Self {
        Self {
            ca_file: PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
            keys: BTreeMap::new(),
        }
    }
}

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum IssuerKeysError {
    /// A file of the operator.
    #[error("read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No set of keys.
    #[error(transparent)]
    Keys(#[from] KeySetError),
    /// No authorities to check issuers with.
    #[error("read certificate authorities from {0}: set ca_file in [oidc] to a PEM bundle")]
    Authorities(PathBuf),
    /// The client could not be made.
    #[error("make a client for identity providers")]
    Tls(#[from] rustls::Error),
    /// A document could not be had.
    #[error("fetch {url}")]
    Fetch {
        /// Which.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A document is not as it should be.
    #[error("use {url}: {problem}")]
    Document {
        /// Which.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// It failed a moment ago.
    #[error("fetch the keys of {0}: the last attempt failed less than a minute ago")]
    Paused(String),
}

/// Keys of issuers.
pub struct IssuerKeys {
    settings: OidcSettings,
    may_reach: fn(IpAddr) -> bool,
    held: SyncMutex<HashMap<String, Held>>,
    /// One fetch at a time.
    fetching: Mutex<()>,
}

/// What is held of an issuer: its keys, or that there were none.
#[derive(Clone)]
struct Held {
    keys: Option<Arc<KeySet>>,
    at: Instant,
}

impl IssuerKeys {
    /// Holds nothing yet.
    #[must_use]
    pub fn new(settings: OidcSettings) -> Self {
        Self {
            settings,
            may_reach,
            held: SyncMutex::default(),
            fetching: Mutex::new(()),
        }
    }

    /// The keys of a registered issuer. `given` is a set that was registered with it.
    pub async fn get(
        &self,
        issuer: &str,
        given: Option<&str>,
    ) -> Result<Arc<KeySet>, IssuerKeysError> {
        self.younger_than(FRESH, issuer, given).await
    }

    /// The same for a token that none of the held keys fits: newer ones, if the issuer was not
    /// asked just now.
    pub async fn newer(
        &self,
        issuer: &str,
        given: Option<&str>,
    ) -> Result<Arc<KeySet>, IssuerKeysError> {
        self.younger_than(PAUSE, issuer, given).await
    }

    async fn younger_than(
        &self,
        age: Duration,
        issuer: &str,
        given: Option<&str>,
    ) -> Result<Arc<KeySet>, IssuerKeysError> {
        if let Some(set) = given {
            return Ok(Arc::new(KeySet::parse(set)?));
        }
        if let Some(found) = self.held(issuer, age)? {
            return Ok(found);
        }
        let _one = self.fetching.lock().await;
        // Somebody may have fetched them while this waited.
        if let Some(found) = self.held(issuer, age)? {
            return Ok(found);
        }
        let outcome = match self.file_of(issuer) {
            Some(path) => read_file(path).await,
            None => self.fetch(issuer).await,
        };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.get(issuer).and_then(|held| held.keys.clone());
        let (keys, outcome) = match outcome {
            Ok(set) => {
                let set = Arc::new(set);
                (Some(Arc::clone(&set)), Ok(set))
            }
            // Keys that were good are good while the issuer is away.
            Err(error) => match before {
                Some(before) => (Some(Arc::clone(&before)), Ok(before)),
                None => (None, Err(error)),
            },
        };
        if held.len() >= ISSUERS {
            held.clear();
        }
        let at = Instant::now();
        held.insert(issuer.to_owned(), Held { keys, at });
        outcome
    }

    fn held(&self, issuer: &str, age: Duration) -> Result<Option<Arc<KeySet>>, IssuerKeysError> {
        let table = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = table.get(issuer) else {
            return Ok(None);
        };
        let elapsed = held.at.elapsed();
        match &held.keys {
            Some(keys) if elapsed < age => Ok(Some(Arc::clone(keys))),
            None if elapsed < PAUSE => Err(IssuerKeysError::Paused(issuer.to_owned())),
            _ => Ok(None),
        }
    }

    fn file_of(&self, issuer: &str) -> Option<&Path> {
        let plain = |url: &str| url.trim_end_matches('/').to_owned();
        let found = self
            .settings
            .keys
            .iter()
            .find(|(url, _)| plain(url) == plain(issuer));
        found.map(|(_, path)| path.as_path())
    }

    /// From the issuer's discovery document to the keys that it names
    /// (`OpenID` Connect Discovery 1.0, section 4).
    async fn fetch(&self, issuer: &str) -> Result<KeySet, IssuerKeysError> {
        let client = self.client().await?;
        let base = issuer.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let text = self.document(&client, &url).await?;
        let wrong = |problem| IssuerKeysError::Document {
            url: url.clone(),
            problem,
        };
        let discovery: Discovery =
            serde_json::from_str(&text).map_err(|_| wrong("it has no issuer and jwks_uri"))?;
        if discovery.issuer != issuer {
            return Err(wrong("its issuer is another one"));
        }
        let keys = self.document(&client, &discovery.jwks_uri).await?;
        Ok(KeySet::parse(&keys)?)
    }

    async fn document(
        &self,
        client: &reqwest::Client,
        url: &str,
    ) -> Result<String, IssuerKeysError> {
        let shown: String = url.chars().take(256).collect();
        let wrong = |problem| IssuerKeysError::Document {
            url: shown.clone(),
            problem,
        };
        let failed = |source| IssuerKeysError::Fetch {
            url: shown.clone(),
            source,
        };
        let parsed = url::Url::parse(url).map_err(|_| wrong("it is no URL"))?;
        if parsed.scheme() != "https" {
            return Err(wrong("it is not https"));
        }
        // An address in the URL itself is not resolved, so the resolver does not see it.
        let address = match parsed.host() {
            Some(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(url::Host::Domain(_)) => None,
            None => return Err(wrong("it names no host")),
        };
        if address.is_some_and(|address| !(self.may_reach)(address)) {
            return Err(wrong("its address is one that is not asked"));
        }
        let mut answer = client.get(parsed).send().await.map_err(failed)?;
        if answer.status() != http::StatusCode::OK {
            return Err(wrong("the answer is not 200"));
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > DOCUMENT_BYTES {
                return Err(wrong("it is larger than 64 KiB"));
            }
            body.extend_from_slice(&piece);
        }
        String::from_utf8(body).map_err(|_| wrong("it is not UTF-8"))
    }

    /// A client for one fetch: they are rare, and the authorities may have changed since.
    async fn client(&self) -> Result<reqwest::Client, IssuerKeysError> {
        let path = self.settings.ca_file.clone();
        let none = || IssuerKeysError::Authorities(self.settings.ca_file.clone());
        let pem = tokio::fs::read(&path).await.map_err(|_| none())?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots
            .add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        if added == 0 {
            return Err(none());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .timeout(TIME)
            .dns_resolver(Arc::new(Checked(self.may_reach)))
            .build()
            .map_err(|source| IssuerKeysError::Fetch {
                url: String::new(),
                source,
            })
    }
}

async fn read_file(path: &Path) -> Result<KeySet, IssuerKeysError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| IssuerKeysError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(KeySet::parse(&text)?)
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

/// Resolves names and leaves out the addresses that are not asked: what is connected to is what
/// was checked.
struct Checked(fn(IpAddr) -> bool);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let may_reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let kept = found
                .filter(|address| may_reach(address.ip()))
                .collect::<Vec<SocketAddr>>();
            if kept.is_empty() {
                return Err("the name has no address that is asked".into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// Whether an issuer may live at this address: not on this machine, not on this link, not where
/// clouds keep their metadata.
fn may_reach(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => may_reach_v4(address),
        IpAddr::V6(address) => {
            let embedded = match address.segments() {
                // NAT64 (RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                    Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
                }
                _ => None,
            };
            let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            !(address.is_unspecified()
                || address.is_loopback()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || address == metadata)
                && embedded.is_none_or(may_reach_v4)
        }
    }
}

fn may_reach_v4(address: Ipv4Addr) -> bool {
    // Of one cloud, within the addresses of carriers.
    let metadata = Ipv4Addr::new(100, 100, 100, 200);
    !(address.octets()[0] == 0
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address == metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(keys: &[(&str, &Path)]) -> OidcSettings {
        OidcSettings {
            keys: keys
                .iter()
                .map(|(url, path)| ((*url).to_owned(), (*path).to_owned()))
                .collect(),
            ..OidcSettings::default()
        }
    }

    #[test]
    fn no_issuer_lives_on_this_machine_or_where_clouds_keep_their_secrets() {
        for refused in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
        ] {
            let address = refused.parse().expect("an address");
            assert!(!may_reach(address), "{refused}");
        }
        for allowed in [
            "192.0.2.1",
            "10.0.0.1",
            "192.168.1.9",
            "2001:db8::1",
            "fd12::1",
        ] {
            let address = allowed.parse().expect("an address");
            assert!(may_reach(address), "{allowed}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_not_asked() {
        let checked = Checked(may_reach);
        let name = "localhost".parse::<Name>().expect("a name");
        assert!(checked.resolve(name).await.is_err());
    }

    #[tokio::test]
    async fn an_address_in_the_url_and_another_scheme_are_refused_before_anything_is_sent() {
        let keys = IssuerKeys::new(OidcSettings::default());
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(
                rustls::ClientConfig::builder_with_provider(Arc::new(
                    rustls::crypto::aws_lc_rs::default_provider(),
                ))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
            )
            .build()
            .expect("a client");
        for url in [
            "http://login.example.org/keys",
            "file:///etc/passwd",
            "https://169.254.169.254/latest",
            "https://[::1]/keys",
            "https://2130706433/keys",
            "not a url",
        ] {
            let refused = keys.document(&client, url).await;
            assert!(
                matches!(refused, Err(IssuerKeysError::Document { .. })),
                "{url}: {refused:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_issuer_with_a_file_is_never_asked() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.json");
        let set = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
        std::fs::write(&path, set).expect("a file");
        let keys = IssuerKeys::new(settings(&[("https://login.example.org/realm", &path)]));
        assert!(
            keys.get("https://login.example.org/realm/", None)
                .await
                .is_ok()
        );
        // Held: the file is not read again.
        std::fs::remove_file(&path).expect("gone");
        assert!(
            keys.get("https://login.example.org/realm/", None)
                .await
                .is_ok()
        );
        assert!(
            keys.newer("https://login.example.org/realm/", None)
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn an_issuer_that_cannot_be_had_is_not_asked_again_at_once() {
        let missing = Path::new("/nonexistent/keys.json");
        let keys = IssuerKeys::new(settings(&[("https://login.example.org", missing)]));
        let first = keys.get("https://login.example.org", None).await;
        assert!(
            matches!(first, Err(IssuerKeysError::File { .. })),
            "{first:?}"
        );
        let second = keys.get("https://login.example.org", None).await;
        assert!(
            matches!(second, Err(IssuerKeysError::Paused(_))),
            "{second:?}"
        );
    }
}

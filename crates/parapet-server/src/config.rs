//! What an operator can set: defaults, then a TOML file, then the command line.
//!
//! Reads the file and nothing else. An unknown key is refused, so that a misspelt one is not
//! silently without effect.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::audit::AuditSettings;
use crate::front::limits::{LimitSettings, Rate};
use crate::front::source::{ForwardingHeader, Network, Proxies};
use crate::identity::{CertificateFiles, KeyCommand, is_inside};
use crate::registry::camera::Allowed;
use crate::sts::OidcSettings;

/// Settings of a control plane.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Everything durable; made when missing.
    pub data: PathBuf,
    /// Where the signed API and the console listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where devices dial in.
    pub device_listen: SocketAddr,
    /// Metrics; loopback only.
    pub admin_listen: SocketAddr,
    /// Twelve digits; a random one is made at the first start when this is `None`.
    pub account_id: Option<String>,
    /// Carried by ARNs.
    pub region: String,
    /// Refuse signatures for other regions instead of taking them as aliases.
    pub strict_region: bool,
    /// Host (IP address or name) under which clients and devices reach this server, when it is not
    /// the address it listens at.
    pub advertise: Option<String>,
    /// Where the master key comes from; the first place that has one when this is `None`
    /// (`docs/secrets.md`).
    pub master_key: Option<MasterKeySource>,
    /// Keep the master key inside `data`. For demonstrations only: a copy of the directory then
    /// holds both the sealed secrets and their key.
    pub master_key_in_data: bool,
    /// The operator's certificate for the API and the console; one of the server's own authority
    /// when this is `None`.
    pub certificate: Option<CertificateFiles>,
    /// Who may name the address of a caller.
    pub proxies: Proxies,
    /// How often an address or a principal may ask.
    pub limits: LimitSettings,
    /// How often the audit trail is signed, and where checkpoints go.
    pub audit: AuditSettings,
    /// Where the keys of identity providers come from.
    pub oidc: OidcSettings,
    /// What may be a camera.
    pub cameras: Allowed,
}

/// Section `[master_key]`: exactly one of its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// `file`: made when missing, replaced at a rotation.
    File(PathBuf),
    /// `credential`: the name of a credential that systemd hands over.
    Credential(String),
    /// `environment`: the name of a variable.
    Environment(String),
    /// `command`, with `command_input` and `command_seconds`.
    Command(KeyCommand),
}

/// Why settings are refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the configuration {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML of this shape.
    #[error("read the configuration {path}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value that cannot be.
    #[error("use the setting {name} = {value:?}: {rule}")]
    Value {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        rule: &'static str,
    },
}

/// The TOML file: each setting may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<SocketAddr>,
    device_listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    account_id: Option<String>,
    region: Option<String>,
    strict_region: Option<bool>,
    advertise: Option<String>,
    tls: Option<TlsSection>,
    proxies: Option<ProxiesSection>,
    limits: Option<LimitsSection>,
    audit: Option<AuditSettings>,
    oidc: Option<OidcSection>,
    master_key: Option<MasterKeySection>,
    cameras: Option<CamerasSection>,
}

/// `[cameras]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CamerasSection {
    files: bool,
}

/// `[oidc]`. Paths are relative to the file's directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OidcSection {
    ca_file: Option<PathBuf>,
    #[serde(default)]
    keys: BTreeMap<String, PathBuf>,
}

/// `[tls]`. Paths are relative to the file's directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    certificate: PathBuf,
    key: PathBuf,
    ca_bundle: Option<PathBuf>,
}

/// `[proxies]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxiesSection {
    trusted: Vec<String>,
    header: Option<ForwardingHeader>,
}

/// `[limits]`: requests a second, and how many at once before that counts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsSection {
    address_per_second: Option<u32>,
    address_burst: Option<u32>,
    principal_per_second: Option<u32>,
    principal_burst: Option<u32>,
    failures_per_second: Option<u32>,
    failures_burst: Option<u32>,
}

/// `[master_key]` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct MasterKeySection {
    file: Option<PathBuf>,
    credential: Option<String>,
    environment: Option<String>,
    command: Option<Vec<String>>,
    command_input: Option<PathBuf>,
    command_seconds: Option<u64>,
}

/// Longest a command for the master key may take, seconds.
const MOST_COMMAND_SECONDS: u64 = 300;

impl MasterKeySection {
    fn source(self) -> Result<MasterKeySource, ConfigError> {
        let bad = |name, value: String, rule| Err(ConfigError::Value { name, value, rule });
        let absolute = |path: &Path| path.is_absolute();
        let for_command = self.command_input.is_some() || self.command_seconds.is_some();
        if for_command && self.command.is_none() {
            let rule = "command_input and command_seconds go with command";
            return bad("master_key.command", String::new(), rule);
        }
        match (self.file, self.credential, self.environment, self.command) {
            (Some(file), None, None, None) if absolute(&file) => Ok(MasterKeySource::File(file)),
            (Some(file), None, None, None) => bad(
                "master_key.file",
                file.display().to_string(),
                "write an absolute path outside the data directory",
            ),
            (None, Some(name), None, None)
                if !name.is_empty() && !name.contains('/') && !name.starts_with('.') =>
            {
                Ok(MasterKeySource::Credential(name))
            }
            (None, Some(name), None, None) => bad(
                "master_key.credential",
                name,
                "write the name of LoadCredential=, which is no path",
            ),
            (None, None, Some(name), None) if !name.is_empty() && !name.contains(['=', '\0']) => {
                Ok(MasterKeySource::Environment(name))
            }
            (None, None, Some(name), None) => bad(
                "master_key.environment",
                name,
                "write the name of a variable",
            ),
            (None, None, None, Some(command)) => {
                let mut words = command.into_iter();
                let program = PathBuf::from(words.next().unwrap_or_default());
                if !absolute(&program) {
                    let rule = "write a list: the absolute path of a program, then its arguments; \
                                there is no shell";
                    return bad("master_key.command", program.display().to_string(), rule);
                }
                if let Some(input) = self.command_input.as_ref().filter(|path| !absolute(path)) {
                    let value = input.display().to_string();
                    return bad("master_key.command_input", value, "write an absolute path");
                }
                let seconds = self.command_seconds.unwrap_or(10);
                if !(1..=MOST_COMMAND_SECONDS).contains(&seconds) {
                    let rule = "write 1 to 300 seconds";
                    return bad("master_key.command_seconds", seconds.to_string(), rule);
                }
                Ok(MasterKeySource::Command(KeyCommand {
                    program,
                    arguments: words.collect(),
                    input: self.command_input,
                    limit: Duration::from_secs(seconds),
                }))
            }
            _ => bad(
                "master_key",
                String::new(),
                "name exactly one source: file, credential, environment or command",
            ),
        }
    }
}

impl ServerConfig {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data: PathBuf) -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            data,
            listen: loopback(8443),
            device_listen: loopback(8444),
            admin_listen: loopback(8445),
            account_id: None,
            // Not us-east-1: there boto3 presigns S3 URLs with the old SigV2.
            region: "us-west-2".to_owned(),
            strict_region: false,
            advertise: None,
            master_key: None,
            master_key_in_data: false,
            certificate: None,
            proxies: Proxies::default(),
            limits: LimitSettings::default(),
            audit: AuditSettings::default(),
            oidc: OidcSettings::default(),
            cameras: Allowed::default(),
        }
    }

    /// Takes over what a TOML file sets.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let file: File = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        set(&mut self.listen, file.listen);
        set(&mut self.device_listen, file.device_listen);
        set(&mut self.admin_listen, file.admin_listen);
        set(&mut self.region, file.region);
        set(&mut self.strict_region, file.strict_region);
        set(&mut self.account_id, file.account_id.map(Some));
        set(&mut self.advertise, file.advertise.map(Some));
        if let Some(section) = file.tls {
            let near = path.parent().unwrap_or(Path::new(""));
            self.certificate = Some(CertificateFiles {
                certificate: near.join(section.certificate),
                key: near.join(section.key),
                ca_bundle: section.ca_bundle.map(|bundle| near.join(bundle)),
            });
        }
        if let Some(section) = file.proxies {
            self.proxies = section.read()?;
        }
        if let Some(section) = file.limits {
            section.read(&mut self.limits)?;
        }
        set(&mut self.audit, file.audit);
        if let Some(section) = file.cameras {
            self.cameras = if section.files {
                Allowed::Files
            } else {
                Allowed::Network
            };
        }
        if let Some(section) = file.oidc {
            let near = path.parent().unwrap_or(Path::new(""));
            set(
                &mut self.oidc.ca_file,
                section.ca_file.map(|file| near.join(file)),
            );
            self.oidc.keys = section
                .keys
                .into_iter()
                .map(|(issuer, file)| (issuer, near.join(file)))
                .collect();
        }
        if let Some(section) = file.master_key {
            self.master_key = Some(section.source()?);
        }
        Ok(())
    }

    /// Looks over all settings together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |name, value: &str, rule| {
            Err(ConfigError::Value {
                name,
                value: value.to_owned(),
                rule,
            })
        };
        if let Some(account) = &self.account_id
            && (account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()))
        {
            return bad("account_id", account, "write twelve digits");
        }
        let word = |text: &str| {
            !text.is_empty()
                && text.len() <= 32
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !word(&self.region) {
            return bad("region", &self.region, "write it like us-west-2");
        }
        if let Some((name, value, rule)) = self.audit.fault(|path| is_inside(path, &self.data)) {
            return bad(name, &value, rule);
        }
        if !self.admin_listen.ip().is_loopback() {
            let value = self.admin_listen.to_string();
            return bad(
                "admin_listen",
                &value,
                "metrics are for this machine: use 127.0.0.1",
            );
        }
        if let Some(host) = &self.advertise
            && (host.is_empty() || url::Host::parse(host).is_err())
        {
            return bad(
                "advertise",
                host,
                "write an IP address or a host name, without a port",
            );
        }
        Ok(())
    }
}

impl LimitsSection {
    fn read(&self, limits: &mut LimitSettings) -> Result<(), ConfigError> {
        let rate = |rate: &mut Rate, names: [&'static str; 2], values: [Option<u32>; 2]| {
            set(&mut rate.per_second, values[0]);
            set(&mut rate.burst, values[1]);
            for (name, value) in [(names[0], rate.per_second), (names[1], rate.burst)] {
                if !(1..=1_000_000).contains(&value) {
                    return Err(ConfigError::Value {
                        name,
                        value: value.to_string(),
                        rule: "write a number from 1 to 1000000",
                    });
                }
            }
            Ok(())
        };
        rate(
            &mut limits.address,
            ["limits.address_per_second", "limits.address_burst"],
            [self.address_per_second, self.address_burst],
        )?;
        rate(
            &mut limits.principal,
            ["limits.principal_per_second", "limits.principal_burst"],
            [self.principal_per_second, self.principal_burst],
        )?;
        rate(
            &mut limits.failures,
            ["limits.failures_per_second", "limits.failures_burst"],
            [self.failures_per_second, self.failures_burst],
        )
    }
}

impl ProxiesSection {
    fn read(&self) -> Result<Proxies, ConfigError> {
        let trusted = self.trusted.iter().map(|text| {
            text.parse::<Network>().map_err(|_| ConfigError::Value {
                name: "proxies.trusted",
                value: text.clone(),
                rule: "write networks like 10.0.0.0/8 or addresses",
            })
        });
        let header = self.header.unwrap_or(ForwardingHeader::XForwardedFor);
        Ok(Proxies::new(trusted.collect::<Result<_, _>>()?, header))
    }
}

/// Takes a value over where there is one.
fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServerConfig, ConfigError> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("parapet.toml");
        std::fs::write(&path, text).expect("a file");
        let mut config = ServerConfig::new(dir.path().join("data"));
        config.read_file(&path)?;
        config.check()?;
        Ok(config)
    }

    #[test]
    fn a_file_changes_what_it_names() {
        let config = read("listen = \"10.0.0.2:443\"\nstrict_region = true").expect("good");
        assert_eq!(config.listen, SocketAddr::from(([10, 0, 0, 2], 443)));
        assert!(config.strict_region);
        assert_eq!(config.region, "us-west-2");
        let config = read("[limits]\nprincipal_burst = 7").expect("good");
        assert_eq!(config.limits.principal.burst, 7);
        assert_eq!(config.limits.address, LimitSettings::default().address);
    }

    #[test]
    fn files_are_found_from_where_the_configuration_lies() {
        let config = read("[tls]\ncertificate = \"tls.pem\"\nkey = \"/run/tls.key\"");
        let files = config.expect("good").certificate.expect("a certificate");
        assert!(files.certificate.is_absolute() && files.certificate.ends_with("tls.pem"));
        assert_eq!(files.key, Path::new("/run/tls.key"));
    }

    #[test]
    fn each_source_of_the_master_key_can_be_named() {
        let source = |text: &str| read(text).expect(text).master_key;
        assert_eq!(source("region = \"us-west-2\""), None);
        assert_eq!(
            source("[master_key]\nfile = \"/etc/k\""),
            Some(MasterKeySource::File("/etc/k".into()))
        );
        assert_eq!(
            source("[master_key]\ncredential = \"k\""),
            Some(MasterKeySource::Credential("k".to_owned()))
        );
        assert_eq!(
            source("[master_key]\nenvironment = \"K\""),
            Some(MasterKeySource::Environment("K".to_owned()))
        );
        let text = "[master_key]\ncommand = [\"/bin/unwrap\", \"--key\", \"a b\"]\n\
                    command_input = \"/etc/k.wrapped\"\ncommand_seconds = 3";
        assert_eq!(
            source(text),
            Some(MasterKeySource::Command(KeyCommand {
                program: "/bin/unwrap".into(),
                arguments: vec!["--key".to_owned(), "a b".to_owned()],
                input: Some("/etc/k.wrapped".into()),
                limit: Duration::from_secs(3),
            }))
        );
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_refused() {
        for text in [
            "listn = \"10.0.0.2:443\"",
            "account_id = \"123\"",
            "region = \"US west\"",
            "admin_listen = \"0.0.0.0:8445\"",
            "advertise = \"a b\"",
            "[tls]\ncertificate = \"a.pem\"",
            "[limits]\naddress_burst = 0",
            "[limits]\nprincipal_per_minute = 9",
            "[proxies]\ntrusted = [\"10.0.0.1/8\"]",
            "[proxies]\ntrusted = []\nheader = \"x-real-ip\"",
            "[master_key]",
            "[master_key]\nfiel = \"/etc/k\"",
            "[master_key]\nfile = \"k\"",
            "[master_key]\nfile = \"/etc/k\"\nenvironment = \"K\"",
            "[master_key]\ncredential = \"../k\"",
            "[master_key]\nenvironment = \"\"",
            "[master_key]\ncommand = []",
            "[master_key]\ncommand = [\"unwrap-key\"]",
            "[master_key]\ncommand = [\"/bin/unwrap\"]\ncommand_input = \"k\"",
            "[master_key]\ncommand = [\"/bin/unwrap\"]\ncommand_seconds = 301",
            "[master_key]\nfile = \"/etc/k\"\ncommand_seconds = 3",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

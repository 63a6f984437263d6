//! `[audit]` of the server's configuration: how often checkpoints are made and where they go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use url::Url;

/// Where and when.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// A checkpoint is made after so many records.
    pub checkpoint_records: u32,
    /// And after so many seconds, if there is a new record.
    pub checkpoint_seconds: u32,
    /// A file to append checkpoints to; outside of the data directory.
    pub checkpoint_file: Option<PathBuf>,
    /// `unix:/dev/log`, `udp://HOST:PORT` or `tcp://HOST:PORT`.
    pub syslog: Option<Syslog>,
    /// Base URL of an OTLP/HTTP collector.
    #[serde(deserialize_with = "url")]
    pub otlp: Option<Url>,
    /// Certificates (PEM) that sign an `https` collector's.
    pub otlp_ca: Option<PathBuf>,
}

/// A receiver of syslog messages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Syslog {
    /// A datagram socket of this machine.
    Unix(PathBuf),
    /// Host and port, datagrams.
    Udp(String),
    /// Host and port, a stream with counted frames (RFC 6587 3.4.1).
    Tcp(String),
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            checkpoint_records: 1_000,
            checkpoint_seconds: 300,
            checkpoint_file: None,
            syslog: None,
            otlp: None,
            otlp_ca: None,
        }
    }
}

impl AuditSettings {
    /// Longest time without a checkpoint while records are added.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.checkpoint_seconds))
    }

    /// What is wrong: name of the setting, its value, the rule.
    pub(crate) fn fault(
        &self,
        is_inside_data: impl Fn(&Path) -> bool,
    ) -> Option<(&'static str, String, &'static str)> {
        if self.checkpoint_records == 0 {
            return Some(("audit.checkpoint_records", "0".into(), "write at least 1"));
        }
        if self.checkpoint_seconds == 0 {
            return Some(("audit.checkpoint_seconds", "0".into(), "write at least 1"));
        }
        if let Some(file) = &self.checkpoint_file
            && (!file.is_absolute() || is_inside_data(file))
        {
            let rule = "write an absolute path outside of the data directory: who can change the \
                        trail could change the checkpoints too";
            return Some(("audit.checkpoint_file", file.display().to_string(), rule));
        }
        if let Some(otlp) = &self.otlp {
            let fault = match otlp.scheme() {
                _ if otlp.host_str().is_none() => Some("write a URL with a host"),
                "http" if self.otlp_ca.is_some() => Some("otlp_ca is for https"),
                "https" if self.otlp_ca.is_none() => {
                    Some("name the certificates to trust in otlp_ca")
                }
                "http" | "https" => None,
                _ => Some("write http:// or https://"),
            };
            return fault.map(|rule| ("audit.otlp", otlp.to_string(), rule));
        }
        None
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Url::parse(&text).map(Some).map_err(D::Error::custom)
}

impl TryFrom<String> for Syslog {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let address = |text: &str| {
            text.rsplit_once(':')
                .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
                .map(|_| text.to_owned())
        };
        let found = if let Some(path) = text.strip_prefix("unix:") {
            Some(PathBuf::from(path))
                .filter(|path| path.is_absolute())
                .map(Self::Unix)
        } else if let Some(rest) = text.strip_prefix("udp://") {
            address(rest).map(Self::Udp)
        } else if let Some(rest) = text.strip_prefix("tcp://") {
            address(rest).map(Self::Tcp)
        } else {
            None
        };
        found.ok_or("write unix:/dev/log, udp://HOST:PORT or tcp://HOST:PORT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AuditSettings, String> {
        let settings: AuditSettings = toml::from_str(text).map_err(|e| e.to_string())?;
        match settings.fault(|path| path.starts_with("/data")) {
            Some(fault) => Err(format!("{fault:?}")),
            None => Ok(settings),
        }
    }

    #[test]
    fn destinations_are_read() {
        let settings = read(
            "syslog = 'udp://[::1]:514'\notlp = 'http://127.0.0.1:4318'\n\
             checkpoint_file = '/var/log/parapet.jsonl'",
        )
        .expect("good");
        assert_eq!(settings.syslog, Some(Syslog::Udp("[::1]:514".to_owned())));
        assert_eq!(settings.checkpoint_seconds, 300);
        assert_eq!(read("").expect("good"), AuditSettings::default());
    }

    #[test]
    fn unknown_keys_and_impossible_values_are_refused() {
        for text in [
            "sysloog = 'unix:/dev/log'",
            "syslog = '/dev/log'",
            "syslog = 'unix:dev/log'",
            "syslog = 'tcp://host'",
            "checkpoint_records = 0",
            "checkpoint_seconds = 0",
            "checkpoint_file = 'relative.jsonl'",
            "checkpoint_file = '/data/checkpoints.jsonl'",
            "otlp = 'ftp://host/'",
            "otlp = 'https://host:4318'",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

//! What one application may use and reach, beyond what its sandbox gives every application.
//!
//! An extension: Panorama had none of it. The empty [`Confinement`] is the strictest: no egress, no
//! port, no accelerator, and the device's own limits.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Host ports that rules may open (`spec/manifests.md` 2.4).
pub const HOST_PORTS: std::ops::RangeInclusive<u16> = 8000..=9000;

/// Everything that is decided per application.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// What it may use.
    #[serde(default)]
    pub limits: ResourceLimits,
    /// Whom it may call.
    #[serde(default)]
    pub egress: Egress,
    /// Who may call it.
    #[serde(default)]
    pub ports: Vec<InboundPort>,
    /// Whether its package asks for an accelerator.
    #[serde(default)]
    pub gpu: bool,
    /// Whether an image of another architecture may run through an emulator.
    #[serde(default)]
    pub emulate: bool,
}

/// Limits of an instance; what is absent is the device's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceLimits {
    /// Memory in bytes, its files in tmpfs included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time in thousandths of one core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Bytes per second read from and written to disk, each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_bytes_per_second: Option<u64>,
    /// Bytes that its storage and logs may hold together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
}

/// Whom an application may call. TCP only; names are resolved by the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Whether what is refused is listed in the report, to be allowed one by one.
    #[serde(default)]
    pub learn: bool,
    /// Whether the instance has a runtime role: then the hosts of the device's configuration are
    /// allowed, too.
    #[serde(default)]
    pub role: bool,
    /// Allowed.
    #[serde(default)]
    pub hosts: Vec<HostPort>,
}

/// A host by name, or by address, and a port of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostPort {
    /// Lower case, without a dot at the end; `*.example.com` for all names below it.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Egress {
    /// Whether the application needs a gateway at all: without one it has its loopback interface
    /// alone, and nothing of the agent listens to it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.learn || self.role || !self.hosts.is_empty()
    }
}

/// Why a text is no [`HostPort`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "use {0:?} as a host: write NAME:PORT, *.NAME:PORT, ADDRESS:PORT or [ADDRESS]:PORT, the name \
     in letters, digits, '-' and '_', the port from 1 to 65535"
)]
pub struct HostPortError(String);

/// Longest name of a host, as in DNS.
const HOST_NAME: usize = 253;
/// Longest part of it.
const HOST_LABEL: usize = 63;

/// A name of a host as all of Parapet compares it: lower case, without the dot at its end; `None`
/// for what is no such name. Addresses are names in this sense.
#[must_use]
pub fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label =
        |label: &str| !label.is_empty() && label.len() <= HOST_LABEL && label.bytes().all(plain);
    (name.len() <= HOST_NAME && name.split('.').all(label)).then_some(name)
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || HostPortError(text.chars().take(80).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let host = if let Some(address) = bracketed {
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| wrong())?;
            address.to_string()
        } else if let Some(below) = host.strip_prefix("*.") {
            // A pattern for a whole top-level domain is a slip, not a policy.
            let below = host_name(below)
                .filter(|name| name.contains('.'))
                .ok_or_else(wrong)?;
            format!("*.{below}")
        } else {
            host_name(host).ok_or_else(wrong)?
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A port of the appliance that leads to one of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundPort {
    /// On the appliance's uplink, within [`HOST_PORTS`].
    pub host: u16,
    /// Inside the application's namespace.
    pub container: u16,
    /// Who may connect; empty for everybody on the uplink.
    #[serde(default)]
    pub sources: Vec<Network>,
    /// TLS in front, with a certificate of the device; with authorities, clients must have a
    /// certificate of one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<InboundTls>,
}

/// TLS in front of an inbound port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundTls {
    /// PEM certificates of authorities whose clients are let in; empty asks for none.
    #[serde(default)]
    pub client_authorities: String,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its first address.
    pub address: IpAddr,
    /// Bits that all its addresses share.
    pub prefix: u8,
}

impl Network {
    /// Whether `address` lies in it. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                let bits = |a: std::net::Ipv4Addr| a.to_bits().checked_shr(shift).unwrap_or(0);
                bits(own) == bits(other)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                let bits = |a: std::net::Ipv6Addr| a.to_bits().checked_shr(shift).unwrap_or(0);
                bits(own) == bits(other)
            }
            _ => false,
        }
    }
}

/// Why a text is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "use {0:?} as a range of addresses: write ADDRESS or ADDRESS/PREFIX, without bits behind the \
     prefix, such as 10.0.0.0/8"
)]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NetworkError(text.chars().take(80).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (bits, value) = match address {
            IpAddr::V4(ip) => (32, u128::from(ip.to_bits()) << 96),
            IpAddr::V6(ip) => (128, ip.to_bits()),
        };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
        };
        // Addresses are compared as IPv4 where they can be: a mapped range would hold none.
        let mapped = address.to_canonical() != address;
        let behind = value.checked_shl(u32::from(prefix)).unwrap_or(0);
        if prefix > bits || mapped || behind != 0 {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_in_one_form() {
        let read = |text: &str| text.parse::<HostPort>().map(|host| host.to_string());
        for (text, same) in [
            ("S3.Example.COM.:443", "s3.example.com:443"),
            ("*.example.com:8883", "*.example.com:8883"),
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("[2001:DB8::7]:443", "[2001:db8::7]:443"),
            ("_x.a-b:1", "_x.a-b:1"),
        ] {
            assert_eq!(read(text), Ok(same.to_owned()));
        }
        let long = format!("{}.example.com:1", "a".repeat(64));
        let longer = format!("{}com:1", "a.".repeat(130));
        for text in [
            "",
            "a",
            "a:",
            "a:0",
            "a:65536",
            ":443",
            "*:443",
            "*.com:443",
            "a..b:1",
            "a b:1",
            "*.*.example.com:1",
            "2001:db8::7:443",
            "[192.0.2.7]:1",
            "a/b:1",
            &long,
            &longer,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_holds_its_own_addresses_only() {
        let network = |address: &str, prefix| Network {
            address: address.parse().unwrap(),
            prefix,
        };
        let holds = |n: Network, a: &str| n.contains(a.parse().unwrap());
        assert!(holds(network("10.1.0.0", 16), "10.1.255.3"));
        assert!(!holds(network("10.1.0.0", 16), "10.2.0.1"));
        assert!(holds(network("10.1.0.0", 16), "::ffff:10.1.0.7"));
        assert!(holds(network("0.0.0.0", 0), "203.0.113.9"));
        assert!(!holds(network("0.0.0.0", 0), "2001:db8::1"));
        assert!(holds(network("2001:db8::", 32), "2001:db8:1::1"));
        assert!(holds(network("192.0.2.1", 32), "192.0.2.1"));
        assert!(!holds(network("192.0.2.1", 32), "192.0.2.2"));
    }

    #[test]
    fn a_network_is_read_in_one_form() {
        let read = |text: &str| text.parse::<Network>().map(|network| network.to_string());
        for (text, same) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(read(text), Ok(same.to_owned()));
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::ffff:10.0.0.0/104",
            "2001:db8::1/32",
            "example.com",
            "10.0.0.0/8/8",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

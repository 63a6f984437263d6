//! What one application may use and reach, beyond what its sandbox gives every application.
//!
//! An extension: Panorama had none of it. The empty [`Confinement`] is the strictest: no egress, no
//! port, no accelerator, and the device's own limits.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}

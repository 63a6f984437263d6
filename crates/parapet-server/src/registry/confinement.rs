//! What an operator may decide that an application instance may use and reach.
//!
//! [`Wish`] is the wire's form, with texts that people write; [`Policy`] is what it comes to, what
//! is stored and what the planner takes. Only [`Wish::check`] makes the one from the other, and it
//! refuses whatever the appliance could never honour: a rule that opens nothing is a mistake.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use parapet_device::confinement::{
    Confinement, Egress, HostPort, InboundPort, InboundTls, Network, ResourceLimits, host_name,
};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use super::Invalid;
use crate::store::StoreError;

/// Version of the stored [`Policy`].
const VERSION: u32 = 1;
/// An interpreter with NumPy does not start in less.
const MEMORY_BYTES: RangeInclusive<u64> = 16 << 20..=16 << 40;
/// A hundredth of a core, which is as little as control groups divide, to a thousand cores.
const CPU_MILLIS: RangeInclusive<u64> = 10..=1_000_000;
/// The sandbox's own bound is 2048; below eight no interpreter with threads lives.
const PROCESSES: RangeInclusive<u64> = 8..=2048;
/// Less than a page a millisecond is a hang.
const IO_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 40;
/// At least room for a log.
const STORAGE_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 50;
/// More hosts than this are no list that anybody reads.
const HOSTS: usize = 64;
/// Ranges of one port.
const SOURCES: usize = 32;
/// Certificates of one port, and their text.
const AUTHORITIES: usize = 16;
const AUTHORITIES_BYTES: usize = 64 * 1024;

/// As it is sent and shown. What is absent is the strictest, or the device's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct Wish {
    /// What it may use.
    pub limits: WishedLimits,
    /// Whom it may call.
    pub egress: WishedEgress,
    /// Who may call it, a port that the overrides open each.
    pub ports: Vec<WishedPort>,
    /// Whether an image of another architecture may run through an emulator.
    pub emulate: bool,
}

/// Limits; what is absent is the device's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct WishedLimits {
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Thousandths of one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// From the disk and to it, each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_bytes_per_second: Option<u64>,
    /// Storage and logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
}

/// Whom it may call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct WishedEgress {
    /// Whether the device lists what it refuses.
    pub learn: bool,
    /// `NAME:PORT`, `*.NAME:PORT`, `ADDRESS:PORT`, `[ADDRESS]:PORT`.
    pub hosts: Vec<String>,
}

/// Settings of a port of the appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct WishedPort {
    /// The port of the appliance.
    pub host_port: u16,
    /// Who may connect, `ADDRESS/PREFIX` each; empty for everybody on the uplink.
    #[serde(default)]
    pub sources: Vec<String>,
    /// TLS in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<WishedTls>,
}

/// TLS in front of a port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "PascalCase")]
pub struct WishedTls {
    /// PEM certificates of the authorities whose clients are let in; empty asks for none.
    pub client_authorities: String,
}

/// What was decided, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    version: u32,
    limits: ResourceLimits,
    learn: bool,
    hosts: Vec<HostPort>,
    ports: Vec<PortPolicy>,
    emulate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortPolicy {
    host: u16,
    sources: Vec<Network>,
    tls: Option<InboundTls>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            version: VERSION,
            limits: ResourceLimits::default(),
            learn: false,
            hosts: Vec::new(),
            ports: Vec::new(),
            emulate: false,
        }
    }
}

impl Wish {
    /// What it comes to. `ports` are those that the instance's overrides open, or that had settings
    /// before; others would open nothing.
    pub fn check(&self, ports: &BTreeSet<u16>) -> Result<Policy, Invalid> {
        Ok(Policy {
            version: VERSION,
            limits: self.limits.check()?,
            learn: self.egress.learn,
            hosts: self.egress.check()?,
            ports: checked_ports(&self.ports, ports)?,
            emulate: self.emulate,
        })
    }
}

impl WishedLimits {
    fn check(&self) -> Result<ResourceLimits, Invalid> {
        let within = |member: &str, value: Option<u64>, range: RangeInclusive<u64>| match value {
            Some(value) if !range.contains(&value) => Err(Invalid::new(
                format!("Confinement.Limits.{member}"),
                format!(
                    "is {value}; give {} to {}, or leave it out for the device's default",
                    range.start(),
                    range.end()
                ),
            )),
            value => Ok(value),
        };
        // The ranges end below 2^32.
        let small = |value: Option<u64>| value.and_then(|value| u32::try_from(value).ok());
        Ok(ResourceLimits {
            memory_bytes: within("MemoryBytes", self.memory_bytes, MEMORY_BYTES)?,
            cpu_millis: small(within("CpuMillis", self.cpu_millis, CPU_MILLIS)?),
            processes: small(within("Processes", self.processes, PROCESSES)?),
            io_bytes_per_second: within("IoBytesPerSecond", self.io_bytes_per_second, IO_BYTES)?,
            storage_bytes: within("StorageBytes", self.storage_bytes, STORAGE_BYTES)?,
        })
    }
}

impl WishedEgress {
    fn check(&self) -> Result<Vec<HostPort>, Invalid> {
        if self.hosts.len() > HOSTS {
            return Err(Invalid::new(
                "Confinement.Egress.Hosts",
                format!("has {} entries, at most {HOSTS} are kept", self.hosts.len()),
            ));
        }
        let mut hosts = Vec::new();
        for (index, text) in self.hosts.iter().enumerate() {
            let field = format!("Confinement.Egress.Hosts[{index}]");
            let host = checked_host(&field, text)?;
            if hosts.contains(&host) {
                return Err(Invalid::new(
                    field,
                    format!("names {host} a second time; leave one out"),
                ));
            }
            hosts.push(host);
        }
        Ok(hosts)
    }
}

/// A host that a gateway could lead to.
fn checked_host(field: &str, text: &str) -> Result<HostPort, Invalid> {
    let host: HostPort =
        text.parse()
            .map_err(|error: parapet_device::confinement::HostPortError| {
                Invalid::new(field, error.to_string())
            })?;
    let never = |what: &str| {
        Err(Invalid::new(
            field,
            format!("{host} is {what}, which no application ever reaches; leave it out"),
        ))
    };
    if host.host == "localhost" || host.host.ends_with(".localhost") {
        return never("the appliance itself");
    }
    let last = host.host.rsplit('.').next().unwrap_or_default();
    match host.host.parse::<IpAddr>() {
        Ok(address) if is_own(address) => return never("an address of the appliance itself"),
        Ok(address) if is_never_a_host(address) => {
            return never("a link-local, multicast or reserved address");
        }
        // `10.1`, `0x7f.1`, `010.0.0.1`: some programs read addresses there, others names.
        Err(_) if last.starts_with(|c: char| c.is_ascii_digit()) => {
            return Err(Invalid::new(
                field,
                format!(
                    "{host} is neither a name nor an address; write addresses as four decimals"
                ),
            ));
        }
        _ => {}
    }
    Ok(host)
}

fn is_own(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

/// Where cloud machines keep their credentials is among them.
fn is_never_a_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    if is_metadata(address) {
        return true;
    }
    match address {
        IpAddr::V4(ip) => {
            ip.is_link_local()
                || ip.is_multicast()
                || ip.octets()[0] == 0
                || ip == Ipv4Addr::BROADCAST
        }
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_multicast(),
    }
}

/// An address that no camera has: cloud metadata, groups, none at all. A camera may well have a
/// link-local address; which ones an appliance connects to, it decides itself.
pub(super) fn is_no_camera(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_group = match address {
        IpAddr::V4(ip) => ip.is_multicast() || ip == Ipv4Addr::BROADCAST || ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified(),
    };
    is_group || is_metadata(address)
}

/// Where cloud machines keep their credentials.
fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip == Ipv4Addr::new(169, 254, 169, 254),
        IpAddr::V6(ip) => ip.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
    }
}

fn checked_ports(wished: &[WishedPort], known: &BTreeSet<u16>) -> Result<Vec<PortPolicy>, Invalid> {
    let mut ports: Vec<PortPolicy> = Vec::new();
    for (index, port) in wished.iter().enumerate() {
        let field = |member: &str| format!("Confinement.Ports[{index}]{member}");
        let host = port.host_port;
        if !known.contains(&host) {
            let open: Vec<_> = known.iter().map(u16::to_string).collect();
            let remedy = if open.is_empty() {
                "they open none; deploy with a routing rule in the overrides".to_owned()
            } else {
                format!("they open {}", open.join(", "))
            };
            return Err(Invalid::new(
                field(".HostPort"),
                format!("{host} is not opened by the overrides of the instance: {remedy}"),
            ));
        }
        if ports.iter().any(|known| known.host == host) {
            return Err(Invalid::new(
                field(".HostPort"),
                format!("{host} has settings already; give them in one entry"),
            ));
        }
        if port.sources.len() > SOURCES {
            return Err(Invalid::new(
                field(".Sources"),
                format!(
                    "has {} entries, at most {SOURCES} are kept; write larger ranges",
                    port.sources.len()
                ),
            ));
        }
        let sources = port.sources.iter().enumerate().map(|(at, text)| {
            text.parse::<Network>()
                .map_err(|error| Invalid::new(field(&format!(".Sources[{at}]")), error.to_string()))
        });
        ports.push(PortPolicy {
            host,
            sources: sources.collect::<Result<_, _>>()?,
            tls: match &port.tls {
                None => None,
                Some(tls) => Some(checked_tls(&field(".Tls.ClientAuthorities"), tls)?),
            },
        });
    }
    Ok(ports)
}

fn checked_tls(field: &str, tls: &WishedTls) -> Result<InboundTls, Invalid> {
    let invalid = |message: String| Err(Invalid::new(field, message));
    let pem = &tls.client_authorities;
    if pem.len() > AUTHORITIES_BYTES {
        return invalid(format!(
            "has {} bytes, at most {AUTHORITIES_BYTES} are kept",
            pem.len()
        ));
    }
    // A text without one certificate would let everybody in, although somebody wanted a check.
    if pem.is_empty() {
        return Ok(InboundTls::default());
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let number = roots.len() + 1;
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(error) => return invalid(format!("certificate {number} is no PEM: {error}")),
        };
        let is_authority = x509_parser::parse_x509_certificate(&certificate)
            .is_ok_and(|(_, parsed)| parsed.is_ca());
        if !is_authority || roots.add(certificate).is_err() {
            return invalid(format!(
                "certificate {number} is none of an authority; give the PEM certificate that \
                 signed those of the clients"
            ));
        }
    }
    if roots.is_empty() || roots.len() > AUTHORITIES {
        return invalid(format!(
            "holds {} certificates; give 1 to {AUTHORITIES} in PEM (-----BEGIN CERTIFICATE-----), \
             or an empty text to ask clients for none",
            roots.len()
        ));
    }
    if pem.contains("PRIVATE KEY-----") {
        return invalid("holds a private key, which must not leave its owner; leave it out".into());
    }
    Ok(InboundTls {
        client_authorities: pem.clone(),
    })
}

impl Policy {
    /// Reads a stored one.
    pub fn from_json(text: &str) -> Result<Self, StoreError> {
        let policy: Self = serde_json::from_str(text).map_err(|source| StoreError::Document {
            what: "confinement of an instance",
            source,
        })?;
        if policy.version == VERSION {
            Ok(policy)
        } else {
            Err(StoreError::Value {
                what: "version of a confinement",
                value: policy.version.to_string(),
            })
        }
    }

    /// As it is stored.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Ports with settings.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().map(|port| port.host)
    }

    /// Whether the list holds a host that an application asked for; port 0 is that of a name which
    /// was only looked up. For people who read the list: what decides is the appliance's gateway.
    #[must_use]
    pub fn lists(&self, host: &str, port: u16) -> bool {
        // An IPv6 address is no name.
        let host = host_name(host).unwrap_or_else(|| host.to_owned());
        self.hosts.iter().any(|known| {
            let named = match known.host.strip_prefix('*') {
                Some(below) => host.ends_with(below),
                None => known.host == host,
            };
            named && (port == 0 || port == known.port)
        })
    }

    /// What the planner takes. `has_role`: whether the instance has a runtime role.
    #[must_use]
    pub fn confinement(&self, has_role: bool) -> Confinement {
        let port = |port: &PortPolicy| InboundPort {
            host: port.host,
            // The planner puts in where the rule leads to.
            container: 0,
            sources: port.sources.clone(),
            tls: port.tls.clone(),
        };
        Confinement {
            limits: self.limits,
            egress: Egress {
                learn: self.learn,
                role: has_role,
                hosts: self.hosts.clone(),
            },
            ports: self.ports.iter().map(port).collect(),
            gpu: false,
            emulate: self.emulate,
        }
    }

    /// As it is shown; sent back it comes to the same.
    #[must_use]
    pub fn shown(&self) -> Wish {
        let limits = self.limits;
        let port = |port: &PortPolicy| WishedPort {
            host_port: port.host,
            sources: port.sources.iter().map(Network::to_string).collect(),
            tls: port.tls.as_ref().map(|tls| WishedTls {
                client_authorities: tls.client_authorities.clone(),
            }),
        };
        Wish {
            limits: WishedLimits {
                memory_bytes: limits.memory_bytes,
                cpu_millis: limits.cpu_millis.map(u64::from),
                processes: limits.processes.map(u64::from),
                io_bytes_per_second: limits.io_bytes_per_second,
                storage_bytes: limits.storage_bytes,
            },
            egress: WishedEgress {
                learn: self.learn,
                hosts: self.hosts.iter().map(HostPort::to_string).collect(),
            },
            ports: self.ports.iter().map(port).collect(),
            emulate: self.emulate,
        }
    }
}

#[cfg(test)]
mod tests;

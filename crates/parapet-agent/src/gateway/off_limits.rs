//! Addresses that no application is ever connected to, whatever its policy and whatever a name
//! resolves to: a name that an attacker answers for ends here and not at a camera or at the host.
//!
//! Knows what is never a host out there ([`never`]), the appliance's own addresses, asked of the
//! kernel each time, and the cameras: the networks of the configuration and the hosts of the
//! cameras' URLs, which the engine writes at each document. Names among those are looked up by a
//! task of their own ([`OffLimits::keep`]), so that no call waits for that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Mutex;
use std::time::Duration;

use parapet_device::confinement::{Network, host_name};
use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::time::timeout;
use url::{Host, Url};

use crate::launcher::lock;

/// Addresses that stand for names inside an application (RFC 2544: never in use outside).
pub(super) const SYNTHETIC: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);

/// Where clouds tell secrets to whoever runs on their machines, beyond the link-local ones.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Between two looks at where a camera's name leads, and for one look.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
const LOOKUP_LIMIT: Duration = Duration::from_secs(6);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OffLimits {
    networks: Vec<Network>,
    cameras: Mutex<Cameras>,
    renamed: Notify,
}

#[derive(Debug, Default)]
struct Cameras {
    addresses: BTreeSet<IpAddr>,
    /// With the addresses that the last successful look found.
    names: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl OffLimits {
    /// With the networks of the cameras' ports.
    pub(crate) fn new(networks: Vec<Network>) -> Self {
        Self {
            networks,
            ..Self::default()
        }
    }

    /// The cameras of the document, in place of those before.
    pub(crate) fn set_cameras<'a>(&self, urls: impl Iterator<Item = &'a str>) {
        let mut cameras = Cameras::default();
        for host in urls.filter_map(|url| Url::parse(url).ok()) {
            match host.host() {
                Some(Host::Ipv4(address)) => {
                    cameras.addresses.insert(address.into());
                }
                Some(Host::Ipv6(address)) => {
                    cameras.addresses.insert(address.to_canonical());
                }
                // In a scheme that it does not know, the parser takes an address for a name.
                Some(Host::Domain(name)) => {
                    if let Ok(address) = name.parse::<IpAddr>() {
                        cameras.addresses.insert(address.to_canonical());
                    } else if let Some(name) = host_name(name) {
                        cameras.names.insert(name, BTreeSet::new());
                    }
                }
                None => {}
            }
        }
        let mut held = lock(&self.cameras);
        for (name, addresses) in &mut cameras.names {
            match held.names.remove(name) {
                Some(known) => *addresses = known,
                None => self.renamed.notify_one(),
            }
        }
        *held = cameras;
    }

    /// Looks up the names of cameras, at once when there is a new one and again and again. What a
    /// name led to stays off limits until it is found to lead elsewhere.
    pub(crate) async fn keep(&self) {
        loop {
            let names: Vec<String> = lock(&self.cameras).names.keys().cloned().collect();
            for name in names {
                // A name without an address has no camera that could be reached.
                if let Ok(Ok(found)) = timeout(LOOKUP_LIMIT, lookup_host((&*name, 0))).await {
                    let found = found.map(|found| found.ip().to_canonical()).collect();
                    if let Some(addresses) = lock(&self.cameras).names.get_mut(&name) {
                        *addresses = found;
                    }
                }
            }
            let _ = timeout(LOOK_AGAIN, self.renamed.notified()).await;
        }
    }

    /// Why the name is refused, if it is.
    pub(super) fn refuses_name(&self, name: &str) -> Option<&'static str> {
        lock(&self.cameras)
            .names
            .contains_key(name)
            .then_some("it is a camera")
    }

    /// Why the address is refused, if it is.
    pub(super) fn refuses(&self, address: IpAddr) -> Option<&'static str> {
        let address = address.to_canonical();
        if let Some(reason) = never(address) {
            return Some(reason);
        }
        let inner = embedded(address).map(IpAddr::V4);
        for address in [Some(address), inner].into_iter().flatten() {
            if self
                .networks
                .iter()
                .any(|network| network.contains(address))
            {
                return Some("it is in the cameras' network");
            }
            if lock(&self.cameras).holds(address) {
                return Some("it is a camera");
            }
            if is_own(address) {
                return Some("it is the appliance itself");
            }
        }
        None
    }
}

impl Cameras {
    fn holds(&self, address: IpAddr) -> bool {
        let mut named = self.names.values();
        self.addresses.contains(&address) || named.any(|found| found.contains(&address))
    }
}

/// Whether the host answers to the address: the kernel lets only those be bound. Anything unclear
/// counts as own.
fn is_own(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrNotAvailable,
    }
}

/// The IPv4 address that a translator on the way would make of an IPv6 one.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // IPv4-compatible, and NAT64's well-known prefix (RFC 6052).
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(join(high, low))
        }
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// Why the address is none that an application may reach on any appliance.
fn never(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => never_v4(address),
        IpAddr::V6(address) => {
            never_v6(address).or_else(|| embedded(address.into()).and_then(never_v4))
        }
    }
}

fn never_v4(address: Ipv4Addr) -> Option<&'static str> {
    let first = address.octets()[0];
    if address.is_loopback() || first == 0 {
        Some("it is the appliance itself")
    } else if address.is_link_local() || METADATA_V4.contains(&address) {
        Some("it is of the link, or a cloud's metadata service")
    } else if first >= 224 {
        Some("it is no single host")
    } else if is_synthetic(address) {
        Some("it stands for a name that is not known any more")
    } else {
        None
    }
}

fn never_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, ..] = address.segments();
    match (a, b, c) {
        _ if address.is_loopback() || address.is_unspecified() => {
            Some("it is the appliance itself")
        }
        (0xff00.., ..) => Some("it is no single host"),
        // Link-local, site-local; the metadata services of AWS and of Google.
        (0xfe80..=0xfeff, ..) | (0xfd00, 0x0ec2, _) | (0xfd20, 0x00ce, _) => {
            Some("it is of the link, or a cloud's metadata service")
        }
        // Teredo and NAT64 for local use hide an address that cannot be told.
        (0x2001, 0, _) | (0x64, 0xff9b, 1) => Some("it hides another address"),
        _ => None,
    }
}

/// Whether an address stands for a name.
pub(super) fn is_synthetic(address: Ipv4Addr) -> bool {
    let (first, prefix) = SYNTHETIC;
    (address.to_bits() ^ first.to_bits()) >> (32 - prefix) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> OffLimits {
        let network = Network {
            address: "10.77.1.0".parse().unwrap(),
            prefix: 24,
        };
        let limits = OffLimits::new(vec![network]);
        limits.set_cameras(
            [
                "rtsp://192.0.2.33:554/x",
                "rtsp://[2001:db8::33]/x",
                "rtsps://u:p@gate.cameras.test/y",
                "file:///clip.mp4",
                "nonsense",
            ]
            .into_iter(),
        );
        limits
    }

    #[test]
    fn no_name_leads_to_the_host_the_link_the_cloud_or_a_camera() {
        let limits = limits();
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.9",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "239.255.255.250",
            "255.255.255.255",
            "240.0.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "10.77.1.5",
            "192.0.2.33",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.77.1.5",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a4d:105",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:c000:221::1",
            "2001:0:1::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "2001:db8::33",
        ] {
            assert!(
                limits.refuses(address.parse().unwrap()).is_some(),
                "{address}"
            );
        }
        assert!(limits.refuses_name("gate.cameras.test").is_some());
    }

    #[test]
    fn hosts_out_there_are_not_refused_private_ones_among_them() {
        let limits = limits();
        for address in [
            "203.0.113.9",
            "10.77.2.5",
            "192.168.200.200",
            "198.20.0.1",
            "2001:db8::34",
            "fd12:3456::1",
        ] {
            assert_eq!(limits.refuses(address.parse().unwrap()), None, "{address}");
        }
        assert_eq!(limits.refuses_name("api.example.com"), None);
    }

    #[tokio::test]
    async fn a_camera_that_has_a_name_is_off_limits_by_its_address_too() {
        // The one name that leads somewhere on every host; what loopback is refused as is beside
        // the point here.
        let limits = limits();
        limits.set_cameras(["rtsp://localhost/"].into_iter());
        let known = async {
            while !lock(&limits.cameras).holds("127.0.0.1".parse().unwrap()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = limits.keep() => unreachable!(),
            known = timeout(Duration::from_secs(30), known) => known.unwrap(),
        }
        // The next document, with the same camera: nothing is forgotten.
        limits.set_cameras(["rtsp://localhost/", "rtsp://192.0.2.44/"].into_iter());
        assert!(lock(&limits.cameras).holds("127.0.0.1".parse().unwrap()));
        limits.set_cameras(["rtsp://192.0.2.44/"].into_iter());
        assert!(!lock(&limits.cameras).holds("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn other_cameras_take_the_place_of_those_before() {
        let limits = limits();
        limits.set_cameras(["rtsp://192.0.2.44/"].into_iter());
        assert_eq!(limits.refuses("192.0.2.33".parse().unwrap()), None);
        assert!(limits.refuses("192.0.2.44".parse().unwrap()).is_some());
    }
}

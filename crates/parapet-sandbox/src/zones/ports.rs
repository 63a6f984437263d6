//! The ports of an appliance: parsed once, so that no text of a configuration can become a word
//! of a command or of a ruleset.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name of an interface: `IFNAMSIZ` less its null byte.
const MAX_NAME: usize = 15;

/// A text that is no port or address.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum PortError {
    /// A name.
    #[error(
        "{0:?} is no name of a port: give 1 to 15 letters, digits, '.', '-' or '_', the first a \
         letter or digit, as `ip link` shows it"
    )]
    Name(String),
    /// An address.
    #[error(
        "{0:?} is no address of a port: give ADDRESS/BITS such as 10.77.1.1/24, with %PORT behind \
         it where there are several camera ports"
    )]
    Address(String),
}

/// A network interface by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Port(String);

impl Port {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parent and number of a VLAN interface called after them, such as `eth0.20`.
    #[must_use]
    pub fn vlan(&self) -> Option<(Self, u16)> {
        let (parent, number) = self.0.rsplit_once('.')?;
        let number = number.parse().ok().filter(|n| (1..4095).contains(n))?;
        Some((parent.parse().ok()?, number))
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Port {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let good = text.len() <= MAX_NAME
            && text.bytes().all(plain)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric());
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(PortError::Name(cut(text)))
        }
    }
}

impl TryFrom<String> for Port {
    type Error = PortError;

    fn try_from(text: String) -> Result<Self, PortError> {
        text.parse()
    }
}

impl From<Port> for String {
    fn from(port: Port) -> Self {
        port.0
    }
}

/// An address that a port has, with the bits of its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortAddress {
    /// The address itself.
    pub address: IpAddr,
    /// How many of its bits are the network's, at least one.
    pub prefix: u8,
    /// Which port has it, where that is said.
    pub port: Option<Port>,
}

impl PortAddress {
    /// Whether an address lies in its network.
    #[must_use]
    pub fn holds(&self, other: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 4),
            IpAddr::V6(v6) => (v6.to_bits(), 6),
        };
        let ((own, kind), (other, other_kind)) = (bits(self.address), bits(other));
        let shift = 128 - u32::from(self.prefix);
        kind == other_kind && own >> shift == other >> shift
    }

    /// The network as `ADDRESS/BITS`.
    #[must_use]
    pub fn network(&self) -> String {
        let (address, prefix) = (self.address, u32::from(self.prefix));
        match address {
            IpAddr::V4(v4) => {
                let first = v4.to_bits() & (u32::MAX << (32 - prefix));
                format!("{}/{prefix}", std::net::Ipv4Addr::from_bits(first))
            }
            IpAddr::V6(v6) => {
                let first = v6.to_bits() & (u128::MAX << (128 - prefix));
                format!("{}/{prefix}", std::net::Ipv6Addr::from_bits(first))
            }
        }
    }

    /// `ADDRESS/BITS` without its port, as `ip address add` takes it.
    #[must_use]
    pub fn plain(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for PortAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)?;
        match &self.port {
            Some(port) => write!(f, "%{port}"),
            None => Ok(()),
        }
    }
}

impl FromStr for PortAddress {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let wrong = || PortError::Address(cut(text));
        let (place, port) = match text.split_once('%') {
            Some((place, port)) => (place, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let (address, prefix) = place.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.parse().ok().filter(|bits| (1..=most).contains(bits));
        let prefix = prefix.ok_or_else(wrong)?;
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(wrong());
        }
        Ok(Self {
            address,
            prefix,
            port,
        })
    }
}

impl TryFrom<String> for PortAddress {
    type Error = PortError;

    fn try_from(text: String) -> Result<Self, PortError> {
        text.parse()
    }
}

impl From<PortAddress> for String {
    fn from(address: PortAddress) -> Self {
        address.to_string()
    }
}

/// How far networks can be kept apart by rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The cameras have ports of their own, which get a namespace of their own.
    Separated,
    /// One namespace: users are told apart.
    Filtered,
}

/// Which interface of the host is whose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// Towards the control plane.
    pub uplink: Vec<Port>,
    /// Towards the cameras; the same as the uplink's where there is one network for both.
    pub cameras: Vec<Port>,
    /// What the camera ports are given; none: what they have.
    pub camera_addresses: Vec<PortAddress>,
    /// Interfaces with a business of their own, such as a bridge of containers.
    pub others: Vec<Port>,
}

/// Ports that contradict each other. Each message begins with the field at fault.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum PortsError {
    /// A port in two lists.
    #[error("{field}: {port} is in `{other}` too; a port belongs to one of them")]
    Twice {
        /// The later list.
        field: &'static str,
        /// The earlier one.
        other: &'static str,
        /// Which port.
        port: Port,
    },
    /// Camera ports of both kinds.
    #[error(
        "cameras: {0} is an uplink and others are not; name either ports of their own, or only \
         those of the uplink"
    )]
    Mixed(Port),
    /// No uplink.
    #[error("uplink: is empty; name the port towards the control plane, since all others are shut")]
    NoUplink,
    /// An address without a place.
    #[error(
        "camera_addresses: {0} belongs to no port; name camera ports of their own in `cameras`"
    )]
    NoPort(PortAddress),
    /// An address with too many places.
    #[error("camera_addresses: {0} does not say which port; write {0}%PORT")]
    WhichPort(PortAddress),
}

impl Ports {
    /// Whether the lists make sense together.
    pub fn check(&self) -> Result<(), PortsError> {
        let twice = |field, list: &[Port], other, others: &[Port]| match list
            .iter()
            .find(|port| others.contains(port))
        {
            Some(port) => Err(PortsError::Twice {
                field,
                other,
                port: port.clone(),
            }),
            None => Ok(()),
        };
        twice("others", &self.others, "cameras", &self.cameras)?;
        twice("others", &self.others, "uplink", &self.uplink)?;
        let shared = self.cameras.iter().find(|p| self.uplink.contains(p));
        if let Some(shared) = shared
            && !self.cameras.iter().all(|p| self.uplink.contains(p))
        {
            return Err(PortsError::Mixed(shared.clone()));
        }
        let named = !self.cameras.is_empty() || !self.others.is_empty();
        if named && self.uplink.is_empty() {
            return Err(PortsError::NoUplink);
        }
        for address in &self.camera_addresses {
            let place = match &address.port {
                Some(port) => self.cameras.contains(port),
                None => !self.cameras.is_empty(),
            };
            if !place || self.level() == Level::Filtered {
                return Err(PortsError::NoPort(address.clone()));
            }
            if address.port.is_none() && self.cameras.len() > 1 {
                return Err(PortsError::WhichPort(address.clone()));
            }
        }
        Ok(())
    }

    /// The level that these ports allow.
    #[must_use]
    pub fn level(&self) -> Level {
        let own = |port: &Port| !self.uplink.contains(port);
        if !self.cameras.is_empty() && self.cameras.iter().all(own) {
            Level::Separated
        } else {
            Level::Filtered
        }
    }

    /// Whether the host's ports are known, so that all others can be denied.
    #[must_use]
    pub fn named(&self) -> bool {
        !self.uplink.is_empty()
    }

    /// What one camera port is to be given.
    #[must_use]
    pub fn addresses_of(&self, port: &Port) -> Vec<PortAddress> {
        let its = |address: &&PortAddress| address.port.as_ref().is_none_or(|p| p == port);
        self.camera_addresses.iter().filter(its).cloned().collect()
    }
}

fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<Port> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn no_text_that_could_be_an_option_a_path_or_a_rule_is_a_port() {
        for good in ["eth0", "enp3s0f1", "eth0.20", "br-0a1b", "wlan_1", "0x"] {
            assert_eq!(good.parse::<Port>().unwrap().as_str(), good);
        }
        for wrong in [
            "",
            "-i",
            ".",
            "..",
            "a/b",
            "a b",
            "a\"",
            "a;b",
            "a\n",
            "a{",
            "sixteen-letters-",
            "ä",
            "eth0@if3",
            "eth0:1",
        ] {
            assert!(wrong.parse::<Port>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_vlan_is_known_by_its_name() {
        let vlan = |name: &str| name.parse::<Port>().unwrap().vlan();
        assert_eq!(vlan("eth0.20"), Some(("eth0".parse().unwrap(), 20)));
        for none in ["eth0", "eth0.", "eth0.x", "eth0.0", "eth0.4095"] {
            assert_eq!(vlan(none), None, "{none}");
        }
    }

    #[test]
    fn addresses_have_bits_and_perhaps_a_port() {
        let address: PortAddress = "10.77.1.1/24%eth1".parse().unwrap();
        assert_eq!(address.to_string(), "10.77.1.1/24%eth1");
        assert_eq!(
            (address.plain(), address.network()),
            ("10.77.1.1/24".into(), "10.77.1.0/24".into())
        );
        assert!(address.holds("10.77.1.200".parse().unwrap()));
        assert!(!address.holds("10.77.2.1".parse().unwrap()));
        assert!(!address.holds("::ffff:10.77.1.200".parse().unwrap()));
        let six: PortAddress = "2001:db8::1/64".parse().unwrap();
        assert_eq!(six.network(), "2001:db8::/64");
        assert!(six.holds("2001:db8::ffff".parse().unwrap()));
        let all: PortAddress = "10.0.0.1/32".parse().unwrap();
        assert!(all.holds(all.address) && !all.holds("10.0.0.2".parse().unwrap()));
        for wrong in [
            "10.77.1.1",
            "10.77.1.1/33",
            "10.77.1.1/0",
            "10.77.1/24",
            "0.0.0.0/8",
            "224.0.0.1/4",
            "127.0.0.1/8",
            "::1/128",
            "10.77.1.1/24%a b",
            "10.77.1.1/24 drop",
        ] {
            assert!(wrong.parse::<PortAddress>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ports_that_contradict_each_other_are_refused_with_the_fields_name() {
        let ports =
            |uplink: &[&str], cameras: &[&str], others: &[&str], addresses: &[&str]| Ports {
                uplink: list(uplink),
                cameras: list(cameras),
                others: list(others),
                camera_addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            };
        for (good, level) in [
            (ports(&[], &[], &[], &[]), Level::Filtered),
            (ports(&["a"], &[], &["c"], &[]), Level::Filtered),
            (ports(&["a"], &["a"], &[], &[]), Level::Filtered),
            (
                ports(&["a"], &["b"], &["c"], &["10.0.0.1/8"]),
                Level::Separated,
            ),
            (
                ports(&["a"], &["b", "d"], &[], &["10.0.0.1/8%d"]),
                Level::Separated,
            ),
        ] {
            assert_eq!((good.check(), good.level()), (Ok(()), level), "{good:?}");
        }
        for (wrong, field) in [
            (ports(&["a"], &["b"], &["b"], &[]), "others"),
            (ports(&["a"], &["b"], &["a"], &[]), "others"),
            (ports(&["a"], &["a", "b"], &[], &[]), "cameras"),
            (ports(&[], &["b"], &[], &[]), "uplink"),
            (ports(&[], &[], &["c"], &[]), "uplink"),
            (ports(&["a"], &[], &[], &["10.0.0.1/8"]), "camera_addresses"),
            (
                ports(&["a"], &["a"], &[], &["10.0.0.1/8"]),
                "camera_addresses",
            ),
            (
                ports(&["a"], &["b"], &[], &["10.0.0.1/8%a"]),
                "camera_addresses",
            ),
            (
                ports(&["a"], &["b", "d"], &[], &["10.0.0.1/8"]),
                "camera_addresses",
            ),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        }
    }
}

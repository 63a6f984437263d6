//! Addresses and networks of conditions, IPv4 and IPv6.

use std::net::IpAddr;

/// `203.0.113.0/24`, `2001:db8::/32`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    /// Leading bits that count.
    prefix: u32,
}

impl Network {
    /// `None` when it is neither an address nor a network. Bits behind the prefix do not count.
    pub(super) fn new(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(text) if (1..=3).contains(&text.len()) => {
                if !text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                text.parse().ok().filter(|prefix| *prefix <= bits)?
            }
            Some(_) => return None,
        };
        // An IPv4 address in IPv6 clothes is the IPv4 address.
        let canonical = address.to_canonical();
        let prefix = match (address.is_ipv6() && canonical.is_ipv4(), prefix) {
            (true, 96..) => prefix - 96,
            (true, _) => {
                return Some(Self { address, prefix });
            }
            (false, _) => prefix,
        };
        Some(Self {
            address: canonical,
            prefix,
        })
    }

    /// Whether the network has this address.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let same =
            |a: u128, b: u128, bits: u32| self.prefix == 0 || (a ^ b) >> (bits - self.prefix) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_their_addresses() {
        for (network, address, inside) in [
            ("203.0.113.0/24", "203.0.113.9", true),
            ("203.0.113.77/24", "203.0.113.9", true),
            ("203.0.113.0/24", "203.0.114.1", false),
            ("203.0.113.9", "203.0.113.9", true),
            ("203.0.113.9", "203.0.113.8", false),
            ("0.0.0.0/0", "203.0.113.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "2001:db9::1", true),
            ("203.0.113.0/24", "::ffff:203.0.113.9", true),
            ("::ffff:203.0.113.0/120", "203.0.113.9", true),
            ("::ffff:203.0.113.0/120", "203.0.114.9", false),
        ] {
            let found = Network::new(network)
                .unwrap()
                .contains(address.parse().unwrap());
            assert_eq!(found, inside, "{network} {address}");
        }
    }

    #[test]
    fn other_texts_are_no_networks() {
        for text in [
            "",
            "/24",
            "1.2.3",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "::/129",
            "1.2.3.4/8/9",
            "a",
        ] {
            assert_eq!(Network::new(text), None, "{text}");
        }
    }
}

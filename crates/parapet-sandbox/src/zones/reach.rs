//! Who reaches which camera: elements of the sets that the rules look into.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::{Text, Zones};

/// The sets of (user, address, port).
pub(super) fn declare(text: &mut Text) {
    text.set("reach4", "uid . ipv4_addr . inet_service");
    text.set("reach6", "uid . ipv6_addr . inet_service");
}

impl Zones {
    /// The transaction after which `user` reaches `new` instead of `old`, and `new_hosts` are known
    /// as cameras that share the host's namespace instead of `old_hosts`; empty where nothing
    /// changes. What stays is not touched, so no connection of it notices.
    #[must_use]
    pub fn reach(
        &self,
        user: u32,
        old: &[SocketAddr],
        new: &[SocketAddr],
        old_hosts: &[SocketAddr],
        new_hosts: &[SocketAddr],
    ) -> String {
        let table = self.table();
        let mut text = String::new();
        let places = |list: &[SocketAddr]| -> BTreeSet<SocketAddr> {
            list.iter()
                .map(|place| SocketAddr::new(place.ip().to_canonical(), place.port()))
                .collect()
        };
        let hosts = |list: &[SocketAddr]| -> BTreeSet<IpAddr> {
            list.iter().map(|place| place.ip().to_canonical()).collect()
        };
        let mut change = |verb: &str, set: &str, address: IpAddr, element: &str| {
            let family = if address.is_ipv4() { 4 } else { 6 };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{verb} element inet {table} {set}{family} {{ {element} }}"
            );
        };
        let (old, new) = (places(old), places(new));
        for (verb, those, not) in [("delete", &old, &new), ("add", &new, &old)] {
            for place in those.difference(not) {
                let element = format!("{user} . {} . {}", place.ip(), place.port());
                change(verb, "reach", place.ip(), &element);
            }
        }
        let (old, new) = (hosts(old_hosts), hosts(new_hosts));
        for (verb, those, not) in [("delete", &old, &new), ("add", &new, &old)] {
            for host in those.difference(not) {
                change(verb, "camera_hosts", *host, &host.to_string());
            }
        }
        text
    }
}

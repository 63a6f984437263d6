//! The table of the camera namespace.
//!
//! Only ingest processes live there, one user each. A user begins TCP connections to its own
//! camera, to the plain side of its own TLS, and to nothing else; nobody begins anything with us;
//! nothing is passed on. What the kernel
//! itself has to say is neighbour discovery, where a camera has an IPv6 address. ARP needs no
//! rule: there are no addresses but those of the camera ports, and each answers for its own.

use super::reach::declare;
use super::{PLAIN_SIDE_ANSWERS, RAW, Text, Zones};

/// Neighbour discovery, and only from the link itself.
const NEIGHBOURS: &str =
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept";

impl Zones {
    /// The table of the camera namespace, as one transaction that replaces it.
    #[must_use]
    pub fn camera_rules(&self) -> String {
        let mut text = Text::table(&self.table());
        declare(&mut text);
        let own = |rules: &[&str]| {
            rules
                .iter()
                .map(|rule| (*rule).to_owned())
                .collect::<Vec<_>>()
        };
        let strong = own(&["fib daddr . iif type != { local, broadcast, multicast } counter drop"]);
        text.base("strong_host", "prerouting", RAW, "accept", &strong);
        text.base("forwarded", "forward", "0", "drop", &own(&["counter"]));
        let received = own(&[
            "ct state established ct direction reply accept",
            // What an address that is not there, or a narrow link, says of a connection of ours.
            "ct state related icmp type destination-unreachable accept",
            "ct state related icmpv6 type { destination-unreachable, packet-too-big } accept",
            // Who may send there is said below.
            "iifname \"lo\" accept",
            NEIGHBOURS,
            "counter",
        ]);
        text.base("received", "input", "0", "drop", &received);
        let sent = own(&[
            "meta skuid . ip daddr . tcp dport @reach4 accept",
            "meta skuid . ip6 daddr . tcp dport @reach6 accept",
            PLAIN_SIDE_ANSWERS,
            // Whoever has a socket and got here may not.
            "meta skuid 0-4294967295 counter drop",
            // Sockets that are closed have no user any more; their connections end in order, so
            // that a camera with few places is not left with a dead one.
            "ct state established ct direction original meta l4proto tcp accept",
            NEIGHBOURS,
            "counter",
        ]);
        text.base("sent", "output", "0", "drop", &sent);
        text.end()
    }
}

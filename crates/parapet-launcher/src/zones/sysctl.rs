//! What the kernel must not do by itself in the camera namespace.
//!
//! Rules drop what comes; these switch off what the kernel would answer, learn or pass on. Set for
//! ports that come ("default"), for all, and again for each port.

use std::io;

use parapet_sandbox::zones::Port;

/// IPv4, by port: nothing passed on, no route learnt from a redirect or given by the sender, no
/// answer for somebody else's address, the source of a packet must be reachable where it came in.
const IPV4: [(&str, &str); 13] = [
    ("forwarding", "0"),
    ("accept_redirects", "0"),
    ("secure_redirects", "0"),
    ("send_redirects", "0"),
    ("accept_source_route", "0"),
    ("bootp_relay", "0"),
    ("proxy_arp", "0"),
    ("proxy_arp_pvlan", "0"),
    ("arp_ignore", "1"),
    ("arp_announce", "2"),
    ("arp_accept", "0"),
    ("drop_gratuitous_arp", "1"),
    ("rp_filter", "1"),
];
/// IPv6, by port: the same, and no router advertisement makes an address or a route.
const IPV6: [(&str, &str); 10] = [
    ("forwarding", "0"),
    ("accept_ra", "0"),
    ("accept_ra_defrtr", "0"),
    ("accept_ra_pinfo", "0"),
    ("autoconf", "0"),
    ("accept_redirects", "0"),
    ("accept_source_route", "-1"),
    ("proxy_ndp", "0"),
    ("router_solicitations", "0"),
    ("drop_unsolicited_na", "1"),
];
/// Of the namespace: no connection is believed in from its middle, no echo answered, no port of a
/// protocol opened by a helper that reads along.
const WHOLE: [(&str, &str); 5] = [
    ("ipv4/ip_forward", "0"),
    ("ipv4/icmp_echo_ignore_all", "1"),
    ("ipv6/icmp/echo_ignore_all", "1"),
    ("netfilter/nf_conntrack_tcp_loose", "0"),
    ("netfilter/nf_conntrack_helper", "0"),
];

/// Closes the namespace that this process is in, before a port is.
pub(super) fn close() -> io::Result<()> {
    for (name, value) in WHOLE {
        set(name, value)?;
    }
    for which in ["all", "default"] {
        by_port(which)?;
    }
    // Until a port is known to need it.
    set("ipv6/conf/default/disable_ipv6", "1")
}

/// The same for one port; IPv6 only where it has such an address.
pub(super) fn close_port(port: &Port, six: bool) -> io::Result<()> {
    let name = port.as_str();
    set(
        &format!("ipv6/conf/{name}/disable_ipv6"),
        if six { "0" } else { "1" },
    )?;
    by_port(name)
}

fn by_port(which: &str) -> io::Result<()> {
    for (name, value) in IPV4 {
        set(&format!("ipv4/conf/{which}/{name}"), value)?;
    }
    for (name, value) in IPV6 {
        set(&format!("ipv6/conf/{which}/{name}"), value)?;
    }
    Ok(())
}

/// What this kernel lacks it cannot do either.
fn set(name: &str, value: &str) -> io::Result<()> {
    match std::fs::write(format!("/proc/sys/net/{name}"), value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
        Ok(()) => Ok(()),
    }
}

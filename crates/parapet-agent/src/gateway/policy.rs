//! Whom an application may call: a pure rule over names and ports.

use std::net::IpAddr;

use parapet_device::confinement::{Egress, HostPort};

/// The rule of one application, with the device's own hosts merged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    learn: bool,
    hosts: Vec<HostPort>,
}

impl Policy {
    /// `device` are the hosts of the agent's configuration, for instances with a role.
    pub(super) fn new(egress: &Egress, device: &[HostPort]) -> Self {
        let mut hosts = egress.hosts.clone();
        if egress.role {
            hosts.extend(device.iter().cloned());
        }
        Self {
            learn: egress.learn,
            hosts,
        }
    }

    /// Whether what is refused is recorded for the report.
    pub(super) fn learns(&self) -> bool {
        self.learn
    }

    /// Whether `host`, a name in [`parapet_device::confinement::host_name`]'s form or an address,
    /// may be called at `port`.
    pub(super) fn allows(&self, host: &str, port: u16) -> bool {
        self.hosts
            .iter()
            .any(|allowed| allowed.port == port && is_of(&allowed.host, host))
    }

    /// Whether the name may be called at any port, and so has an address.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.hosts.iter().any(|allowed| is_of(&allowed.host, name))
    }
}

/// `*.example.com` is all names below `example.com`, however deep, and not itself. An address is
/// compared as one, and lies below nothing.
fn is_of(allowed: &str, host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return allowed.parse() == Ok(address);
    }
    match allowed.strip_prefix("*.") {
        Some(above) => host
            .strip_suffix(above)
            .is_some_and(|below| below.len() > 1 && below.ends_with('.')),
        None => allowed == host,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(hosts: &[&str], role: bool) -> Policy {
        let egress = Egress {
            learn: false,
            role,
            hosts: hosts.iter().map(|text| text.parse().unwrap()).collect(),
        };
        Policy::new(&egress, &["s3.example.net:443".parse().unwrap()])
    }

    #[test]
    fn a_host_is_allowed_by_name_and_port_together() {
        let policy = policy(
            &["api.example.com:443", "*.example.org:8883", "192.0.2.7:80"],
            false,
        );
        for (host, port, allowed) in [
            ("api.example.com", 443, true),
            ("api.example.com", 80, false),
            ("x.api.example.com", 443, false),
            ("example.com", 443, false),
            ("api.example.com.evil.test", 443, false),
            ("evilapi.example.com", 443, false),
            ("a.example.org", 8883, true),
            ("a.b.example.org", 8883, true),
            ("example.org", 8883, false),
            (".example.org", 8883, false),
            ("evilexample.org", 8883, false),
            ("192.0.2.7", 80, true),
            ("192.0.2.7", 443, false),
            ("192.0.2.8", 80, false),
            ("s3.example.net", 443, false),
            ("", 443, false),
        ] {
            assert_eq!(policy.allows(host, port), allowed, "{host}:{port}");
        }
        assert!(policy.knows("api.example.com") && !policy.knows("example.org"));
    }

    #[test]
    fn the_devices_hosts_are_for_instances_with_a_role() {
        assert!(policy(&[], true).allows("s3.example.net", 443));
        assert!(!policy(&[], false).allows("s3.example.net", 443));
        assert!(!policy(&[], true).allows("s3.example.net", 80));
    }

    proptest! {
        #[test]
        fn nothing_is_allowed_that_is_not_written(host in "[a-z0-9.*-]{0,20}", port: u16) {
            let policy = policy(&["api.example.com:443", "*.example.org:8883"], true);
            if policy.allows(&host, port) {
                let exact = [("api.example.com", 443), ("s3.example.net", 443)];
                prop_assert!(
                    exact.contains(&(host.as_str(), port))
                        || (host.ends_with(".example.org") && port == 8883)
                );
            }
        }
    }
}

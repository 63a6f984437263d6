//! What zones ask of `nft` and `ip`, in words of our own.

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use parapet_sandbox::namespace::Namespace;
use parapet_sandbox::programs::{Program, ProgramError};
use parapet_sandbox::zones::{Port, PortAddress};

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Tools {
    nft: Program,
    ip: Program,
}

impl Tools {
    pub(super) fn find() -> Result<Self, ProgramError> {
        Ok(Self {
            nft: Program::nft()?,
            ip: Program::ip()?,
        })
    }

    /// Loads a ruleset, or changes one: all of it or nothing.
    pub(super) fn rules(&self, text: &str) -> Result<(), ProgramError> {
        self.nft
            .run("load rules (nft)", &["-f", "-"], text)
            .map(drop)
    }

    /// The addresses of a port of this namespace, or of all ports, but for those of the link alone
    /// and of loopback.
    pub(super) fn addresses(&self, port: Option<&Port>) -> Result<Vec<PortAddress>, ProgramError> {
        let mut words = vec!["-brief", "address", "show"];
        if let Some(port) = port {
            words.extend(["dev", port.as_str()]);
        }
        let output = self
            .ip
            .run("read the addresses of ports (ip)", &words, "")?;
        Ok(addresses(&String::from_utf8_lossy(&output)))
    }

    pub(super) fn is_up(&self, port: &Port) -> Result<bool, ProgramError> {
        let words = ["-brief", "link", "show", "dev", port.as_str()];
        let output = self.ip.run("read the state of the port (ip)", &words, "")?;
        let text = String::from_utf8_lossy(&output);
        let flags = text.rsplit_once('<').map_or("", |(_, flags)| flags);
        Ok(flags
            .trim_end()
            .trim_end_matches('>')
            .split(',')
            .any(|flag| flag == "UP"))
    }

    pub(super) fn make_vlan(
        &self,
        parent: &Port,
        port: &Port,
        id: u16,
    ) -> Result<(), ProgramError> {
        let id = id.to_string();
        let words = [
            "link",
            "add",
            "link",
            parent.as_str(),
            "name",
            port.as_str(),
            "type",
            "vlan",
            "id",
            &id,
        ];
        self.ip
            .run("make the VLAN interface (ip)", &words, "")
            .map(drop)
    }

    pub(super) fn delete(&self, port: &Port) -> Result<(), ProgramError> {
        let words = ["link", "delete", "dev", port.as_str()];
        self.ip
            .run("delete the VLAN interface (ip)", &words, "")
            .map(drop)
    }

    pub(super) fn move_to(&self, port: &Port, namespace: &Path) -> Result<(), ProgramError> {
        let path = namespace.to_string_lossy();
        let words = ["link", "set", "dev", port.as_str(), "netns", &path];
        self.ip
            .run("move the port to its namespace (ip)", &words, "")
            .map(drop)
    }

    pub(super) fn address(
        &self,
        verb: &str,
        address: &str,
        port: &Port,
    ) -> Result<(), ProgramError> {
        let mut words = vec!["address", verb, address, "dev", port.as_str()];
        // Given by the operator: to ask the link first would leave the port useless meanwhile.
        if verb == "replace" && address.contains(':') {
            words.push("nodad");
        }
        self.ip
            .run("set the addresses of the port (ip)", &words, "")
            .map(drop)
    }

    pub(super) fn raise(&self, port: &str) -> Result<(), ProgramError> {
        let words = ["link", "set", "dev", port, "up"];
        self.ip.run("bring the port up (ip)", &words, "").map(drop)
    }
}

/// A path at which `ip` finds a namespace while the handle lives.
pub(super) fn path_of(namespace: &Namespace) -> PathBuf {
    let descriptor = namespace.as_fd().as_raw_fd();
    format!("/proc/{}/fd/{descriptor}", std::process::id()).into()
}

/// What `ip -brief address` lists: name, state, addresses with their bits.
fn addresses(text: &str) -> Vec<PortAddress> {
    let mut all = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let port: Option<Port> = name.split('@').next().and_then(|name| name.parse().ok());
        let listed = words
            .skip(1)
            .filter_map(|word| word.parse::<PortAddress>().ok());
        all.extend(
            listed
                .filter(|address| match address.address {
                    std::net::IpAddr::V4(_) => true,
                    std::net::IpAddr::V6(six) => !six.is_unicast_link_local(),
                })
                .map(|address| PortAddress {
                    port: port.clone(),
                    ..address
                }),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_but_for_those_of_link_and_loopback() {
        let text = "lo               UNKNOWN        127.0.0.1/8 ::1/128 \n\
                    eth1@if4         UP             10.77.1.1/24 2001:db8::1/64 fe80::1/64 \n\
                    eth2             DOWN           \n\
                    ppp0             UNKNOWN        10.1.1.1 peer 10.1.1.2/32 \n";
        let read: Vec<_> = addresses(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            read,
            [
                "10.77.1.1/24%eth1",
                "2001:db8::1/64%eth1",
                "10.1.1.2/32%ppp0"
            ]
        );
    }
}

//! `nft` and `ip`, by their full paths, with an empty environment and words of our own.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use parapet_sandbox::namespace::Namespace;
use parapet_sandbox::zones::{Port, PortAddress};
use thiserror::Error;

/// Longest that is repeated of what a program said.
const MAX_SAID: usize = 300;

/// Why a command did not do its work.
#[derive(Debug, Error)]
pub(super) enum CommandError {
    #[error("find {name} in {}: install the package {package}", PLACES.join(", "))]
    Missing {
        name: &'static str,
        package: &'static str,
    },
    #[error("{what}: {cause}")]
    Start {
        what: &'static str,
        cause: io::Error,
    },
    #[error("{what}: {said}")]
    Refused { what: &'static str, said: String },
}

const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// Where the programs are.
#[derive(Debug)]
pub(super) struct Tools {
    nft: PathBuf,
    ip: PathBuf,
}

impl Tools {
    pub(super) fn find() -> Result<Self, CommandError> {
        let find = |name, package| {
            PLACES
                .iter()
                .map(|place| Path::new(place).join(name))
                .find(|path| path.is_file())
                .ok_or(CommandError::Missing { name, package })
        };
        Ok(Self {
            nft: find("nft", "nftables")?,
            ip: find("ip", "iproute2")?,
        })
    }

    /// Loads a ruleset, or changes one: all of it or nothing.
    pub(super) fn rules(&self, text: &str) -> Result<(), CommandError> {
        run("load rules (nft)", &self.nft, &["-f", "-"], text).map(drop)
    }

    /// The addresses of a port of this namespace, or of all ports, but for those of the link alone
    /// and of loopback.
    pub(super) fn addresses(&self, port: Option<&Port>) -> Result<Vec<PortAddress>, CommandError> {
        let mut words = vec!["-brief", "address", "show"];
        if let Some(port) = port {
            words.extend(["dev", port.as_str()]);
        }
        let output = run("read the addresses of ports (ip)", &self.ip, &words, "")?;
        Ok(addresses(&String::from_utf8_lossy(&output.stdout)))
    }

    pub(super) fn is_up(&self, port: &Port) -> Result<bool, CommandError> {
        let words = ["-brief", "link", "show", "dev", port.as_str()];
        let output = run("read the state of the port (ip)", &self.ip, &words, "")?;
        let text = String::from_utf8_lossy(&output.stdout);
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
    ) -> Result<(), CommandError> {
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
        run("make the VLAN interface (ip)", &self.ip, &words, "").map(drop)
    }

    pub(super) fn delete(&self, port: &Port) -> Result<(), CommandError> {
        let words = ["link", "delete", "dev", port.as_str()];
        run("delete the VLAN interface (ip)", &self.ip, &words, "").map(drop)
    }

    pub(super) fn move_to(&self, port: &Port, namespace: &Path) -> Result<(), CommandError> {
        let path = namespace.to_string_lossy();
        let words = ["link", "set", "dev", port.as_str(), "netns", &path];
        run("move the port to its namespace (ip)", &self.ip, &words, "").map(drop)
    }

    pub(super) fn address(
        &self,
        verb: &str,
        address: &str,
        port: &Port,
    ) -> Result<(), CommandError> {
        let mut words = vec!["address", verb, address, "dev", port.as_str()];
        // Given by the operator: to ask the link first would leave the port useless meanwhile.
        if verb == "replace" && address.contains(':') {
            words.push("nodad");
        }
        run("set the addresses of the port (ip)", &self.ip, &words, "").map(drop)
    }

    pub(super) fn raise(&self, port: &Port) -> Result<(), CommandError> {
        let words = ["link", "set", "dev", port.as_str(), "up"];
        run("bring the port up (ip)", &self.ip, &words, "").map(drop)
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

fn run(
    what: &'static str,
    program: &Path,
    words: &[&str],
    input: &str,
) -> Result<Output, CommandError> {
    let started = |cause| CommandError::Start { what, cause };
    let mut child = Command::new(program)
        .args(words)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(started)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()) {
            // It has ended without reading; what it said tells why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other.map_err(started)?,
        }
    }
    let output = child.wait_with_output().map_err(started)?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = said.chars().take(MAX_SAID).collect();
    Err(CommandError::Refused {
        what,
        said: if said.is_empty() {
            output.status.to_string()
        } else {
            said
        },
    })
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

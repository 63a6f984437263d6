//! The zones of an appliance, as rules: which port belongs to whom, and the nftables that keep
//! them apart.
//!
//! Pure: from a typed description ([`Zones`]) to rulesets as text ([`Zones::host_rules`],
//! [`Zones::camera_rules`]) and to the changes that let one user reach one camera
//! ([`Zones::reach`]). Every text is one transaction of `nft`: it holds whole or not at all, and
//! loading it again changes nothing. Runs no program and reads no file: `parapet-launcher` does.
//!
//! One table a host, `inet parapet_<id base>`, and one of the same name in the camera namespace.
//! Nothing else is ever named, so other people's rules stay as they are. `docs/zones.md` tells
//! what the rules are for.

mod cameras;
mod host;
mod ports;
mod reach;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

pub use ports::{Level, Port, PortAddress, PortError, Ports, PortsError};

/// The users of an appliance on its host, as far as rules tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Users {
    /// The agent's.
    pub agent: u32,
    /// First one of the workers; those up to the first application's are theirs.
    pub workers: u32,
    /// First one of the applications.
    pub applications: u32,
    /// The first one after them.
    pub end: u32,
}

/// Everything that the rules follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zones {
    /// The ports of the host.
    pub ports: Ports,
    /// Whose packets they are.
    pub users: Users,
    /// Networks that no packet of the host's namespace may go to or come from, since they are the
    /// cameras'. Never one that the host has an address in.
    pub camera_networks: Vec<PortAddress>,
}

/// Where cloud providers answer whoever asks with the machine's credentials.
const METADATA_V4: &str = "169.254.169.254";
const METADATA_V6: &str = "fd00:ec2::254";
/// Before the chains of Docker and of ordinary firewalls (0): what is dropped here no later
/// chain can accept, and what passes here they may still drop.
const BEFORE_OTHERS: &str = "-10";
/// Before connections are tracked.
const RAW: &str = "-300";

/// First address of the plain sides of cameras that are spoken to in TLS: 127.64.0.0/10.
const PLAIN_SIDES: u32 = 0x7f40_0000;
/// How many there are.
const PLAIN_SIDE_COUNT: u32 = 1 << 22;
/// The port of all of them, and the only one that an ingest may listen at.
pub(crate) const PLAIN_SIDE_PORT: u16 = 10554;
/// Among loopback, answers of who was called. Only a plain side is ever called there.
const PLAIN_SIDE_ANSWERS: &str = "oifname \"lo\" ct state established ct direction reply accept";

/// Where the `number`th ingest listens to itself, between its TLS and its RTSP: a loopback address
/// of its own, which its user alone is let through to ([`Zones::reach`]).
#[must_use]
pub fn plain_side(number: u32) -> SocketAddr {
    let address = PLAIN_SIDES + number % PLAIN_SIDE_COUNT;
    SocketAddr::new(Ipv4Addr::from(address).into(), PLAIN_SIDE_PORT)
}

impl Zones {
    /// Name of the tables, here and in the camera namespace.
    #[must_use]
    pub fn table(&self) -> String {
        table(self.users.agent)
    }

    /// The level that the ports allow.
    #[must_use]
    pub fn level(&self) -> Level {
        self.ports.level()
    }
}

/// Name of the tables of the appliance whose users begin with `id_base`.
#[must_use]
pub fn table(id_base: u32) -> String {
    format!("parapet_{id_base:08x}")
}

/// Takes the tables of an appliance away; nothing where there are none.
#[must_use]
pub fn removal(id_base: u32) -> String {
    let table = table(id_base);
    format!("table inet {table} {{}}\ndelete table inet {table}\n")
}

/// A ruleset in the making, an indented line after the other.
struct Text(String);

impl Text {
    /// Replaces a table in one transaction: the first line is there so that the second finds one.
    fn table(name: &str) -> Self {
        let mut text = Self(String::new());
        text.line(0, &format!("table inet {name} {{}}"));
        text.line(0, &format!("delete table inet {name}"));
        text.line(0, &format!("table inet {name} {{"));
        text
    }

    fn line(&mut self, depth: usize, line: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{:depth$}{line}", "", depth = depth * 4);
    }

    fn set(&mut self, name: &str, of: &str) {
        self.line(1, &format!("set {name} {{ type {of}; }}"));
    }

    fn base(&mut self, name: &str, hook: &str, priority: &str, policy: &str, rules: &[String]) {
        self.line(1, &format!("chain {name} {{"));
        self.line(
            2,
            &format!("type filter hook {hook} priority {priority}; policy {policy};"),
        );
        self.rules(rules);
    }

    fn chain(&mut self, name: &str, rules: &[String]) {
        self.line(1, &format!("chain {name} {{"));
        self.rules(rules);
    }

    fn rules(&mut self, rules: &[String]) {
        for rule in rules {
            self.line(2, rule);
        }
        self.line(1, "}");
    }

    fn end(mut self) -> String {
        self.line(0, "}");
        self.0
    }
}

/// `{ "a", "b" }`, the names of ports as nftables takes them.
fn names<'a>(ports: impl IntoIterator<Item = &'a Port>) -> String {
    let names: Vec<_> = ports
        .into_iter()
        .map(|port| format!("\"{port}\""))
        .collect();
    format!("{{ {} }}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(ports: Ports) -> Zones {
        Zones {
            ports,
            users: Users {
                agent: 0x5000_0000,
                workers: 0x5000_0001,
                applications: 0x5001_0000,
                end: 0x6001_0000,
            },
            camera_networks: Vec::new(),
        }
    }

    fn list(names: &[&str]) -> Vec<Port> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    /// Compares with the file of that name; `UPDATE_GOLDEN=1` writes it.
    fn golden(name: &str, text: &str) {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/zones/golden")
            .join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, text).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(text, kept, "{}", file.display());
    }

    #[test]
    fn two_ports_make_rules_for_the_host_and_for_the_cameras() {
        let mut zones = zones(Ports {
            uplink: list(&["eth0"]),
            cameras: list(&["eth1", "eth0.20"]),
            others: list(&["docker0"]),
            ..Ports::default()
        });
        zones.camera_networks = vec![
            "10.77.1.1/24".parse().unwrap(),
            "2001:db8:7::1/64".parse().unwrap(),
        ];
        assert_eq!(zones.level(), Level::Separated);
        golden("separated-host.nft", &zones.host_rules());
        golden("separated-cameras.nft", &zones.camera_rules());
    }

    #[test]
    fn one_port_for_both_is_filtered_by_user_and_denies_ports_that_are_not_named() {
        let zones = zones(Ports {
            uplink: list(&["eth0"]),
            cameras: list(&["eth0"]),
            ..Ports::default()
        });
        assert_eq!(zones.level(), Level::Filtered);
        golden("filtered-named.nft", &zones.host_rules());
    }

    #[test]
    fn without_named_ports_users_alone_are_told_apart() {
        let zones = zones(Ports::default());
        assert_eq!(zones.level(), Level::Filtered);
        golden("filtered-unnamed.nft", &zones.host_rules());
    }

    #[test]
    fn a_change_of_what_a_user_reaches_is_one_transaction() {
        let zones = zones(Ports::default());
        let old = ["10.77.1.9:554", "[2001:db8:7::9]:554"].map(|a| a.parse().unwrap());
        let new = ["10.77.1.10:554", "127.0.0.1:8554"].map(|a| a.parse().unwrap());
        golden(
            "reach.nft",
            &zones.reach(0x5000_0007, &old, &new, &[], &new[..1]),
        );
        assert_eq!(zones.reach(0x5000_0007, &[], &[], &[], &[]), "");
    }

    #[test]
    fn every_ruleset_is_understood_by_nft() {
        let there = std::process::Command::new("nft").arg("--version").output();
        if there.is_err() || !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root and nft");
            return;
        }
        for name in [
            "separated-host.nft",
            "separated-cameras.nft",
            "filtered-named.nft",
            "filtered-unnamed.nft",
        ] {
            let file = format!("{}/src/zones/golden/{name}", env!("CARGO_MANIFEST_DIR"));
            // Twice in a namespace of its own: the second time it replaces itself.
            let output = std::process::Command::new("unshare")
                .args([
                    "-n",
                    "sh",
                    "-ec",
                    "nft -f \"$0\"; nft -f \"$0\"; nft list tables",
                ])
                .arg(&file)
                .output()
                .unwrap();
            assert!(output.status.success(), "{name}: {output:?}");
            assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "table inet parapet_50000000\n"
            );
        }
    }
}

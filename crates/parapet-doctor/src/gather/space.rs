//! One network namespace, seen by a thread that is inside it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::read::{self, output};
use super::sockets;
use crate::facts::{Chain, Forwarding, Interface, Known, OwnRules, Rules, Space, Switch, Unknown};

/// For `ip` and `nft`.
const LIMIT: Duration = Duration::from_secs(10);
/// Below this the kernel shows the network of the thread that asks.
const SYSCTL: &str = "/proc/sys/net";

/// Looks around. `owners` names the processes behind sockets, by inode.
pub(crate) fn space(own_table: &str, owners: &BTreeMap<u64, String>) -> Space {
    Space {
        interfaces: output("ip", &["-j", "address"], LIMIT).and_then(|text| interfaces(&text)),
        forwarding: forwarding(Path::new(SYSCTL)),
        switches: switches(Path::new(SYSCTL)),
        listeners: sockets::listeners(owners),
        rules: rules(own_table),
    }
}

fn interfaces(text: &str) -> Known<Vec<Interface>> {
    let unreadable = || Unknown::because("the answer of ip cannot be read");
    let all: Value = serde_json::from_str(text).map_err(|_| unreadable())?;
    let all = all.as_array().ok_or_else(unreadable)?;
    Ok(all
        .iter()
        .filter_map(|interface| {
            let addresses = interface["addr_info"].as_array();
            Some(Interface {
                name: interface["ifname"].as_str()?.to_owned(),
                addresses: addresses
                    .into_iter()
                    .flatten()
                    .filter_map(|address| address["local"].as_str()?.parse::<IpAddr>().ok())
                    .collect(),
            })
        })
        .collect())
}

fn forwarding(root: &Path) -> Known<Forwarding> {
    let any = |family: &str, all: &str| -> Known<bool> {
        // Each port has a switch of its own beside the common one.
        let directory = root.join(family).join("conf");
        let mut is_on = read::number_if_there(root.join(family).join(all))? == Some(1);
        for name in read::names(&directory)? {
            // "default" is for interfaces that may come.
            is_on |= read::number_if_there(directory.join(name).join("forwarding"))? == Some(1);
        }
        Ok(is_on)
    };
    Ok(Forwarding {
        v4: any("ipv4", "ip_forward")?,
        v6: any("ipv6", "conf/all/forwarding")?,
    })
}

/// How the kernel joins the switch of all interfaces with that of one.
#[derive(Clone, Copy)]
enum Joined {
    /// The larger counts.
    Larger,
    /// Either is enough.
    Either,
    /// Both are needed.
    Both,
    /// Each interface has its own.
    Alone,
}

/// Family, name, how it is joined, and the values that a camera port may have.
type SwitchRule = (
    &'static str,
    &'static str,
    Joined,
    std::ops::RangeInclusive<i64>,
);

/// Documentation/networking/ip-sysctl.rst of the kernel tells how each is joined.
const SWITCHES: [SwitchRule; 8] = [
    ("ipv4", "rp_filter", Joined::Larger, 1..=1),
    ("ipv4", "accept_redirects", Joined::Either, 0..=0),
    ("ipv4", "accept_source_route", Joined::Both, 0..=0),
    ("ipv4", "proxy_arp", Joined::Either, 0..=0),
    ("ipv4", "arp_ignore", Joined::Larger, 1..=8),
    ("ipv6", "accept_ra", Joined::Alone, 0..=0),
    ("ipv6", "accept_redirects", Joined::Alone, 0..=0),
    ("ipv6", "proxy_ndp", Joined::Either, 0..=0),
];

fn switches(root: &Path) -> Known<Vec<Switch>> {
    let mut found = Vec::new();
    let mut names = read::names(root.join("ipv4/conf"))?;
    names.extend(read::names(root.join("ipv6/conf"))?);
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(Unknown::because(format!("{} is not there", root.display())));
    }
    names.retain(|name| !["all", "default", "lo"].contains(&name.as_str()));
    for interface in names {
        let value = |family: &str, of: &str, name: &str| {
            read::number_if_there(root.join(family).join("conf").join(of).join(name))
        };
        // Without IPv6 on it an interface believes no router.
        let has_no_v6 = value("ipv6", &interface, "disable_ipv6")?.is_none_or(|off| off == 1);
        for (family, name, joined, safe) in SWITCHES {
            if family == "ipv6" && has_no_v6 {
                continue;
            }
            let Some(own) = value(family, &interface, name)? else {
                continue;
            };
            let all = value(family, "all", name)?.unwrap_or(0);
            // A router takes no redirect but where all and the interface say so.
            let forwards = value(family, &interface, "forwarding")? == Some(1);
            let value = match joined {
                Joined::Alone => own,
                Joined::Both => own.min(all),
                Joined::Either if name.ends_with("accept_redirects") && forwards => own.min(all),
                Joined::Larger | Joined::Either => own.max(all),
            };
            found.push(Switch {
                name: format!("{family}.conf.{interface}.{name}"),
                interface: interface.clone(),
                value,
                is_safe: safe.contains(&value),
            });
        }
    }
    Ok(found)
}

fn rules(own_table: &str) -> Known<Rules> {
    let text = output("nft", &["-j", "list", "ruleset"], LIMIT)?;
    let legacy = ["ip_tables_names", "ip6_tables_names"];
    let mut has_legacy = false;
    for name in legacy {
        let names = read::file_if_there(Path::new("/proc/thread-self/net").join(name))?;
        has_legacy |= names.is_some_and(|names| !names.trim().is_empty());
    }
    let mut rules = parse_rules(&text, own_table)?;
    rules.has_legacy = has_legacy;
    Ok(rules)
}

fn parse_rules(text: &str, own_table: &str) -> Known<Rules> {
    let unreadable = || Unknown::because("the answer of nft cannot be read");
    let all: Value = serde_json::from_str(text).map_err(|_| unreadable())?;
    let all = all["nftables"].as_array().ok_or_else(unreadable)?;
    let mut rules = Rules {
        own: None,
        open_forward: Vec::new(),
        has_legacy: false,
    };
    for object in all {
        if object["table"]["name"] == own_table {
            rules.own.get_or_insert_default();
        }
        let chain = &object["chain"];
        let hook = chain["hook"].as_str();
        if chain["table"] == own_table {
            let own = rules.own.get_or_insert_with(OwnRules::default);
            let kind = if chain["policy"] == "drop" {
                Chain::Closed
            } else {
                Chain::Open
            };
            match hook {
                Some("input") => own.input = kind,
                Some("forward") => own.forward = kind,
                Some("output") => own.output = kind,
                _ => {}
            }
        } else if hook == Some("forward") && chain["policy"] == "accept" {
            let part = |name: &str| chain[name].as_str().unwrap_or("?").to_owned();
            rules.open_forward.push(format!(
                "{} {} {}",
                part("family"),
                part("table"),
                part("name")
            ));
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_what_ip_says() {
        let text = r#"[{"ifname":"lo","addr_info":[{"local":"127.0.0.1"},{"local":"::1"}]},
            {"ifname":"eth0","addr_info":[{"local":"192.0.2.7","prefixlen":24}]},{"odd":1}]"#;
        let seen = interfaces(text).unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].addresses, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
        assert!(interfaces("{").is_err());
        assert!(interfaces("{}").is_err());
    }

    #[test]
    fn own_and_foreign_chains_are_told_apart() {
        let text = r#"{"nftables":[{"metainfo":{}},{"table":{"family":"inet","name":"ours"}},
            {"chain":{"family":"inet","table":"ours","name":"f","hook":"forward","policy":"drop"}},
            {"chain":{"family":"ip","table":"filter","name":"FORWARD","hook":"forward","policy":"accept"}},
            {"chain":{"family":"ip","table":"nat","name":"POST","hook":"postrouting","policy":"accept"}}]}"#;
        let seen = parse_rules(text, "ours").unwrap();
        let own = OwnRules {
            forward: Chain::Closed,
            ..OwnRules::default()
        };
        assert_eq!(seen.own, Some(own));
        assert_eq!(seen.open_forward, ["ip filter FORWARD"]);
        assert_eq!(parse_rules(text, "none").unwrap().own, None);
    }

    fn tree(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, value) in entries {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{value}\n")).unwrap();
        }
        dir
    }

    #[test]
    fn forwarding_of_one_interface_is_forwarding() {
        let off = tree(&[("ipv4/ip_forward", "0"), ("ipv4/conf/eth0/forwarding", "0")]);
        let off = forwarding(off.path()).unwrap();
        assert_eq!((off.v4, off.v6), (false, false));
        let one = tree(&[("ipv4/ip_forward", "0"), ("ipv4/conf/eth1/forwarding", "1")]);
        assert!(forwarding(one.path()).unwrap().v4);
        let six = tree(&[("ipv6/conf/all/forwarding", "1")]);
        assert!(forwarding(six.path()).unwrap().v6);
    }

    #[test]
    fn switches_are_joined_as_the_kernel_joins_them() {
        let dir = tree(&[
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/all/accept_redirects", "0"),
            ("ipv4/conf/all/accept_source_route", "0"),
            ("ipv4/conf/all/proxy_arp", "1"),
            ("ipv4/conf/lo/proxy_arp", "1"),
            ("ipv4/conf/eth1/rp_filter", "1"),
            ("ipv4/conf/eth1/accept_redirects", "0"),
            ("ipv4/conf/eth1/accept_source_route", "1"),
            ("ipv4/conf/eth1/proxy_arp", "0"),
            ("ipv6/conf/eth1/disable_ipv6", "0"),
            ("ipv6/conf/eth1/accept_ra", "1"),
            ("ipv6/conf/eth2/disable_ipv6", "1"),
            ("ipv6/conf/eth2/accept_ra", "1"),
        ]);
        let seen = switches(dir.path()).unwrap();
        let unsafe_ones: Vec<&str> = seen
            .iter()
            .filter(|switch| !switch.is_safe)
            .map(|switch| switch.name.as_str())
            .collect();
        assert_eq!(
            unsafe_ones,
            ["ipv4.conf.eth1.proxy_arp", "ipv6.conf.eth1.accept_ra"]
        );
    }
}

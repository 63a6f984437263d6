//! The table of the host's namespace.
//!
//! In both levels: the agent, the workers and the applications are told apart by user. Where ports
//! are named: an address of ours is answered at its own port only, nothing is passed on but from
//! and to the ports with a business of their own, and a port that nobody has named (a USB
//! adapter, Wi-Fi) is as if it were not there. Where cameras share the namespace: they cannot
//! begin anything.

use super::reach::declare;
use super::{
    BEFORE_OTHERS, Level, METADATA_V4, METADATA_V6, PLAIN_SIDE_ANSWERS, PortAddress, RAW, Text,
    Zones, names,
};

impl Zones {
    /// The table of the host, as one transaction that replaces it.
    #[must_use]
    pub fn host_rules(&self) -> String {
        let mut text = Text::table(&self.table());
        let filtered = self.level() == Level::Filtered;
        if filtered {
            declare(&mut text);
            text.set("camera_hosts4", "ipv4_addr");
            text.set("camera_hosts6", "ipv6_addr");
        }
        if self.ports.named() {
            self.strong_host(&mut text);
        }
        if filtered || self.ports.named() {
            self.forwarded(&mut text, filtered);
            self.received(&mut text, filtered);
        }
        self.sent(&mut text, filtered);
        text.end()
    }

    /// An address of ours belongs to its port: whoever asks for it at another one, across the
    /// appliance as it were, is not heard.
    fn strong_host(&self, text: &mut Text) {
        let mut rules = vec![exempt(&["lo"], &self.ports.others)];
        rules.push("fib daddr type local fib daddr . iif type != local counter drop".to_owned());
        text.base("strong_host", "prerouting", RAW, "accept", &rules);
    }

    fn forwarded(&self, text: &mut Text, filtered: bool) {
        let mut rules = Vec::new();
        if filtered {
            rules.extend(camera_hosts("saddr", ""));
            rules.extend(camera_hosts("daddr", ""));
        }
        rules.extend(networks("saddr", &self.camera_networks));
        rules.extend(networks("daddr", &self.camera_networks));
        if !self.ports.named() {
            text.base("forwarded", "forward", BEFORE_OTHERS, "accept", &rules);
            return;
        }
        let (uplink, others) = (&self.ports.uplink, &self.ports.others);
        if !others.is_empty() {
            let all = names(uplink.iter().chain(others));
            let others = names(others);
            rules.push(format!("iifname {others} oifname {all} accept"));
            rules.push(format!("iifname {all} oifname {others} accept"));
        }
        rules.push("counter".to_owned());
        text.base("forwarded", "forward", BEFORE_OTHERS, "drop", &rules);
    }

    fn received(&self, text: &mut Text, filtered: bool) {
        let mut rules = Vec::new();
        if filtered {
            rules.extend(camera_hosts(
                "saddr",
                "ct state { new, invalid, untracked } ",
            ));
        }
        rules.extend(networks("saddr", &self.camera_networks));
        if !self.ports.named() {
            text.base("received", "input", BEFORE_OTHERS, "accept", &rules);
            return;
        }
        let known = self.ports.uplink.iter().chain(&self.ports.others);
        let known: Vec<_> = known.cloned().collect();
        rules.push(exempt(&["lo"], &known));
        rules.push("counter".to_owned());
        text.base("received", "input", BEFORE_OTHERS, "drop", &rules);
    }

    fn sent(&self, text: &mut Text, filtered: bool) {
        let users = self.users;
        let range = |first: u32, end: u32| format!("{first}-{}", end - 1);
        let (workers, applications) = (
            range(users.workers, users.applications),
            range(users.applications, users.end),
        );
        let rules = [
            format!("meta skuid {} jump agent", users.agent),
            format!("meta skuid {workers} jump workers"),
            // They have namespaces of their own; whatever of theirs shows up here has got out.
            format!("meta skuid {applications} counter drop"),
        ];

        let mut agent = vec![
            format!("ip daddr {METADATA_V4} counter drop"),
            format!("ip6 daddr {METADATA_V6} counter drop"),
        ];
        agent.extend(networks("daddr", &self.camera_networks));
        if self.ports.named() {
            let uplink = names(&self.ports.uplink);
            let there = uplink.replacen("{ ", "{ \"lo\", ", 1);
            agent.push(format!("oifname != {there} counter drop"));
        }
        text.chain("agent", &agent);

        let mut reached = Vec::new();
        if filtered {
            reached.push("meta skuid . ip daddr . tcp dport @reach4 accept".to_owned());
            reached.push("meta skuid . ip6 daddr . tcp dport @reach6 accept".to_owned());
            reached.push(PLAIN_SIDE_ANSWERS.to_owned());
        }
        reached.push("counter drop".to_owned());
        text.chain("workers", &reached);
        text.base("sent", "output", BEFORE_OTHERS, "accept", &rules);
    }
}

fn exempt(first: &[&str], ports: &[super::Port]) -> String {
    let all: Vec<_> = first
        .iter()
        .copied()
        .chain(ports.iter().map(super::Port::as_str))
        .map(|name| format!("\"{name}\""))
        .collect();
    format!("iifname {{ {} }} accept", all.join(", "))
}

fn camera_hosts(side: &str, when: &str) -> [String; 2] {
    [
        format!("{when}ip {side} @camera_hosts4 counter drop"),
        format!("{when}ip6 {side} @camera_hosts6 counter drop"),
    ]
}

/// A rule a kind of address that drops what is on that side in one of the networks.
fn networks(side: &str, networks: &[PortAddress]) -> Vec<String> {
    let mut rules = Vec::new();
    for (family, four) in [("ip", true), ("ip6", false)] {
        let mut those: Vec<_> = networks
            .iter()
            .filter(|network| network.address.is_ipv4() == four)
            .map(PortAddress::network)
            .collect();
        those.sort();
        those.dedup();
        rules.extend(
            those
                .iter()
                .map(|network| format!("{family} {side} {network} counter drop")),
        );
    }
    rules
}

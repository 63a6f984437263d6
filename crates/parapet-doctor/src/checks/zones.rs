//! How networks are kept apart.

use std::collections::BTreeMap;

use parapet_device::reported::Separation;

use super::{Verdict, count};
use crate::facts::{
    Chain, Facts, Inbound, Known, Listener, Place, Process, Protocol, Role, Space, Switch, Unknown,
};
use crate::report::Level;

pub(super) fn configuration(facts: &Facts) -> Known<Verdict> {
    Ok(match facts.agent.configuration.clone()? {
        None => Verdict::ok("it can be read, and what it names is there"),
        Some(fault) => Verdict::failure(fault),
    })
}

/// The level that is really there: what the agent says, unless what can be seen here is less.
pub(super) fn separation(facts: &Facts) -> Known<Separation> {
    Ok(judge(facts)?.0)
}

pub(super) fn level(facts: &Facts) -> Known<Verdict> {
    let (level, verdict) = judge(facts)?;
    Ok(
        if verdict.level == Level::Ok && level != Separation::Separated {
            // Nothing contradicts the agent, and it says itself that it is less than it could be.
            Verdict {
                level: if level == Separation::Flat {
                    Level::Failure
                } else {
                    Level::Warning
                },
                ..verdict
            }
        } else {
            verdict
        },
    )
}

fn judge(facts: &Facts) -> Known<(Separation, Verdict)> {
    let status = facts.agent.status.clone()?;
    let host_ports = facts.network.host.interfaces.clone();
    let Some(status) = status else {
        return Err(Unknown::because(
            "no agent has run there yet: it reaches its level at its start",
        ));
    };
    let Some(said) = status.separation else {
        return Err(Unknown::because("the agent does not know yet"));
    };
    let mut against = Vec::new();
    let mut evidence = vec![format!("the agent says {said}")];
    if !status.is_running {
        evidence.push("the agent does not run now: this was its last word".to_owned());
    }
    if said == Separation::Separated {
        if facts.network.cameras.clone()?.is_none() {
            against.push("there is no camera zone".to_owned());
        }
        for port in &status.cameras {
            let is_here = host_ports.clone()?.iter().any(|own| own.name == *port);
            if is_here {
                against.push(format!(
                    "the camera port {port} is in the host's own network"
                ));
            }
        }
    }
    if said != Separation::Flat {
        match &facts.network.host.rules {
            Ok(rules) => match rules.own {
                None => against.push("Parapet's table of rules is not loaded".to_owned()),
                Some(own) if [own.input, own.forward, own.output].contains(&Chain::Absent) => {
                    let lacks =
                        "Parapet's table of rules lacks a chain for input, forward or output";
                    against.push(lacks.to_owned());
                }
                Some(_) => evidence.push("Parapet's table of rules is loaded".to_owned()),
            },
            Err(error) => return Err(error.clone()),
        }
    }
    if !against.is_empty() {
        let found = format!("the agent says {said}, which is not so");
        return Ok((Separation::Flat, Verdict::failure(found).with(against)));
    }
    evidence.extend(status.missing.iter().cloned());
    let found = match said {
        Separation::Separated => "separated: cameras have a port and a namespace of their own",
        Separation::Filtered => "filtered: one network, and rules by user and address",
        Separation::Flat => "flat: nothing but each process's own restraint",
    };
    Ok((said, Verdict::ok(found).with(evidence)))
}

pub(super) fn processes(facts: &Facts) -> Known<Verdict> {
    let processes = facts.network.processes.clone()?;
    if processes.is_empty() {
        return Err(Unknown::because("none of Parapet's processes runs here"));
    }
    let is_separated = facts.network.cameras.clone()?.is_some();
    let mut wrong = Vec::new();
    let mut seen = BTreeMap::new();
    let mut owners: BTreeMap<u64, u32> = BTreeMap::new();
    for Process {
        pid,
        user,
        role,
        place,
    } in &processes
    {
        let place = place.clone()?;
        let is_right = match (role, place) {
            (Role::Agent | Role::Launcher, Place::Host) | (Role::Ingest, Place::Cameras) => true,
            // Without a zone its user's rules hold it.
            (Role::Ingest, Place::Host) => !is_separated,
            (Role::Codec | Role::Infer | Role::Application, Place::Own(number)) => {
                // A worker has a user, an instance a range of them; two would meet there.
                let owner = if *role == Role::Application {
                    user >> 16
                } else {
                    *user
                };
                *owners.entry(number).or_insert(owner) == owner
            }
            _ => false,
        };
        if !is_right {
            let network = match place {
                Place::Host => "the host's network",
                Place::Cameras => "the camera zone",
                Place::Own(_) => "a network that is not its own",
            };
            wrong.push(format!("{role} {pid} is in {network}"));
        }
        *seen.entry(role.to_string()).or_insert(0) += 1;
    }
    let seen = seen.into_iter().map(|(role, number)| count(number, &role));
    let seen = seen.collect::<Vec<_>>().join(", ");
    Ok(if wrong.is_empty() {
        Verdict::ok(format!("each where it belongs: {seen}"))
    } else {
        Verdict::failure(format!("{} in the wrong one", wrong.len())).with(wrong)
    })
}

pub(super) fn forwarding(facts: &Facts) -> Known<Verdict> {
    let words = |space: &Space| -> Known<Option<&str>> {
        let forwarding = space.forwarding.clone()?;
        Ok(match (forwarding.v4, forwarding.v6) {
            (false, false) => None,
            (true, false) => Some("IPv4"),
            (false, true) => Some("IPv6"),
            (true, true) => Some("IPv4 and IPv6"),
        })
    };
    let zone = facts.network.cameras.clone();
    if let Ok(Some(zone)) = &zone
        && let Some(what) = words(zone)?
    {
        return Ok(Verdict::failure(format!("the camera zone forwards {what}")));
    }
    let Some(what) = words(&facts.network.host)? else {
        // A zone that cannot be looked into may forward.
        zone?;
        return Ok(Verdict::ok("off, for IPv4 and IPv6"));
    };
    if zone?.is_some() {
        return Ok(Verdict::ok(format!(
            "the host forwards {what}; cameras are in a namespace that does not"
        )));
    }
    let holds = facts.network.host.rules.clone();
    let has_chain = holds.map(|rules| rules.own.is_some_and(|own| own.forward == Chain::Closed));
    Ok(match has_chain {
        Ok(true) => Verdict::warning(format!(
            "the host forwards {what}; Parapet's rules hold it back"
        )),
        Ok(false) => Verdict::failure(format!(
            "the host forwards {what}, and no rule of Parapet holds it back"
        )),
        Err(error) => Verdict::failure(format!(
            "the host forwards {what}; whether rules hold it back is not known: {error}"
        )),
    })
}

pub(super) fn foreign_rules(facts: &Facts) -> Known<Verdict> {
    let rules = facts.network.host.rules.clone()?;
    let mut evidence: Vec<String> = rules
        .open_forward
        .iter()
        .map(|chain| format!("{} lets through by default", crate::report::plain(chain)))
        .collect();
    if rules.has_legacy {
        evidence.push("rules of iptables-legacy exist, which nft does not show".to_owned());
    }
    if evidence.is_empty() {
        return Ok(Verdict::ok("nobody else lets forwarded packets through"));
    }
    let forwarding = facts.network.host.forwarding.clone()?;
    let forwards = forwarding.v4 || forwarding.v6;
    let holds = rules.own.is_some_and(|own| own.forward == Chain::Closed);
    let found = format!(
        "{} by others",
        count(rules.open_forward.len(), "open forward chain")
    );
    Ok(
        if forwards && !holds && facts.network.cameras.clone()?.is_none() {
            Verdict::failure(format!("{found}, and the host forwards")).with(evidence)
        } else {
            Verdict::warning(found).with(evidence)
        },
    )
}

/// Ports where cameras are, and the namespace they are in: the zone, or named ports of the host's
/// own, or, where nobody has named any, all of them.
fn camera_side(facts: &Facts) -> Known<(Space, Option<Vec<String>>)> {
    if let Some(zone) = facts.network.cameras.clone()? {
        return Ok((zone, None));
    }
    let named = match &facts.agent.status {
        Ok(Some(status)) if !status.cameras.is_empty() => Some(status.cameras.clone()),
        _ => None,
    };
    Ok((facts.network.host.clone(), named))
}

pub(super) fn switches(facts: &Facts) -> Known<Verdict> {
    let (space, named) = camera_side(facts)?;
    let is_zone = facts.network.cameras.clone()?.is_some();
    let wrong: Vec<String> = space
        .switches?
        .into_iter()
        .filter(|switch| !switch.is_safe)
        .filter(|switch| {
            named
                .as_ref()
                .is_none_or(|named| named.contains(&switch.interface))
        })
        .map(|Switch { name, value, .. }| format!("net.{name}={value}"))
        .collect();
    if wrong.is_empty() {
        return Ok(Verdict::ok("they believe no neighbour"));
    }
    let number = count(wrong.len(), "switch").replace("switchs", "switches");
    Ok(if is_zone || named.is_some() {
        Verdict::failure(format!("{number} open on camera ports")).with(wrong)
    } else {
        Verdict::warning(format!(
            "{number} open; no camera port is named, so all ports count"
        ))
        .with(wrong)
    })
}

pub(super) fn listeners(facts: &Facts) -> Known<Verdict> {
    let words = |listener: &Listener| {
        let process = listener.process.as_deref().unwrap_or("an unknown process");
        let inbound = facts.agent.inbound.iter().flatten();
        let instance = inbound
            .filter(|_| listener.protocol == Protocol::Tcp)
            .find(|inbound| inbound.port == listener.address.port())
            .map(|inbound| format!(", for {}", inbound.instance));
        format!(
            "{} {}: {process}{}",
            listener.protocol,
            listener.address,
            instance.unwrap_or_default()
        )
    };
    if let Some(zone) = facts.network.cameras.clone()? {
        let open: Vec<String> = zone.listeners?.iter().map(words).collect();
        return Ok(if open.is_empty() {
            Verdict::ok("none: nothing listens in the camera zone")
        } else {
            Verdict::failure(format!(
                "{} in the camera zone",
                count(open.len(), "socket")
            ))
            .with(open)
        });
    }
    let all = facts.network.host.listeners.clone()?;
    let open: Vec<&Listener> = all
        .iter()
        .filter(|listener| !listener.address.ip().is_loopback())
        .collect();
    if open.is_empty() {
        return Ok(Verdict::ok("none: nothing listens but on loopback"));
    }
    let evidence: Vec<String> = open.iter().map(|listener| words(listener)).collect();
    let number = count(open.len(), "socket");
    let has_cameras = matches!(&facts.cameras, Ok(cameras) if !cameras.is_empty());
    Ok(match separation(facts) {
        Ok(Separation::Flat) if has_cameras => {
            Verdict::failure(format!("{number}, and no rule keeps cameras away")).with(evidence)
        }
        Ok(_) => {
            Verdict::warning(format!("{number} on a network that cameras share")).with(evidence)
        }
        Err(_) => Verdict::warning(format!(
            "{number}; whether cameras reach them is not known without a running agent"
        ))
        .with(evidence),
    })
}

pub(super) fn inbound(facts: &Facts) -> Known<Verdict> {
    let ports = facts.agent.inbound.clone()?;
    let listeners = facts.network.host.listeners.clone()?;
    let mut open = Vec::new();
    let mut all = Vec::new();
    for Inbound {
        port,
        instance,
        has_sources,
        has_tls,
    } in &ports
    {
        let waits = listeners
            .iter()
            .any(|listener| listener.address.port() == *port);
        let who = if *has_sources {
            "named sources"
        } else {
            "everybody"
        };
        let how = if *has_tls { " over TLS" } else { "" };
        let now = if waits { "" } else { ", not listening now" };
        let line = format!("{port} to {instance}, for {who}{how}{now}");
        if !*has_sources && !*has_tls {
            open.push(line.clone());
        }
        all.push(line);
    }
    Ok(if ports.is_empty() {
        Verdict::ok("none is opened")
    } else if open.is_empty() {
        Verdict::ok(format!(
            "{} with sources or TLS",
            count(ports.len(), "port")
        ))
        .with(all)
    } else {
        let found = format!(
            "{} open to the uplink's whole network",
            count(open.len(), "port")
        );
        Verdict::warning(found).with(all)
    })
}

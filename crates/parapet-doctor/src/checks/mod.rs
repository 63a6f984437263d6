//! The checks: one table, a pure function each.
//!
//! A check takes the [`Facts`] and gives a [`Verdict`]. A fact that is not known ends the check
//! through `?`, and its finding is [`Level::Unknown`] with what was missing: a check cannot take
//! for good what nobody has seen. `docs/doctor.md` has a section for each; a test holds the two
//! together.

mod cameras;
mod data;
mod host;
mod reach;
mod software;
mod time;
mod zones;

#[cfg(test)]
mod tests;

use crate::facts::{Facts, Known};
use crate::report::{Finding, Level, MOST_EVIDENCE, Report};

/// What a check has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    level: Level,
    found: String,
    evidence: Vec<String>,
}

impl Verdict {
    fn ok(found: impl Into<String>) -> Self {
        Self::new(Level::Ok, found)
    }

    fn warning(found: impl Into<String>) -> Self {
        Self::new(Level::Warning, found)
    }

    fn failure(found: impl Into<String>) -> Self {
        Self::new(Level::Failure, found)
    }

    fn new(level: Level, found: impl Into<String>) -> Self {
        Self {
            level,
            found: found.into(),
            evidence: Vec::new(),
        }
    }

    fn with(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }
}

/// One check.
pub struct Check {
    /// Stable name.
    pub id: &'static str,
    /// Where it stands in a report.
    pub group: &'static str,
    /// What is checked.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to do when it is not well.
    pub remedy: &'static str,
    judge: fn(&Facts) -> Known<Verdict>,
}

/// All checks, in the order of a report.
pub static CHECKS: &[Check] = &[
    Check {
        id: "agent.configuration",
        group: "zones",
        title: "configuration",
        why: "an agent does not start with a configuration that it cannot read, and the ports that keep networks apart are named there",
        remedy: "name the file with --config, and correct what is said of it",
        judge: zones::configuration,
    },
    Check {
        id: "zones.level",
        group: "zones",
        title: "separation",
        why: "the appliance touches the camera network and the way to the internet: with separated zones no packet can cross, with filters rules must hold, flat holds nothing",
        remedy: "give cameras a port of their own, name it as [network] cameras in the agent's configuration, and start the agent as root with nftables installed",
        judge: zones::level,
    },
    Check {
        id: "zones.processes",
        group: "zones",
        title: "networks of processes",
        why: "a decoder, a model or an application with a network can be used by whoever takes it over; a reader of cameras belongs into the camera zone",
        remedy: "start the agent as root on a kernel with network namespaces; restart it if a process is in the wrong one, and report that as a defect",
        judge: zones::processes,
    },
    Check {
        id: "zones.forwarding",
        group: "zones",
        title: "forwarding",
        why: "a host that passes packets on is a router between the camera network and the rest",
        remedy: "sysctl -w net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0 and keep it in /etc/sysctl.d; if containers need it, give cameras a port of their own so that they are in another namespace",
        judge: zones::forwarding,
    },
    Check {
        id: "zones.foreign-rules",
        group: "zones",
        title: "others' forwarding rules",
        why: "container engines switch forwarding on and let through by default",
        remedy: "set the policy of the named chains to drop (for Docker: \"ip-forward-no-drop\": false in daemon.json), or remove the software",
        judge: zones::foreign_rules,
    },
    Check {
        id: "zones.switches",
        group: "zones",
        title: "what camera ports believe",
        why: "redirects, router advertisements, source routes and proxy ARP let a neighbour choose where packets go",
        remedy: "set each named switch with sysctl and keep it in /etc/sysctl.d; the agent sets them for ports that are named as [network] cameras",
        judge: zones::switches,
    },
    Check {
        id: "zones.listeners",
        group: "zones",
        title: "sockets that cameras can reach",
        why: "a camera that was taken over attacks what listens on its side",
        remedy: "bind the named services to the uplink's address or to loopback, stop them, or give cameras a port of their own",
        judge: zones::listeners,
    },
    Check {
        id: "zones.inbound",
        group: "zones",
        title: "inbound ports",
        why: "each port that was opened for an application can be called by the uplink's whole network unless sources are named",
        remedy: "name source ranges for the port, put TLS with a client check in front of it, or remove it: parapet app",
        judge: zones::inbound,
    },
    Check {
        id: "reach.cameras",
        group: "reach",
        title: "from the camera zone",
        why: "what stands in the camera zone must reach its camera and nothing else",
        remedy: "look at zones.level first; if zones are separated and something is reached all the same, restart the agent and report it as a defect",
        judge: reach::from_cameras,
    },
    Check {
        id: "reach.workers",
        group: "reach",
        title: "from decoders and models",
        why: "they parse what cameras and packages bring: whoever breaks one must reach nobody",
        remedy: "start the agent as root on a kernel with network namespaces",
        judge: reach::from_workers,
    },
    Check {
        id: "reach.applications",
        group: "reach",
        title: "from applications",
        why: "applications are somebody else's programs: they reach what their policy names and never a camera, the appliance or a cloud's metadata",
        remedy: "start the agent as root on a kernel with network namespaces; look at what the instance's egress policy allows",
        judge: reach::from_applications,
    },
    Check {
        id: "reach.agent",
        group: "reach",
        title: "from the agent",
        why: "the agent talks to the control plane: if it were taken over it must reach neither cameras nor the machine's cloud identity",
        remedy: "name the ports in [network] of the agent's configuration and start it as root with nftables installed",
        judge: reach::from_agent,
    },
    Check {
        id: "cameras.exposed",
        group: "cameras",
        title: "cameras reached from the uplink",
        why: "a camera that can be reached from the side of the internet is found there and taken over",
        remedy: "take cameras off the uplink's network: a switch or VLAN of their own, no route and no port forwarding to them",
        judge: cameras::exposed,
    },
    Check {
        id: "cameras.passwords",
        group: "cameras",
        title: "well-known passwords",
        why: "the passwords that cameras leave their factory with are the first that anybody tries",
        remedy: "set a password of its own on each camera and give it to Parapet: parapet camera set NAME --username USER --password-file FILE",
        judge: cameras::passwords,
    },
    Check {
        id: "cameras.transport",
        group: "cameras",
        title: "plain RTSP",
        why: "plain RTSP shows pictures, and with Basic the password, to everybody on the same network",
        remedy: "use rtsps:// where the camera offers it, or give cameras a port and a network of their own",
        judge: cameras::transport,
    },
    Check {
        id: "cameras.firmware",
        group: "cameras",
        title: "firmware of cameras",
        why: "old firmware has published holes",
        remedy: "look the version up on each camera's own page and compare it with its maker's; then --accept cameras.firmware",
        judge: cameras::firmware,
    },
    Check {
        id: "clock.synchronised",
        group: "time",
        title: "clock",
        why: "signatures, certificates and the times of frames are judged by the clock",
        remedy: "run a time service: apt-get install chrony, or timedatectl set-ntp true; a virtual machine takes its host's",
        judge: time::synchronised,
    },
    Check {
        id: "clock.control-plane",
        group: "time",
        title: "clock against the control plane's",
        why: "a device whose clock is wrong is refused, and its events are in the wrong order",
        remedy: "let both sides take the time from the same source; if the control plane did not answer, look at the way to it",
        judge: time::control_plane,
    },
    Check {
        id: "certificate.device",
        group: "time",
        title: "the device's certificate",
        why: "without a valid certificate the device cannot speak to its control plane, and must be enrolled anew",
        remedy: "let the agent reach the control plane: it renews at two thirds of the life; after the end enrol the device anew with --enroll",
        judge: time::certificate,
    },
    Check {
        id: "certificate.authorities",
        group: "time",
        title: "the control plane's authorities",
        why: "the device trusts these alone: when the last ends, it trusts no control plane",
        remedy: "parapet server ca roll on the control plane while devices still reach it",
        judge: time::authorities,
    },
    Check {
        id: "software.parapet",
        group: "software",
        title: "age of Parapet",
        why: "weaknesses are repaired in newer versions",
        remedy: "install the newest version",
        judge: software::parapet,
    },
    Check {
        id: "software.updates",
        group: "software",
        title: "pending updates",
        why: "published weaknesses of the host's software are used within days",
        remedy: "apt-get update && apt-get dist-upgrade; unattended-upgrades does it by itself",
        judge: software::updates,
    },
    Check {
        id: "software.kernel",
        group: "software",
        title: "running kernel",
        why: "a repaired kernel repairs nothing until it runs",
        remedy: "restart the host",
        judge: software::kernel,
    },
    Check {
        id: "data.encryption",
        group: "data",
        title: "encryption of stored data",
        why: "whoever takes an appliance off the wall takes its disk: pictures, events and the device's key",
        remedy: "stop the agent and run parapet agent --encrypt-data, or put the state directory on an encrypted disk (LUKS): docs/hardening.md",
        judge: data::encryption,
    },
    Check {
        id: "data.secrets",
        group: "data",
        title: "keys at rest",
        why: "a key in a plain file is the device, and opens the cameras' passwords, for whoever copies it",
        remedy: "on a machine with a TPM 2.0: apt-get install tpm2-tools, leave keys.tpm at \"auto\" and restart the agent by its units; else stop it and run parapet agent --encrypt-data",
        judge: data::secrets,
    },
    Check {
        id: "data.modes",
        group: "data",
        title: "owner and modes of files",
        why: "other users of the host must read neither keys nor pictures",
        remedy: "chmod and chown the named files; a restart of the agent as root sets the directory right",
        judge: data::modes,
    },
    Check {
        id: "data.space",
        group: "data",
        title: "room on the disk",
        why: "on a full disk nothing is stored, installed or renewed",
        remedy: "remove instances or logs that are not needed, or give the state directory a larger disk",
        judge: data::space,
    },
    Check {
        id: "host.sandbox",
        group: "host",
        title: "what the kernel gives sandboxes",
        why: "each layer that is missing is one that a taken-over process need not break",
        remedy: "use a kernel of 6.7 or later with user namespaces, seccomp, Landlock (in the lsm= list) and control groups",
        judge: host::sandbox,
    },
    Check {
        id: "agent.missing",
        group: "host",
        title: "what the agent found missing",
        why: "the agent tries the host out at its start and goes on with less",
        remedy: "each sentence names its remedy; restart the agent afterwards",
        judge: host::missing,
    },
    Check {
        id: "agent.runtime",
        group: "host",
        title: "what starts applications",
        why: "an OCI runtime with known holes lets an application out, so none starts before it is replaced",
        remedy: "install runc 1.5.1 or crun 1.29.1 or later, or set runtime = \"own\" in [applications] of the agent's configuration; restart the agent",
        judge: host::runtime,
    },
    Check {
        id: "host.secure-boot",
        group: "host",
        title: "secure boot",
        why: "without it whoever has the device for a minute starts another system that reads everything",
        remedy: "switch secure boot on in the firmware's set-up and set a password there",
        judge: host::secure_boot,
    },
    Check {
        id: "host.firmware",
        group: "host",
        title: "age of the firmware",
        why: "what runs before the system and below it is repaired by nobody else than its maker",
        remedy: "install the newest firmware: fwupdmgr refresh && fwupdmgr update, or from the maker's page",
        judge: host::firmware,
    },
    Check {
        id: "host.consoles",
        group: "host",
        title: "open consoles",
        why: "an appliance hangs where people pass: a keyboard or a serial cable must not be enough",
        remedy: "remove automatic logins; systemctl mask getty@tty1 and serial-getty@ttyS0 where nobody uses them",
        judge: host::consoles,
    },
    Check {
        id: "host.usb",
        group: "host",
        title: "USB storage",
        why: "a stick carries data out and programs in",
        remedy: "echo 'install usb-storage /bin/false' > /etc/modprobe.d/no-usb-storage.conf, or install usbguard",
        judge: host::usb,
    },
    Check {
        id: "host.dumps",
        group: "host",
        title: "core dumps",
        why: "a dump of a process holds keys, passwords and pictures",
        remedy: "sysctl -w fs.suid_dumpable=0 and kernel.core_pattern=|/bin/false, and keep both in /etc/sysctl.d",
        judge: host::dumps,
    },
    Check {
        id: "host.kernel",
        group: "host",
        title: "what the kernel shows ordinary users",
        why: "a process that broke out of its sandbox is an ordinary user: these switches keep it from the kernel",
        remedy: "set each named switch with sysctl and keep it in /etc/sysctl.d",
        judge: host::kernel,
    },
];

/// Judges all of it. Findings of the checks in `accepted` are marked so.
#[must_use]
pub fn examine(facts: &Facts, accepted: &[String]) -> Report {
    let findings = CHECKS.iter().map(|check| {
        let mut finding = finding(check, facts);
        finding.accepted = accepted.iter().any(|id| id == check.id);
        finding
    });
    Report::of(facts, findings.collect())
}

fn finding(check: &'static Check, facts: &Facts) -> Finding {
    let verdict = (check.judge)(facts)
        .unwrap_or_else(|unknown| Verdict::new(Level::Unknown, unknown.to_string()));
    let mut evidence = verdict.evidence;
    if evidence.len() > MOST_EVIDENCE {
        let more = evidence.len() - MOST_EVIDENCE;
        evidence.truncate(MOST_EVIDENCE);
        evidence.push(format!("and {more} more"));
    }
    Finding {
        id: check.id,
        group: check.group,
        level: verdict.level,
        title: check.title,
        why: check.why,
        found: verdict.found,
        remedy: (verdict.level != Level::Ok).then_some(check.remedy),
        evidence,
        accepted: false,
    }
}

/// `2 things`, `1 thing`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

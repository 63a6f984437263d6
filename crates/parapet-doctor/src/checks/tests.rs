//! Each check with made-up facts, for every level that it has.

use std::collections::{BTreeMap, BTreeSet};

use parapet_device::reported::Separation;

use super::*;
use crate::facts::*;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn nobody<T>() -> Known<T> {
    Err(Unknown::because("nobody looked"))
}

fn space(name: &str, address: &str) -> Space {
    Space {
        interfaces: Ok(vec![Interface {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
        }]),
        forwarding: Ok(Forwarding {
            v4: false,
            v6: false,
        }),
        switches: Ok(vec![Switch {
            interface: name.to_owned(),
            name: format!("ipv4.conf.{name}.proxy_arp"),
            value: 0,
            is_safe: true,
        }]),
        listeners: Ok(Vec::new()),
        rules: Ok(Rules {
            own: Some(OwnRules {
                input: Chain::Closed,
                forward: Chain::Closed,
                output: Chain::Open,
            }),
            open_forward: Vec::new(),
            has_legacy: false,
        }),
    }
}

fn attempt(from: &str, target: Target, address: &str, outcome: Outcome) -> Attempt {
    Attempt {
        from: from.to_owned(),
        target,
        address: address.parse().unwrap(),
        outcome,
    }
}

fn process(pid: u32, user: u32, role: Role, place: Place) -> Process {
    Process {
        pid,
        user,
        role,
        place: Ok(place),
    }
}

const CAMERA: &str = "10.77.1.2:554";

/// A separated appliance on which everything is as it should be.
fn good() -> Facts {
    Facts {
        now: NOW,
        is_root: true,
        agent: Agent {
            configuration: Ok(None),
            status: Ok(Some(AgentStatus {
                is_running: true,
                privileged: true,
                separation: Some(Separation::Separated),
                uplink: vec!["eth0".to_owned()],
                cameras: vec!["eth1".to_owned()],
                missing: Vec::new(),
                applications: "own".to_owned(),
            })),
            identity: Ok(Some(Identity {
                certificate: Validity {
                    not_before: NOW - 10 * DAY,
                    not_after: NOW + 80 * DAY,
                },
                authorities: vec![Validity {
                    not_before: NOW - 10 * DAY,
                    not_after: NOW + 3_000 * DAY,
                }],
            })),
            inbound: Ok(Vec::new()),
        },
        network: Network {
            host: space("eth0", "192.0.2.7"),
            cameras: Ok(Some(space("eth1", "10.77.1.1"))),
            processes: Ok(vec![
                process(10, 0x5000_0000, Role::Agent, Place::Host),
                process(11, 0, Role::Launcher, Place::Host),
                process(12, 0x5000_0001, Role::Ingest, Place::Cameras),
                process(13, 0x5000_0002, Role::Codec, Place::Own(7)),
                process(14, 0x5000_0003, Role::Infer, Place::Own(8)),
                process(15, 0x5001_0000, Role::Application, Place::Own(9)),
                process(16, 0x5001_03e8, Role::Application, Place::Own(9)),
            ]),
        },
        reach: Reach {
            host: Ok(vec![attempt(
                "the host",
                Target::Camera,
                CAMERA,
                Outcome::Silent,
            )]),
            agent: Ok(vec![
                attempt(
                    "agent",
                    Target::ControlPlane,
                    "192.0.2.1:8444",
                    Outcome::Connected,
                ),
                attempt("agent", Target::Camera, CAMERA, Outcome::NoWay),
            ]),
            cameras: Ok(vec![
                attempt("ingest 12", Target::Camera, CAMERA, Outcome::Connected),
                attempt(
                    "ingest 12",
                    Target::Appliance,
                    "192.0.2.7:22",
                    Outcome::NoWay,
                ),
            ]),
            workers: Ok(vec![attempt(
                "worker 13",
                Target::Camera,
                CAMERA,
                Outcome::NoWay,
            )]),
            applications: Ok(vec![attempt(
                "application 15",
                Target::Metadata,
                "169.254.169.254:80",
                Outcome::Gateway,
            )]),
        },
        cameras: Ok(vec![camera("rtsp", Ok(Passwords::Refused(3)))]),
        clock: Clock {
            synchronised: Ok(true),
            before_control_plane: Ok(Some(1)),
        },
        software: Software {
            version: "1.2.3".to_owned(),
            built: Ok(NOW - 5 * DAY),
            updates: Ok(Updates {
                pending: Vec::new(),
                security: Vec::new(),
                listed: NOW - DAY,
            }),
            kernel: Ok(Kernel {
                running: "6.1.0-21-amd64".to_owned(),
                newer: None,
                restart_asked: false,
            }),
        },
        data: Data {
            encryption: Ok(Encryption::Device("ext4 on /dev/mapper/data".to_owned())),
            secrets: Ok(vec![KeptSecret {
                file: "device/secrets.key.tpm".to_owned(),
                kept: Kept::ByTpm,
            }]),
            modes: Ok(Vec::new()),
            space: Ok(Room {
                free_bytes: 60 << 30,
                total_bytes: 100 << 30,
                free_files: 60,
                total_files: 100,
            }),
        },
        host: Host {
            name: "appliance".to_owned(),
            kernel: "6.1.0-21-amd64".to_owned(),
            machine: "x86_64".to_owned(),
            secure_boot: Ok(Some(true)),
            firmware: Ok(NOW - 86_400),
            consoles: Ok(Vec::new()),
            usb: Ok(Usb::Blocked),
            dumps: Ok(Dumps {
                pattern: "core".to_owned(),
                of_privileged: 0,
            }),
            lockdown: Ok(Some(true)),
            hardening: vec![hardening(Ok(Some(1)), true)],
            sandbox: vec![("Landlock".to_owned(), Ok(true))],
        },
    }
}

fn hardening(value: Known<Option<i64>>, guards_a_part: bool) -> Hardening {
    Hardening {
        name: "kernel.kptr_restrict".to_owned(),
        value,
        guards_a_part,
        good: 1..=i64::MAX,
    }
}

fn camera(scheme: &str, passwords: Known<Passwords>) -> Camera {
    Camera {
        name: "door".to_owned(),
        scheme: scheme.to_owned(),
        place: CAMERA.to_owned(),
        passwords,
        uses_well_known: Ok(Some(false)),
        server: Some("Cam/1".to_owned()),
    }
}

fn listener(address: &str) -> Listener {
    Listener {
        protocol: Protocol::Tcp,
        address: address.parse().unwrap(),
        user: 0,
        process: Some("sshd (7)".to_owned()),
    }
}

fn inbound(has_sources: bool) -> Inbound {
    Inbound {
        port: 8080,
        instance: "shop".to_owned(),
        has_sources,
        has_tls: false,
    }
}

fn status(facts: &mut Facts) -> &mut AgentStatus {
    facts.agent.status.as_mut().unwrap().as_mut().unwrap()
}

fn zone(facts: &mut Facts) -> &mut Space {
    facts.network.cameras.as_mut().unwrap().as_mut().unwrap()
}

/// One flat port, held by rules.
fn filtered(facts: &mut Facts) {
    status(facts).separation = Some(Separation::Filtered);
    facts.network.cameras = Ok(None);
}

fn forwards(space: &mut Space) {
    space.forwarding = Ok(Forwarding {
        v4: true,
        v6: false,
    });
}

type Change = fn(&mut Facts);

/// What must change in a good appliance for a check to come to a level.
const CASES: &[(&str, Level, Change)] = &[
    ("agent.configuration", Level::Failure, |f| {
        f.agent.configuration = Ok(Some("no".to_owned()));
    }),
    ("agent.configuration", Level::Unknown, |f| {
        f.agent.configuration = nobody();
    }),
    ("zones.level", Level::Warning, filtered),
    ("zones.level", Level::Failure, |f| {
        status(f).separation = Some(Separation::Flat);
    }),
    ("zones.level", Level::Failure, |f| {
        f.network.cameras = Ok(None);
    }),
    ("zones.level", Level::Failure, |f| {
        f.network.host = space("eth1", "10.77.1.1");
    }),
    ("zones.level", Level::Failure, |f| {
        f.network.host.rules.as_mut().unwrap().own = None;
    }),
    ("zones.level", Level::Failure, |f| {
        f.network.host.rules.as_mut().unwrap().own = Some(OwnRules::default());
    }),
    ("zones.level", Level::Unknown, |f| {
        f.network.host.rules = nobody();
    }),
    ("zones.level", Level::Unknown, |f| {
        f.network.cameras = nobody();
    }),
    ("zones.level", Level::Unknown, |f| f.agent.status = Ok(None)),
    ("zones.level", Level::Unknown, |f| {
        status(f).separation = None;
    }),
    ("zones.processes", Level::Failure, |f| {
        f.network.processes = Ok(vec![process(13, 1, Role::Codec, Place::Host)]);
    }),
    ("zones.processes", Level::Failure, |f| {
        f.network.processes = Ok(vec![process(12, 1, Role::Ingest, Place::Host)]);
    }),
    ("zones.processes", Level::Failure, |f| {
        f.network.processes = Ok(vec![
            process(15, 0x5001_0000, Role::Application, Place::Own(9)),
            process(16, 0x5002_0000, Role::Application, Place::Own(9)),
        ]);
    }),
    ("zones.processes", Level::Unknown, |f| {
        f.network.processes = nobody();
    }),
    ("zones.processes", Level::Unknown, |f| {
        f.network.processes = Ok(Vec::new());
    }),
    ("zones.forwarding", Level::Ok, |f| {
        forwards(&mut f.network.host);
    }),
    ("zones.forwarding", Level::Failure, |f| forwards(zone(f))),
    ("zones.forwarding", Level::Warning, |f| {
        filtered(f);
        forwards(&mut f.network.host);
    }),
    ("zones.forwarding", Level::Failure, |f| {
        filtered(f);
        forwards(&mut f.network.host);
        f.network.host.rules.as_mut().unwrap().own = None;
    }),
    ("zones.forwarding", Level::Failure, |f| {
        filtered(f);
        forwards(&mut f.network.host);
        f.network.host.rules = nobody();
    }),
    // A table for addresses alone, where no ports are named.
    ("zones.forwarding", Level::Failure, |f| {
        filtered(f);
        forwards(&mut f.network.host);
        let rules = f.network.host.rules.as_mut().unwrap();
        rules.own.as_mut().unwrap().forward = Chain::Open;
    }),
    ("zones.forwarding", Level::Unknown, |f| {
        f.network.cameras = nobody();
    }),
    ("zones.forwarding", Level::Unknown, |f| {
        f.network.host.forwarding = nobody();
    }),
    ("zones.foreign-rules", Level::Warning, |f| {
        f.network.host.rules.as_mut().unwrap().open_forward = vec!["ip filter FORWARD".to_owned()];
    }),
    ("zones.foreign-rules", Level::Warning, |f| {
        f.network.host.rules.as_mut().unwrap().has_legacy = true;
    }),
    ("zones.foreign-rules", Level::Failure, |f| {
        filtered(f);
        forwards(&mut f.network.host);
        let rules = f.network.host.rules.as_mut().unwrap();
        rules.open_forward = vec!["ip filter FORWARD".to_owned()];
        rules.own = None;
    }),
    ("zones.foreign-rules", Level::Unknown, |f| {
        f.network.host.rules = nobody();
    }),
    ("zones.switches", Level::Failure, |f| {
        zone(f).switches.as_mut().unwrap()[0].is_safe = false;
    }),
    ("zones.switches", Level::Warning, |f| {
        filtered(f);
        status(f).cameras.clear();
        f.network.host.switches.as_mut().unwrap()[0].is_safe = false;
    }),
    // Another port's switches are no concern where camera ports are named.
    ("zones.switches", Level::Ok, |f| {
        filtered(f);
        f.network.host.switches.as_mut().unwrap()[0].is_safe = false;
    }),
    ("zones.switches", Level::Unknown, |f| {
        zone(f).switches = nobody();
    }),
    ("zones.listeners", Level::Ok, |f| {
        f.network.host.listeners = Ok(vec![listener("0.0.0.0:22")]);
    }),
    ("zones.listeners", Level::Failure, |f| {
        zone(f).listeners = Ok(vec![listener("127.0.0.1:22")]);
    }),
    ("zones.listeners", Level::Warning, |f| {
        filtered(f);
        f.network.host.listeners = Ok(vec![listener("0.0.0.0:22")]);
    }),
    ("zones.listeners", Level::Failure, |f| {
        filtered(f);
        status(f).separation = Some(Separation::Flat);
        f.network.host.listeners = Ok(vec![listener("[::]:22")]);
    }),
    ("zones.listeners", Level::Ok, |f| {
        filtered(f);
        f.network.host.listeners = Ok(vec![listener("[::1]:22"), listener("127.0.0.1:1")]);
    }),
    ("zones.listeners", Level::Unknown, |f| {
        zone(f).listeners = nobody();
    }),
    ("zones.inbound", Level::Ok, |f| {
        f.agent.inbound = Ok(vec![inbound(true)]);
    }),
    ("zones.inbound", Level::Warning, |f| {
        f.agent.inbound = Ok(vec![inbound(false)]);
    }),
    ("zones.inbound", Level::Unknown, |f| {
        f.agent.inbound = nobody();
    }),
    ("reach.cameras", Level::Failure, |f| {
        f.reach.cameras = Ok(vec![attempt(
            "zone",
            Target::Appliance,
            "192.0.2.7:9",
            Outcome::Refused,
        )]);
    }),
    ("reach.cameras", Level::Warning, |f| {
        let two = ["10.77.1.2:554", "10.77.1.3:554"];
        let two = two.map(|to| attempt("ingest 1", Target::Camera, to, Outcome::Connected));
        f.reach.cameras = Ok(two.to_vec());
    }),
    ("reach.cameras", Level::Unknown, |f| {
        f.reach.cameras = nobody();
    }),
    ("reach.workers", Level::Failure, |f| {
        f.reach.workers = Ok(vec![attempt(
            "w",
            Target::Camera,
            CAMERA,
            Outcome::Connected,
        )]);
    }),
    ("reach.workers", Level::Unknown, |f| {
        f.reach.workers = nobody();
    }),
    ("reach.applications", Level::Failure, |f| {
        f.reach.applications = Ok(vec![attempt("a", Target::Camera, CAMERA, Outcome::Refused)]);
    }),
    // One application's gateway is none of another's.
    ("reach.applications", Level::Failure, |f| {
        let plane = "192.0.2.1:8444";
        f.reach.applications.as_mut().unwrap().push(attempt(
            "application 99",
            Target::ControlPlane,
            plane,
            Outcome::Connected,
        ));
    }),
    ("reach.applications", Level::Ok, |f| {
        let plane = "192.0.2.1:8444";
        f.reach.applications.as_mut().unwrap().push(attempt(
            "application 15",
            Target::ControlPlane,
            plane,
            Outcome::Connected,
        ));
    }),
    ("reach.applications", Level::Unknown, |f| {
        f.reach.applications = nobody();
    }),
    ("reach.agent", Level::Failure, |f| {
        f.reach.agent = Ok(vec![attempt(
            "a",
            Target::Metadata,
            "169.254.169.254:80",
            Outcome::Connected,
        )]);
    }),
    ("reach.agent", Level::Failure, |f| {
        f.reach.agent = Ok(vec![attempt(
            "a",
            Target::ControlPlane,
            "192.0.2.1:8444",
            Outcome::Silent,
        )]);
    }),
    ("reach.agent", Level::Unknown, |f| f.reach.agent = nobody()),
    ("cameras.exposed", Level::Ok, |f| f.cameras = Ok(Vec::new())),
    ("cameras.exposed", Level::Failure, |f| {
        f.reach.host = Ok(vec![attempt(
            "host",
            Target::Camera,
            CAMERA,
            Outcome::Connected,
        )]);
    }),
    ("cameras.exposed", Level::Warning, |f| {
        filtered(f);
        f.reach.host = Ok(vec![attempt(
            "host",
            Target::Camera,
            CAMERA,
            Outcome::Connected,
        )]);
    }),
    ("cameras.exposed", Level::Unknown, |f| {
        f.reach.host = Ok(Vec::new());
    }),
    ("cameras.passwords", Level::Failure, |f| {
        let mut used = camera("rtsp", nobody());
        used.uses_well_known = Ok(Some(true));
        f.cameras = Ok(vec![used]);
    }),
    ("cameras.passwords", Level::Ok, |f| {
        f.cameras = Ok(Vec::new());
    }),
    ("cameras.passwords", Level::Failure, |f| {
        f.cameras = Ok(vec![
            camera("rtsp", nobody()),
            camera("rtsp", Ok(Passwords::WellKnown("admin".to_owned()))),
        ]);
    }),
    ("cameras.passwords", Level::Failure, |f| {
        f.cameras = Ok(vec![camera("rtsp", Ok(Passwords::NoneAsked))]);
    }),
    ("cameras.passwords", Level::Unknown, |f| {
        f.cameras = Ok(vec![
            camera("rtsp", Ok(Passwords::Refused(3))),
            camera("rtsp", nobody()),
        ]);
    }),
    ("cameras.transport", Level::Ok, |f| {
        f.cameras = Ok(vec![camera("rtsps", nobody())]);
    }),
    ("cameras.transport", Level::Warning, filtered),
    ("cameras.transport", Level::Unknown, |f| {
        f.agent.status = nobody();
    }),
    ("cameras.firmware", Level::Ok, |f| {
        f.cameras = Ok(Vec::new());
    }),
    ("cameras.firmware", Level::Unknown, |_| {}),
    ("clock.synchronised", Level::Warning, |f| {
        f.clock.synchronised = Ok(false);
    }),
    ("clock.synchronised", Level::Unknown, |f| {
        f.clock.synchronised = nobody();
    }),
    ("clock.control-plane", Level::Ok, |f| {
        f.clock.before_control_plane = Ok(None);
    }),
    ("clock.control-plane", Level::Warning, |f| {
        f.clock.before_control_plane = Ok(Some(-60));
    }),
    ("clock.control-plane", Level::Failure, |f| {
        f.clock.before_control_plane = Ok(Some(i64::MIN + 1));
    }),
    ("clock.control-plane", Level::Unknown, |f| {
        f.clock.before_control_plane = nobody();
    }),
    ("certificate.device", Level::Ok, |f| {
        f.agent.identity = Ok(None);
    }),
    ("certificate.device", Level::Warning, |f| f.now += 70 * DAY),
    ("certificate.device", Level::Failure, |f| f.now += 81 * DAY),
    ("certificate.device", Level::Failure, |f| f.now -= 11 * DAY),
    ("certificate.device", Level::Unknown, |f| {
        f.agent.identity = nobody();
    }),
    ("certificate.authorities", Level::Warning, |f| {
        f.now += 2_950 * DAY;
    }),
    ("certificate.authorities", Level::Failure, |f| {
        f.now += 3_001 * DAY;
    }),
    ("certificate.authorities", Level::Unknown, |f| {
        f.agent.identity = nobody();
    }),
    ("software.parapet", Level::Warning, |f| {
        f.software.built = Ok(NOW - 200 * DAY);
    }),
    ("software.parapet", Level::Unknown, |f| {
        f.software.built = nobody();
    }),
    ("software.updates", Level::Warning, |f| {
        f.software.updates.as_mut().unwrap().pending = vec!["bash".to_owned()];
    }),
    ("software.updates", Level::Warning, |f| {
        f.software.updates.as_mut().unwrap().listed = NOW - 15 * DAY;
    }),
    ("software.updates", Level::Failure, |f| {
        f.software.updates.as_mut().unwrap().security = vec!["openssl".to_owned()];
    }),
    ("software.updates", Level::Unknown, |f| {
        f.software.updates = nobody();
    }),
    ("software.kernel", Level::Warning, |f| {
        f.software.kernel.as_mut().unwrap().newer = Some("6.1.0-22-amd64".to_owned());
    }),
    ("software.kernel", Level::Warning, |f| {
        f.software.kernel.as_mut().unwrap().restart_asked = true;
    }),
    ("software.kernel", Level::Unknown, |f| {
        f.software.kernel = nobody();
    }),
    ("data.encryption", Level::Ok, |f| {
        f.data.encryption = Ok(Encryption::Memory);
    }),
    ("data.encryption", Level::Ok, |f| {
        f.data.encryption = Ok(Encryption::Directory);
    }),
    ("data.encryption", Level::Warning, |f| {
        f.data.encryption = Ok(Encryption::None("ext4 on /dev/vda".to_owned()));
    }),
    ("data.encryption", Level::Unknown, |f| {
        f.data.encryption = nobody();
    }),
    ("data.secrets", Level::Ok, |f| {
        f.data.secrets = Ok(Vec::new());
    }),
    ("data.secrets", Level::Ok, |f| {
        f.data.secrets.as_mut().unwrap()[0].kept = Kept::Plain;
    }),
    ("data.secrets", Level::Warning, |f| {
        f.data.secrets.as_mut().unwrap()[0].kept = Kept::Plain;
        f.data.encryption = nobody();
    }),
    ("data.secrets", Level::Failure, |f| {
        f.data.secrets.as_mut().unwrap()[0].kept = Kept::ByDeviceKey;
    }),
    ("data.secrets", Level::Unknown, |f| {
        f.data.secrets = nobody();
    }),
    ("data.modes", Level::Failure, |f| {
        f.data.modes = Ok(vec!["key.pem has mode 0644".to_owned()]);
    }),
    ("data.modes", Level::Unknown, |f| f.data.modes = nobody()),
    ("data.space", Level::Warning, |f| {
        f.data.space.as_mut().unwrap().free_bytes = 9 << 30;
    }),
    ("data.space", Level::Warning, |f| {
        f.data.space.as_mut().unwrap().free_files = 9;
    }),
    ("data.space", Level::Failure, |f| {
        f.data.space.as_mut().unwrap().free_bytes = 1 << 30;
    }),
    ("data.space", Level::Ok, |f| {
        f.data.space.as_mut().unwrap().total_files = 0;
    }),
    ("data.space", Level::Unknown, |f| f.data.space = nobody()),
    ("host.sandbox", Level::Failure, |f| {
        f.host.sandbox[0].1 = Ok(false);
    }),
    ("host.sandbox", Level::Unknown, |f| {
        f.host.sandbox[0].1 = nobody();
    }),
    ("agent.missing", Level::Warning, |f| {
        status(f).missing = vec!["users".to_owned()];
    }),
    ("agent.missing", Level::Unknown, |f| {
        f.agent.status = Ok(None);
    }),
    ("agent.runtime", Level::Ok, |f| {
        status(f).applications = "runc 1.5.1 (/usr/sbin/runc)".to_owned();
    }),
    ("agent.runtime", Level::Failure, |f| {
        status(f).applications = "none".to_owned();
    }),
    ("agent.runtime", Level::Unknown, |f| {
        status(f).applications = String::new();
    }),
    ("host.secure-boot", Level::Warning, |f| {
        f.host.secure_boot = Ok(Some(false));
    }),
    ("host.secure-boot", Level::Warning, |f| {
        f.host.secure_boot = Ok(None);
    }),
    ("host.secure-boot", Level::Unknown, |f| {
        f.host.secure_boot = nobody();
    }),
    ("host.firmware", Level::Warning, |f| {
        f.host.firmware = Ok(NOW - 3 * 365 * 86_400);
    }),
    ("host.firmware", Level::Unknown, |f| {
        f.host.firmware = nobody();
    }),
    ("host.consoles", Level::Warning, |f| {
        f.host.consoles = Ok(vec![console(false)]);
    }),
    ("host.consoles", Level::Failure, |f| {
        f.host.consoles = Ok(vec![console(true)]);
    }),
    ("host.consoles", Level::Unknown, |f| {
        f.host.consoles = nobody();
    }),
    ("host.usb", Level::Ok, |f| f.host.usb = Ok(Usb::Absent)),
    ("host.usb", Level::Ok, |f| f.host.usb = Ok(Usb::Guarded)),
    ("host.usb", Level::Warning, |f| {
        f.host.usb = Ok(Usb::Allowed);
    }),
    ("host.usb", Level::Warning, |f| f.host.usb = Ok(Usb::InUse)),
    ("host.usb", Level::Unknown, |f| f.host.usb = nobody()),
    ("host.dumps", Level::Warning, |f| {
        f.host.dumps.as_mut().unwrap().pattern = "|/opt/taker".to_owned();
    }),
    ("host.dumps", Level::Ok, |f| {
        f.host.dumps.as_mut().unwrap().pattern = "|/usr/lib/systemd/systemd-coredump %P".to_owned();
        f.host.dumps.as_mut().unwrap().of_privileged = 2;
    }),
    ("host.dumps", Level::Failure, |f| {
        f.host.dumps.as_mut().unwrap().of_privileged = 1;
    }),
    ("host.dumps", Level::Unknown, |f| f.host.dumps = nobody()),
    ("host.kernel", Level::Ok, |f| {
        f.host.hardening = vec![hardening(Ok(None), true)];
    }),
    ("host.kernel", Level::Warning, |f| {
        f.host.hardening = vec![hardening(Ok(Some(0)), true)];
    }),
    ("host.kernel", Level::Warning, |f| {
        f.host.hardening = vec![hardening(Ok(None), false)];
    }),
    ("host.kernel", Level::Unknown, |f| {
        f.host.hardening = vec![hardening(nobody(), true)];
    }),
];

fn console(is_open: bool) -> Console {
    Console {
        name: "ttyS0".to_owned(),
        program: "agetty".to_owned(),
        is_open,
    }
}

/// Levels that a check never comes to, and why.
const NEVER: &[(&str, Level, &str)] = &[
    (
        "agent.configuration",
        Level::Warning,
        "it can be read or it cannot",
    ),
    (
        "zones.processes",
        Level::Warning,
        "a process is where it belongs or it is not",
    ),
    (
        "zones.inbound",
        Level::Failure,
        "somebody opened the port on purpose",
    ),
    ("reach.workers", Level::Warning, "nothing is to be reached"),
    ("reach.applications", Level::Warning, "likewise"),
    ("reach.agent", Level::Warning, "likewise"),
    ("cameras.passwords", Level::Warning, "open or not"),
    (
        "cameras.transport",
        Level::Failure,
        "many cameras offer nothing else",
    ),
    ("cameras.firmware", Level::Warning, "RTSP does not tell it"),
    ("cameras.firmware", Level::Failure, "likewise"),
    (
        "clock.synchronised",
        Level::Failure,
        "the clock may be right all the same",
    ),
    ("software.parapet", Level::Failure, "age alone is no hole"),
    ("software.kernel", Level::Failure, "likewise"),
    ("host.firmware", Level::Failure, "likewise"),
    (
        "data.encryption",
        Level::Failure,
        "it is the operator's choice",
    ),
    ("data.modes", Level::Warning, "open or not"),
    ("host.sandbox", Level::Warning, "there or not"),
    ("agent.missing", Level::Failure, "the agent goes on"),
    ("agent.runtime", Level::Warning, "applications start or not"),
    (
        "host.secure-boot",
        Level::Failure,
        "it is the operator's choice",
    ),
    ("host.usb", Level::Failure, "likewise"),
    ("host.kernel", Level::Failure, "a second line of defence"),
];

fn level_of(facts: &Facts, id: &str) -> Level {
    let check = CHECKS.iter().find(|check| check.id == id).unwrap();
    finding(check, facts).level
}

#[test]
fn a_good_appliance_is_well_but_for_what_rtsp_does_not_tell() {
    let report = examine(&good(), &[]);
    let rest: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.level != Level::Ok)
        .map(|finding| (finding.id, &finding.found))
        .collect();
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(report.exit_code(), 3);
    let accepted = examine(&good(), &["cameras.firmware".to_owned()]);
    assert_eq!(accepted.exit_code(), 0);
    assert!(accepted.findings.iter().any(|finding| finding.accepted));
}

#[test]
fn each_change_for_the_worse_is_found() {
    for (number, (id, expected, change)) in CASES.iter().enumerate() {
        let mut facts = good();
        change(&mut facts);
        assert_eq!(level_of(&facts, id), *expected, "case {number} of {id}");
    }
}

#[test]
fn every_check_comes_to_every_level_that_it_has() {
    let mut reached: BTreeMap<&str, BTreeSet<Level>> = BTreeMap::new();
    for check in CHECKS {
        let levels = reached.entry(check.id).or_default();
        levels.insert(level_of(&good(), check.id));
    }
    for (id, level, _) in CASES {
        reached.entry(id).or_default().insert(*level);
    }
    for check in CHECKS {
        for level in Level::ALL {
            let never = NEVER
                .iter()
                .any(|(id, of, _)| *id == check.id && *of == level);
            assert_ne!(
                reached[check.id].contains(&level),
                never,
                "{} and {level:?}: a case, or a reason why there is none",
                check.id
            );
        }
    }
    assert_eq!(reached.len(), CHECKS.len(), "a case of no check");
}

/// Whatever is taken away from what is known, no check may become better by it.
#[test]
fn what_is_not_known_is_never_well() {
    let mut facts = good();
    facts.agent.configuration = nobody();
    facts.agent.status = nobody();
    facts.agent.identity = nobody();
    facts.agent.inbound = nobody();
    let space = Space {
        interfaces: nobody(),
        forwarding: nobody(),
        switches: nobody(),
        listeners: nobody(),
        rules: nobody(),
    };
    facts.network = Network {
        host: space,
        cameras: nobody(),
        processes: nobody(),
    };
    facts.reach = Reach {
        host: nobody(),
        agent: nobody(),
        cameras: nobody(),
        workers: nobody(),
        applications: nobody(),
    };
    facts.cameras = nobody();
    facts.clock.synchronised = nobody();
    facts.clock.before_control_plane = nobody();
    facts.software.built = nobody();
    facts.software.updates = nobody();
    facts.software.kernel = nobody();
    facts.data = Data {
        encryption: nobody(),
        secrets: nobody(),
        modes: nobody(),
        space: nobody(),
    };
    facts.host.secure_boot = nobody();
    facts.host.firmware = nobody();
    facts.host.consoles = nobody();
    facts.host.usb = nobody();
    facts.host.dumps = nobody();
    facts.host.hardening = vec![hardening(nobody(), true)];
    facts.host.sandbox[0].1 = nobody();
    for finding in examine(&facts, &[]).findings {
        assert_eq!(finding.level, Level::Unknown, "{finding:?}");
        assert_eq!(finding.found, "nobody looked", "{}", finding.id);
    }
}

#[test]
fn every_check_explains_itself_and_has_a_remedy() {
    let mut ids = BTreeSet::new();
    for check in CHECKS {
        assert!(ids.insert(check.id), "{} twice", check.id);
        assert!(
            check.remedy.len() > 10 && check.why.len() > 20,
            "{}",
            check.id
        );
        assert!(!check.title.is_empty(), "{}", check.id);
    }
}

#[test]
fn the_page_has_a_section_for_each_check() {
    let page = include_str!("../../../../docs/doctor.md");
    for check in CHECKS {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", check.id)));
        let row = row.unwrap_or_else(|| panic!("docs/doctor.md has no row for {}", check.id));
        let cells: Vec<&str> = row.split(" | ").collect();
        assert!(
            cells.len() >= 4 && cells.iter().all(|cell| cell.len() > 4),
            "{row}"
        );
    }
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let id = line.split('`').nth(1).unwrap();
        let is_check = CHECKS.iter().any(|check| check.id == id);
        assert!(
            is_check || !id.contains('.'),
            "docs/doctor.md: {id} is no check"
        );
    }
}

#[test]
fn evidence_without_end_is_counted() {
    let mut facts = good();
    facts.data.modes = Ok((0..10_000).map(|n| format!("file {n}")).collect());
    let report = examine(&facts, &[]);
    let finding = report
        .findings
        .iter()
        .find(|f| f.id == "data.modes")
        .unwrap();
    assert_eq!(finding.evidence.len(), MOST_EVIDENCE + 1);
    assert!(crate::table(&report, false).len() < 50_000);
    assert!(!crate::table(&report, false).contains('\u{1b}'));
    assert!(crate::table(&report, true).contains('\u{1b}'));
}

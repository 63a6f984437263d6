//! The zones, tried out: a launcher in a small town of network namespaces, an ingest of ours that
//! tries to reach everything, cameras and an uplink that answer. Needs root, `ip` and `nft`.
//!
//! The town: a camera LAN with two cameras (10.77.1.9, 10.77.1.10; `2001:db8:77::9`), the appliance
//! with `eth1` towards it and `eth0` towards the uplink (10.77.2.9).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step of a test is its failure"
)]

#[path = "../../parapet-sandbox/tests/guest/mod.rs"]
mod guest;
mod town;
mod vlan;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parapet_sandbox::confine::missing;
use parapet_sandbox::launch::Separation;
use parapet_sandbox::zones::{Ports, plain_side};

use crate::town::{ID_BASE, Town, executable, ready};

#[test]
fn an_ingest_in_the_camera_zone_reaches_its_own_camera_and_nothing_else() {
    if !ready() {
        return;
    }
    let mut town = Town::build();
    town.people();
    let mut launcher = town.launch(Town::two_ports());
    let found = launcher.found.clone();
    assert_eq!(found.missing, Vec::<String>::new());
    assert_eq!(found.separation, Separation::Separated);
    assert_eq!(
        found.camera_networks,
        ["10.77.1.1/24%eth1".parse().unwrap()]
    );
    assert!(
        !town.ip("host", "link").contains("eth1"),
        "the port is gone from the host"
    );

    let (mut first, mut second) = (launcher.ingest(), launcher.ingest());
    assert_eq!(first.ask("ports"), "eth1 lo");
    // Before it is told which camera is its own it reaches none.
    assert_eq!(first.ask("tcp 10.77.1.9 554"), "silent");
    assert_eq!(launcher.reach(&first, &["10.77.1.9:554"]), None);
    assert_eq!(launcher.reach(&second, &["10.77.1.10:554"]), None);
    assert_eq!(first.ask("tcp 10.77.1.9 554"), "open");
    assert_eq!(second.ask("tcp 10.77.1.10 554"), "open");
    for closed in [
        "tcp 10.77.1.9 80",
        "tcp 10.77.1.10 554",
        "tcp 10.77.2.9 443",
        "tcp 10.77.2.9 554",
        "tcp 10.77.2.1 443",
        "tcp 127.0.0.1 554",
        "tcp 169.254.169.254 80",
        "tcp 2001:db8:77::9 554",
        "udp 10.77.1.9 554",
        "udp 10.77.1.9 53",
    ] {
        assert_ne!(first.ask(closed), "open", "{closed}");
    }
    assert_ne!(
        second.ask("tcp 10.77.1.9 554"),
        "open",
        "the other one's camera"
    );
    // The agent changes its mind.
    assert_eq!(launcher.reach(&first, &["10.77.1.9:80"]), None);
    assert_eq!(first.ask("tcp 10.77.1.9 80"), "open");
    assert_ne!(first.ask("tcp 10.77.1.9 554"), "open");
    // Whoever gets the user next does not inherit.
    launcher.end(&first);
    let listed = town.in_zone(&["nft", "list", "ruleset"]);
    assert!(
        listed.contains("10.77.1.10") && !listed.contains("10.77.1.9 "),
        "{listed}"
    );
    assert_eq!(launcher.reach(&second, &[]), None);
    assert_ne!(second.ask("tcp 10.77.1.10 554"), "open");
    drop(launcher);
    town.remove();
}

#[test]
fn for_tls_an_ingest_listens_to_itself_and_to_nobody_else() {
    if !ready() {
        return;
    }
    for ports in [Town::two_ports(), Ports::default()] {
        let mut town = Town::build();
        town.people();
        town.ip("host", "address add 10.77.1.1/24 dev eth1");
        town.ip("host", "link set eth1 up");
        let mut launcher = town.launch(ports);
        let (mut first, mut second) = (launcher.ingest(), launcher.ingest());
        let (own, other) = (plain_side(1), plain_side(2));
        let place = |of: SocketAddr| format!("{} {}", of.ip(), of.port());
        let (own_place, other_place) = (place(own), place(other));
        assert_eq!(first.ask(&format!("listen {own_place}")), "listening");
        assert_eq!(second.ask(&format!("listen {other_place}")), "listening");
        // Nor itself before it is let.
        assert_ne!(first.ask(&format!("call {own_place}")), "open");
        assert_eq!(launcher.reach(&first, &[&own.to_string()]), None);
        assert_eq!(launcher.reach(&second, &[&other.to_string()]), None);
        assert_eq!(first.ask(&format!("call {own_place}")), "open");
        assert_eq!(second.ask(&format!("call {other_place}")), "open");
        assert_ne!(
            first.ask(&format!("call {other_place}")),
            "open",
            "another's TLS"
        );
        assert_ne!(
            second.ask(&format!("call {own_place}")),
            "open",
            "another's TLS"
        );
        // Listening for TCP is Landlock's to bound, from its version 4 on.
        if !missing()
            .iter()
            .any(|sentence| sentence.contains("listening for TCP"))
        {
            for port in ["8554", "10553", "10555", "0"] {
                let answer = first.ask(&format!("listen 127.0.0.1 {port}"));
                assert_eq!(answer, "refused Permission denied", "{port}");
            }
        }
        drop(launcher);
        town.remove();
    }
}

#[test]
fn a_camera_with_an_ipv6_address_is_reached_and_router_advertisements_are_not_believed() {
    if !ready() {
        return;
    }
    let mut town = Town::build();
    town.people();
    let mut ports = Town::two_ports();
    ports
        .camera_addresses
        .push("2001:db8:77::1/64".parse().unwrap());
    let mut launcher = town.launch(ports);
    assert_eq!(
        launcher.found.separation,
        Separation::Separated,
        "{:?}",
        launcher.found
    );
    let mut ingest = launcher.ingest();
    assert_eq!(launcher.reach(&ingest, &["[2001:db8:77::9]:554"]), None);
    assert_eq!(ingest.ask("tcp 2001:db8:77::9 554"), "open");
    assert_ne!(ingest.ask("tcp 10.77.1.9 554"), "open");
    for (name, value) in [
        ("ipv6/conf/eth1/accept_ra", "0"),
        ("ipv6/conf/eth1/forwarding", "0"),
        ("ipv4/conf/eth1/proxy_arp", "0"),
        ("ipv4/conf/eth1/accept_redirects", "0"),
        ("ipv4/conf/eth1/accept_source_route", "0"),
        ("ipv4/ip_forward", "0"),
    ] {
        let found = town.in_zone(&["cat", &format!("/proc/sys/net/{name}")]);
        assert_eq!(found.trim(), value, "{name}");
    }
    drop(launcher);
    town.remove();
}

#[test]
fn a_zone_outlives_a_killed_launcher_and_is_found_again() {
    if !ready() {
        return;
    }
    let mut town = Town::build();
    town.people();
    let mut launcher = town.launch(Town::two_ports());
    let mut ingest = launcher.ingest();
    assert_eq!(launcher.reach(&ingest, &["10.77.1.9:554"]), None);
    assert_eq!(ingest.ask("tcp 10.77.1.9 554"), "open");
    let host = town.rules("host");
    launcher.kill();
    // Rules and port stay as they are; nobody of ours is left.
    assert_eq!(town.rules("host"), host);
    assert!(
        town.in_zone(&["ip", "-brief", "address"])
            .contains("10.77.1.1/24")
    );
    assert!(!town.ip("host", "link").contains("eth1"));
    let from_camera = |town: &Town, address: &str| {
        let program = "import socket,sys;socket.create_connection((sys.argv[1],443),1)";
        let connect = town
            .inside("cam", "/usr/bin/python3", &["-c", program, address])
            .output()
            .unwrap();
        connect.status.success()
    };
    town.ip("cam", "route add 10.77.2.0/24 via 10.77.1.1");
    assert!(!from_camera(&town, "10.77.1.1") && !from_camera(&town, "10.77.2.9"));

    let mut again = town.launch(Town::two_ports());
    assert_eq!(
        again.found.separation,
        Separation::Separated,
        "{:?}",
        again.found
    );
    let mut ingest = again.ingest();
    // The same user as before, and nothing of what it reached.
    assert_ne!(ingest.ask("tcp 10.77.1.9 554"), "open");
    assert_eq!(again.reach(&ingest, &["10.77.1.9:554"]), None);
    assert_eq!(ingest.ask("tcp 10.77.1.9 554"), "open");
    // And a second appliance of the same users does not take it over.
    let second = town.launch(Town::two_ports());
    assert_eq!(second.found.separation, Separation::Flat);
    let why = second.found.missing.join(" ");
    assert!(why.contains("process.id_base"), "{why}");
    assert_eq!(ingest.ask("tcp 10.77.1.9 554"), "open");
    drop(second);
    drop(again);
    town.remove();
}

#[test]
fn removal_gives_the_port_back_and_leaves_other_tables_as_they_are() {
    if !ready() {
        return;
    }
    let town = Town::build();
    town.ip("host", "address add 10.77.1.7/24 dev eth1");
    town.ip("host", "link set eth1 up");
    let theirs = "add table ip theirs; add chain ip theirs input { type filter hook input \
                  priority 0; policy accept; }; add rule ip theirs input tcp dport 22 accept";
    let added = town.inside("host", "nft", &[theirs]).output().unwrap();
    assert!(added.status.success(), "{added:?}");
    let before = town.rules("host");
    // No address is configured: the port keeps what it has.
    let ports = Ports {
        camera_addresses: Vec::new(),
        ..Town::two_ports()
    };
    for _ in 0..2 {
        let launcher = town.launch(ports.clone());
        assert_eq!(
            launcher.found.separation,
            Separation::Separated,
            "{:?}",
            launcher.found
        );
        assert!(
            town.in_zone(&["ip", "-brief", "address"])
                .contains("10.77.1.7/24")
        );
        assert!(town.rules("host").contains("table ip theirs"));
        assert_ne!(town.rules("host"), before);
    }
    town.remove();
    assert_eq!(town.rules("host"), before);
    let port = town.ip("host", "-brief address show dev eth1");
    assert!(
        port.contains("10.77.1.7/24") && port.contains("UP"),
        "{port}"
    );
    assert!(!town.kept().exists());
    // Where nothing is, nothing is to be done.
    town.remove();
    assert_eq!(town.rules("host"), before);
}

#[test]
fn a_camera_port_stays_down_when_rules_cannot_be_loaded() {
    if !ready() {
        return;
    }
    let mut town = Town::build();
    town.people();
    town.ip("host", "link set eth1 up");
    // An `nft` that fails, where the launcher looks for it.
    let broken = town.directory.path().join("broken");
    executable(&broken, "#!/bin/sh\necho out of order >&2\nexit 1\n");
    let start = town.directory.path().join("start-broken");
    executable(
        &start,
        &format!(
            "#!/bin/sh\nexec unshare -m sh -ec 'mount --bind {} \"$(readlink -f /usr/sbin/nft)\"; exec {} \"$@\"' sh \"$@\"\n",
            broken.display(),
            town.directory.path().join("start").display(),
        ),
    );
    let mut launcher = town.launch_by(&start, Town::two_ports());
    assert_eq!(launcher.found.separation, Separation::Flat);
    let why = launcher.found.missing.join("\n");
    assert!(
        why.contains("out of order") && why.contains("eth1: stays down"),
        "{why}"
    );
    let port = town.ip("host", "-brief link show dev eth1");
    assert!(port.contains("DOWN"), "{port}");
    let mut ingest = launcher.ingest();
    assert!(launcher.reach(&ingest, &["10.77.1.9:554"]).is_some());
    // The launcher has ended it; whatever it still says, it reached nothing.
    let _ = ingest.channel.send(&"tcp 10.77.1.9 554", &[], &[]);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut ingest.lines, &mut rest).unwrap();
    assert!(!rest.contains("open"), "{rest}");
}

#[test]
fn on_one_network_users_are_told_apart_and_cameras_begin_nothing() {
    if !ready() {
        return;
    }
    let mut town = Town::build();
    town.people();
    town.ip("host", "address add 10.77.1.1/24 dev eth1");
    town.ip("host", "link set eth1 up");
    town.listen(
        "host",
        &["10.77.1.1", "8443", "127.0.0.1", "554", "127.0.0.1", "8554"],
    );
    let mut launcher = town.launch(Ports::default());
    assert_eq!(
        launcher.found.separation,
        Separation::Filtered,
        "{:?}",
        launcher.found
    );
    let from = |place: &str, source: &str| {
        let program =
            "import socket,sys;socket.create_connection(('10.77.1.1',8443),1,(sys.argv[1],0))";
        let words = ["-c", program, source];
        let connect = town.inside(place, "/usr/bin/python3", &words).output();
        connect.unwrap().status.success()
    };
    assert!(
        from("cam", "10.77.1.9"),
        "a host like any other, before it is a camera"
    );
    let mut ingest = launcher.ingest();
    assert_ne!(ingest.ask("tcp 10.77.1.9 554"), "open");
    assert_eq!(launcher.reach(&ingest, &["10.77.1.9:554"]), None);
    assert_eq!(ingest.ask("tcp 10.77.1.9 554"), "open");
    for closed in [
        "tcp 10.77.1.9 80",
        "tcp 10.77.1.10 554",
        "tcp 10.77.2.9 443",
        "tcp 10.77.1.1 8443",
        "tcp 127.0.0.1 554",
        "udp 10.77.1.9 554",
    ] {
        assert_ne!(ingest.ask(closed), "open", "{closed}");
    }
    assert!(!from("cam", "10.77.1.9"), "a camera begins nothing");
    assert!(from("cam", "10.77.1.10"), "another host goes on");
    assert_eq!(launcher.reach(&ingest, &["127.0.0.1:8554"]), None);
    assert_eq!(ingest.ask("tcp 127.0.0.1 8554"), "open");
    assert_ne!(ingest.ask("tcp 127.0.0.1 554"), "open");
    assert!(from("cam", "10.77.1.9"), "it is a camera no more");
    drop(launcher);
    town.remove();
    assert_eq!(town.rules("host"), "");
}

#[test]
fn a_change_for_one_camera_makes_no_gap_for_another() {
    if !ready() {
        return;
    }
    let mut town = Town::build();
    town.people();
    let mut launcher = town.launch(Town::two_ports());
    let (mut steady, mut other) = (launcher.ingest(), launcher.ingest());
    assert_eq!(launcher.reach(&steady, &["10.77.1.9:554"]), None);
    assert_eq!(steady.ask("hold 10.77.1.9 554"), "held");
    steady.tell("beat 2000");
    let begun = Instant::now();
    let mut changes = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        let to = ["10.77.1.10:554", "10.77.1.10:80"][changes % 2];
        assert_eq!(launcher.reach(&other, &[to]), None);
        changes += 1;
    }
    let worst = steady.answer();
    let worst: f64 = worst.parse().unwrap_or_else(|_| panic!("{worst}"));
    eprintln!("{changes} changes; the longest wait for an echo was {worst} ms");
    assert!(changes > 20, "{changes}");
    // A dropped packet would be sent again after 200 ms at the earliest.
    assert!(worst < 200.0, "{worst} ms");
    // What is taken away ends at once, on the open connection too.
    assert_eq!(launcher.reach(&steady, &[]), None);
    assert!(steady.ask("beat 1").starts_with("broken"));
    assert_ne!(other.ask("tcp 10.77.1.9 554"), "open");
    drop(launcher);
    town.remove();
}

#[test]
fn zones_loaded_at_boot_wait_for_a_port_that_comes_later() {
    if !ready() {
        return;
    }
    let town = Town::build();
    let base = ID_BASE.to_string();
    let directory = town.run_directory().display().to_string();
    let load = || {
        let words = [
            "--load-zones",
            "--id-base",
            &base,
            "--run",
            &directory,
            "--uplink",
            "eth0",
            "--cameras",
            "eth1",
            "--camera-addresses",
            "10.77.1.1/24",
        ];
        let launcher = env!("CARGO_BIN_EXE_parapet-launcher");
        town.inside("host", launcher, &words).output().unwrap()
    };
    // The port is elsewhere still.
    town.ip("host", "link set eth1 down");
    town.ip("host", "link set eth1 name later");
    let output = load();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("eth1"), "{said}");
    assert!(town.rules("host").contains("chain sent"));
    assert!(
        town.in_zone(&["nft", "list", "ruleset"])
            .contains("chain sent")
    );
    assert!(!town.in_zone(&["ip", "-br", "link"]).contains("eth1"));

    town.ip("host", "link set later name eth1");
    let again = load();
    assert!(again.status.success(), "loaded twice: {again:?}");
    let launcher = town.launch(Town::two_ports());
    assert_eq!(launcher.found.separation, Separation::Separated);
    assert!(town.in_zone(&["ip", "-br", "link"]).contains("eth1"));
    drop(launcher);
    town.remove();
}

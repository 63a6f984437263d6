//! Cameras on a VLAN of the uplink's own cable: on this host where its kernel has VLANs, and in a
//! guest whose kernel has them.

use std::process::Command;

use parapet_sandbox::launch::Separation;
use parapet_sandbox::zones::Ports;

use super::guest::{self, Guest};
use crate::town::{Town, ready};

/// Set inside of the guest.
const GUEST: &str = "PARAPET_TEST_GUEST";

/// One cable: the uplink's, and VLAN 20 of it with the cameras at its other end.
fn town() -> Option<Town> {
    if !ready() {
        return None;
    }
    let town = Town::begin();
    town.wire("eth0", "up", "up0");
    let (up, cam) = (town.place("up"), town.place("cam"));
    let made = Command::new("ip")
        .args(["-n", &up, "link", "add", "link", "up0", "name", "up0.20"])
        .args(["type", "vlan", "id", "20"])
        .output()
        .unwrap();
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        assert!(std::env::var_os(GUEST).is_none(), "no VLANs here: {said}");
        eprintln!("skipped: this kernel makes no VLANs: {said}");
        return None;
    }
    town.ip("up", &format!("link set up0.20 netns {cam} name cam0"));
    town.ip("cam", "link set cam0 up");
    town.furnish();
    Some(town)
}

fn ports() -> Ports {
    Ports {
        uplink: vec!["eth0".parse().unwrap()],
        cameras: vec!["eth0.20".parse().unwrap()],
        camera_addresses: vec!["10.77.1.1/24".parse().unwrap()],
        others: Vec::new(),
    }
}

/// Tries to be heard at each address and port from a place of the town; those that answered.
fn heard(town: &Town, place: &str, targets: &[(&str, u16)]) -> Vec<String> {
    let code = "import concurrent.futures as f, socket, sys\n\
        def ask(place):\n \
          host, port = place.split()\n \
          try: socket.create_connection((host, int(port)), 1).close(); return place\n \
          except ConnectionRefusedError: return place + ' refused'\n \
          except OSError: return None\n\
        with f.ThreadPoolExecutor(8) as pool:\n \
          for answer in pool.map(ask, sys.argv[1:]):\n  \
            if answer: print(answer)";
    let targets: Vec<String> = targets
        .iter()
        .map(|(host, port)| format!("{host} {port}"))
        .collect();
    let mut words = vec!["-c", code];
    words.extend(targets.iter().map(String::as_str));
    let output = town.inside(place, "/usr/bin/python3", &words).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn vlan_of_the_uplinks_own_cable_is_a_zone_like_a_port() {
    let Some(mut town) = town() else {
        return;
    };
    town.people();
    // Somebody listens on the host.
    town.listen("host", &["0.0.0.0", "4022"]);
    // A neighbour on the untagged network takes an address of the cameras'.
    town.ip("up", "address add 10.77.1.77/24 dev up0");
    // And the cameras know a way to the uplink through the appliance.
    town.ip("cam", "route add 10.77.2.0/24 via 10.77.1.1");

    let mut launcher = town.launch(ports());
    assert_eq!(launcher.found.missing, Vec::<String>::new());
    assert_eq!(launcher.found.separation, Separation::Separated);
    let links = town.ip("host", "link");
    assert!(!links.contains("eth0.20"), "{links}");
    assert!(!town.ip("host", "route").contains("10.77.1."));

    let mut ingest = launcher.ingest();
    assert_eq!(ingest.ask("ports"), "eth0.20 lo");
    assert_ne!(ingest.ask("tcp 10.77.1.9 554"), "open");
    assert_eq!(launcher.reach(&ingest, &["10.77.1.9:554"]), None);
    assert_eq!(ingest.ask("tcp 10.77.1.9 554"), "open");
    for closed in [
        "tcp 10.77.1.9 80",
        "tcp 10.77.1.10 554",
        "tcp 10.77.2.9 443",
        "tcp 10.77.2.1 4022",
    ] {
        assert_ne!(ingest.ask(closed), "open", "{closed}");
    }

    let everybody = [("10.77.1.1", 4022), ("10.77.2.1", 4022), ("10.77.2.9", 443)];
    assert_eq!(heard(&town, "cam", &everybody), Vec::<String>::new());
    // Untagged frames do not become the VLAN's; the owner's own service is the owner's.
    let cameras = [("10.77.1.1", 4022), ("10.77.1.9", 554), ("10.77.2.1", 4022)];
    assert_eq!(heard(&town, "up", &cameras), ["10.77.2.1 4022"]);
    // Nor does forwarding help.
    let forward = ["-q", "-w", "net.ipv4.ip_forward=1"];
    assert!(
        town.inside("host", "sysctl", &forward)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(heard(&town, "cam", &everybody), Vec::<String>::new());

    drop(launcher);
    // It was made for the zone, and goes with it.
    town.remove();
    let links = town.ip("host", "link");
    assert!(
        !links.contains("eth0.20") && links.contains("eth0"),
        "{links}"
    );
    assert!(!town.rules("host").contains("parapet_"));
}

#[test]
fn all_of_it_holds_on_a_vlan_in_a_guest() {
    if !ready() {
        return;
    }
    let log = guest::run(&Guest {
        filter: "vlan_of_",
        variable: GUEST,
        modules: &["network"],
        programs: &[
            env!("CARGO_BIN_EXE_parapet-launcher"),
            "/usr/bin/python3",
            "/usr/bin/nsenter",
            "/usr/bin/env",
            "/usr/sbin/ip",
            "/usr/sbin/nft",
            "/usr/sbin/sysctl",
        ],
        files: &guest::python(),
    });
    assert!(log.contains("test result: ok. 1 passed"), "{log}");
    assert!(!log.contains("skipped:"), "{log}");
}

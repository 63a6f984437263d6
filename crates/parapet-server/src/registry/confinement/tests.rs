//! What may be decided, and what is refused with which remedy.

use proptest::prelude::*;

use super::*;

const OPEN: [u16; 2] = [8080, 8443];

fn check(wish: serde_json::Value) -> Result<Policy, Invalid> {
    let wish: Wish = serde_json::from_value(wish).expect("a wish");
    wish.check(&BTreeSet::from(OPEN))
}

fn authority() -> String {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().expect("a key");
    parameters.self_signed(&key).expect("signed").pem()
}

fn leaf() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(["client".to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn nothing_decided_opens_nothing() {
    let policy = check(serde_json::json!({})).expect("nothing");
    assert_eq!(policy, Policy::default());
    assert_eq!(policy.confinement(false), Confinement::default());
    assert!(policy.confinement(true).egress.role);
}

#[test]
fn what_is_decided_is_what_the_planner_gets() {
    let policy = check(serde_json::json!({
        "Limits": { "MemoryBytes": 1_073_741_824_u64, "CpuMillis": 1500, "Processes": 64,
            "IoBytesPerSecond": 50_000_000, "StorageBytes": 10_737_418_240_u64 },
        "Egress": { "Learn": true, "Hosts": ["S3.us-west-2.example:443", "[2001:DB8::7]:8883"] },
        "Ports": [{ "HostPort": 8443, "Sources": ["10.0.0.0/8", "192.0.2.7"],
            "Tls": { "ClientAuthorities": authority() } }],
        "Emulate": true,
    }))
    .expect("decided");
    let confinement = policy.confinement(false);
    assert_eq!(confinement.limits.cpu_millis, Some(1500));
    assert_eq!(confinement.limits.memory_bytes, Some(1 << 30));
    let hosts: Vec<_> = confinement
        .egress
        .hosts
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(hosts, ["s3.us-west-2.example:443", "[2001:db8::7]:8883"]);
    assert!(confinement.egress.learn && confinement.emulate && !confinement.egress.role);
    assert_eq!(confinement.ports[0].host, 8443);
    assert_eq!(confinement.ports[0].sources.len(), 2);
    assert!(confinement.ports[0].tls.is_some());
    let stored = policy.to_json().expect("JSON");
    assert_eq!(Policy::from_json(&stored).expect("stored"), policy);
}

#[test]
fn a_host_that_no_application_may_reach_is_refused_by_name() {
    for (host, words) in [
        ("example.com", "NAME:PORT"),
        ("example.com:0", "NAME:PORT"),
        ("example.com:65536", "NAME:PORT"),
        ("http://example.com:80", "NAME:PORT"),
        ("exa mple.com:80", "NAME:PORT"),
        ("*:443", "NAME:PORT"),
        ("*.com:443", "NAME:PORT"),
        ("localhost:80", "appliance itself"),
        ("a.localhost:80", "appliance itself"),
        ("127.0.0.1:80", "appliance itself"),
        ("0.0.0.0:80", "appliance itself"),
        ("[::1]:80", "appliance itself"),
        ("[::ffff:127.0.0.1]:80", "appliance itself"),
        ("169.254.169.254:80", "link-local"),
        ("[fd00:ec2::254]:80", "link-local"),
        ("[fe80::1]:80", "link-local"),
        ("224.0.0.1:80", "multicast"),
        ("255.255.255.255:80", "reserved"),
        ("127.1:80", "neither a name nor an address"),
        ("0x7f.0.0.1:80", "neither a name nor an address"),
        ("0177.0.0.1:80", "neither a name nor an address"),
        ("2130706433:80", "neither a name nor an address"),
    ] {
        let refused = check(serde_json::json!({ "Egress": { "Hosts": ["ok.example:1", host] } }));
        let invalid = refused.expect_err(host);
        assert_eq!(invalid.field, "Confinement.Egress.Hosts[1]", "{host}");
        assert!(invalid.message.contains(words), "{host}: {invalid}");
    }
}

#[test]
fn lists_are_bounded_and_hold_nothing_twice() {
    let hosts: Vec<_> = (0..=HOSTS).map(|n| format!("h{n}.example:443")).collect();
    for (wish, field) in [
        (
            serde_json::json!({ "Egress": { "Hosts": hosts } }),
            "Confinement.Egress.Hosts",
        ),
        (
            serde_json::json!({ "Egress": { "Hosts": ["a.example:1", "A.example.:1"] } }),
            "Confinement.Egress.Hosts[1]",
        ),
        (
            serde_json::json!({ "Ports": [{ "HostPort": 8080 }, { "HostPort": 8080 }] }),
            "Confinement.Ports[1].HostPort",
        ),
        (
            serde_json::json!({ "Ports": [{ "HostPort": 8080, "Sources": vec!["10.0.0.1"; SOURCES + 1] }] }),
            "Confinement.Ports[0].Sources",
        ),
        (
            serde_json::json!({ "Ports": [{ "HostPort": 8080, "Sources": ["10.0.0.1/8"] }] }),
            "Confinement.Ports[0].Sources[0]",
        ),
    ] {
        assert_eq!(check(wish).expect_err(field).field, field);
    }
}

#[test]
fn only_ports_that_the_overrides_open_have_settings() {
    for port in [80, 8081, 9001] {
        let invalid =
            check(serde_json::json!({ "Ports": [{ "HostPort": port }] })).expect_err("closed");
        assert!(invalid.message.contains("8080, 8443"), "{invalid}");
    }
    let wish = Wish {
        ports: vec![WishedPort {
            host_port: 8080,
            sources: Vec::new(),
            tls: None,
        }],
        ..Wish::default()
    };
    let invalid = wish.check(&BTreeSet::new()).expect_err("none open");
    assert!(invalid.message.contains("routing rule"), "{invalid}");
}

#[test]
fn limits_that_nothing_lives_in_are_refused() {
    for (member, value) in [
        ("MemoryBytes", 1000),
        ("CpuMillis", 0),
        ("Processes", 1),
        ("Processes", 1_000_000),
        ("IoBytesPerSecond", 0),
        ("StorageBytes", 0),
    ] {
        let invalid = check(serde_json::json!({ "Limits": { member: value } })).expect_err(member);
        assert_eq!(invalid.field, format!("Confinement.Limits.{member}"));
        assert!(invalid.message.contains("device's default"), "{invalid}");
    }
}

#[test]
fn authorities_of_clients_are_certificates_of_authorities_and_no_keys() {
    let (certificate, key) = leaf();
    for (pem, words) in [
        ("nonsense".to_owned(), "holds 0 certificates"),
        (certificate, "none of an authority"),
        (format!("{}{key}", authority()), "private key"),
        (key, "holds 0 certificates"),
        (
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n".to_owned(),
            "no PEM",
        ),
        (authority().repeat(AUTHORITIES + 1), "holds 17 certificates"),
    ] {
        let wish = serde_json::json!({ "Ports": [{ "HostPort": 8443,
            "Tls": { "ClientAuthorities": pem } }] });
        let invalid = check(wish).expect_err(words);
        assert_eq!(invalid.field, "Confinement.Ports[0].Tls.ClientAuthorities");
        assert!(invalid.message.contains(words), "{words}: {invalid}");
    }
}

#[test]
fn a_list_holds_what_it_names_and_what_is_below_its_patterns() {
    let policy =
        check(serde_json::json!({ "Egress": { "Hosts": ["a.example:443", "*.b.example:80"] } }))
            .expect("hosts");
    for (host, port, listed) in [
        ("a.example", 443, true),
        ("a.example", 80, false),
        // A name that was only looked up.
        ("a.example", 0, true),
        ("x.a.example", 443, false),
        ("b.example", 80, false),
        ("x.b.example", 80, true),
        ("y.x.b.example", 80, true),
        ("xb.example", 80, false),
        ("X.B.example", 80, true),
    ] {
        assert_eq!(policy.lists(host, port), listed, "{host}:{port}");
    }
}

#[test]
fn a_stored_policy_of_another_version_is_not_guessed_at() {
    let newer = Policy::default()
        .to_json()
        .expect("JSON")
        .replace("\"version\":1", "\"version\":2");
    assert!(matches!(
        Policy::from_json(&newer),
        Err(StoreError::Value { .. })
    ));
}

proptest! {
    #[test]
    fn what_is_shown_can_be_sent_back(
        memory in proptest::option::of(MEMORY_BYTES),
        cpu in proptest::option::of(CPU_MILLIS),
        learn: bool,
        emulate: bool,
        host in "[a-z]{1,9}\\.[a-z]{2,5}",
        port in 1_u16..,
        prefix in 0_u8..=32,
        address: u32,
    ) {
        let masked = address & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let wish = Wish {
            limits: WishedLimits { memory_bytes: memory, cpu_millis: cpu, ..WishedLimits::default() },
            egress: WishedEgress { learn, hosts: vec![format!("{host}:{port}")] },
            ports: vec![WishedPort {
                host_port: 8080,
                sources: vec![format!("{}/{prefix}", Ipv4Addr::from(masked))],
                tls: None,
            }],
            emulate,
        };
        let policy = wish.check(&BTreeSet::from(OPEN)).expect("a good wish");
        prop_assert_eq!(policy.shown(), wish);
    }
}

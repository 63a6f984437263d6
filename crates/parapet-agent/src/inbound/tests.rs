//! Ports and certificates without an application; the whole way is tried in
//! `crates/parapet/tests/applications_reach`.

use std::net::TcpListener as Listener;

use parapet_device::confinement::{InboundTls, Network};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio_rustls::TlsConnector;

use super::*;
use crate::link::identity::certificates;

fn inbound(directory: &std::path::Path) -> Inbound {
    let names = vec!["gate.test".to_owned()];
    Inbound::new(
        Vec::new(),
        Certificates::new(crate::at_rest::Vault::in_file(directory), names),
    )
}

fn port(host: u16) -> InboundPort {
    InboundPort {
        host,
        container: 80,
        sources: Vec::new(),
        tls: None,
    }
}

fn refused(inbound: &Inbound, port: InboundPort) -> String {
    inbound
        .reserve(&[port])
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

/// A port of the range that nobody uses now.
fn free() -> u16 {
    HOST_PORTS
        .rev()
        .find(|port| Listener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

#[tokio::test]
async fn a_port_that_another_has_is_refused_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let inbound = inbound(dir.path());
    let taken = free();
    let _other = Listener::bind(("127.0.0.1", taken)).unwrap();
    let message = refused(&inbound, port(taken));
    assert!(message.contains(&format!("port {taken}")), "{message}");
    assert!(message.contains("choose another"), "{message}");
    for outside in [7999, 9001, 22, 443] {
        let message = refused(&inbound, port(outside));
        assert!(message.contains("8000 to 9000"), "{message}");
    }
}

#[tokio::test]
async fn nobody_connects_before_the_application_runs() {
    let dir = tempfile::tempdir().unwrap();
    let number = free();
    let _reserved = inbound(dir.path()).reserve(&[port(number)]).unwrap();
    let early = TcpStream::connect(("127.0.0.1", number)).await;
    assert_eq!(early.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_source_outside_the_ranges_and_the_33rd_of_one_are_refused() {
    let mut wanted = port(8000);
    wanted.sources = vec![Network {
        address: "192.0.2.0".parse().unwrap(),
        prefix: 24,
    }];
    let port = Arc::new(Port {
        host: 8000,
        wanted,
        tls: None,
        places: Arc::new(Semaphore::new(MOST)),
        clients: Mutex::default(),
        at_the_door: Semaphore::new(1),
    });
    let [inside, other, outside] =
        ["192.0.2.7", "192.0.2.8", "198.51.100.7"].map(|text| text.parse().unwrap());
    assert!(port.admit(outside).is_none());
    let mut held: Vec<_> = (0..MOST_OF_ONE).map(|_| port.admit(inside)).collect();
    assert!(held.iter().all(Option::is_some));
    assert!(port.admit(inside).is_none());
    assert!(port.admit(other).is_some(), "one takes another's share");
    held.pop();
    assert!(port.admit(inside).is_some());
    held.clear();
    assert!(lock(&port.clients).is_empty());
}

#[tokio::test]
async fn clients_that_trust_the_appliances_authority_know_it_by_address_and_name() {
    let dir = tempfile::tempdir().unwrap();
    let made = || {
        let names = vec!["gate.test".to_owned()];
        Arc::new(Certificates::new(
            crate::at_rest::Vault::in_file(dir.path()),
            names,
        ))
    };
    let tls = Tls::new(made(), &InboundTls::default()).unwrap();
    let authority = std::fs::read(dir.path().join("inbound/ca.pem")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.path().join("inbound/key.sealed"))
            .unwrap()
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    // After a restart the same authority: what clients trust stays.
    let again = Tls::new(made(), &InboundTls::default()).unwrap();
    assert_eq!(
        std::fs::read(dir.path().join("inbound/ca.pem")).unwrap(),
        authority
    );

    let mut roots = RootCertStore::empty();
    for certificate in certificates(&authority).unwrap() {
        roots.add(certificate).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for (tls, name, known) in [
        (&tls, "127.0.0.1", true),
        (&again, "127.0.0.1", true),
        (&again, "gate.test", true),
        (&again, "127.0.0.2", false),
        (&again, "other.test", false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let acceptor = tls.acceptor(IpAddr::from(Ipv4Addr::LOCALHOST)).unwrap();
        let at = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            // A client that turns away is no failure of this side.
            if let Ok(mut client) = acceptor.accept(client).await {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut client, b"hello").await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut client).await;
            }
        });
        let connection = TcpStream::connect(at).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let outcome = connector.connect(name.clone(), connection).await;
        assert_eq!(outcome.is_ok(), known, "{name:?}: {outcome:?}");
        if let Ok(mut stream) = outcome {
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text, "hello");
        }
        serving.await.unwrap();
    }
}

#[test]
fn authorities_that_are_none_are_refused_by_their_field() {
    let dir = tempfile::tempdir().unwrap();
    let inbound = inbound(dir.path());
    for text in [
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    ] {
        let mut wanted = port(8000);
        wanted.tls = Some(InboundTls {
            client_authorities: text.to_owned(),
        });
        let message = refused(&inbound, wanted);
        assert!(
            message.contains("client_authorities") && message.contains("port 8000"),
            "{message}"
        );
    }
}

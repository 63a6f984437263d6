//! TLS at both doors, as rustls as a client sees it, and what a connection may cost before and
//! after its handshake. Other clients: `tests/tls/`.

use std::sync::Arc;
use std::time::Duration;

use parapet_server::identity::CertificateFiles;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion};
use rustls_pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::devices::enrolled;
use crate::plane::{Plane, wait};

/// Much longer than a limit that is tested.
const LONG: Duration = Duration::from_secs(30);

async fn connect(
    address: std::net::SocketAddr,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await
}

/// A request on the connection, so that tickets sent after the handshake are read.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    let request = b"GET /healthz HTTP/1.1\r\nhost: parapet\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.expect("a request");
    let mut answer = String::new();
    // The end may come without TLS's goodbye.
    let _ended = timeout(LONG, stream.read_to_string(&mut answer))
        .await
        .expect("an end of the answer");
    answer
}

fn kind(tls: &ClientConnection) -> HandshakeKind {
    tls.handshake_kind().expect("a handshake")
}

/// The server's order, not the client's: also where the client has guessed another group and must
/// say hello again.
#[tokio::test]
async fn the_post_quantum_exchange_is_used_with_every_client_that_can() {
    let plane = Plane::start().await;
    let groups = |groups: &[&'static dyn rustls::crypto::SupportedKxGroup]| CryptoProvider {
        kx_groups: groups.to_vec(),
        ..aws_lc_rs::default_provider()
    };
    let [hybrid, x25519, p256] = [
        aws_lc_rs::kx_group::X25519MLKEM768,
        aws_lc_rs::kx_group::X25519,
        aws_lc_rs::kx_group::SECP256R1,
    ];
    let (v12, v13) = (&rustls::version::TLS12, &rustls::version::TLS13);
    for (offered, version, wanted) in [
        (vec![hybrid, x25519], v13, NamedGroup::X25519MLKEM768),
        (vec![x25519, p256, hybrid], v13, NamedGroup::X25519MLKEM768),
        (vec![p256, x25519], v13, NamedGroup::secp256r1),
        (vec![x25519], v13, NamedGroup::X25519),
        (vec![hybrid, x25519], v12, NamedGroup::X25519),
    ] {
        let config = plane.tls_with(groups(&offered), &[version], None);
        let stream = connect(plane.server.api_addr, &Arc::new(config))
            .await
            .expect("a handshake");
        let group = stream.get_ref().1.negotiated_key_exchange_group();
        assert_eq!(
            group.expect("a group").name(),
            wanted,
            "{offered:?} {version:?}"
        );
    }
    plane.server.stop().await;
}

#[tokio::test]
async fn the_api_resumes_sessions_of_both_versions() {
    let plane = Plane::start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = plane.tls_with(aws_lc_rs::default_provider(), &[version], None);
        let config = Arc::new(config);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(plane.server.api_addr, &config)
                .await
                .expect("a handshake");
            assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
            kinds.push(kind(stream.get_ref().1));
        }
        let resumed = [HandshakeKind::Full, HandshakeKind::Resumed];
        assert!(
            kinds == resumed || kinds == [HandshakeKind::FullWithHelloRetryRequest, resumed[1]],
            "{version:?}: {kinds:?}"
        );
    }
    plane.server.stop().await;
}

/// Attack D12: a device that resumes its session after its deletion. There is nothing to resume:
/// no ticket comes, and each handshake looks at the certificate.
#[tokio::test]
async fn the_device_listener_gives_no_ticket_and_resumes_nothing() {
    let plane = Plane::start().await;
    let (_, certificate, key) = enrolled(&plane, "gate").await;
    let mut config = plane.tls(Some((&certificate, &key)));
    let store = Arc::new(CountingStore::default());
    config.resumption = rustls::client::Resumption::store(Arc::clone(&store) as _);
    let config = Arc::new(config);
    for _ in 0..2 {
        let mut stream = connect(plane.server.device_addr, &config)
            .await
            .expect("a handshake");
        let answer = ask(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        let tls = stream.get_ref().1;
        assert_eq!(tls.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_ne!(kind(tls), HandshakeKind::Resumed);
        assert_eq!(tls.tls13_tickets_received(), 0);
    }
    assert_eq!(store.tickets(), 0);
    plane.server.stop().await;
}

/// Attack D12, the other half: with open, new and would-be resumed connections a deleted device is
/// out.
#[tokio::test]
async fn a_deleted_device_is_out_on_open_and_on_new_connections() {
    let plane = Plane::start().await;
    let (_, certificate, key) = enrolled(&plane, "gate").await;
    let config = Arc::new(plane.tls(Some((&certificate, &key))));
    let mut open = connect(plane.server.device_addr, &config)
        .await
        .expect("a handshake");
    let (_, devices) = plane.call("panorama", "GET", "/devices", &json!({})).await;
    let id = devices["Devices"][0]["DeviceId"]
        .as_str()
        .expect("a device");
    let (status, _) = plane
        .call("panorama", "DELETE", &format!("/devices/{id}"), &json!({}))
        .await;
    assert_eq!(status, 200);
    let mut new = connect(plane.server.device_addr, &config)
        .await
        .expect("a handshake");
    for stream in [&mut open, &mut new] {
        let answer = ask(stream).await;
        let refused = answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.1 410");
        assert!(refused, "{answer}");
    }
    plane.server.stop().await;
}

#[tokio::test]
async fn the_device_listener_wants_tls_1_3_and_a_certificate_of_ours() {
    let plane = Plane::start().await;
    let (_, certificate, key) = enrolled(&plane, "gate").await;
    let identity = Some((certificate.as_str(), key.as_str()));
    let versions = &[&rustls::version::TLS12];
    let old = plane.tls_with(aws_lc_rs::default_provider(), versions, identity);
    let error = connect(plane.server.device_addr, &Arc::new(old))
        .await
        .expect_err("no TLS 1.2");
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    // Without a certificate the client learns of its refusal when it reads.
    let nobody = Arc::new(plane.tls(None));
    if let Ok(mut stream) = connect(plane.server.device_addr, &nobody).await {
        let mut read = [0];
        let error = stream.read(&mut read).await.expect_err("a refusal");
        assert!(error.to_string().contains("CertificateRequired"), "{error}");
    }
    plane.server.stop().await;
}

/// Attack A14: slow hello, at both doors; and a peer that says nothing after its handshake.
#[tokio::test]
async fn who_does_not_speak_in_time_is_put_out() {
    let plane = Plane::start().await;
    let begun = Instant::now();
    let silent = |address| async move {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        // The head of a record that never comes.
        stream
            .write_all(&[22, 3, 1, 2, 0, 1])
            .await
            .expect("a write");
        let mut read = Vec::new();
        let _reset = timeout(LONG, stream.read_to_end(&mut read))
            .await
            .expect("an end");
        begun.elapsed()
    };
    let after_handshake = async {
        let config = Arc::new(plane.tls(None));
        let mut stream = connect(plane.server.api_addr, &config)
            .await
            .expect("a handshake");
        let mut read = Vec::new();
        let _ended = timeout(LONG, stream.read_to_end(&mut read))
            .await
            .expect("an end");
        begun.elapsed()
    };
    let (api, device, later) = tokio::join!(
        silent(plane.server.api_addr),
        silent(plane.server.device_addr),
        after_handshake
    );
    for hello in [api, device] {
        assert!(hello < Duration::from_secs(8), "{hello:?}");
    }
    assert!(later < Duration::from_secs(20), "{later:?}");
    plane.server.stop().await;
}

/// Attack A14: more bytes than a handshake has, in records that are each well formed.
#[tokio::test]
async fn a_hello_without_end_is_cut_off() {
    let plane = Plane::start().await;
    let mut stream = TcpStream::connect(plane.server.api_addr)
        .await
        .expect("a connection");
    // A client hello of 60,000 bytes, in fragments of one byte.
    let mut sent = 0;
    let begun = Instant::now();
    let head = [1u8, 0, 0xea, 0x60, 3, 3];
    for byte in head.into_iter().chain(std::iter::repeat_n(0, 60_000)) {
        if stream.write_all(&[22, 3, 1, 0, 1, byte]).await.is_err() {
            break;
        }
        sent += 1;
    }
    let mut read = Vec::new();
    let _reset = timeout(LONG, stream.read_to_end(&mut read))
        .await
        .expect("an end");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "by size, not by time"
    );
    assert!(sent > 0);
    plane.server.stop().await;
}

/// A flood of connections that never finish their handshake takes no place from good ones.
#[tokio::test]
async fn unfinished_handshakes_give_way_to_good_clients() {
    let plane = Plane::start().await;
    let mut held = Vec::new();
    for _ in 0..600 {
        let stream = TcpStream::connect(plane.server.api_addr)
            .await
            .expect("a connection");
        held.push(stream);
    }
    let answer = timeout(LONG, plane.client(None).get(plane.url("/healthz")).send())
        .await
        .expect("an answer in time")
        .expect("an answer");
    assert_eq!(answer.status(), 200);
    drop(held);
    plane.server.stop().await;
}

/// Attack A14: 500 headers, 64 kB of headers, a target without end, in both versions of HTTP.
#[tokio::test]
async fn requests_larger_than_what_is_read_are_refused() {
    let plane = Plane::start().await;
    for versions in [&[b"http/1.1".to_vec()][..], &[b"h2".to_vec()][..]] {
        let mut tls = plane.tls(None);
        tls.alpn_protocols = versions.to_vec();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(LONG)
            .build()
            .expect("a client");
        let url = plane.url("/healthz");
        let many = (0..500).fold(client.get(&url), |request, number| {
            request.header(format!("x-{number}"), "1")
        });
        let large = client.get(&url).header("x-large", "a".repeat(70_000));
        let long = client.get(format!("{url}?{}", "a".repeat(40_000)));
        for (what, request, statuses) in [
            ("many", many, [431, 431]),
            ("large", large, [431, 431]),
            ("long", long, [414, 431]),
        ] {
            // A refusal that comes while the request is still being sent may be seen as an error.
            if let Ok(answer) = request.send().await {
                let status = answer.status().as_u16();
                assert!(statuses.contains(&status), "{versions:?} {what}: {status}");
            }
        }
        let answer = client.get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 200, "the next one is served");
        let hsts = &answer.headers()["strict-transport-security"];
        assert_eq!(hsts, "max-age=63072000");
    }
    plane.server.stop().await;
}

/// New handshakes see the new certificate, open connections live on, devices see neither.
#[tokio::test]
async fn the_operators_certificate_is_replaced_while_the_server_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    let [first, second] = [(); 2].map(|()| {
        let names = vec!["127.0.0.1".to_owned()];
        rcgen::generate_simple_self_signed(names).expect("a certificate")
    });
    let bundle = format!("{}{}", first.cert.pem(), second.cert.pem());
    std::fs::write(path("bundle.pem"), bundle).expect("a file");
    let install = |pair: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        std::fs::write(path("tls.pem"), pair.cert.pem()).expect("a file");
        std::fs::write(path("new.key"), pair.signing_key.serialize_pem()).expect("a file");
        let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path("new.key"), owner).expect("a mode");
        std::fs::rename(path("new.key"), path("tls.key")).expect("a rename");
    };
    install(&first);
    let plane = Plane::start_with(|config| {
        config.certificate = Some(CertificateFiles {
            certificate: path("tls.pem"),
            key: path("tls.key"),
            ca_bundle: Some(path("bundle.pem")),
        });
    })
    .await;
    let config = Arc::new(plane.tls(None));
    let shown = |stream: &TlsStream<TcpStream>| {
        let chain = stream.get_ref().1.peer_certificates().expect("a chain");
        chain[0].clone()
    };
    let mut open = connect(plane.server.api_addr, &config)
        .await
        .expect("a handshake");
    assert_eq!(&shown(&open), first.cert.der());

    // Clients that resume a session see no certificate: each look is without a session.
    let fresh = || {
        let mut config = plane.tls(None);
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    };
    install(&second);
    wait("the new certificate is shown", || async {
        let stream = connect(plane.server.api_addr, &fresh()).await;
        stream.is_ok_and(|stream| &shown(&stream) == second.cert.der())
    })
    .await;
    let answer = ask(&mut open).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let error = connect(plane.server.device_addr, &fresh())
        .await
        .expect_err("another authority");
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    plane.server.stop().await;
}

/// Keeps nothing, and counts what it was given.
#[derive(Debug, Default)]
struct CountingStore(std::sync::atomic::AtomicUsize);

impl CountingStore {
    fn tickets(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl rustls::client::ClientSessionStore for CountingStore {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(
        &self,
        _: ServerName<'static>,
        _: rustls::client::Tls12ClientSessionValue,
    ) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(
        &self,
        _: ServerName<'static>,
        _: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn take_tls13_ticket(
        &self,
        _: &ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        None
    }
}

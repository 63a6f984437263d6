//! The link against a control plane of the test's own: real TLS with client certificates.

use std::collections::VecDeque;
use std::io::{Cursor, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use parapet_device::live::{LiveCommand, LiveHeader, View};
use parapet_device::{Generation, PROTOCOL_VERSION, Reported, TimeStamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa,
    KeyPair,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use super::client::{Answer, ClientError, ControlPlane};
use super::enroll::{EnrollError, enroll};
use super::identity::Identity;
use super::live;
use crate::at_rest::Vault;
use crate::launcher::lock;
use crate::views::Views;

const LIMIT: Duration = Duration::from_secs(20);

/// With a key of its own in a file.
fn vault(directory: &Path) -> Vault {
    Vault::in_file(directory)
}

type Ca = CertifiedIssuer<'static, KeyPair>;

/// What was asked: method and path, header lines, body.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    head: String,
    body: Vec<u8>,
}

/// One CA for all, and answers in the order in which they will be asked for.
struct Server {
    ca: Ca,
    address: SocketAddr,
    asked: Mutex<Vec<Asked>>,
    answers: Mutex<VecDeque<(u16, Vec<u8>)>>,
}

fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, both PEM.
fn leaf(ca: &Ca, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (
        params.signed_by(&key, ca).unwrap().pem(),
        key.serialize_pem(),
    )
}

fn acceptor(ca: &Ca) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
    let (certificate, key) = leaf(ca, "127.0.0.1");
    let chain = super::identity::certificates(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

impl Server {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(Self {
            ca: ca(),
            address: listener.local_addr().unwrap(),
            asked: Mutex::default(),
            answers: Mutex::default(),
        });
        let acceptor = acceptor(&server.ca);
        let served = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, served) = (acceptor.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        served.serve(stream).await;
                    }
                });
            }
        });
        server
    }

    async fn serve(&self, mut stream: TlsStream<TcpStream>) {
        while let Some(asked) = read_request(&mut stream).await {
            let (status, body) =
                if asked.line.contains("certificate") || asked.line.contains("enroll") {
                    self.certificate(&asked)
                } else {
                    lock(&self.answers).pop_front().unwrap_or((500, Vec::new()))
                };
            lock(&self.asked).push(asked);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let answer = [head.as_bytes(), &body].concat();
            if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }

    /// The first claim is good, the second is used.
    fn certificate(&self, asked: &Asked) -> (u16, Vec<u8>) {
        if lock(&self.asked)
            .iter()
            .any(|before| before.line == asked.line)
        {
            return (
                403,
                br#"{"code":"claim","message":"the claim is used"}"#.to_vec(),
            );
        }
        let request: Value = serde_json::from_slice(&asked.body).unwrap();
        let csr = CertificateSigningRequestParams::from_pem(request["csr"].as_str().unwrap());
        let certificate = csr.unwrap().signed_by(&self.ca).unwrap().pem();
        let body = json!({"certificate": certificate, "serial": 1, "not_after": 4_000_000_000u64});
        (200, body.to_string().into_bytes())
    }

    fn answer(&self, status: u16, body: impl Into<Vec<u8>>) {
        lock(&self.answers).push_back((status, body.into()));
    }

    fn last(&self) -> Asked {
        lock(&self.asked).last().unwrap().clone()
    }

    /// The archive of `ProvisionDevice`.
    fn archive(&self, device: &str) -> Vec<u8> {
        let (certificate, key) = leaf(&self.ca, "claim");
        let config = json!({"version": 1, "device": device, "name": "n", "arn": "a",
            "account": "123456789012", "region": "eu-central-1",
            "endpoint": format!("https://{}", self.address)});
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in [
            ("config.json", config.to_string()),
            ("ca.pem", self.ca.pem()),
            ("claim.crt", certificate),
            ("claim.key", key),
        ] {
            zip.start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    async fn enrolled(&self, directory: &Path) -> ControlPlane {
        enroll(&self.archive("device-a"), &vault(directory))
            .await
            .unwrap();
        ControlPlane::new(Identity::read(&vault(directory)).unwrap().unwrap()).unwrap()
    }
}

async fn read_request(stream: &mut TlsStream<TcpStream>) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec())
        .unwrap()
        .to_lowercase();
    let mut body = bytes[end + 4..].to_vec();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |text| text.parse::<usize>().unwrap());
    while body.len() < length {
        stream.read_buf(&mut body).await.ok()?;
    }
    Some(Asked {
        line: head.lines().next()?.to_owned(),
        head,
        body,
    })
}

#[tokio::test]
async fn a_claim_becomes_an_identity_once_and_the_same_command_line_works_again() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let archive = server.archive("device-a");
    enroll(&archive, &vault(dir.path())).await.unwrap();
    let identity = Identity::read(&vault(dir.path())).unwrap().unwrap();
    assert_eq!(identity.config.region, "eu-central-1");
    enroll(&archive, &vault(dir.path())).await.unwrap();
    assert_eq!(
        lock(&server.asked).len(),
        1,
        "the used claim is not shown again"
    );
    let elsewhere = tempfile::tempdir().unwrap();
    let refused = enroll(&archive, &vault(elsewhere.path())).await;
    assert!(matches!(refused, Err(EnrollError::Claim(_))), "{refused:?}");
    assert!(Identity::read(&vault(elsewhere.path())).unwrap().is_none());
    assert!(matches!(
        enroll(b"PK", &vault(dir.path())).await,
        Err(EnrollError::Archive(_))
    ));
}

#[tokio::test]
async fn documents_reports_secrets_and_blobs_travel_as_described() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = server.enrolled(dir.path()).await;

    server.answer(200, "document");
    let answer = plane.desired(Generation(7)).await.unwrap();
    assert!(matches!(answer, Answer::Document(bytes) if bytes == b"document"));
    assert!(
        server
            .last()
            .line
            .starts_with("get /v1/device/desired?after=7&wait=")
    );
    for (status, expected) in [(304, "nothing"), (409, "behind"), (410, "deleted")] {
        server.answer(status, "");
        let found = match plane.desired(Generation(7)).await.unwrap() {
            Answer::Document(_) => "document",
            Answer::Nothing => "nothing",
            Answer::Behind => "behind",
            Answer::Deleted => "deleted",
        };
        assert_eq!(found, expected);
    }

    let reported = Reported {
        version: PROTOCOL_VERSION,
        boot_id: "b".to_owned(),
        seq: 1,
        software: "0.1.0".to_owned(),
        observed_generation: Generation(7),
        applied_generation: Generation(6),
        instances: Vec::new(),
        network: None,
    };
    server.answer(204, "");
    plane.report(&reported).await.unwrap();
    assert_eq!(
        serde_json::from_slice::<Reported>(&server.last().body).unwrap(),
        reported
    );

    server.answer(200, r#"{"version":2,"username":"u","password":"p"}"#);
    let secret = plane.secret(&"secret-a".parse().unwrap()).await.unwrap();
    assert_eq!((secret.version, secret.password.as_str()), (2, "p"));
    server.answer(404, r#"{"code":"c","message":"no such secret"}"#);
    let refused = plane
        .secret(&"secret-b".parse().unwrap())
        .await
        .err()
        .unwrap();
    assert!(refused.to_string().contains("no such secret"), "{refused}");

    let digest = "ab".repeat(32).parse().unwrap();
    server.answer(206, "rest");
    let mut bytes = Vec::new();
    plane
        .blob(&digest, 5)
        .await
        .unwrap()
        .read_to_end(&mut bytes)
        .await
        .unwrap();
    assert_eq!(bytes, b"rest");
    assert!(server.last().head.contains("range: bytes=5-"));
    server.answer(200, "all of it");
    let ignored = plane.blob(&digest, 5).await.err();
    assert!(
        matches!(ignored, Some(ClientError::Refused { .. })),
        "a range must be honoured"
    );
}

#[tokio::test]
async fn a_certificate_is_renewed_when_it_is_due_and_used_from_then_on() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let plane = server.enrolled(dir.path()).await;
    let before = std::fs::read(dir.path().join("certificate.pem")).unwrap();
    assert!(!plane.renew_if_due(0).await.unwrap());
    assert!(plane.renew_if_due(i64::MAX).await.unwrap());
    assert_ne!(
        std::fs::read(dir.path().join("certificate.pem")).unwrap(),
        before
    );
    server.answer(304, "");
    assert!(matches!(
        plane.desired(Generation(1)).await.unwrap(),
        Answer::Nothing
    ));
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    server.enrolled(dir.path()).await;
    std::fs::write(dir.path().join("ca.pem"), ca().pem()).unwrap();
    let plane = ControlPlane::new(Identity::read(&vault(dir.path())).unwrap().unwrap()).unwrap();
    assert!(matches!(
        plane.desired(Generation(1)).await,
        Err(ClientError::Request { .. })
    ));
}

#[tokio::test]
async fn pictures_flow_while_somebody_watches() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    server.enrolled(dir.path()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let path = dir.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let moved = listener.local_addr().unwrap().to_string();
    std::fs::write(&path, text.replace(&server.address.to_string(), &moved)).unwrap();
    let plane = ControlPlane::new(Identity::read(&vault(dir.path())).unwrap().unwrap()).unwrap();

    let views = Views::new();
    let device = tokio::spawn(live::run(Arc::new(plane), views.clone()));
    let acceptor = acceptor(&server.ca);
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        tokio_tungstenite::accept_async(acceptor.accept(stream).await.unwrap())
            .await
            .unwrap()
    };
    let mut socket = timeout(LIMIT, accept)
        .await
        .expect("the device does not dial");
    let view = View::Camera {
        instance: "applicationInstance-a".parse().unwrap(),
        node: "cam".parse().unwrap(),
    };
    let command = serde_json::to_string(&LiveCommand {
        view: view.clone(),
        on: true,
    })
    .unwrap();
    socket.send(Message::text(command)).await.unwrap();
    timeout(LIMIT, views.watched(&view))
        .await
        .expect("the command has no effect");
    let header = LiveHeader {
        view: view.clone(),
        content_type: "image/jpeg".to_owned(),
        time_stamp: TimeStamp::from_micros(5),
    };
    views.publish(header.clone(), "jpeg".into());
    let picture = loop {
        let message = timeout(LIMIT, socket.next())
            .await
            .expect("no picture comes");
        if let Message::Binary(bytes) = message.unwrap().unwrap() {
            break bytes;
        }
    };
    let length = u32::from_be_bytes(picture[..4].try_into().unwrap()) as usize;
    let found: LiveHeader = serde_json::from_slice(&picture[4..4 + length]).unwrap();
    assert_eq!((found, &picture[4 + length..]), (header, &b"jpeg"[..]));

    // The channel breaks: nobody watches any more, and the device dials again.
    drop(socket);
    let again = timeout(LIMIT, listener.accept())
        .await
        .expect("the device does not dial again");
    assert!(again.is_ok() && !views.is_watched(&view));
    device.abort();
}

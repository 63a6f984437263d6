//! A device's life at the control plane: a signed `ProvisionDevice`, the archive, enrolment, the
//! device protocol, the console's view of it, and deletion.

use std::io::{Cursor, Read as _};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use parapet_device::enroll::{CertificateRequest, CertificateResponse, EnrollConfig};
use parapet_server::Server;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::plane::{self, Plane, wait};

/// The archive of `ProvisionDevice`.
pub(crate) struct Archive {
    config: EnrollConfig,
    certificate: String,
    key: String,
}

impl Plane {
    pub(crate) async fn provision(&self, name: &str) -> Archive {
        let (status, answer) = self
            .call("panorama", "POST", "/devices", &json!({ "Name": name }))
            .await;
        assert_eq!(status, 200, "{answer}");
        let zip = base64::engine::general_purpose::STANDARD
            .decode(answer["Certificates"].as_str().expect("Certificates"))
            .expect("base64");
        let mut zip = zip::ZipArchive::new(Cursor::new(zip)).expect("an archive");
        let mut read = |name: &str| {
            let mut text = String::new();
            zip.by_name(name)
                .expect(name)
                .read_to_string(&mut text)
                .expect(name);
            text
        };
        assert_eq!(read("ca.pem"), self.file("ca.pem"));
        Archive {
            config: serde_json::from_str(&read("config.json")).expect("config.json"),
            certificate: read("claim.crt"),
            key: read("claim.key"),
        }
    }
}

impl Archive {
    pub(crate) async fn enroll(
        &self,
        plane: &Plane,
        request: &CertificateRequest,
    ) -> reqwest::Response {
        plane
            .client(Some((&self.certificate, &self.key)))
            .post(format!("{}/v1/enroll", self.config.endpoint))
            .json(request)
            .send()
            .await
            .expect("an answer")
    }
}

pub(crate) fn new_key() -> (KeyPair, CertificateRequest) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let request = CertificateParams::default()
        .serialize_request(&key)
        .expect("a request");
    (
        key,
        CertificateRequest {
            csr: request.pem().expect("PEM"),
        },
    )
}

/// Enrols a new device; its certificate and key.
pub(crate) async fn enrolled(plane: &Plane, name: &str) -> (EnrollConfig, String, String) {
    let archive = plane.provision(name).await;
    let (key, request) = new_key();
    let answer = archive.enroll(plane, &request).await;
    assert_eq!(answer.status(), 200);
    let answer: CertificateResponse = answer.json().await.expect("a certificate");
    assert_eq!(answer.serial, 1);
    (archive.config, answer.certificate, key.serialize_pem())
}

#[tokio::test]
async fn a_claim_is_good_once_and_for_enrolment_only() {
    let plane = Plane::start().await;
    let archive = plane.provision("door").await;
    let claim = plane.client(Some((&archive.certificate, &archive.key)));
    let desired = format!(
        "{}/v1/device/desired?after=0&wait=0",
        archive.config.endpoint
    );
    assert_eq!(
        claim
            .get(&desired)
            .send()
            .await
            .expect("an answer")
            .status(),
        403
    );

    let nonsense = CertificateRequest {
        csr: "nonsense".to_owned(),
    };
    assert_eq!(archive.enroll(&plane, &nonsense).await.status(), 400);
    let (first, second) = tokio::join!(
        async { archive.enroll(&plane, &new_key().1).await.status().as_u16() },
        async { archive.enroll(&plane, &new_key().1).await.status().as_u16() }
    );
    let mut both = [first, second];
    both.sort_unstable();
    assert_eq!(
        both,
        [200, 403],
        "of two devices with one archive one is refused"
    );
    plane.server.stop().await;
}

#[tokio::test]
async fn a_device_gets_its_documents_and_nothing_else() {
    let plane = Plane::start().await;
    let (config, certificate, key) = enrolled(&plane, "gate").await;
    let client = plane.client(Some((&certificate, &key)));
    let get = |path: &str| client.get(format!("{}{path}", config.endpoint)).send();
    for (path, status) in [
        ("/v1/device/desired?after=0&wait=0", 304),
        ("/v1/device/desired?after=7&wait=0", 409),
        ("/v1/device/desired?after=x", 400),
        ("/v1/device/secrets/secret-abc", 404),
        (
            "/v1/blobs/sha256/0000000000000000000000000000000000000000000000000000000000000000",
            404,
        ),
        ("/v1/blobs/sha256/../../parapet.db", 404),
        ("/v1/device/live", 400),
        ("/v1/nothing", 404),
    ] {
        assert_eq!(
            get(path).await.expect("an answer").status(),
            status,
            "{path}"
        );
    }
    let report = |seq: u64| {
        json!({ "version": 1, "boot_id": "b", "seq": seq, "software": "0.1.0",
                "observed_generation": 0, "applied_generation": 0, "instances": [] })
    };
    for (seq, status) in [(2, 204), (1, 409), (3, 204)] {
        let url = format!("{}/v1/device/reported", config.endpoint);
        let answer = client
            .put(url)
            .json(&report(seq))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), status, "report {seq}");
    }
    let path = format!("/devices/{}", config.device);
    let (_, device) = plane.call("panorama", "GET", &path, &json!({})).await;
    assert_eq!(device["DeviceConnectionStatus"], "ONLINE", "{device}");
    plane.server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_replaces_the_older_ones_in_time() {
    let plane = Plane::start().await;
    let (config, first, first_key) = enrolled(&plane, "yard").await;
    let ask = |identity: (String, String)| {
        let client = plane.client(Some((&identity.0, &identity.1)));
        let url = format!("{}/v1/device/desired?after=0&wait=0", config.endpoint);
        async move {
            client
                .get(url)
                .send()
                .await
                .expect("an answer")
                .status()
                .as_u16()
        }
    };
    let mut newest = (first.clone(), first_key.clone());
    for number in [2, 3] {
        let (key, request) = new_key();
        let client = plane.client(Some((&newest.0, &newest.1)));
        let url = format!("{}/v1/device/certificate", config.endpoint);
        let answer = client
            .post(&url)
            .json(&request)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200);
        let answer: CertificateResponse = answer.json().await.expect("a certificate");
        assert_eq!(answer.serial, number);
        // The answer was lost: the device shows its old certificate and asks for the same key.
        let again = client
            .post(&url)
            .json(&request)
            .send()
            .await
            .expect("an answer");
        assert_eq!(again.status(), 200);
        let again: CertificateResponse = again.json().await.expect("a certificate");
        assert_eq!(
            again.serial, number,
            "a certificate that nobody has is not counted"
        );
        newest = (again.certificate, key.serialize_pem());
        let client = plane.client(Some((&newest.0, &newest.1)));
        // The one before is good until the new one is in use somewhere.
        let expected = if number == 2 { 304 } else { 403 };
        assert_eq!(
            ask((first.clone(), first_key.clone())).await,
            expected,
            "after {number}"
        );
        // A key in use gets no second certificate.
        let again = client
            .post(&url)
            .json(&request)
            .send()
            .await
            .expect("an answer");
        assert_eq!(again.status(), 400);
    }
    assert_eq!(ask(newest).await, 304);
    plane.server.stop().await;
}

#[tokio::test]
async fn a_deleted_device_is_out_at_once() {
    let plane = Plane::start().await;
    let (config, certificate, key) = enrolled(&plane, "roof").await;
    let client = plane.client(Some((&certificate, &key)));
    let url = format!("{}/v1/device/desired?after=0&wait=60", config.endpoint);
    let held = tokio::spawn(client.get(&url).send());
    let path = format!("/devices/{}", config.device);
    // Online means that the held request has arrived.
    wait("the device is online", || async {
        let (_, device) = plane.call("panorama", "GET", &path, &json!({})).await;
        device["DeviceConnectionStatus"] == "ONLINE"
    })
    .await;
    let (status, answer) = plane.call("panorama", "DELETE", &path, &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let held = tokio::time::timeout(Duration::from_secs(5), held)
        .await
        .expect("answered at once");
    assert_eq!(held.expect("no panic").expect("an answer").status(), 410);
    assert_eq!(
        client.get(&url).send().await.expect("an answer").status(),
        410
    );
    plane.server.stop().await;
}

#[tokio::test]
async fn without_a_client_certificate_there_is_no_device_door() {
    let plane = Plane::start().await;
    let url = format!("https://{}/v1/device/desired", plane.server.device_addr);
    assert!(plane.client(None).get(url).send().await.is_err());
    plane.server.stop().await;
}

#[tokio::test]
async fn the_console_opens_with_a_link_that_works_once() {
    let plane = Plane::start().await;
    let (config, certificate, key) = enrolled(&plane, "lane").await;
    let browser = plane.client(None);
    let overview = format!("https://{}/console/api/overview", plane.server.api_addr);
    assert_eq!(
        browser
            .get(&overview)
            .send()
            .await
            .expect("an answer")
            .status(),
        401
    );

    let (status, link) = plane
        .call("parapet", "POST", "/parapet/console-sessions", &json!({}))
        .await;
    assert_eq!(status, 200, "{link}");
    let link = link["Url"].as_str().expect("Url");
    let first = browser.get(link).send().await.expect("an answer");
    assert_eq!(first.status(), 200);
    let cookie = first.headers()["set-cookie"]
        .to_str()
        .expect("text")
        .to_owned();
    for part in [
        "__Host-parapet=",
        "HttpOnly",
        "Secure",
        "SameSite=Strict",
        "Path=/",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert_eq!(
        browser.get(link).send().await.expect("an answer").status(),
        403
    );

    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let read = || async {
        let answer = browser
            .get(&overview)
            .header("cookie", &cookie)
            .send()
            .await;
        answer
            .expect("an answer")
            .json::<Value>()
            .await
            .expect("JSON")
    };
    assert_eq!(read().await["devices"][0]["live"], false);
    let _live = live_channel(&plane, &config, (&certificate, &key)).await;
    wait("the live channel is seen", || async {
        read().await["devices"][0]["live"] == true
    })
    .await;
    let foreign = browser.get(&overview).header("cookie", &cookie);
    let foreign = foreign
        .header("origin", "https://evil.example")
        .send()
        .await;
    assert_eq!(foreign.expect("an answer").status(), 403);
    plane.server.stop().await;
}

#[tokio::test]
async fn identity_and_devices_survive_a_restart() {
    let plane = Plane::start().await;
    let (config, certificate, key) = enrolled(&plane, "wall").await;
    let Plane { server, data } = plane;
    let mut same = plane::config(data.path().to_owned());
    same.device_listen = server.device_addr;
    let before = std::fs::read_to_string(data.path().join("admin/credentials")).expect("a file");
    server.stop().await;
    let server = Server::start(same).await.expect("a server");
    let plane = Plane { server, data };
    assert_eq!(plane.file("credentials"), before);
    let url = format!("{}/v1/device/desired?after=0&wait=0", config.endpoint);
    let client = plane.client(Some((&certificate, &key)));
    assert_eq!(
        client.get(url).send().await.expect("an answer").status(),
        304
    );
    plane.server.stop().await;
}

async fn live_channel(
    plane: &Plane,
    config: &EnrollConfig,
    identity: (&str, &str),
) -> impl Sized + use<> {
    let mut tls = plane.tls(Some(identity));
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let address = plane.server.device_addr;
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let name = rustls_pki_types::ServerName::from(address.ip());
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let stream = connector.connect(name, stream).await.expect("TLS");
    let url = format!("{}/v1/device/live", config.endpoint.replace("https", "wss"));
    let (socket, _) = tokio_tungstenite::client_async(url, stream)
        .await
        .expect("a WebSocket");
    socket
}

//! Master keys and authorities follow one another while the plane serves: no secret is lost and no
//! device enrols anew.

use std::path::Path;

use parapet_device::enroll::{
    AUTHORITIES_HEADER, CertificateResponse, EnrollConfig, RENEW_HEADER, TrustedAuthorities,
};
use parapet_server::Server;
use serde_json::{Value, json};

use crate::devices::{enrolled, new_key};
use crate::plane::{self, Plane, wait};

impl Plane {
    async fn master_key(&self) -> Value {
        let (status, answer) = self
            .call("parapet", "GET", "/parapet/master-key", &json!({}))
            .await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn rotate(&self) -> (u16, Value) {
        let path = "/parapet/master-key/rotate";
        self.call("parapet", "POST", path, &json!({})).await
    }

    async fn rotated(&self) -> Value {
        wait("the rotation is done", || async {
            let answer = self.master_key().await;
            assert_ne!(answer["State"], "FAILED", "{answer}");
            answer["State"] == "DONE"
        })
        .await;
        self.master_key().await
    }

    async fn roll(&self, kind: &str, step: &str) -> (u16, Value) {
        let path = format!("/parapet/authorities/{kind}");
        self.call("parapet", "POST", &path, &json!({ "Step": step }))
            .await
    }

    async fn rolls(&self, kind: &str, step: &str) -> Value {
        let (status, answer) = self.roll(kind, step).await;
        assert_eq!(status, 200, "{step} {kind}: {answer}");
        answer
    }

    fn count(&self) -> usize {
        self.file("ca.pem").matches("BEGIN CERTIFICATE").count()
    }

    /// The same data and the same ports under a new server.
    async fn restarted(self) -> Self {
        let Self { server, data } = self;
        let mut same = plane::config(data.path().to_owned());
        same.device_listen = server.device_addr;
        // As a kill would: no task is waited for.
        drop(server);
        let server = loop {
            match Server::start(same.clone()).await {
                Ok(server) => break server,
                // The tasks of the dropped one close their sockets when they are next polled.
                Err(parapet_server::StartError::Listen { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        };
        Self { server, data }
    }
}

fn key_lines(data: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(data.join("master.key")).expect("a key");
    text.lines().map(str::to_owned).collect()
}

/// Rows that are sealed under a key, by the database itself.
fn sealed_under(data: &Path, key_id: &str) -> i64 {
    let connection = rusqlite::Connection::open(data.join("parapet.db")).expect("a database");
    let columns = parapet_server::store::wrapped::COLUMNS.iter();
    columns
        .map(|column| {
            let sql = format!(
                "SELECT count(*) FROM {} WHERE lower(hex(substr({}, 2, 8))) = ?1",
                column.table, column.column
            );
            connection
                .query_row(&sql, [key_id], |row| row.get::<_, i64>(0))
                .expect("a count")
        })
        .sum()
}

#[tokio::test]
async fn a_new_master_key_takes_over_while_the_server_answers() {
    let plane = Plane::start().await;
    let before = plane.master_key().await;
    let old = before["KeyId"].as_str().expect("an ID").to_owned();
    let old_line = key_lines(plane.data.path());
    assert!(sealed_under(plane.data.path(), &old) > 0);

    // The call itself is signed with a key whose secret is being rewrapped.
    let (status, answer) = plane.rotate().await;
    assert_eq!(status, 200, "{answer}");
    let after = plane.rotated().await;
    assert_ne!(after["KeyId"], before["KeyId"]);
    assert_eq!(after["RetiredKeyIds"], json!([old]), "{after}");
    assert_eq!(after["RetiredFromSource"], true);
    assert_eq!(sealed_under(plane.data.path(), &old), 0);
    let lines = key_lines(plane.data.path());
    assert_eq!(lines.len(), 1);
    assert_ne!(lines, old_line);
    let retired = plane.data.path().join(format!("master.key.retired-{old}"));
    let kept = std::fs::read_to_string(retired).expect("kept for backups of before");
    assert_eq!(kept.trim(), old_line[0]);

    let plane = plane.restarted().await;
    let again = plane.master_key().await;
    assert_eq!(again["KeyId"], after["KeyId"]);
    assert_eq!(again["OlderKeyIds"], json!([]));
    plane.server.stop().await;
}

#[tokio::test]
async fn a_rotation_that_was_killed_goes_on_at_the_next_start() {
    let mut plane = Plane::start().await;
    let old = plane.master_key().await["KeyId"].clone();
    for number in 0..40 {
        let body = json!({
            "TemplateType": "RTSP_CAMERA_STREAM",
            "OutputPackageName": format!("camera{number}"),
            "OutputPackageVersion": "1.0",
            "NodeName": format!("camera{number}"),
            "TemplateParameters": {
                "Username": "u", "Password": "p", "StreamUrl": "rtsp://10.0.0.1/s",
            },
        });
        let path = "/packages/template-job";
        let (status, answer) = plane.call("panorama", "POST", path, &body).await;
        assert_eq!(status, 200, "{answer}");
    }
    let (status, answer) = plane.rotate().await;
    assert_eq!(status, 200, "{answer}");
    // Killed three times, wherever it is.
    for _ in 0..3 {
        plane = plane.restarted().await;
    }
    wait("only the new key is left", || async {
        key_lines(plane.data.path()).len() == 1
    })
    .await;
    let now = plane.master_key().await;
    assert_ne!(now["KeyId"], old);
    assert_eq!(
        sealed_under(plane.data.path(), old.as_str().expect("an ID")),
        0
    );
    plane.server.stop().await;
}

#[tokio::test]
async fn a_key_that_the_operator_hands_over_in_the_file_is_used() {
    let plane = Plane::start().await;
    let old = key_lines(plane.data.path());
    let new = "5".repeat(64);
    let path = plane.data.path().join("master.key");
    std::fs::write(&path, format!("{new}\n{}\n", old[0])).expect("written");
    let (status, answer) = plane.rotate().await;
    assert_eq!(status, 200, "{answer}");
    plane.rotated().await;
    assert_eq!(key_lines(plane.data.path()), [new]);
    // A file without the key in use is refused, and nothing changes.
    std::fs::write(&path, "6".repeat(64)).expect("written");
    let (status, answer) = plane.rotate().await;
    assert_eq!(status, 409, "{answer}");
    plane.server.stop().await;
}

/// A device as an agent is: it does what the answers' headers say.
struct Device {
    config: EnrollConfig,
    certificate: String,
    key: String,
    /// `device/ca.pem`.
    trusts: String,
    digest: String,
}

impl Device {
    async fn enrolled(plane: &Plane, name: &str) -> Self {
        let (config, certificate, key) = enrolled(plane, name).await;
        Self {
            config,
            certificate,
            key,
            trusts: plane.file("ca.pem"),
            digest: String::new(),
        }
    }

    fn client(&self) -> reqwest::Client {
        Plane::client_of(Plane::tls_trusting(
            &self.trusts,
            Some((&self.certificate, &self.key)),
        ))
    }

    /// One contact: a report, then what its answer asks for. The answer's status.
    async fn contact(&mut self, seq: u64) -> Result<u16, reqwest::Error> {
        let report = json!({ "version": 1, "boot_id": "b", "seq": seq, "software": "0.1.0",
            "observed_generation": 0, "applied_generation": 0, "instances": [] });
        let answer = self
            .client()
            .put(format!("{}/v1/device/reported", self.config.endpoint))
            .header(AUTHORITIES_HEADER, self.digest.clone())
            .json(&report)
            .send()
            .await?;
        let header = |name: &str| {
            let value = answer.headers().get(name)?.to_str().expect("text");
            Some(value.to_owned())
        };
        let (digest, renew) = (header(AUTHORITIES_HEADER), header(RENEW_HEADER));
        let status = answer.status().as_u16();
        let digest = digest.expect("every answer has the digest");
        if digest != self.digest {
            let url = format!("{}/v1/device/authorities", self.config.endpoint);
            let fetched = self.client().get(url).send().await?;
            let fetched: TrustedAuthorities = fetched.json().await?;
            (self.trusts, self.digest) = (fetched.pem, digest);
        }
        if renew.is_some() {
            let (key, request) = new_key();
            let url = format!("{}/v1/device/certificate", self.config.endpoint);
            let answer = self.client().post(url).json(&request).send().await?;
            let answer: CertificateResponse = answer.json().await?;
            (self.certificate, self.key) = (answer.certificate, key.serialize_pem());
        }
        Ok(status)
    }
}

#[tokio::test]
async fn the_servers_authority_rolls_over_without_a_new_enrolment() {
    let plane = Plane::start().await;
    let mut device = Device::enrolled(&plane, "mast").await;
    let first = device.trusts.clone();
    assert_eq!(device.contact(1).await.expect("an answer"), 204);

    let begun = plane.rolls("server", "begin").await;
    assert_eq!(begun["DueStep"], "switch");
    assert_eq!(plane.count(), 2, "clients trust both");
    // The device has not heard of it: the server's certificate must not change under it.
    let (status, refused) = plane.roll("server", "switch").await;
    assert_eq!(status, 409, "{refused}");
    assert!(
        refused.to_string().contains(device.config.device.as_str()),
        "{refused}"
    );
    // One contact to learn, the next to say so.
    device.contact(2).await.expect("an answer");
    device.contact(3).await.expect("an answer");
    assert_eq!(device.trusts.matches("BEGIN CERTIFICATE").count(), 2);

    let both = plane.file("ca.pem");
    let switched = plane.rolls("server", "switch").await;
    assert_eq!(switched["DueStep"], "finish");
    // Whoever trusts the first alone is out; whoever trusts both is not.
    let tls = || Plane::tls_trusting(&first, None);
    let url = format!("https://{}/healthz", plane.server.api_addr);
    wait("the server shows the new certificate", || async {
        let asked = Plane::client_of(tls()).get(&url).send().await;
        asked.is_err()
    })
    .await;
    let asked = Plane::client_of(Plane::tls_trusting(&both, None));
    assert_eq!(asked.get(&url).send().await.expect("trusted").status(), 200);
    device
        .contact(4)
        .await
        .expect("the new certificate is trusted");

    // A server that starts anew is at the same step.
    let plane = plane.restarted().await;
    device.contact(5).await.expect("an answer");
    let finished = plane.rolls("server", "finish").await;
    assert_eq!(finished["DueStep"], "begin");
    assert_eq!(plane.count(), 1);
    device.contact(6).await.expect("an answer");
    assert_eq!(
        device.trusts,
        plane.file("ca.pem"),
        "the old one is forgotten"
    );
    plane.server.stop().await;
}

#[tokio::test]
async fn the_devices_authority_rolls_over_at_the_devices_next_contact() {
    let plane = Plane::start().await;
    let mut device = Device::enrolled(&plane, "pole").await;
    let first = (device.certificate.clone(), device.key.clone());
    let begun = plane.rolls("device", "begin").await;
    assert_eq!(begun["DueStep"], "finish");
    assert_eq!(begun["AwaitedDevices"], json!([device.config.device]));
    let (status, refused) = plane.roll("device", "finish").await;
    assert_eq!(status, 409, "{refused}");

    device.contact(1).await.expect("the old one is good still");
    assert_ne!(device.certificate, first.0, "renewed at the first contact");
    plane.rolls("device", "finish").await;
    device.contact(2).await.expect("the new one is good");
    // What the old authority signed does not even pass TLS any more.
    (device.certificate, device.key) = first;
    assert!(device.contact(3).await.is_err());
    plane.server.stop().await;
}

#[tokio::test]
async fn claims_of_both_authorities_enrol_until_the_older_is_given_up() {
    let plane = Plane::start().await;
    let before = plane.provision("left").await;
    plane.rolls("claim", "begin").await;
    let after = plane.provision("right").await;
    let (status, refused) = plane.roll("claim", "finish").await;
    assert_eq!(status, 409, "two claims are open: {refused}");
    for archive in [before, after] {
        let (_, request) = new_key();
        assert_eq!(archive.enroll(&plane, &request).await.status(), 200);
    }
    plane.rolls("claim", "finish").await;
    plane.server.stop().await;
}

#[tokio::test]
async fn a_step_that_is_not_due_is_refused_and_a_begun_one_can_be_cancelled() {
    let plane = Plane::start().await;
    for step in ["switch", "finish", "cancel"] {
        assert_eq!(plane.roll("server", step).await.0, 409, "{step}");
    }
    assert_eq!(plane.roll("server", "jump").await.0, 400);
    assert_eq!(plane.roll("root", "begin").await.0, 404);
    plane.rolls("server", "begin").await;
    assert_eq!(plane.roll("server", "begin").await.0, 409);
    plane.rolls("server", "cancel").await;
    assert_eq!(plane.count(), 1);
    plane.server.stop().await;
}

#[tokio::test]
async fn a_restored_backup_starts_and_opens_its_secrets() {
    let plane = Plane::start().await;
    let (config, certificate, key) = enrolled(&plane, "barn").await;
    let work = tempfile::tempdir().expect("a directory");
    let file = work.path().join("backup");
    let mut told = 0;
    let written = parapet_server::backup::write(plane.data.path(), &file, |_| told += 1)
        .expect("a backup beside a running server");
    assert!(told > 0 && written.files.contains_key("parapet.db"));
    let key_id = plane.master_key().await["KeyId"].clone();
    assert_eq!(json!(written.master_keys), json!([key_id]));
    let again = parapet_server::backup::write(plane.data.path(), &file, |_| {});
    assert!(again.is_err(), "a backup replaces none");

    // Neither the master key nor the first user's secret is in it.
    let bytes = std::fs::read(&file).expect("read");
    let credentials = plane.file("credentials");
    let secret = credentials.trim().rsplit(" = ").next().expect("a secret");
    for canary in [key_lines(plane.data.path())[0].as_str(), secret] {
        assert!(!bytes.windows(canary.len()).any(|w| w == canary.as_bytes()));
    }

    let restored = tempfile::tempdir().expect("a directory");
    let data = restored.path().join("data");
    let read = parapet_server::backup::restore(&file, &data, |_| {}).expect("restored");
    assert_eq!(read, written);
    let full = parapet_server::backup::restore(&file, &data, |_| {});
    assert!(full.is_err(), "nothing is replaced");
    // The master key comes from elsewhere; without it there is no start.
    let mut same = plane::config(data.clone());
    same.device_listen = plane.server.device_addr;
    plane.server.stop().await;
    let without = Server::start(same.clone()).await;
    assert!(without.is_err(), "a lost master key is not replaced");
    let path = plane.data.path().join("master.key");
    std::fs::copy(path, data.join("master.key")).expect("put back");
    let server = Server::start(same).await.expect("a server");
    let kept = std::fs::read_to_string(data.join("admin/credentials")).expect("written anew");
    assert_eq!(kept, credentials, "the access key's secret is opened");
    let url = format!("{}/v1/device/desired?after=0&wait=0", config.endpoint);
    let ca = std::fs::read_to_string(data.join("admin/ca.pem")).expect("a CA");
    let device = Plane::client_of(Plane::tls_trusting(&ca, Some((&certificate, &key))));
    assert_eq!(
        device.get(url).send().await.expect("an answer").status(),
        304,
        "the device is known"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_backup_with_any_changed_byte_is_refused_and_leaves_nothing() {
    let plane = Plane::start().await;
    let work = tempfile::tempdir().expect("a directory");
    let file = work.path().join("backup");
    let written = parapet_server::backup::write(plane.data.path(), &file, |_| {});
    let written = written.expect("a backup");
    plane.server.stop().await;
    let bytes = std::fs::read(&file).expect("read");
    let data = work.path().join("data");
    for at in (0..bytes.len()).step_by(bytes.len() / 50) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        std::fs::write(&file, &changed).expect("written");
        match parapet_server::backup::restore(&file, &data, |_| {}) {
            Err(_) => assert!(!data.exists(), "byte {at}"),
            // Padding, and what a header says of owner and time: nothing of it is kept.
            Ok(read) => {
                assert_eq!(read.files, written.files, "byte {at}");
                std::fs::remove_dir_all(&data).expect("removed");
            }
        }
    }
    std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
    assert!(parapet_server::backup::restore(&file, &data, |_| {}).is_err());
    assert!(!data.exists());
}

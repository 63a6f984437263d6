//! What goes through the doors is in the audit trail, and no secret is.

use std::path::Path;
use std::time::Duration;

use parapet_server::audit::Record;
use parapet_server::audit::checkpoint::PublicKey;
use parapet_server::audit::offline::{self, Trail};
use parapet_server::audit::search::Filter;
use serde_json::json;

use super::devices::enrolled;
use super::plane::Plane;

/// All records of a server that has stopped.
fn records(data: &Path) -> Vec<(Record, String)> {
    let mut all = Vec::new();
    offline::search(data, &Filter::default(), 10_000, |row, record| {
        all.push((record.clone(), row.record.clone()));
        Ok(())
    })
    .expect("a trail");
    all.reverse();
    all
}

fn named<'a>(records: &'a [(Record, String)], name: &str) -> Vec<&'a Record> {
    let found: Vec<_> = records
        .iter()
        .map(|(record, _)| record)
        .filter(|record| record.event_name == name)
        .collect();
    let names: Vec<_> = records
        .iter()
        .map(|(record, _)| &record.event_name)
        .collect();
    assert!(!found.is_empty(), "no {name} among {names:?}");
    found
}

#[tokio::test]
async fn calls_devices_and_sign_ins_are_recorded_without_their_secrets() {
    let plane = Plane::start().await;
    let (config, certificate, key) = enrolled(&plane, "gate").await;
    let job = json!({
        "TemplateType": "RTSP_CAMERA_STREAM", "OutputPackageName": "door",
        "OutputPackageVersion": "1.0", "NodeName": "door",
        "TemplateParameters": {
            "Username": "root", "Password": "CANARY1", "StreamUrl": "rtsp://u:CANARY2@127.0.0.1/x",
        },
    });
    plane
        .call("panorama", "POST", "/packages/template-job", &job)
        .await;
    let (status, link) = plane
        .call("parapet", "POST", "/parapet/console-sessions", &json!({}))
        .await;
    assert_eq!(status, 200, "{link}");
    let url = link["Url"].as_str().expect("a link").to_owned();
    for wanted in [200, 403, 403] {
        let answer = plane
            .client(None)
            .get(&url)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), wanted);
    }
    for _ in 0..3 {
        let forged = plane
            .signed("panorama", "GET", "/devices", &[], b"")
            .header("x-amz-meta-forged", "1");
        let answer = forged.send().await.expect("an answer");
        assert!(answer.status().is_client_error());
    }
    let other = plane.signed("s3", "GET", "/another-bucket/key", &[], b"");
    assert_eq!(other.send().await.expect("an answer").status(), 404);
    // A deleted device is refused, and told once however often it asks.
    let path = format!("/devices/{}", config.device);
    plane.call("panorama", "DELETE", &path, &json!({})).await;
    let device = plane.client(Some((&certificate, &key)));
    let desired = format!("{}/v1/device/desired?after=0&wait=0", config.endpoint);
    for _ in 0..3 {
        let answer = device.get(&desired).timeout(Duration::from_secs(10));
        assert_eq!(answer.send().await.expect("an answer").status(), 410);
    }
    let secret = plane.file("credentials");
    let secret = secret
        .lines()
        .find_map(|line| line.strip_prefix("aws_secret_access_key = "))
        .expect("a secret")
        .to_owned();
    let pem = plane.file("audit-public-key.pem");
    let Plane { server, data } = plane;
    server.stop().await;

    let all = records(data.path());
    let created = named(&all, "CreateNodeFromTemplateJob");
    let tls = created[0].tls_details.as_ref().expect("TLS");
    assert_eq!(tls.tls_version, "TLSv1.3");
    assert_eq!(created[0].source_ip_address, "127.0.0.1");
    assert_eq!(created[0].user_identity.user_name.as_deref(), Some("admin"));
    let object = named(&all, "GetObject")[0];
    assert_eq!(object.error_code.as_deref(), Some("NoSuchBucket"));
    let provisioned = &named(&all, "ProvisionDevice")[0].additional_event_data;
    let decision = &provisioned["decisions"][0];
    assert_eq!(decision["effect"], "Allow", "{decision}");
    assert_eq!(named(&all, "DeviceEnrolled").len(), 1);
    assert_eq!(named(&all, "DeleteDevice").len(), 1);
    assert_eq!(named(&all, "CertificateRefused").len(), 1);
    assert_eq!(
        named(&all, "RepeatedCertificateRefusals")[0].request_parameters["count"],
        2
    );
    let sign_ins = named(&all, "ConsoleSignIn");
    assert_eq!(sign_ins[0].error_code, None);
    assert_eq!(
        sign_ins[1].error_code.as_deref(),
        Some("ConsoleLinkRefused")
    );
    assert_eq!(sign_ins.len(), 2, "repetitions are counted");
    named(&all, "RepeatedSignatureFailures");
    named(&all, "ServerStopped");
    let token = url.split_once("token=").expect("a token").1;
    for (_, text) in &all {
        for canary in ["CANARY", token, &secret, "PRIVATE KEY"] {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
    }

    let key = PublicKey::from_pem(&pem).expect("a key");
    let trail = Trail::Data(data.path().to_owned());
    let report = offline::verify(&trail, Vec::new(), Some(&key)).expect("whole");
    assert_eq!(report.covered, report.last, "signed at its end");
}

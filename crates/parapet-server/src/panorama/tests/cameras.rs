//! Cameras: made from the template, written by hand, changed in place; and their secrets.

use super::*;
use crate::panorama::Failure;
use crate::parapet::update_camera;
use crate::store::{cameras, secrets};

impl Bench {
    async fn change(&self, name: &str, change: Value) -> Result<(), Failure> {
        let call = self.made_by(&self.admin);
        update_camera::call(&call, name, change.to_string().as_bytes()).await?;
        Ok(())
    }

    /// The camera's settings and its opened credentials.
    async fn settings(&self, name: &str) -> (cameras::Camera, Option<(String, String)>) {
        let (scope, name) = (self.ctx.scope.clone(), name.to_owned());
        let (camera, wrapped) = self
            .ctx
            .store
            .read::<_, StoreError, _>(move |c| {
                let camera = cameras::get(c, &scope, &name, "1.0")?.expect("a camera");
                let wrapped = match &camera.secret {
                    Some(named) => secrets::get(c, &scope, &named.id, named.version)?,
                    None => None,
                };
                Ok((camera, wrapped))
            })
            .await
            .expect("read");
        let opened = camera.secret.as_ref().zip(wrapped).map(|(named, wrapped)| {
            let secret = self
                .ctx
                .open_camera(&named.id, named.version, &wrapped)
                .expect("opens");
            (secret.username, secret.password)
        });
        (camera, opened)
    }
}

fn pair(username: &str, password: &str) -> (String, String) {
    (username.to_owned(), password.to_owned())
}

#[tokio::test]
async fn a_cameras_credentials_are_wrapped_and_never_shown() {
    let bench = Bench::new().await;
    bench.camera("north", "rtsp://10.0.0.30/s1").await;
    let jobs = bench.get("/packages/template-job").await.ok();
    let id = text(&jobs["NodeFromTemplateJobs"][0]["JobId"]);
    let job = bench
        .get(&format!("/packages/template-job/{id}"))
        .await
        .ok();
    assert_eq!(
        job["TemplateParameters"],
        json!({ "StreamUrl": "rtsp://10.0.0.30/s1",
            "Username": "SAVED_AS_SECRET", "Password": "SAVED_AS_SECRET" })
    );
    let (_, credentials) = bench.settings("north").await;
    assert_eq!(credentials, Some(pair("viewer", "hunter2")));

    let nodes = bench.get("/nodes?category=MEDIA_SOURCE").await.ok();
    let node = bench
        .get(&format!("/nodes/{}", text(&nodes["Nodes"][0]["NodeId"])))
        .await
        .ok();
    assert!(!node.to_string().contains("hunter2") && !node.to_string().contains("viewer"));
    // The file itself, with its journal, holds the password nowhere.
    let data = bench.data.path().join("data");
    for entry in std::fs::read_dir(data)
        .expect("the data directory")
        .flatten()
    {
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("parapet.db")
        {
            let bytes = std::fs::read(entry.path()).expect("readable");
            assert!(
                !bytes.windows(7).any(|w| w == b"hunter2"),
                "{:?}",
                entry.file_name()
            );
        }
    }
}

#[tokio::test]
async fn bad_template_parameters_are_refused_before_any_job() {
    let bench = Bench::new().await;
    for parameters in [
        json!({}),
        json!({ "StreamUrl": "http://10.0.0.30/" }),
        json!({ "StreamUrl": "rtsp://u:secretword@10.0.0.30/" }),
        json!({ "StreamUrl": "rtsp://10.0.0.30/", "Password": "p" }),
        json!({ "StreamUrl": "rtsp://10.0.0.30/", "streamurl": "x" }),
    ] {
        let body = json!({
            "TemplateType": "RTSP_CAMERA_STREAM", "OutputPackageName": "c",
            "OutputPackageVersion": "1.0", "NodeName": "c", "TemplateParameters": parameters,
        });
        let (status, error, body) = bench
            .call("POST", "/packages/template-job", body)
            .await
            .refused();
        assert_eq!(
            (status, error.as_str()),
            (400, "ValidationException"),
            "{body}"
        );
        assert!(!body.to_string().contains("secretword"));
    }
    let jobs = bench.get("/packages/template-job").await.ok();
    assert_eq!(jobs["NodeFromTemplateJobs"], json!([]));
}

#[tokio::test]
async fn a_second_camera_of_a_name_fails_and_says_so() {
    let bench = Bench::new().await;
    bench.camera("north", "rtsp://10.0.0.30/s1").await;
    let body = json!({
        "TemplateType": "RTSP_CAMERA_STREAM", "OutputPackageName": "north",
        "OutputPackageVersion": "1.0", "NodeName": "north",
        "TemplateParameters": { "StreamUrl": "rtsp://10.0.0.31/", "Username": "other" },
    });
    let job = bench
        .call("POST", "/packages/template-job", body)
        .await
        .ok();
    let target = format!("/packages/template-job/{}", text(&job["JobId"]));
    let job = bench.get(&target).await.ok();
    assert_eq!(job["Status"], "FAILED");
    assert!(text(&job["StatusMessage"]).contains("north"));
    // The first one is as it was, and the second one's secret is gone.
    assert_eq!(
        bench.settings("north").await.1,
        Some(pair("viewer", "hunter2"))
    );
    let (scope, store) = (bench.ctx.scope.clone(), bench.ctx.store.clone());
    let count: i64 = store
        .read::<_, StoreError, _>(move |c| {
            Ok(c.query_row(
                "SELECT count(*) FROM secrets WHERE account = ?1",
                [scope.account],
                |r| r.get(0),
            )?)
        })
        .await
        .expect("read");
    assert_eq!(count, 1);
}

#[tokio::test]
async fn an_interrupted_job_is_carried_out_at_the_next_start() {
    let bench = Bench::new().await;
    let scope = bench.ctx.scope.clone();
    let job = crate::store::jobs::TemplateJob {
        id: "00000000-0000-4000-8000-000000000000".to_owned(),
        node_name: "north".to_owned(),
        node_description: None,
        package_name: "north".to_owned(),
        package_version: "1.0".to_owned(),
        template_type: "RTSP_CAMERA_STREAM".to_owned(),
        parameters_json: r#"{"StreamUrl":"rtsp://10.0.0.30/s1"}"#.to_owned(),
        job_tags_json: None,
        status: crate::store::jobs::JobStatus::Pending,
        status_message: String::new(),
        secret: None,
        created: Micros::now(),
        updated: Micros::now(),
    };
    let id = job.id.clone();
    bench
        .ctx
        .store
        .write::<_, StoreError, _>(move |tx| crate::store::jobs::insert(tx, &scope, &job))
        .await
        .expect("stored");
    crate::panorama::resume_jobs(&bench.ctx)
        .await
        .expect("resumed");
    let job = bench
        .get(&format!("/packages/template-job/{id}"))
        .await
        .ok();
    assert_eq!(job["Status"], "SUCCEEDED");
    assert_eq!(bench.settings("north").await.0.url, "rtsp://10.0.0.30/s1");
}

#[tokio::test]
async fn a_camera_is_changed_in_place() {
    let bench = Bench::new().await;
    bench.camera("north", "rtsp://10.0.0.30/s1").await;
    let first = bench.settings("north").await.0.secret.expect("a secret");

    bench
        .change("north", json!({ "Password": "newer" }))
        .await
        .expect("changed");
    let (camera, credentials) = bench.settings("north").await;
    assert_eq!(credentials, Some(pair("viewer", "newer")));
    let second = camera.secret.expect("a secret");
    assert_eq!((second.id.as_str(), second.version), (first.id.as_str(), 2));

    bench
        .change("north", json!({ "Url": "rtsp://10.0.0.31/s1" }))
        .await
        .expect("changed");
    let (camera, credentials) = bench.settings("north").await;
    assert_eq!(camera.url, "rtsp://10.0.0.31/s1");
    assert_eq!(credentials, Some(pair("viewer", "newer")));

    let none = json!({ "Username": "", "Password": "" });
    bench.change("north", none).await.expect("changed");
    assert_eq!(bench.settings("north").await.1, None);

    for (name, change) in [
        ("nobody", json!({ "Url": "rtsp://h/" })),
        ("north", json!({})),
        ("north", json!({ "Url": "http://h/" })),
        ("north", json!({ "colour": "red" })),
        ("north", json!({ "Username": "a:b" })),
        ("north", json!({ "Version": "9.9", "Url": "rtsp://h/" })),
    ] {
        let refused = bench.change(name, change.clone()).await;
        assert!(
            matches!(refused, Err(Failure::Invalid(_) | Failure::NotFound { .. })),
            "{change}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_camera_package_written_by_hand_works_too() {
    let bench = Bench::new().await;
    let manifest = json!({ "nodePackage": {
        "envelopeVersion": "2021-01-01", "name": "hand", "version": "1.0",
        "assets": [{ "name": "rtsp_camera", "implementations": [{
            "type": "system", "assetUri": "source/video/camera/rtsp/source_rtsp" }] }],
        "interfaces": [{ "name": "rtsp_interface", "category": "media_source",
            "asset": "rtsp_camera",
            "inputs": [
                { "name": "username", "type": "string", "default": "viewer" },
                { "name": "password", "type": "string", "default": "hunter2" },
                { "name": "streamUrl", "type": "string", "default": "rtsp://10.0.0.9/x" }],
            "outputs": [{ "name": "video_out", "type": "media" }] }] } });
    bench.package("hand", &manifest, &BTreeMap::new()).await;
    let (camera, credentials) = bench.settings("hand").await;
    assert_eq!(camera.url, "rtsp://10.0.0.9/x");
    assert_eq!(credentials, Some(pair("viewer", "hunter2")));
    let nodes = bench.get("/nodes").await.ok();
    let node = bench
        .get(&format!("/nodes/{}", text(&nodes["Nodes"][0]["NodeId"])))
        .await
        .ok();
    assert!(!node.to_string().contains("hunter2"), "{node}");
}

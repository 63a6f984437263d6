//! Application instances: from the graph to the device's document and back through its reports.

use super::*;
use crate::fleet::Announcement;

fn graph() -> Value {
    json!({ "nodeGraph": {
        "envelopeVersion": "2021-01-01",
        "packages": [
            { "name": format!("{ACCOUNT}::CODE"), "version": "1.0" },
            { "name": "panorama::abstract_rtsp_media_source", "version": "1.0" },
            { "name": "panorama::hdmi_data_sink", "version": "1.0" }],
        "nodes": [
            { "name": "code_node", "interface": format!("{ACCOUNT}::CODE.interface") },
            { "name": "camera", "overridable": true, "overrideMandatory": true,
                "interface": "panorama::abstract_rtsp_media_source.rtsp_v1_interface" },
            { "name": "screen", "interface": "panorama::hdmi_data_sink.hdmi0" }],
        "edges": [
            { "producer": "camera.video_out", "consumer": "code_node.video_in" },
            { "producer": "code_node.video_out", "consumer": "screen.video_in" }] } })
}

pub(super) fn overrides() -> Value {
    json!({ "nodeGraphOverrides": {
        "envelopeVersion": "2021-01-01",
        "packages": [
            { "name": format!("{ACCOUNT}::north"), "version": "1.0" },
            { "name": format!("{ACCOUNT}::south"), "version": "1.0" }],
        "nodes": [
            { "name": "north_cam", "interface": format!("{ACCOUNT}::north.north") },
            { "name": "south_cam", "interface": format!("{ACCOUNT}::south.south"),
                "launch": "onSignal" }],
        "nodeOverrides": [
            { "replace": "camera", "with": [{ "name": "north_cam" }, { "name": "south_cam" }] }] } })
}

/// All that an application needs.
pub(super) async fn bench() -> (Bench, DeviceKey) {
    let bench = Bench::new().await;
    bench.code_package().await;
    bench.camera("north", "rtsp://10.0.0.30/s1").await;
    bench.camera("south", "rtsp://10.0.0.31/s1").await;
    let key = bench.device("dock").await;
    (bench, key)
}

pub(super) fn request(key: &DeviceKey) -> Value {
    json!({
        "Name": "counter",
        "DefaultRuntimeContextDevice": key.device,
        "ManifestPayload": { "PayloadData": graph().to_string() },
        "ManifestOverridesPayload": { "PayloadData": overrides().to_string() },
        "Tags": { "client": "sample" },
    })
}

impl Bench {
    pub(super) async fn deploy(&self, request: Value) -> String {
        let made = self
            .call("POST", "/application-instances", request)
            .await
            .ok();
        text(&made["ApplicationInstanceId"]).to_owned()
    }

    async fn instance(&self, id: &str) -> Value {
        self.get(&format!("/application-instances/{id}")).await.ok()
    }
}

#[tokio::test]
async fn an_application_lives_from_its_graph_to_its_removal() {
    let (bench, key) = bench().await;
    let waiter = bench.ctx.wake.subscribe(&key);
    let id = bench.deploy(request(&key)).await;
    assert_eq!(*waiter.borrow(), Announcement::Generation(1));

    let document = bench.document(&key).await.expect("a document");
    let wanted = &document.instances[0];
    assert_eq!(
        (document.generation, wanted.id.as_str()),
        (Generation(1), id.as_str())
    );
    let cameras: Vec<_> = wanted
        .cameras
        .iter()
        .map(|c| (c.node.as_str(), c.stream.as_str(), c.paused))
        .collect();
    assert_eq!(
        cameras,
        [("north_cam", "north", false), ("south_cam", "south", true)]
    );
    assert!(wanted.cameras.iter().all(|camera| camera.secret.is_some()));
    assert_eq!(
        wanted.applications[0].command,
        ["python3", "/panorama/app.py"]
    );
    assert_eq!(
        wanted.applications[0].asset.sha256.to_string(),
        sha256(b"an image")
    );
    assert!(
        !serde_json::to_string(&document)
            .expect("JSON")
            .contains("hunter2")
    );

    let instance = bench.instance(&id).await;
    assert_eq!(instance["Status"], "DEPLOYMENT_REQUESTED");
    assert_eq!(instance["HealthStatus"], "NOT_AVAILABLE");
    assert_eq!(instance["DefaultRuntimeContextDeviceName"], "dock");
    assert_eq!(instance["Tags"], json!({ "client": "sample" }));
    let details = bench
        .get(&format!("/application-instances/{id}/details"))
        .await
        .ok();
    assert_eq!(
        details["ManifestPayload"]["PayloadData"],
        graph().to_string()
    );
    assert_eq!(
        details["ManifestOverridesPayload"]["PayloadData"],
        overrides().to_string()
    );

    let installing =
        json!([{ "id": id, "state": "INSTALL_IN_PROGRESS", "reason": null, "nodes": [] }]);
    bench.report(&key, 1, 1, installing).await;
    assert_eq!(
        bench.instance(&id).await["Status"],
        "DEPLOYMENT_IN_PROGRESS"
    );

    let node = |name: &str, status: &str, reason: Value| json!({ "node": name, "status": status, "reason": reason, "stream": null });
    let reason = json!({ "code": "unauthorized", "message": "change the password" });
    let running = json!([{ "id": id, "state": "RUNNING", "reason": null, "nodes": [
        node("code_node", "RUNNING", Value::Null),
        node("north_cam", "ERROR", reason),
        node("south_cam", "PAUSED", Value::Null),
        node("screen", "RUNNING", Value::Null)] }]);
    bench.report(&key, 2, 1, running).await;
    let instance = bench.instance(&id).await;
    assert_eq!(instance["Status"], "DEPLOYMENT_SUCCEEDED");
    assert_eq!(instance["HealthStatus"], "ERROR");
    assert_eq!(
        instance["StatusDescription"],
        "north_cam: unauthorized: change the password"
    );
    assert_eq!(
        instance["RuntimeContextStates"][0]["DeviceReportedStatus"],
        "RUNNING"
    );
    let nodes = bench
        .get(&format!("/application-instances/{id}/node-instances"))
        .await
        .ok();
    let shown: Vec<_> = nodes["NodeInstances"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|n| (text(&n["NodeInstanceId"]), text(&n["CurrentStatus"])))
        .collect();
    assert_eq!(
        shown,
        [
            ("code_node", "RUNNING"),
            ("north_cam", "ERROR"),
            ("south_cam", "PAUSED"),
            ("screen", "RUNNING")
        ]
    );
    assert!(text(&nodes["NodeInstances"][1]["StatusReason"]).contains("unauthorized"));
    let uses = bench
        .get(&format!("/application-instances/{id}/package-dependencies"))
        .await
        .ok();
    assert!(
        uses["PackageObjects"]
            .as_array()
            .is_some_and(|objects| objects.len() >= 3)
    );

    let target = format!("/application-instances/{id}");
    bench.call("DELETE", &target, Value::Null).await.ok();
    assert_eq!(bench.instance(&id).await["Status"], "REMOVAL_REQUESTED");
    assert!(
        bench
            .document(&key)
            .await
            .expect("a document")
            .instances
            .is_empty()
    );
    bench.report(&key, 3, 2, json!([])).await;
    assert_eq!(bench.instance(&id).await["Status"], "REMOVAL_SUCCEEDED");
    // Once more is no error, and the record stays for its device's list.
    bench.call("DELETE", &target, Value::Null).await.ok();
    let query = format!(
        "/application-instances?deviceId={}&statusFilter=REMOVAL_SUCCEEDED",
        key.device
    );
    let listed = bench.get(&query).await.ok();
    assert_eq!(
        listed["ApplicationInstances"][0]["ApplicationInstanceId"],
        id
    );
}

#[tokio::test]
async fn a_report_makes_the_device_tell_the_truth() {
    let (bench, key) = bench().await;
    let (scope, device) = (key.scope.clone(), key.device.clone());
    bench
        .ctx
        .store
        .write::<_, StoreError, _>(move |tx| {
            let pending = crate::store::devices::Provisioning::Pending;
            crate::store::devices::set_provisioning(tx, &scope, &device, pending, Micros::now())
        })
        .await
        .expect("stored");
    bench.report(&key, 1, 0, json!([])).await;
    let device = bench.get(&format!("/devices/{}", key.device)).await.ok();
    assert_eq!(device["ProvisioningStatus"], "SUCCEEDED");
    assert_eq!(device["DeviceConnectionStatus"], "ONLINE");
    assert_eq!(device["DeviceAggregatedStatus"], "ONLINE");
    assert_eq!(device["CurrentSoftware"], "0.1.0");
    let lease = device["LeaseExpirationTime"].as_f64().expect("a time");
    let five_days = Micros::now().as_seconds() + 5.0 * 86_400.0;
    assert!((lease - five_days).abs() < 60.0, "{lease}");
}

#[tokio::test]
async fn signals_pause_and_resume_cameras_and_nothing_else() {
    let (bench, key) = bench().await;
    let id = bench.deploy(request(&key)).await;
    let target = format!("/application-instances/{id}/node-signals");
    let signal = |node: &str, signal: &str| json!({ "NodeSignals": [{ "NodeInstanceId": node, "Signal": signal }] });
    bench
        .call("PUT", &target, signal("north_cam", "PAUSE"))
        .await
        .ok();
    // By the name of its package, as the published script does.
    bench
        .call("PUT", &target, signal("south", "RESUME"))
        .await
        .ok();
    let document = bench.document(&key).await.expect("a document");
    let paused: Vec<_> = document.instances[0]
        .cameras
        .iter()
        .map(|c| c.paused)
        .collect();
    assert_eq!(
        (document.generation, paused),
        (Generation(3), vec![true, false])
    );
    for node in ["code_node", "nobody"] {
        let (status, error, _) = bench
            .call("PUT", &target, signal(node, "PAUSE"))
            .await
            .refused();
        assert_eq!((status, error.as_str()), (400, "ValidationException"));
    }
    // A signal that is refused takes the others of its call with it.
    let both = json!({ "NodeSignals": [
        { "NodeInstanceId": "north_cam", "Signal": "RESUME" },
        { "NodeInstanceId": "nobody", "Signal": "PAUSE" }] });
    bench.call("PUT", &target, both).await.refused();
    assert_eq!(
        bench.document(&key).await.map(|d| d.generation),
        Some(Generation(3))
    );
}

#[tokio::test]
async fn changing_a_camera_changes_the_document_of_every_device_that_runs_it() {
    let (bench, key) = bench().await;
    bench.deploy(request(&key)).await;
    let before = bench.document(&key).await.expect("a document");
    let call = bench.made_by(&bench.admin);
    crate::parapet::update_camera::call(&call, "north", br#"{"Password":"newer"}"#)
        .await
        .expect("changed");
    let after = bench.document(&key).await.expect("a document");
    assert_eq!(after.generation, before.generation.next());
    let version = |document: &DesiredDocument, camera: usize| {
        document.instances[0].cameras[camera]
            .secret
            .as_ref()
            .map(|secret| secret.version)
    };
    assert_eq!(
        (version(&before, 0), version(&after, 0)),
        (Some(1), Some(2))
    );
    assert_eq!(version(&before, 1), version(&after, 1));
}

#[tokio::test]
async fn replacing_takes_the_old_instance_off_in_the_same_document() {
    let (bench, key) = bench().await;
    let old = bench.deploy(request(&key)).await;
    let mut replacing = request(&key);
    replacing["ApplicationInstanceIdToReplace"] = json!(old);
    let new = bench.deploy(replacing.clone()).await;
    let document = bench.document(&key).await.expect("a document");
    let ids: Vec<_> = document.instances.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(
        (document.generation, ids),
        (Generation(2), vec![new.as_str()])
    );
    assert_eq!(bench.instance(&old).await["Status"], "REMOVAL_REQUESTED");
    assert_eq!(
        bench.instance(&new).await["ApplicationInstanceIdToReplace"],
        old
    );
    // A script's file may name an instance that is off already.
    bench.report(&key, 1, 2, json!([])).await;
    bench.deploy(replacing.clone()).await;
    replacing["ApplicationInstanceIdToReplace"] = json!("applicationInstance-nobody");
    assert_eq!(
        bench
            .call("POST", "/application-instances", replacing)
            .await
            .refused()
            .0,
        400
    );
}

#[tokio::test]
async fn a_running_instance_keeps_what_it_was_pinned_to() {
    let (bench, key) = bench().await;
    bench.deploy(request(&key)).await;
    let before = bench.document(&key).await;
    let package = "/packages/packageName%2FCODE?ForceDelete=true";
    bench.call("DELETE", package, Value::Null).await.ok();
    let camera = "/packages/packageName%2Fnorth?ForceDelete=true";
    bench.call("DELETE", camera, Value::Null).await.ok();
    assert_eq!(bench.document(&key).await, before);
    // The camera can still be written into the next document.
    let id = before.expect("a document").instances[0].id.to_string();
    let body = json!({ "NodeSignals": [{ "NodeInstanceId": "north_cam", "Signal": "PAUSE" }] });
    let target = format!("/application-instances/{id}/node-signals");
    bench.call("PUT", &target, body).await.ok();
}

#[tokio::test]
async fn a_bad_manifest_is_refused_with_a_reason_in_json() {
    let (bench, key) = bench().await;
    let with = |graph: Value, overrides: Value| {
        let mut body = request(&key);
        body["ManifestPayload"]["PayloadData"] = json!(graph.to_string());
        body["ManifestOverridesPayload"]["PayloadData"] = json!(overrides.to_string());
        body
    };
    let mut unknown = graph();
    unknown["nodeGraph"]["packages"][0]["version"] = json!("2.0");
    let mut without_camera = overrides();
    without_camera["nodeGraphOverrides"]["nodeOverrides"] = json!([]);
    let mut foreign = graph();
    foreign["nodeGraph"]["packages"][0]["name"] = json!("999999999999::CODE");
    for (body, words) in [
        (with(unknown, overrides()), "packageVersion:2.0"),
        (with(graph(), without_camera), "camera"),
        (with(foreign, overrides()), "999999999999"),
        (
            with(json!({ "nodeGraph": {} }), overrides()),
            "envelopeVersion",
        ),
        (with(json!([]), overrides()), "nodeGraph"),
    ] {
        let (status, error, body) = bench
            .call("POST", "/application-instances", body)
            .await
            .refused();
        assert_eq!(
            (status, error.as_str()),
            (400, "ValidationException"),
            "{body}"
        );
        let message: Value = serde_json::from_str(text(&body["Message"])).expect("JSON");
        assert!(text(&message["reason"]).contains(words), "{message}");
        assert!(message["fields"].is_array());
    }
    let mut nowhere = request(&key);
    nowhere["DefaultRuntimeContextDevice"] = json!("device-nowhere");
    assert_eq!(
        bench
            .call("POST", "/application-instances", nowhere)
            .await
            .refused()
            .0,
        400
    );
    assert_eq!(bench.document(&key).await, None);
    let listed = bench.get("/application-instances").await.ok();
    assert_eq!(listed["ApplicationInstances"], json!([]));
}

#[tokio::test]
async fn a_device_that_runs_something_cannot_be_deleted_until_its_removal_is_wanted() {
    let (bench, key) = bench().await;
    let id = bench.deploy(request(&key)).await;
    let device = format!("/devices/{}", key.device);
    assert_eq!(
        bench.call("DELETE", &device, Value::Null).await.refused().0,
        409
    );
    bench
        .call(
            "DELETE",
            &format!("/application-instances/{id}"),
            Value::Null,
        )
        .await
        .ok();
    bench.call("DELETE", &device, Value::Null).await.ok();
    assert_eq!(bench.instance(&id).await["Status"], "REMOVAL_SUCCEEDED");
}

#[tokio::test]
async fn a_device_holds_ten_applications() {
    let (bench, key) = bench().await;
    for _ in 0..bench.ctx.quotas.instances_per_device {
        bench.deploy(request(&key)).await;
    }
    let (status, error, _) = bench
        .call("POST", "/application-instances", request(&key))
        .await
        .refused();
    assert_eq!(
        (status, error.as_str()),
        (402, "ServiceQuotaExceededException")
    );
    let page = bench.get("/application-instances?maxResults=4").await.ok();
    assert_eq!(
        page["ApplicationInstances"].as_array().map(Vec::len),
        Some(4)
    );
    let next = format!(
        "/application-instances?maxResults=25&nextToken={}",
        text(&page["NextToken"])
    );
    let rest = bench.get(&next).await.ok();
    assert_eq!(
        rest["ApplicationInstances"].as_array().map(Vec::len),
        Some(6)
    );
}

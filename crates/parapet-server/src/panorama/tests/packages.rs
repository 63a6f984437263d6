//! Packages: the calls of panorama-cli step by step, and what cannot be registered.

use super::*;

#[tokio::test]
async fn a_package_goes_the_way_of_panorama_cli() {
    let bench = Bench::new().await;
    // Steps 1 to 3 of `spec/tools.md` 1.4: not there, made, nothing registered.
    let alias = "/packages/metadata/packageName%2FCODE";
    assert_eq!(
        bench.get(alias).await.refused().1,
        "ResourceNotFoundException"
    );
    let patch = bench.code_package().await;
    let package = bench.get(alias).await.ok();
    let location = &package["StorageLocation"];
    assert_eq!(
        text(&location["Bucket"]),
        format!("panorama-{ACCOUNT}-nodepackages")
    );
    assert!(text(&location["ManifestPrefixLocation"]).ends_with("/manifests"));

    let id = text(&package["PackageId"]);
    let version = bench
        .get(&format!("/packages/metadata/{id}/versions/1.0"))
        .await
        .ok();
    assert_eq!(version["PatchVersion"], patch);
    assert_eq!(version["IsLatestPatch"], true);
    assert!(!text(&version["StatusDescription"]).is_empty());
    // Registering again changes nothing.
    let target = format!("/packages/{id}/versions/1.0/patch/{patch}");
    bench
        .call("PUT", &target, json!({ "MarkLatest": true }))
        .await
        .ok();

    let nodes = bench.get("/nodes").await.ok();
    let node_id = format!("CODE-1.0-{}-interface", &patch[..8]);
    assert_eq!(nodes["Nodes"][0]["NodeId"], node_id);
    let node = bench.get(&format!("/nodes/{node_id}")).await.ok();
    assert_eq!(node["NodeInterface"]["Inputs"][1]["DefaultValue"], "0.5");
    assert_eq!(node["NodeInterface"]["Outputs"][0]["Type"], "MEDIA");
}

#[tokio::test]
async fn a_new_patch_becomes_the_latest_and_the_old_one_can_go() {
    let bench = Bench::new().await;
    let old = bench.code_package().await;
    let package = bench
        .get("/packages/metadata/packageName%2FCODE")
        .await
        .ok();
    let id = text(&package["PackageId"]);
    let manifests = text(&package["StorageLocation"]["ManifestPrefixLocation"]);
    let object = format!("{manifests}/1.0/{old}.json");
    let (scope, ctx) = (bench.ctx.scope.clone(), bench.ctx.clone());
    let found = ctx
        .store
        .read::<_, StoreError, _>(move |c| {
            objects::get(c, &scope, &storage::bucket(&scope.account), &object)
        })
        .await
        .expect("read")
        .expect("the manifest");
    let digest = found.sha256.parse().expect("a digest");
    let mut bytes = bench
        .ctx
        .blobs
        .read(&digest, 1 << 20)
        .expect("the manifest");
    bytes.push(b'\n');
    let new = sha256(&bytes);
    bench
        .put(&format!("{manifests}/1.0/{new}.json"), &bytes)
        .await;
    let target = |patch: &str| format!("/packages/{id}/versions/1.0/patch/{patch}");
    bench
        .call("PUT", &target(&new), json!({ "MarkLatest": true }))
        .await
        .ok();
    let latest = format!("/packages/metadata/{id}/versions/1.0");
    assert_eq!(bench.get(&latest).await.ok()["PatchVersion"], new);
    // Only the latest patch is listed.
    assert_eq!(
        bench.get("/nodes").await.ok()["Nodes"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );

    bench.call("DELETE", &target(&new), Value::Null).await.ok();
    assert_eq!(bench.get(&latest).await.ok()["PatchVersion"], old);
    assert_eq!(
        bench
            .call("DELETE", &target(&new), Value::Null)
            .await
            .refused()
            .0,
        404
    );
}

#[tokio::test]
async fn what_cannot_be_registered_says_why_and_can_be_tried_again() {
    let bench = Bench::new().await;
    let made = bench
        .call("POST", "/packages", json!({ "PackageName": "P" }))
        .await
        .ok();
    let id = text(&made["PackageId"]).to_owned();
    let prefix = text(&made["StorageLocation"]["ManifestPrefixLocation"]).to_owned();
    let binaries = text(&made["StorageLocation"]["BinaryPrefixLocation"]).to_owned();
    let manifest = |name: &str| {
        json!({ "nodePackage": {
            "envelopeVersion": "2021-01-01", "name": name, "version": "1.0",
            "assets": [{ "name": "code", "implementations": [{
                "type": "container", "assetUri": "a.tar.gz", "descriptorUri": "d.json" }] }],
            "interfaces": [{ "name": "i", "category": "business_logic", "asset": "code" }] } })
        .to_string()
    };
    let outcome = async |patch: &str| {
        let target = format!("/packages/{id}/versions/1.0/patch/{patch}");
        bench
            .call("PUT", &target, json!({ "MarkLatest": true }))
            .await
            .ok();
        let target = format!("/packages/metadata/{id}/versions/1.0?PatchVersion={patch}");
        let version = bench.get(&target).await.ok();
        (
            text(&version["Status"]).to_owned(),
            text(&version["StatusDescription"]).to_owned(),
        )
    };
    let good = manifest("P");
    let patch = sha256(good.as_bytes());
    let object = |patch: &str| format!("{prefix}/1.0/{patch}.json");
    let expect_failed = |(status, description): (String, String), words: &str| {
        assert_eq!(status, "FAILED");
        assert!(description.contains(words), "{description}");
    };

    expect_failed(outcome(&patch).await, "does not exist");
    bench.put(&object(&patch), good.as_bytes()).await;
    expect_failed(outcome(&patch).await, "binaries/a.tar.gz");
    bench.put(&format!("{binaries}/a.tar.gz"), b"image").await;
    expect_failed(outcome(&patch).await, "binaries/d.json");
    bench.put(&format!("{binaries}/d.json"), b"{}").await;
    expect_failed(outcome(&patch).await, "d.json");
    let model = json!({ "mlModelDescriptor": { "envelopeVersion": "2021-01-01",
        "framework": "ONNX", "inputs": [{ "name": "x", "shape": [1] }] } });
    bench
        .put(&format!("{binaries}/d.json"), model.to_string().as_bytes())
        .await;
    expect_failed(outcome(&patch).await, "runtimeDescriptor");

    let other = manifest("OTHER");
    let wrong = sha256(other.as_bytes());
    bench.put(&object(&wrong), other.as_bytes()).await;
    expect_failed(outcome(&wrong).await, "OTHER");
    bench.put(&object("abc"), good.as_bytes()).await;
    expect_failed(outcome("abc").await, "SHA-256");

    let runtime = json!({ "runtimeDescriptor": { "envelopeVersion": "2021-01-01",
        "entry": { "path": "python3", "name": "/a.py" } } });
    bench
        .put(
            &format!("{binaries}/d.json"),
            runtime.to_string().as_bytes(),
        )
        .await;
    assert_eq!(outcome(&patch).await.0, "REGISTER_COMPLETED");
}

#[tokio::test]
async fn a_package_goes_only_with_force_while_anything_is_in_it() {
    let bench = Bench::new().await;
    bench.code_package().await;
    let target = "/packages/packageName%2FCODE";
    assert_eq!(
        bench.call("DELETE", target, Value::Null).await.refused().0,
        409
    );
    bench
        .call("DELETE", &format!("{target}?ForceDelete=true"), Value::Null)
        .await
        .ok();
    assert_eq!(bench.get("/packages").await.ok()["Packages"], json!([]));
    assert_eq!(bench.get("/nodes").await.ok()["Nodes"], json!([]));
}

#[tokio::test]
async fn a_second_package_of_a_name_conflicts_with_the_first() {
    let bench = Bench::new().await;
    let first = bench
        .call("POST", "/packages", json!({ "PackageName": "P" }))
        .await
        .ok();
    let (status, error, body) = bench
        .call("POST", "/packages", json!({ "PackageName": "P" }))
        .await
        .refused();
    assert_eq!((status, error.as_str()), (409, "ConflictException"));
    assert_eq!(body["ResourceId"], first["PackageId"]);
    let message: Value = serde_json::from_str(text(&body["Message"])).expect("JSON");
    assert_eq!(message["resourceId"], first["PackageId"]);
}

#[tokio::test]
async fn the_system_packages_are_there_for_everyone() {
    let bench = Bench::new().await;
    let nodes = bench
        .get("/nodes?ownerAccount=panorama&category=MEDIA_SINK")
        .await
        .ok();
    assert_eq!(nodes["Nodes"][0]["Name"], "hdmi0");
    let id = text(&nodes["Nodes"][0]["NodeId"]);
    assert_eq!(
        bench.get(&format!("/nodes/{id}")).await.ok()["OwnerAccount"],
        "panorama"
    );
    let target =
        "/packages/metadata/packageName%2Fhdmi_data_sink/versions/1.0?OwnerAccount=panorama";
    assert_eq!(bench.get(target).await.ok()["Status"], "REGISTER_COMPLETED");
}

//! Devices: provisioning, listing, status, deletion; and policies.

use parapet_device::reported::{NetworkReport, Separation};

use super::*;

#[tokio::test]
async fn a_provisioned_device_is_described_and_listed_before_it_ever_connects() {
    let bench = Bench::new().await;
    let made = bench
        .call(
            "POST",
            "/devices",
            json!({ "Name": "dock", "Tags": { "site": "a" } }),
        )
        .await
        .ok();
    assert_eq!(made["Status"], "AWAITING_PROVISIONING");
    let archive = data_encoding::BASE64.decode(text(&made["Certificates"]).as_bytes());
    assert_eq!(&archive.expect("base64")[..2], b"PK");
    assert!(text(&made["IotThingName"]).starts_with("panorama_dock_Thing_"));

    let device = bench
        .get(&format!("/devices/{}", text(&made["DeviceId"])))
        .await
        .ok();
    assert_eq!(device["Arn"], made["Arn"]);
    assert_eq!(device["DeviceConnectionStatus"], "AWAITING_CREDENTIALS");
    assert_eq!(device["CurrentSoftware"], "NOT_AVAILABLE");
    assert_eq!(device["Tags"], json!({ "site": "a" }));
    assert!(device.get("LeaseExpirationTime").is_none());

    let listed = bench.get("/devices").await.ok();
    assert_eq!(listed["Devices"][0]["DeviceId"], made["DeviceId"]);
    assert!(listed.get("NextToken").is_none());
}

#[tokio::test]
async fn a_devices_name_is_taken_once() {
    let bench = Bench::new().await;
    let key = bench.device("dock").await;
    let (status, error, body) = bench
        .call("POST", "/devices", json!({ "Name": "dock" }))
        .await
        .refused();
    assert_eq!((status, error.as_str()), (409, "ConflictException"));
    assert_eq!(body["ResourceId"], key.device);
}

#[tokio::test]
async fn the_quota_of_devices_is_a_payment_required() {
    let bench = Bench::new().await;
    for number in 0..bench.ctx.quotas.devices {
        bench.device(&format!("d{number}")).await;
    }
    let (status, error, body) = bench
        .call("POST", "/devices", json!({ "Name": "more" }))
        .await
        .refused();
    assert_eq!(
        (status, error.as_str()),
        (402, "ServiceQuotaExceededException")
    );
    assert_eq!(body["ServiceCode"], "panorama");
}

#[tokio::test]
async fn pages_of_devices_follow_their_tokens_in_every_order() {
    let bench = Bench::new().await;
    for name in ["c", "a", "b"] {
        bench.device(name).await;
    }
    for (query, expected) in [
        ("", ["b", "a", "c"]),
        ("&SortOrder=ASCENDING", ["c", "a", "b"]),
        ("&SortBy=NAME", ["a", "b", "c"]),
        ("&SortBy=NAME&SortOrder=DESCENDING", ["c", "b", "a"]),
    ] {
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let page = bench
                .get(&format!("/devices?MaxResults=1{query}{token}"))
                .await
                .ok();
            seen.push(text(&page["Devices"][0]["Name"]).to_owned());
            match page.get("NextToken") {
                Some(next) => token = format!("&NextToken={}", text(next)),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{query}");
    }
}

#[tokio::test]
async fn a_token_of_another_filter_is_refused() {
    let bench = Bench::new().await;
    for name in ["a1", "a2"] {
        bench.device(name).await;
    }
    let page = bench.get("/devices?MaxResults=1&NameFilter=a").await.ok();
    let token = text(&page["NextToken"]).to_owned();
    let (status, error, _) = bench
        .get(&format!("/devices?MaxResults=1&NextToken={token}"))
        .await
        .refused();
    assert_eq!((status, error.as_str()), (400, "ValidationException"));
}

#[tokio::test]
async fn a_deleted_device_is_gone_and_its_held_request_is_woken() {
    let bench = Bench::new().await;
    let key = bench.device("dock").await;
    let waiter = bench.ctx.wake.subscribe(&key);
    let target = format!("/devices/{}", key.device);
    bench.call("DELETE", &target, Value::Null).await.ok();
    assert_eq!(*waiter.borrow(), crate::fleet::Announcement::Deleted);
    let (status, error, body) = bench.get(&target).await.refused();
    assert_eq!((status, error.as_str()), (404, "ResourceNotFoundException"));
    assert_eq!(body["ResourceType"], "Device");
}

#[tokio::test]
async fn who_may_only_read_cannot_write() {
    let bench = Bench::new().await;
    let reader = caller(&[
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["panorama:List*","panorama:Describe*"],"Resource":"*"}]}"#,
    ]);
    let nobody = caller(&[]);
    let body = json!({ "Name": "dock" });
    for (who, method, target, allowed) in [
        (&reader, "GET", "/devices", true),
        (&nobody, "GET", "/devices", false),
        (&reader, "POST", "/devices", false),
        (&nobody, "GET", "/packages/metadata/packageName%2FX", false),
        (&nobody, "DELETE", "/devices/device-x", false),
    ] {
        let answer = bench.call_as(who, method, target, &body).await;
        let refused = answer.error.as_deref() == Some("AccessDeniedException");
        assert_eq!(refused, !allowed, "{method} {target}");
    }
    assert_eq!(bench.get("/devices").await.ok()["Devices"], json!([]));
}

#[tokio::test]
async fn tags_are_merged_removed_and_bounded() {
    let bench = Bench::new().await;
    let key = bench.device("dock").await;
    let arn = format!(
        "arn%3Aaws%3Apanorama%3Aus-west-2%3A{ACCOUNT}%3Adevice%2F{}",
        key.device
    );
    let target = format!("/tags/{arn}");
    bench
        .call("POST", &target, json!({ "Tags": { "a": "1", "b": "2" } }))
        .await
        .ok();
    bench
        .call("POST", &target, json!({ "Tags": { "b": "3" } }))
        .await
        .ok();
    bench
        .call(
            "DELETE",
            &format!("{target}?tagKeys=a&tagKeys=x"),
            Value::Null,
        )
        .await
        .ok();
    assert_eq!(bench.get(&target).await.ok()["Tags"], json!({ "b": "3" }));

    let many: BTreeMap<String, String> =
        (0..50).map(|n| (format!("k{n}"), String::new())).collect();
    let (status, ..) = bench
        .call("POST", &target, json!({ "Tags": many }))
        .await
        .refused();
    assert_eq!(status, 400);
    let elsewhere = target.replace(&key.device, "device-nowhere");
    assert_eq!(bench.get(&elsewhere).await.refused().0, 404);
}

#[tokio::test]
async fn how_a_devices_networks_are_kept_apart_is_told_beside_the_originals_members() {
    let bench = Bench::new().await;
    let key = bench.device("dock").await;
    let target = format!("/devices/{}", key.device);
    let before = bench.get(&target).await.ok();
    assert!(before.get("NetworkSeparation").is_none());
    assert!(before.get("NetworkSeparationMissing").is_none());
    let mut reported = Bench::reported(1, 0, json!([]));
    reported.network = Some(NetworkReport {
        separation: Separation::Filtered,
        uplink: vec!["eth0".to_owned()],
        cameras: Vec::new(),
        missing: vec!["name the cameras' ports in [network]".to_owned()],
    });
    bench.take(&key, reported).await;
    let after = bench.get(&target).await.ok();
    assert_eq!(after["NetworkSeparation"], "filtered");
    assert_eq!(
        after["NetworkSeparationMissing"],
        json!(["name the cameras' ports in [network]"])
    );
}

//! Objects through the S3 front: stored as they were sent, or not at all.

use serde_json::{Value, json};

use crate::plane::Plane;

async fn bucket(plane: &Plane) -> String {
    let (_, identity) = plane
        .call(
            "sts",
            "GET",
            "/?Action=GetCallerIdentity&Version=2011-06-15",
            &json!(""),
        )
        .await;
    let Value::String(xml) = identity else {
        panic!("no XML: {identity}")
    };
    let account = xml
        .split("<Account>")
        .nth(1)
        .and_then(|rest| rest.split('<').next());
    format!("panorama-{}-nodepackages", account.expect("an account"))
}

/// Status and text of a signed S3 request.
async fn s3(
    plane: &Plane,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    let request = plane.signed("s3", method, target, headers, body);
    let answer = request.send().await.expect("an answer");
    (
        answer.status().as_u16(),
        answer.text().await.expect("a body"),
    )
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split(before)
        .nth(1)
        .and_then(|rest| rest.split(after).next())
        .expect(before)
}

#[tokio::test]
async fn an_object_comes_back_whole_and_in_ranges() {
    let plane = Plane::start().await;
    let key = format!("/{}/a/b%20c//d", bucket(&plane).await);
    let acl = [("x-amz-acl", "bucket-owner-full-control")];
    assert_eq!(s3(&plane, "PUT", &key, &acl, b"0123456789").await.0, 200);
    assert_eq!(
        s3(&plane, "GET", &key, &[], b"").await,
        (200, "0123456789".to_owned())
    );
    let range = [("range", "bytes=2-4")];
    assert_eq!(
        s3(&plane, "GET", &key, &range, b"").await,
        (206, "234".to_owned())
    );
    assert_eq!(
        s3(&plane, "GET", &key, &[("range", "bytes=10-")], b"")
            .await
            .0,
        416
    );
    let list = format!("/{}?list-type=2&prefix=a%2F", bucket(&plane).await);
    let (status, xml) = s3(&plane, "GET", &list, &[], b"").await;
    assert_eq!((status, between(&xml, "<Key>", "<")), (200, "a/b c//d"));
    assert_eq!(s3(&plane, "DELETE", &key, &[], b"").await.0, 204);
    assert_eq!(s3(&plane, "GET", &key, &[], b"").await.0, 404);
    plane.server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_not_the_signed_one_leaves_no_object() {
    let plane = Plane::start().await;
    let key = format!("/{}/k", bucket(&plane).await);
    let altered = plane
        .signed("s3", "PUT", &key, &[], b"signed")
        .body("forged");
    let answer = altered.send().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    let text = answer.text().await.expect("a body");
    assert_eq!(between(&text, "<Code>", "<"), "XAmzContentSHA256Mismatch");

    let wrong = [("x-amz-checksum-crc32", "AAAAAA==")];
    let (status, text) = s3(&plane, "PUT", &key, &wrong, b"body").await;
    assert_eq!((status, between(&text, "<Code>", "<")), (400, "BadDigest"));

    let smuggled = plane
        .signed("s3", "PUT", &key, &[], b"")
        .header("x-amz-copy-source", "/b/k");
    assert_eq!(smuggled.send().await.expect("an answer").status(), 403);
    assert_eq!(s3(&plane, "GET", &key, &[], b"").await.0, 404);
    plane.server.stop().await;
}

#[tokio::test]
async fn parts_are_joined_in_the_order_of_their_numbers() {
    let plane = Plane::start().await;
    let key = format!("/{}/large", bucket(&plane).await);
    let (status, xml) = s3(&plane, "POST", &format!("{key}?uploads="), &[], b"").await;
    assert_eq!(status, 200, "{xml}");
    let upload = between(&xml, "<UploadId>", "<").to_owned();
    let first = vec![b'a'; 5 * 1024 * 1024];
    for (number, body) in [(2, &b"end"[..]), (1, &first[..])] {
        let target = format!("{key}?partNumber={number}&uploadId={upload}");
        assert_eq!(s3(&plane, "PUT", &target, &[], body).await.0, 200);
    }
    let complete = format!("{key}?uploadId={upload}");
    let list = |numbers: &[u32]| {
        let parts = numbers
            .iter()
            .map(|n| format!("<Part><PartNumber>{n}</PartNumber></Part>"));
        format!(
            "<CompleteMultipartUpload>{}</CompleteMultipartUpload>",
            parts.collect::<String>()
        )
    };
    for (numbers, code) in [(&[2, 1][..], "InvalidPartOrder"), (&[1, 3], "InvalidPart")] {
        let (status, xml) = s3(&plane, "POST", &complete, &[], list(numbers).as_bytes()).await;
        assert_eq!((status, between(&xml, "<Code>", "<")), (400, code));
    }
    let (status, xml) = s3(&plane, "POST", &complete, &[], list(&[1, 2]).as_bytes()).await;
    assert_eq!(status, 200, "{xml}");
    let (_, text) = s3(&plane, "GET", &key, &[("range", "bytes=5242878-")], b"").await;
    assert_eq!(text, "aaend");
    let uploads = plane.data.path().join("blobs/uploads");
    assert_eq!(
        std::fs::read_dir(uploads).expect("there").count(),
        0,
        "parts are gone"
    );
    plane.server.stop().await;
}

#[tokio::test]
async fn nobody_gets_in_without_a_good_signature() {
    let plane = Plane::start().await;
    let root = format!("https://{}", plane.server.api_addr);
    let client = plane.client(None);
    for (path, status) in [
        ("/devices", 403),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 403),
    ] {
        let answer = client
            .get(format!("{root}{path}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
    }
    let altered = plane
        .signed("panorama", "GET", "/devices", &[], b"")
        .header("x-amz-date", "x");
    assert_eq!(altered.send().await.expect("an answer").status(), 400);
    let (status, _) = plane.call("ec2", "GET", "/", &json!({})).await;
    assert_eq!(status, 404);
    plane.server.stop().await;
}

//! A captured request, sent again (attack A10).

use serde_json::{Value, json};

use crate::plane::Plane;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

async fn sent(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.text().await.expect("a body"))
}

#[tokio::test]
async fn a_signed_change_is_made_once() {
    let plane = Plane::start().await;
    let (status, device) = plane
        .call("panorama", "POST", "/devices", &json!({ "Name": "dock" }))
        .await;
    assert_eq!(status, 200, "{device}");
    let path = format!("/devices/{}", device["DeviceId"].as_str().expect("an ID"));
    let change = |text: &str| {
        let body = json!({ "Description": text }).to_string();
        plane.signed("panorama", "PUT", &path, &JSON, body.as_bytes())
    };
    let captured = change("first");
    let again = captured.try_clone().expect("a copy");
    assert_eq!(sent(captured).await.0, 200);
    assert_eq!(sent(change("second")).await.0, 200);
    let (status, text) = sent(again).await;
    assert_eq!(status, 429, "{text}");
    assert!(text.contains("sign it again"), "{text}");
    let (_, text) = sent(plane.signed("panorama", "GET", &path, &[], b"")).await;
    let described: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(described["Description"], "second", "{text}");
}

#[tokio::test]
async fn a_refused_change_and_a_question_may_be_repeated() {
    let plane = Plane::start().await;
    let missing = plane.signed(
        "panorama",
        "DELETE",
        "/packages/package-w7dk3n2xqzv6mtr5gyjc4habfe",
        &[],
        b"",
    );
    let again = missing.try_clone().expect("a copy");
    assert_eq!(sent(missing).await.0, 404);
    assert_eq!(sent(again).await.0, 404);
    let question = plane.signed("panorama", "GET", "/devices", &[], b"");
    let again = question.try_clone().expect("a copy");
    assert_eq!(sent(question).await.0, 200);
    assert_eq!(sent(again).await.0, 200);
}

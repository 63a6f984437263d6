//! A secret is in no record, wherever a caller put it; what is no secret is still told.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn template_parameters_are_masked_but_the_address_without_its_credentials() {
    let masked = parameters(&json!({
        "NodeName": "door",
        "TemplateParameters": {
            "Username": "admin",
            "Password": "hunter2",
            "StreamUrl": "rtsp://admin:hunter2@10.0.0.7:554/stream1?token=hunter2",
            "Anything": 7,
        },
    }));
    assert_eq!(
        masked,
        json!({
            "NodeName": "door",
            "TemplateParameters": {
                "Username": "***",
                "Password": "***",
                "StreamUrl": "rtsp://***@10.0.0.7:554/stream1?token=***",
                "Anything": "***",
            },
        })
    );
}

#[test]
fn an_answer_shows_the_key_but_not_its_secret() {
    let masked = parameters(&json!({
        "AccessKey": { "AccessKeyId": "AKIA1", "SecretAccessKey": "s3cr3t", "Status": "Active" },
        "Credentials": { "AccessKeyId": "ASIA1", "SessionToken": "t", "SecretAccessKey": "s" },
        "NextToken": "page",
    }));
    assert_eq!(
        masked,
        json!({
            "AccessKey": { "AccessKeyId": "AKIA1", "SecretAccessKey": "***", "Status": "Active" },
            "Credentials": { "AccessKeyId": "ASIA1", "SessionToken": "***", "SecretAccessKey": "***" },
            "NextToken": "page",
        })
    );
}

#[test]
fn urls_and_queries_and_headers_in_texts_lose_their_secrets() {
    for (input, output) in [
        (
            "see rtsp://u:p@h/x and rtsp://h/y",
            "see rtsp://***@h/x and rtsp://h/y",
        ),
        ("rtsp://u:p@ss@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p/ss@h/x", "rtsp://***@h/x"),
        ("rtsp://h:554/a@b", "rtsp://h:554/a@b"),
        ("rtsp://[::1]:554/a@b", "rtsp://[::1]:554/a@b"),
        (
            "/b/k?X-Amz-Signature=ab&X-Amz-Date=1",
            "/b/k?X-Amz-Signature=***&X-Amz-Date=1",
        ),
        ("?x-amz-security-t%6fken=ab", "?x-amz-security-t%6fken=***"),
        ("Authorization: Basic abc def", "Authorization: ***"),
        ("sent Bearer abc here", "sent Bearer *** here"),
        (
            "{\"password\": \"a\\\"b\", \"x\": 1",
            "{\"password\": ***, \"x\": 1",
        ),
        ("jwt eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.x", "jwt ***"),
        (
            "perform: sts:GetSessionToken on *",
            "perform: sts:GetSessionToken on *",
        ),
        (
            "arn:aws:secretsmanager:us-west-2:1:x",
            "arn:aws:secretsmanager:us-west-2:1:x",
        ),
    ] {
        assert_eq!(text(input), output, "{input}");
    }
}

#[test]
fn a_manifest_in_a_text_is_masked_as_json() {
    let manifest = json!({ "nodeGraph": { "nodes": [
        { "name": "camera_password", "interface": "a::b.c", "value": "hunter2" },
        { "name": "threshold", "interface": "a::b.d", "value": 0.5 },
    ]}});
    let masked = parameters(&json!({
        "ManifestPayload": { "PayloadData": manifest.to_string() },
    }));
    let text = masked["ManifestPayload"]["PayloadData"]
        .as_str()
        .expect("a text");
    let inner: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(inner["nodeGraph"]["nodes"][0]["value"], "***");
    assert_eq!(inner["nodeGraph"]["nodes"][1]["value"], 0.5);
}

#[test]
fn a_session_policy_is_kept() {
    let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
    let masked = form([("RoleArn", "arn:aws:iam::1:role/r"), ("Policy", policy)]);
    let kept = masked["Policy"].as_str().expect("a text");
    let parsed = |text| serde_json::from_str::<Value>(text).expect("JSON");
    assert_eq!(parsed(kept), parsed(policy));
}

#[test]
fn parameters_are_cut_at_eight_kilobytes_largest_first() {
    let texts: Vec<String> = (0..40).map(|_| "x".repeat(1_000)).collect();
    let masked = parameters(&json!({ "Name": "kept", "Texts": texts, "Other": "y".repeat(3_000) }));
    assert!(masked.to_string().len() <= PARAMETERS_BYTES);
    assert_eq!(masked["Name"], "kept");
    assert!(masked["Texts"].as_str().expect("cut").starts_with("[cut: "));
    let wide: Map<String, Value> = (0..10_000)
        .map(|n| (format!("{n}{}", "k".repeat(300)), Value::from("v")))
        .collect();
    assert!(parameters(&Value::Object(wide)).to_string().len() <= PARAMETERS_BYTES);
}

#[test]
fn depth_is_bounded() {
    let mut deep = json!("end");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    assert!(parameters(&deep).to_string().contains("too deep"));
}

/// Where a caller may put a secret; `S` stands for it.
const PLACES: &[&str] = &[
    r#"{"TemplateParameters":{"Password":"S","Username":"S","Other":"S","StreamUrl":"rtsp://u:S@h/x"}}"#,
    r#"{"StreamUrl":"rtsp://S@h/x","Url":"http://u:S@h:80/?q=1"}"#,
    r#"{"a":[{"b":{"AWSSecretAccessKey":"S"}}],"SecretAccessKey":["S"],"x":"y"}"#,
    r#"{"Base32StringSeed":"S","QRCodePNG":"S","AuthenticationCode1":"S","TokenCode":"S"}"#,
    r#"{"WebIdentityToken":"S","SAMLAssertion":"S","SessionToken":"S"}"#,
    r#"{"Url":"https://h/b/k?X-Amz-Credential=S&X-Amz-Signature=S&X-Amz-Security-Token=S&x=1"}"#,
    r#"{"headers":{"Authorization":"S","Cookie":"__Host-parapet=S"}}"#,
    r#"{"note":"Authorization: AWS4-HMAC-SHA256 Credential=S, Signature=S"}"#,
    r#"{"PayloadData":"{\"nodes\":[{\"name\":\"password\",\"value\":\"S\"},{\"Password\":\"S\"}]}"}"#,
    r#"{"PayloadData":"{\"broken\": {\"Password\": \"S\""}"#,
    r#"{"Tags":[{"Key":"password","Value":"S"}],"Name":"x"}"#,
    r#"{"Certificates":"S","PrivateKey":"S","passphrase":"S","api_key":"S","api-key":"S"}"#,
    r#"{"text":"password=S&x=1","other":"Bearer S","third":"token: S"}"#,
    r#"{"rtsp://u:S@h/":"a name","password=S":1}"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_canary_in_any_place_is_in_no_record(
        secret in "[A-Za-z0-9+._~-]{0,6}CANARY[A-Za-z0-9+._~-]{0,6}",
        before in "[ -~]{0,20}", depth in 0_usize..4,
    ) {
        for place in PLACES {
            let mut value: Value = serde_json::from_str(place).expect(place);
            plant(&mut value, &secret);
            for _ in 0..depth {
                value = json!({ "before": before, "inner": [value] });
            }
            let masked = parameters(&value).to_string();
            prop_assert!(!masked.contains("CANARY"), "{value} became {masked}");
            // A document inside of a text is the same.
            let masked = parameters(&json!({ "Document": value.to_string() })).to_string();
            prop_assert!(!masked.contains("CANARY"), "{value} became {masked}");
        }
    }
}

/// Puts the secret where `S` stands alone or behind a sign.
fn plant(value: &mut Value, secret: &str) {
    let replace = |text: &str| {
        let mut out = String::new();
        let letters: Vec<char> = text.chars().collect();
        for (at, letter) in letters.iter().enumerate() {
            let alone = |index: Option<usize>| {
                index
                    .and_then(|index| letters.get(index))
                    .is_none_or(|c| !c.is_ascii_alphanumeric())
            };
            if *letter == 'S' && alone(at.checked_sub(1)) && alone(Some(at + 1)) {
                out.push_str(secret);
            } else {
                out.push(*letter);
            }
        }
        out
    };
    match value {
        Value::String(text) => *text = replace(text),
        Value::Array(elements) => elements.iter_mut().for_each(|e| plant(e, secret)),
        Value::Object(members) => {
            let old = std::mem::take(members);
            for (key, mut value) in old {
                plant(&mut value, secret);
                members.insert(replace(&key), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

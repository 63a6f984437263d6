//! Managed and inline policies, boundaries.

use parapet_auth::authorize;

use super::*;

const MINE: &str = "arn:aws:iam::123456789012:policy/mine";

async fn mine(bench: &Bench) {
    let create = [("PolicyName", "mine"), ("PolicyDocument", READ)];
    bench.call("CreatePolicy", &create).await.ok();
}

#[tokio::test]
async fn a_policy_has_five_versions_and_one_speaks() {
    let bench = Bench::new().await;
    mine(&bench).await;
    let ann = bench.person("ann", &allow("panorama:ListNodes", "*")).await;
    bench
        .call(
            "AttachUserPolicy",
            &[("UserName", "ann"), ("PolicyArn", MINE)],
        )
        .await
        .ok();
    let next = allow("panorama:DeleteDevice", "*");
    for version in 2..=5 {
        let create = [("PolicyArn", MINE), ("PolicyDocument", next.as_str())];
        let made = bench.call("CreatePolicyVersion", &create).await.ok();
        assert_eq!(one(&made, "VersionId"), format!("v{version}"));
        assert_eq!(one(&made, "IsDefaultVersion"), "false");
    }
    let create = [("PolicyArn", MINE), ("PolicyDocument", next.as_str())];
    assert_eq!(
        bench.call("CreatePolicyVersion", &create).await.code(),
        "LimitExceeded"
    );

    let now = bench.caller(&ann.access_key).await;
    assert!(!authorize(&now, "panorama:DeleteDevice", "*").is_allowed());
    let set = [("PolicyArn", MINE), ("VersionId", "v5")];
    bench.call("SetDefaultPolicyVersion", &set).await.ok();
    let now = bench.caller(&ann.access_key).await;
    assert!(authorize(&now, "panorama:DeleteDevice", "*").is_allowed());

    let refused = bench.call("DeletePolicyVersion", &set).await;
    assert_eq!(refused.code(), "DeleteConflict");
    bench
        .call(
            "DeletePolicyVersion",
            &[("PolicyArn", MINE), ("VersionId", "v1")],
        )
        .await
        .ok();
    let made = bench.call("CreatePolicyVersion", &create).await.ok();
    assert_eq!(one(&made, "VersionId"), "v6", "a number is used again");
    let listed = bench
        .call("ListPolicyVersions", &[("PolicyArn", MINE)])
        .await
        .ok();
    assert_eq!(all(&listed, "VersionId"), ["v6", "v5", "v4", "v3", "v2"]);
}

#[tokio::test]
async fn documents_come_back_escaped_and_byte_for_byte() {
    let bench = Bench::new().await;
    let document = "{ \"Version\":\"2012-10-17\",\n \"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"panorama:*\",\"Resource\":\"*\"}]}";
    let create = [("PolicyName", "mine"), ("PolicyDocument", document)];
    bench.call("CreatePolicy", &create).await.ok();
    bench.put_policy("admin", document).await;
    let version = bench
        .call(
            "GetPolicyVersion",
            &[("PolicyArn", MINE), ("VersionId", "v1")],
        )
        .await
        .ok();
    let inline = bench
        .call(
            "GetUserPolicy",
            &[("UserName", "admin"), ("PolicyName", "own")],
        )
        .await
        .ok();
    for escaped in [one(&version, "Document"), one(&inline, "PolicyDocument")] {
        assert!(escaped.starts_with("%7B%20%22Version%22"), "{escaped}");
        let plain = percent_encoding::percent_decode_str(&escaped).decode_utf8();
        assert_eq!(plain.expect("text"), document);
    }
}

#[tokio::test]
async fn a_policy_in_use_stays() {
    let bench = Bench::new().await;
    mine(&bench).await;
    bench
        .call(
            "CreateRole",
            &[("RoleName", "r"), ("AssumeRolePolicyDocument", TRUST)],
        )
        .await
        .ok();
    let attach = [("RoleName", "r"), ("PolicyArn", MINE)];
    bench.call("AttachRolePolicy", &attach).await.ok();
    bench
        .call(
            "CreateUser",
            &[("UserName", "bounded"), ("PermissionsBoundary", MINE)],
        )
        .await
        .ok();
    let policy = bench.call("GetPolicy", &[("PolicyArn", MINE)]).await.ok();
    assert_eq!(one(&policy, "AttachmentCount"), "1");
    assert_eq!(one(&policy, "PermissionsBoundaryUsageCount"), "1");
    let entities = bench
        .call("ListEntitiesForPolicy", &[("PolicyArn", MINE)])
        .await
        .ok();
    assert_eq!(one(&entities, "RoleName"), "r");
    assert_eq!(one(&entities, "UserName"), "bounded");

    let delete = [("PolicyArn", MINE)];
    assert_eq!(
        bench.call("DeletePolicy", &delete).await.code(),
        "DeleteConflict"
    );
    bench.call("DetachRolePolicy", &attach).await.ok();
    assert_eq!(
        bench.call("DeletePolicy", &delete).await.code(),
        "DeleteConflict"
    );
    bench
        .call("DeleteUserPermissionsBoundary", &[("UserName", "bounded")])
        .await
        .ok();
    bench.call("DeletePolicy", &delete).await.ok();
    assert_eq!(
        bench.call("GetPolicy", &delete).await.code(),
        "NoSuchEntity"
    );
}

#[tokio::test]
async fn the_policies_of_aws_are_there_and_nobody_changes_them() {
    let bench = Bench::new().await;
    let listed = bench.call("ListPolicies", &[("Scope", "AWS")]).await.ok();
    let names = all(&listed, "PolicyName");
    for name in [
        "AdministratorAccess",
        "AWSPanoramaFullAccess",
        "ParapetReadOnlyAccess",
    ] {
        assert!(names.iter().any(|it| it == name), "{name} in {names:?}");
    }
    let found = bench
        .call("GetPolicy", &[("PolicyArn", ADMINISTRATOR)])
        .await
        .ok();
    assert_eq!(one(&found, "AttachmentCount"), "1", "the first user's");
    let change = [
        ("PolicyArn", ADMINISTRATOR),
        ("PolicyDocument", READ),
        ("VersionId", "v1"),
    ];
    for action in [
        "CreatePolicyVersion",
        "DeletePolicy",
        "SetDefaultPolicyVersion",
    ] {
        assert_eq!(
            bench.call(action, &change).await.code(),
            "UnmodifiableEntity",
            "{action}"
        );
    }
    let service = "arn:aws:iam::aws:policy/aws-service-role/AWSPanoramaServiceLinkedRolePolicy";
    let attach = [("UserName", "admin"), ("PolicyArn", service)];
    assert_eq!(
        bench.call("AttachUserPolicy", &attach).await.code(),
        "PolicyNotAttachable"
    );
}

/// Attack P3: what would not be honoured is not taken.
#[tokio::test]
async fn a_document_that_would_not_be_honoured_is_refused_with_its_reason() {
    let bench = Bench::new().await;
    for (document, told) in [
        ("{}", "Statement"),
        ("no JSON", "JSON"),
        (
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"panorama:*","Resource":"*","Conditions":{}}]}"#,
            "Conditions",
        ),
    ] {
        let create = [("PolicyName", "bad"), ("PolicyDocument", document)];
        let (code, message) = bench.call("CreatePolicy", &create).await.refused();
        assert_eq!(code, "MalformedPolicyDocument", "{message}");
        assert!(message.contains(told), "{told} in {message}");
    }
    let long = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"{}","Effect":"Allow","Action":"panorama:*","Resource":"*"}}]}}"#,
        "a".repeat(6_200)
    );
    let create = [("PolicyName", "long"), ("PolicyDocument", long.as_str())];
    assert_eq!(
        bench.call("CreatePolicy", &create).await.code(),
        "LimitExceeded"
    );
}

#[tokio::test]
async fn inline_policies_of_a_user_share_one_quota() {
    let bench = Bench::new().await;
    let of = |length: usize| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Sid":"{}","Effect":"Allow","Action":"panorama:*","Resource":"*"}}]}}"#,
            "a".repeat(length)
        )
    };
    let put = |name: &'static str, document: String| {
        let bench = &bench;
        async move {
            let parameters = [
                ("UserName", "admin"),
                ("PolicyName", name),
                ("PolicyDocument", document.as_str()),
            ];
            bench.call("PutUserPolicy", &parameters).await
        }
    };
    put("one", of(1_000)).await.ok();
    assert_eq!(put("two", of(1_000)).await.code(), "LimitExceeded");
    // In place of itself it fits.
    put("one", of(1_500)).await.ok();
    let listed = bench
        .call("ListUserPolicies", &[("UserName", "admin")])
        .await
        .ok();
    assert_eq!(all(&listed, "member"), ["one"]);
}

#[tokio::test]
async fn ten_managed_policies_are_attached_at_most() {
    let bench = Bench::new().await;
    for number in 0..10 {
        let name = format!("p{number}");
        let create = [("PolicyName", name.as_str()), ("PolicyDocument", READ)];
        let arn = one(&bench.call("CreatePolicy", &create).await.ok(), "Arn");
        let attach = [("UserName", "admin"), ("PolicyArn", arn.as_str())];
        let outcome = bench.call("AttachUserPolicy", &attach).await;
        // The administrator's is the first.
        if number < 9 {
            outcome.ok();
        } else {
            assert_eq!(outcome.code(), "LimitExceeded");
        }
    }
}

/// Attack P6: who may attach policies within a boundary cannot take the boundary away, nor make
/// somebody without it.
#[tokio::test]
async fn a_delegate_cannot_widen_what_it_was_given() {
    let bench = Bench::new().await;
    mine(&bench).await;
    let delegate = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":["iam:CreateUser","iam:AttachUserPolicy","iam:PutUserPolicy","iam:PutUserPermissionsBoundary"],"Resource":"*","Condition":{{"StringEquals":{{"iam:PermissionsBoundary":"{MINE}"}}}}}}]}}"#
    );
    let delegate = bench.person("delegate", &delegate).await;
    let call = async |action: &str, parameters: &[(&str, &str)]| {
        bench.call_as(&delegate, action, parameters).await
    };
    let plain = call("CreateUser", &[("UserName", "free")]).await;
    assert_eq!(plain.code(), "AccessDenied");
    let wider = [("UserName", "free"), ("PermissionsBoundary", ADMINISTRATOR)];
    assert_eq!(call("CreateUser", &wider).await.code(), "AccessDenied");
    let bound = [("UserName", "child"), ("PermissionsBoundary", MINE)];
    call("CreateUser", &bound).await.ok();
    let attach = [("UserName", "child"), ("PolicyArn", ADMINISTRATOR)];
    call("AttachUserPolicy", &attach).await.ok();
    // The boundary holds whatever is attached.
    let made = bench
        .call("CreateAccessKey", &[("UserName", "child")])
        .await
        .ok();
    let child = bench.caller(&one(&made, "AccessKeyId")).await;
    assert!(!authorize(&child, "iam:CreateUser", "*").is_allowed());
    assert!(authorize(&child, "panorama:DescribeDevice", "*").is_allowed());
    for (action, parameters) in [
        ("DeleteUserPermissionsBoundary", vec![("UserName", "child")]),
        (
            "PutUserPermissionsBoundary",
            vec![
                ("UserName", "child"),
                ("PermissionsBoundary", ADMINISTRATOR),
            ],
        ),
        (
            "AttachUserPolicy",
            vec![("UserName", "delegate"), ("PolicyArn", ADMINISTRATOR)],
        ),
    ] {
        assert_eq!(
            call(action, &parameters).await.code(),
            "AccessDenied",
            "{action}"
        );
    }
}

#[tokio::test]
async fn attaching_can_be_limited_to_some_policies() {
    let bench = Bench::new().await;
    let some = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:AttachUserPolicy","Resource":"*","Condition":{"ArnLike":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AWSPanorama*"}}}]}"#;
    let giver = bench.person("giver", some).await;
    for (arn, expected) in [
        ("arn:aws:iam::aws:policy/AWSPanoramaFullAccess", None),
        (ADMINISTRATOR, Some("AccessDenied")),
    ] {
        let attach = [("UserName", "giver"), ("PolicyArn", arn)];
        let outcome = bench.call_as(&giver, "AttachUserPolicy", &attach).await;
        match expected {
            None => drop(outcome.ok()),
            Some(code) => assert_eq!(outcome.code(), code),
        }
    }
}

//! Roles, those of services among them.

use super::*;

async fn role(bench: &Bench, name: &str) {
    let create = [
        ("RoleName", name),
        ("Path", "/service-role/"),
        ("AssumeRolePolicyDocument", TRUST),
        ("MaxSessionDuration", "7200"),
        ("Description", "reads"),
    ];
    bench.call("CreateRole", &create).await.ok();
}

#[tokio::test]
async fn a_role_is_made_changed_and_deleted() {
    let bench = Bench::new().await;
    role(&bench, "app").await;
    let found = bench.call("GetRole", &[("RoleName", "app")]).await.ok();
    assert_eq!(
        one(&found, "Arn"),
        "arn:aws:iam::123456789012:role/service-role/app"
    );
    assert!(one(&found, "RoleId").starts_with("AROA"));
    assert_eq!(one(&found, "MaxSessionDuration"), "7200");
    assert!(one(&found, "AssumeRolePolicyDocument").starts_with("%7B%22Version"));
    let update = [("RoleName", "app"), ("MaxSessionDuration", "3600")];
    bench.call("UpdateRole", &update).await.ok();
    let describe = [("RoleName", "app"), ("Description", "writes")];
    let changed = bench.call("UpdateRoleDescription", &describe).await.ok();
    assert_eq!(one(&changed, "MaxSessionDuration"), "3600");
    assert_eq!(one(&changed, "Description"), "writes");
    let trust = TRUST.replace(
        r#"{"Service":"panorama.amazonaws.com"}"#,
        r#"{"AWS":"123456789012"}"#,
    );
    let update = [("RoleName", "app"), ("PolicyDocument", trust.as_str())];
    bench.call("UpdateAssumeRolePolicy", &update).await.ok();
    let found = bench.call("GetRole", &[("RoleName", "app")]).await.ok();
    assert!(one(&found, "AssumeRolePolicyDocument").contains("%22AWS%22"));
    bench.call("DeleteRole", &[("RoleName", "app")]).await.ok();
    assert_eq!(
        bench.call("GetRole", &[("RoleName", "app")]).await.code(),
        "NoSuchEntity"
    );
}

#[tokio::test]
async fn a_role_needs_a_trust_policy_and_a_session_in_bounds() {
    let bench = Bench::new().await;
    for (trust, longest, code) in [
        (READ, "3600", "MalformedPolicyDocument"),
        (TRUST, "3599", "ValidationError"),
        (TRUST, "43201", "ValidationError"),
    ] {
        let create = [
            ("RoleName", "app"),
            ("AssumeRolePolicyDocument", trust),
            ("MaxSessionDuration", longest),
        ];
        assert_eq!(
            bench.call("CreateRole", &create).await.code(),
            code,
            "{longest}"
        );
    }
}

#[tokio::test]
async fn the_role_of_panorama_belongs_to_panorama() {
    let bench = Bench::new().await;
    let service = [("AWSServiceName", "panorama.amazonaws.com")];
    let made = bench.call("CreateServiceLinkedRole", &service).await.ok();
    let name = one(&made, "RoleName");
    assert_eq!(name, "AWSServiceRoleForAWSPanorama");
    let other = [("AWSServiceName", "elasticbeanstalk.amazonaws.com")];
    for again in [service, other] {
        let refused = bench.call("CreateServiceLinkedRole", &again).await;
        assert_eq!(refused.code(), "InvalidInput");
    }
    let attached = bench
        .call("ListAttachedRolePolicies", &[("RoleName", &name)])
        .await
        .ok();
    assert_eq!(
        one(&attached, "PolicyName"),
        "AWSPanoramaServiceLinkedRolePolicy"
    );
    let change = [
        ("RoleName", name.as_str()),
        ("Description", "mine"),
        ("PolicyArn", ADMINISTRATOR),
        ("PolicyName", "p"),
        ("PolicyDocument", READ),
        ("PermissionsBoundary", ADMINISTRATOR),
    ];
    for action in [
        "UpdateRole",
        "UpdateRoleDescription",
        "UpdateAssumeRolePolicy",
        "DeleteRole",
        "AttachRolePolicy",
        "DetachRolePolicy",
        "PutRolePolicy",
        "DeleteRolePolicy",
        "PutRolePermissionsBoundary",
    ] {
        assert_eq!(
            bench.call(action, &change).await.code(),
            "UnmodifiableEntity",
            "{action}"
        );
    }
    let create = [
        ("RoleName", "mine"),
        ("Path", "/aws-service-role/panorama.amazonaws.com/"),
        ("AssumeRolePolicyDocument", TRUST),
    ];
    assert_eq!(
        bench.call("CreateRole", &create).await.code(),
        "InvalidInput"
    );

    let task = bench
        .call("DeleteServiceLinkedRole", &[("RoleName", &name)])
        .await
        .ok();
    let task = one(&task, "DeletionTaskId");
    let status = bench
        .call(
            "GetServiceLinkedRoleDeletionStatus",
            &[("DeletionTaskId", &task)],
        )
        .await
        .ok();
    assert_eq!(one(&status, "Status"), "SUCCEEDED");
    let forged = format!("{task}x");
    let refused = bench
        .call(
            "GetServiceLinkedRoleDeletionStatus",
            &[("DeletionTaskId", &forged)],
        )
        .await;
    assert_eq!(refused.code(), "NoSuchEntity");
}

#[tokio::test]
async fn the_role_of_panorama_stays_while_there_are_devices() {
    let bench = Bench::new().await;
    let id = super::super::service_linked_roles::new_id().expect("an ID");
    let scope = bench.ctx.scope.clone();
    bench
        .ctx
        .store
        .write::<_, crate::store::StoreError, _>(move |tx| {
            super::super::service_linked_roles::ensure(tx, ACCOUNT, &id)?;
            // Again it is no error.
            super::super::service_linked_roles::ensure(tx, ACCOUNT, &id)?;
            let now = crate::store::Micros::now();
            let device = crate::store::devices::Device {
                id: "device-a".to_owned(),
                name: "a".to_owned(),
                description: None,
                networking_json: None,
                iot_thing: "x".to_owned(),
                provisioning: crate::store::devices::Provisioning::AwaitingProvisioning,
                created: now,
                updated: now,
                reported_json: None,
                reported: None,
            };
            crate::store::devices::insert(tx, &scope, &device)
        })
        .await
        .expect("written");
    bench.ctx.directory.changed();
    let name = "AWSServiceRoleForAWSPanorama";
    let task = bench
        .call("DeleteServiceLinkedRole", &[("RoleName", name)])
        .await
        .ok();
    let task = one(&task, "DeletionTaskId");
    let status = bench
        .call(
            "GetServiceLinkedRoleDeletionStatus",
            &[("DeletionTaskId", &task)],
        )
        .await
        .ok();
    assert_eq!(one(&status, "Status"), "FAILED");
    assert!(status.contains("There are devices"), "{status}");
    bench.call("GetRole", &[("RoleName", name)]).await.ok();
}

/// Attack A9: "sessions older than".
#[tokio::test]
async fn revoking_sessions_sets_the_instant_before_which_they_are_void() {
    let bench = Bench::new().await;
    role(&bench, "app").await;
    let revoke = async |who: &Caller, path: &str| {
        let incoming = Incoming {
            method: "POST",
            raw_path: path,
            query: "",
            body: b"",
            request_id: "request-of-a-test",
        };
        crate::parapet::handle(&bench.made_by(who), incoming)
            .await
            .status()
    };
    let before = crate::store::Micros::now();
    let ann = bench.person("ann", READ).await;
    for path in [
        "/parapet/revoke-sessions/roles/app",
        "/parapet/revoke-sessions/users/ann",
    ] {
        assert_eq!(revoke(&ann, path).await, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(revoke(&bench.admin, path).await, StatusCode::OK, "{path}");
    }
    let role = bench
        .ctx
        .directory
        .role("app")
        .await
        .expect("loaded")
        .expect("a role");
    assert!(role.not_before.is_some_and(|instant| instant >= before));
    let key = bench
        .ctx
        .directory
        .key(&ann.access_key)
        .await
        .expect("loaded");
    let user = &key.expect("a key").user;
    assert!(user.not_before.is_some_and(|instant| instant >= before));
    let gone = revoke(&bench.admin, "/parapet/revoke-sessions/roles/none").await;
    assert_eq!(gone, StatusCode::NOT_FOUND);
}

/// A trust that can never be used is a mistake, told when it is written.
#[tokio::test]
async fn a_trust_policy_names_nobody_of_another_account() {
    let bench = Bench::new().await;
    let foreign = TRUST.replace(
        r#"{"Service":"panorama.amazonaws.com"}"#,
        r#"{"AWS":["123456789012","arn:aws:iam::999999999999:role/x"]}"#,
    );
    let create = |document| [("RoleName", "r"), ("AssumeRolePolicyDocument", document)];
    let refused = bench.call("CreateRole", &create(&foreign)).await.refused();
    assert_eq!(refused.0, "MalformedPolicyDocument");
    assert!(refused.1.contains("999999999999"), "{}", refused.1);
    bench.call("CreateRole", &create(TRUST)).await.ok();
    let update = [("RoleName", "r"), ("PolicyDocument", foreign.as_str())];
    let refused = bench.call("UpdateAssumeRolePolicy", &update).await;
    assert_eq!(refused.code(), "MalformedPolicyDocument");
    let own = foreign.replace("999999999999", ACCOUNT);
    let update = [("RoleName", "r"), ("PolicyDocument", own.as_str())];
    bench.call("UpdateAssumeRolePolicy", &update).await.ok();
}

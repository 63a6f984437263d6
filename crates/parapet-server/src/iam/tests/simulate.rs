//! The simulator, which is the engine asked from outside.

use super::*;

#[tokio::test]
async fn a_custom_policy_is_judged_action_by_action() {
    let bench = Bench::new().await;
    let conditional = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"panorama:DescribeDevice","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"red"}}},{"Effect":"Deny","Action":"panorama:Delete*","Resource":"*"}]}"#;
    let parameters = [
        ("PolicyInputList.member.1", conditional),
        ("ActionNames.member.1", "panorama:DescribeDevice"),
        ("ActionNames.member.2", "panorama:DeleteDevice"),
        ("ActionNames.member.3", "panorama:ListDevices"),
    ];
    let told = bench.call("SimulateCustomPolicy", &parameters).await.ok();
    assert_eq!(
        all(&told, "EvalDecision"),
        ["implicitDeny", "explicitDeny", "implicitDeny"]
    );
    assert!(told.contains("aws:ResourceTag/team"), "{told}");
    let mut with_tag = parameters.to_vec();
    with_tag.extend([
        (
            "ContextEntries.member.1.ContextKeyName",
            "aws:ResourceTag/team",
        ),
        ("ContextEntries.member.1.ContextKeyType", "string"),
        ("ContextEntries.member.1.ContextKeyValues.member.1", "red"),
    ]);
    let told = bench.call("SimulateCustomPolicy", &with_tag).await.ok();
    assert_eq!(
        all(&told, "EvalDecision"),
        ["allowed", "explicitDeny", "implicitDeny"]
    );
}

#[tokio::test]
async fn a_principal_is_judged_with_its_groups_and_its_boundary() {
    let bench = Bench::new().await;
    bench.person("ann", READ).await;
    bench.call("CreateGroup", &[("GroupName", "g")]).await.ok();
    let put = [
        ("GroupName", "g"),
        ("PolicyName", "list"),
        ("PolicyDocument", &allow("panorama:List*", "*")),
    ];
    bench.call("PutGroupPolicy", &put).await.ok();
    bench
        .call("AddUserToGroup", &[("GroupName", "g"), ("UserName", "ann")])
        .await
        .ok();
    let parameters = [
        ("PolicySourceArn", "arn:aws:iam::123456789012:user/ann"),
        ("ActionNames.member.1", "panorama:DescribeDevice"),
        ("ActionNames.member.2", "panorama:ListDevices"),
        ("ActionNames.member.3", "panorama:DeleteDevice"),
    ];
    let told = bench
        .call("SimulatePrincipalPolicy", &parameters)
        .await
        .ok();
    assert_eq!(
        all(&told, "EvalDecision"),
        ["allowed", "allowed", "implicitDeny"]
    );

    let of_group = [
        ("PolicySourceArn", "arn:aws:iam::123456789012:group/g"),
        ("ActionNames.member.1", "panorama:ListDevices"),
    ];
    let told = bench.call("SimulatePrincipalPolicy", &of_group).await.ok();
    assert_eq!(one(&told, "EvalDecision"), "allowed");

    let bound = [
        ("UserName", "ann"),
        (
            "PermissionsBoundary",
            "arn:aws:iam::aws:policy/service-role/AWSPanoramaApplianceServiceRolePolicy",
        ),
    ];
    bench.call("PutUserPermissionsBoundary", &bound).await.ok();
    let told = bench
        .call("SimulatePrincipalPolicy", &parameters)
        .await
        .ok();
    assert_eq!(
        all(&told, "EvalDecision"),
        ["implicitDeny", "implicitDeny", "implicitDeny"]
    );
    assert_eq!(
        all(&told, "AllowedByPermissionsBoundary"),
        ["false", "false", "false"]
    );
}

#[tokio::test]
async fn a_boundary_that_denies_is_not_one_that_allows() {
    let bench = Bench::new().await;
    let boundary = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"panorama:*","Resource":"*"},{"Effect":"Deny","Action":"panorama:Delete*","Resource":"*"}]}"#;
    let all_of_it = allow("panorama:*", "*");
    let parameters = [
        ("PolicyInputList.member.1", all_of_it.as_str()),
        ("PermissionsBoundaryPolicyInputList.member.1", boundary),
        ("ActionNames.member.1", "panorama:ListDevices"),
        ("ActionNames.member.2", "panorama:DeleteDevice"),
    ];
    let told = bench.call("SimulateCustomPolicy", &parameters).await.ok();
    assert_eq!(all(&told, "EvalDecision"), ["allowed", "explicitDeny"]);
    assert_eq!(
        all(&told, "AllowedByPermissionsBoundary"),
        ["true", "false"]
    );
}

#[tokio::test]
async fn a_simulation_is_bounded_and_wants_a_principal_of_the_account() {
    let bench = Bench::new().await;
    for source in [
        "arn:aws:iam::999999999999:user/ann",
        "arn:aws:iam::123456789012:policy/p",
    ] {
        let parameters = [
            ("PolicySourceArn", source),
            ("ActionNames.member.1", "panorama:ListDevices"),
        ];
        let refused = bench.call("SimulatePrincipalPolicy", &parameters).await;
        assert_eq!(refused.code(), "InvalidInput", "{source}");
    }
}

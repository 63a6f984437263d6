//! Groups and their members.

use parapet_auth::authorize;

use super::*;

#[tokio::test]
async fn a_member_may_what_its_group_may_at_once() {
    let bench = Bench::new().await;
    let ann = bench.person("ann", READ).await;
    assert!(!authorize(&ann, "panorama:ListDevices", "*").is_allowed());
    bench
        .call("CreateGroup", &[("GroupName", "viewers")])
        .await
        .ok();
    let put = [
        ("GroupName", "viewers"),
        ("PolicyName", "list"),
        ("PolicyDocument", &allow("panorama:List*", "*")),
    ];
    bench.call("PutGroupPolicy", &put).await.ok();
    let member = [("GroupName", "viewers"), ("UserName", "ann")];
    bench.call("AddUserToGroup", &member).await.ok();
    let now = bench.caller(&ann.access_key).await;
    assert!(authorize(&now, "panorama:ListDevices", "*").is_allowed());

    let group = bench
        .call("GetGroup", &[("GroupName", "viewers")])
        .await
        .ok();
    assert_eq!(one(&group, "UserName"), "ann");
    let of_ann = bench
        .call("ListGroupsForUser", &[("UserName", "ann")])
        .await
        .ok();
    assert_eq!(one(&of_ann, "GroupName"), "viewers");

    let refused = bench.call("DeleteGroup", &[("GroupName", "viewers")]).await;
    assert_eq!(refused.code(), "DeleteConflict");
    bench.call("RemoveUserFromGroup", &member).await.ok();
    let again = bench.call("RemoveUserFromGroup", &member).await;
    assert_eq!(again.code(), "NoSuchEntity");
    let now = bench.caller(&ann.access_key).await;
    assert!(!authorize(&now, "panorama:ListDevices", "*").is_allowed());
    let delete = [("GroupName", "viewers"), ("PolicyName", "list")];
    bench.call("DeleteGroupPolicy", &delete).await.ok();
    bench
        .call("DeleteGroup", &[("GroupName", "viewers")])
        .await
        .ok();
}

#[tokio::test]
async fn a_user_is_in_ten_groups_at_most() {
    let bench = Bench::new().await;
    for number in 0..=10 {
        let group = format!("g{number}");
        bench
            .call("CreateGroup", &[("GroupName", &group)])
            .await
            .ok();
        let member = [("GroupName", group.as_str()), ("UserName", "admin")];
        let outcome = bench.call("AddUserToGroup", &member).await;
        if number < 10 {
            outcome.ok();
        } else {
            assert_eq!(outcome.code(), "LimitExceeded");
        }
    }
}

#[tokio::test]
async fn a_renamed_group_keeps_its_members_and_policies() {
    let bench = Bench::new().await;
    bench
        .call("CreateGroup", &[("GroupName", "old")])
        .await
        .ok();
    bench
        .call(
            "AddUserToGroup",
            &[("GroupName", "old"), ("UserName", "admin")],
        )
        .await
        .ok();
    let attach = [("GroupName", "old"), ("PolicyArn", ADMINISTRATOR)];
    bench.call("AttachGroupPolicy", &attach).await.ok();
    let rename = [("GroupName", "old"), ("NewGroupName", "new")];
    bench.call("UpdateGroup", &rename).await.ok();
    let group = bench.call("GetGroup", &[("GroupName", "new")]).await.ok();
    assert_eq!(one(&group, "UserName"), "admin");
    let attached = bench
        .call("ListAttachedGroupPolicies", &[("GroupName", "new")])
        .await
        .ok();
    assert_eq!(one(&attached, "PolicyArn"), ADMINISTRATOR);
    let listed = bench.call("ListGroups", &[]).await.ok();
    assert_eq!(all(&listed, "GroupName"), ["new"]);
}

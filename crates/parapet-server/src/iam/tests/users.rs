//! Users.

use super::*;

#[tokio::test]
async fn a_user_is_made_found_renamed_and_deleted() {
    let bench = Bench::new().await;
    let made = bench
        .call(
            "CreateUser",
            &[
                ("UserName", "ann"),
                ("Path", "/team/"),
                ("Tags.member.1.Key", "site"),
                ("Tags.member.1.Value", "north"),
            ],
        )
        .await
        .ok();
    assert_eq!(one(&made, "Arn"), "arn:aws:iam::123456789012:user/team/ann");
    let id = one(&made, "UserId");
    assert!(id.starts_with("AIDA") && id.len() == 21, "{id}");
    assert_eq!(one(&made, "Key"), "site");

    let rename = [
        ("UserName", "ann"),
        ("NewUserName", "anna"),
        ("NewPath", "/"),
    ];
    bench.call("UpdateUser", &rename).await.ok();
    let found = bench.call("GetUser", &[("UserName", "anna")]).await.ok();
    assert_eq!(one(&found, "UserId"), id);
    assert_eq!(one(&found, "Arn"), "arn:aws:iam::123456789012:user/anna");

    bench.call("DeleteUser", &[("UserName", "anna")]).await.ok();
    let gone = bench.call("GetUser", &[("UserName", "anna")]).await;
    assert_eq!(gone.code(), "NoSuchEntity");
}

#[tokio::test]
async fn without_a_name_a_user_is_the_caller() {
    let bench = Bench::new().await;
    let found = bench.call("GetUser", &[]).await.ok();
    assert_eq!(one(&found, "UserName"), "admin");
}

#[tokio::test]
async fn names_differ_by_more_than_case() {
    let bench = Bench::new().await;
    for name in ["ADMIN", "admin"] {
        let refused = bench.call("CreateUser", &[("UserName", name)]).await;
        assert_eq!(refused.code(), "EntityAlreadyExists", "{name}");
    }
    // Its own name in another case is no other user's.
    bench.call("CreateUser", &[("UserName", "ann")]).await.ok();
    let rename = [("UserName", "ann"), ("NewUserName", "Ann")];
    bench.call("UpdateUser", &rename).await.ok();
}

#[tokio::test]
async fn what_a_user_has_must_go_first() {
    let bench = Bench::new().await;
    bench.person("ann", READ).await;
    let attach = [("UserName", "ann"), ("PolicyArn", ADMINISTRATOR)];
    bench.call("AttachUserPolicy", &attach).await.ok();
    let key = bench
        .call("ListAccessKeys", &[("UserName", "ann")])
        .await
        .ok();
    let key = one(&key, "AccessKeyId");
    let steps: [(&str, Vec<(&str, &str)>); 3] = [
        ("DetachUserPolicy", attach.to_vec()),
        (
            "DeleteUserPolicy",
            vec![("UserName", "ann"), ("PolicyName", "own")],
        ),
        (
            "DeleteAccessKey",
            vec![("UserName", "ann"), ("AccessKeyId", &key)],
        ),
    ];
    for (step, parameters) in steps {
        let refused = bench.call("DeleteUser", &[("UserName", "ann")]).await;
        assert_eq!(refused.code(), "DeleteConflict", "before {step}");
        bench.call(step, &parameters).await.ok();
    }
    bench.call("DeleteUser", &[("UserName", "ann")]).await.ok();
}

#[tokio::test]
async fn pages_hold_every_user_once_in_the_order_of_names() {
    let bench = Bench::new().await;
    for name in ["e", "a", "c", "b", "d"] {
        let path = if name < "c" { "/low/" } else { "/high/" };
        bench
            .call("CreateUser", &[("UserName", name), ("Path", path)])
            .await
            .ok();
    }
    let (mut seen, mut marker) = (Vec::new(), String::new());
    loop {
        let mut parameters = vec![("MaxItems", "2")];
        if !marker.is_empty() {
            parameters.push(("Marker", &marker));
        }
        let page = bench.call("ListUsers", &parameters).await.ok();
        seen.extend(all(&page, "UserName"));
        if one(&page, "IsTruncated") == "false" {
            break;
        }
        marker = one(&page, "Marker");
    }
    assert_eq!(seen, ["a", "admin", "b", "c", "d", "e"]);
    let low = bench
        .call("ListUsers", &[("PathPrefix", "/low/")])
        .await
        .ok();
    assert_eq!(all(&low, "UserName"), ["a", "b"]);
}

#[tokio::test]
async fn a_marker_of_another_list_is_refused() {
    let bench = Bench::new().await;
    bench.call("CreateUser", &[("UserName", "a")]).await.ok();
    let page = bench.call("ListUsers", &[("MaxItems", "1")]).await.ok();
    let marker = one(&page, "Marker");
    for (action, marker) in [("ListRoles", marker.as_str()), ("ListUsers", "forged")] {
        let refused = bench.call(action, &[("Marker", marker)]).await;
        assert_eq!(refused.code(), "ValidationError", "{action}");
    }
}

#[tokio::test]
async fn tags_are_put_listed_and_taken_away() {
    let bench = Bench::new().await;
    let tag = [
        ("UserName", "admin"),
        ("Tags.member.1.Key", "Team"),
        ("Tags.member.1.Value", "red"),
    ];
    bench.call("TagUser", &tag).await.ok();
    let tag = [
        ("UserName", "admin"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "blue"),
    ];
    bench.call("TagUser", &tag).await.ok();
    let listed = bench
        .call("ListUserTags", &[("UserName", "admin")])
        .await
        .ok();
    assert_eq!(
        (one(&listed, "Key"), one(&listed, "Value")),
        ("team".into(), "blue".into())
    );
    let untag = [("UserName", "admin"), ("TagKeys.member.1", "TEAM")];
    bench.call("UntagUser", &untag).await.ok();
    let listed = bench
        .call("ListUserTags", &[("UserName", "admin")])
        .await
        .ok();
    assert!(all(&listed, "Key").is_empty(), "{listed}");
}

#[tokio::test]
async fn there_are_fifty_tags_at_most() {
    let bench = Bench::new().await;
    let tags: Vec<(String, String)> = (1..=50)
        .flat_map(|n| {
            [
                (format!("Tags.member.{n}.Key"), format!("k{n}")),
                (format!("Tags.member.{n}.Value"), "v".to_owned()),
            ]
        })
        .collect();
    let mut parameters = vec![("UserName", "admin")];
    parameters.extend(
        tags.iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    );
    bench.call("TagUser", &parameters).await.ok();
    let one_more = [
        ("UserName", "admin"),
        ("Tags.member.1.Key", "more"),
        ("Tags.member.1.Value", "v"),
    ];
    let refused = bench.call("TagUser", &one_more).await;
    assert_eq!(refused.code(), "LimitExceeded");
}

//! What is refused, and in which words.

use super::*;

#[tokio::test]
async fn an_unknown_action_is_told_with_the_version() {
    let bench = Bench::new().await;
    let (code, message) = bench.call("DeleteEverything", &[]).await.refused();
    assert_eq!(code, "InvalidAction");
    assert_eq!(
        message,
        "Could not find operation DeleteEverything for version 2010-05-08"
    );
}

/// Attack P2: names with wildcards, variables or paths in them are no names.
#[tokio::test]
async fn a_name_that_a_policy_could_misread_is_refused() {
    let bench = Bench::new().await;
    for name in ["*", "${*}", "${aws:username}", "../admin", "a/b", "a?", ""] {
        let refused = bench.call("CreateUser", &[("UserName", name)]).await;
        assert_eq!(refused.code(), "ValidationError", "{name:?}");
    }
}

/// Attack P1: who may not see a user does not learn whether it is there.
#[tokio::test]
async fn who_may_not_look_does_not_learn_what_is_there() {
    let bench = Bench::new().await;
    let own = allow("iam:GetUser", "arn:aws:iam::*:user/${aws:username}");
    let ann = bench.person("ann", &own).await;
    bench.call_as(&ann, "GetUser", &[]).await.ok();
    let mut told = Vec::new();
    for name in ["admin", "absent"] {
        let (code, message) = bench
            .call_as(&ann, "GetUser", &[("UserName", name)])
            .await
            .refused();
        assert_eq!(code, "AccessDenied");
        told.push(message.replace(name, "…"));
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_user_with_a_tag_can_be_kept_from_others() {
    let bench = Bench::new().await;
    let team = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:DeleteUser","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"red"}}}]}"#;
    let ann = bench.person("ann", team).await;
    for (name, team) in [("r", "red"), ("b", "blue")] {
        let create = [
            ("UserName", name),
            ("Tags.member.1.Key", "team"),
            ("Tags.member.1.Value", team),
        ];
        bench.call("CreateUser", &create).await.ok();
    }
    bench
        .call_as(&ann, "DeleteUser", &[("UserName", "r")])
        .await
        .ok();
    let refused = bench
        .call_as(&ann, "DeleteUser", &[("UserName", "b")])
        .await;
    assert_eq!(refused.code(), "AccessDenied");
}

/// Who may tag with some keys may not smuggle others in at creation.
#[tokio::test]
async fn tags_at_creation_are_asked_about_as_tags() {
    let bench = Bench::new().await;
    let ann = bench.person("ann", &allow("iam:CreateUser", "*")).await;
    let create = [
        ("UserName", "x"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "red"),
    ];
    let (code, message) = bench.call_as(&ann, "CreateUser", &create).await.refused();
    assert_eq!(code, "AccessDenied");
    assert!(message.contains("iam:TagUser"), "{message}");
    bench
        .call_as(&ann, "CreateUser", &[("UserName", "x")])
        .await
        .ok();
}

/// A rule about a path cannot be walked around by moving a user out of it.
#[tokio::test]
async fn renaming_is_asked_under_both_names() {
    let bench = Bench::new().await;
    let own = allow("iam:UpdateUser", "arn:aws:iam::*:user/team/*");
    let ann = bench.person("ann", &own).await;
    bench
        .call("CreateUser", &[("UserName", "bob"), ("Path", "/team/")])
        .await
        .ok();
    let out = [("UserName", "bob"), ("NewPath", "/admins/")];
    assert_eq!(
        bench.call_as(&ann, "UpdateUser", &out).await.code(),
        "AccessDenied"
    );
    let within = [("UserName", "bob"), ("NewUserName", "bobby")];
    bench.call_as(&ann, "UpdateUser", &within).await.ok();
}

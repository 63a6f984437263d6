//! Access keys.

use super::*;
use crate::directory::KeyUse;
use crate::store::Micros;

#[tokio::test]
async fn a_user_has_two_keys_at_most_and_each_secret_is_told_once() {
    let bench = Bench::new().await;
    bench.call("CreateUser", &[("UserName", "ann")]).await.ok();
    let mut secrets = Vec::new();
    for _ in 0..2 {
        let made = bench
            .call("CreateAccessKey", &[("UserName", "ann")])
            .await
            .ok();
        assert!(one(&made, "AccessKeyId").starts_with("AKIA"));
        secrets.push(one(&made, "SecretAccessKey"));
    }
    assert_ne!(secrets[0], secrets[1]);
    assert!(
        secrets.iter().all(|secret| secret.len() == 40),
        "{secrets:?}"
    );
    let third = bench.call("CreateAccessKey", &[("UserName", "ann")]).await;
    assert_eq!(third.code(), "LimitExceeded");
    let listed = bench
        .call("ListAccessKeys", &[("UserName", "ann")])
        .await
        .ok();
    assert_eq!(all(&listed, "Status"), ["Active", "Active"]);
    assert!(secrets.iter().all(|secret| !listed.contains(secret)));
}

#[tokio::test]
async fn a_key_made_inactive_is_inactive_at_once() {
    let bench = Bench::new().await;
    let ann = bench.person("ann", READ).await;
    for (status, is_active) in [("Inactive", false), ("Active", true)] {
        let update = [
            ("UserName", "ann"),
            ("AccessKeyId", &*ann.access_key),
            ("Status", status),
        ];
        bench.call("UpdateAccessKey", &update).await.ok();
        let key = bench
            .ctx
            .directory
            .key(&ann.access_key)
            .await
            .expect("loaded");
        assert_eq!(key.expect("a key").is_active, is_active);
    }
    let delete = [("UserName", "ann"), ("AccessKeyId", &*ann.access_key)];
    bench.call("DeleteAccessKey", &delete).await.ok();
    let key = bench
        .ctx
        .directory
        .key(&ann.access_key)
        .await
        .expect("loaded");
    assert!(key.is_none());
}

/// Who may change its own keys may not name those of somebody else.
#[tokio::test]
async fn a_key_of_another_user_is_not_found_under_ones_own_name() {
    let bench = Bench::new().await;
    let own = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*AccessKey*","Resource":"arn:aws:iam::*:user/${aws:username}"}]}"#;
    let ann = bench.person("ann", own).await;
    let admins = bench.admin.access_key.to_string();
    let mut parameters = vec![("AccessKeyId", admins.as_str()), ("Status", "Inactive")];
    let refused = bench.call_as(&ann, "UpdateAccessKey", &parameters).await;
    assert_eq!(refused.code(), "NoSuchEntity");
    parameters.push(("UserName", "admin"));
    let refused = bench.call_as(&ann, "UpdateAccessKey", &parameters).await;
    assert_eq!(refused.code(), "AccessDenied");
    let listed = bench.call_as(&ann, "ListAccessKeys", &[]).await.ok();
    assert_eq!(one(&listed, "AccessKeyId"), *ann.access_key);
}

#[tokio::test]
async fn the_last_use_of_a_key_is_told_before_and_after_it_is_written_down() {
    let bench = Bench::new().await;
    let key = bench.admin.access_key.to_string();
    let ask = [("AccessKeyId", key.as_str())];
    let never = bench.call("GetAccessKeyLastUsed", &ask).await.ok();
    assert_eq!(one(&never, "ServiceName"), "N/A");
    bench.ctx.directory.used(KeyUse {
        key: &key,
        service: "panorama",
        region: "us-west-2",
        at: Micros(1_795_622_940_000_000),
    });
    for flushed in [false, true] {
        if flushed {
            bench.ctx.directory.flush_uses().await.expect("written");
        }
        let used = bench.call("GetAccessKeyLastUsed", &ask).await.ok();
        assert_eq!(one(&used, "LastUsedDate"), "2026-11-25T16:09:00Z");
        assert_eq!(one(&used, "ServiceName"), "panorama");
        assert_eq!(one(&used, "UserName"), "admin");
    }
}

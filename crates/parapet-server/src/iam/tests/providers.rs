//! Identity providers, aliases, and what the account has.

use super::*;

#[tokio::test]
async fn a_provider_is_made_changed_and_deleted() {
    let bench = Bench::new().await;
    let create = [
        ("Url", "https://id.example.test/realm"),
        ("ClientIDList.member.1", "parapet"),
        (
            "ThumbprintList.member.1",
            "0123456789012345678901234567890123456789",
        ),
    ];
    let made = bench
        .call("CreateOpenIDConnectProvider", &create)
        .await
        .ok();
    let arn = one(&made, "OpenIDConnectProviderArn");
    assert_eq!(
        arn,
        "arn:aws:iam::123456789012:oidc-provider/id.example.test/realm"
    );
    let again = bench.call("CreateOpenIDConnectProvider", &create).await;
    assert_eq!(again.code(), "EntityAlreadyExists");
    let add = [
        ("OpenIDConnectProviderArn", arn.as_str()),
        ("ClientID", "other"),
    ];
    bench
        .call("AddClientIDToOpenIDConnectProvider", &add)
        .await
        .ok();
    let remove = [
        ("OpenIDConnectProviderArn", arn.as_str()),
        ("ClientID", "parapet"),
    ];
    bench
        .call("RemoveClientIDFromOpenIDConnectProvider", &remove)
        .await
        .ok();
    let named = [("OpenIDConnectProviderArn", arn.as_str())];
    let found = bench.call("GetOpenIDConnectProvider", &named).await.ok();
    assert_eq!(one(&found, "Url"), "id.example.test/realm");
    assert_eq!(all(&one(&found, "ClientIDList"), "member"), ["other"]);
    let listed = bench.call("ListOpenIDConnectProviders", &[]).await.ok();
    assert_eq!(one(&listed, "Arn"), arn);
    bench.call("DeleteOpenIDConnectProvider", &named).await.ok();
    let gone = bench.call("GetOpenIDConnectProvider", &named).await;
    assert_eq!(gone.code(), "NoSuchEntity");
}

#[tokio::test]
async fn an_account_has_one_alias() {
    let bench = Bench::new().await;
    for alias in ["first-one", "second-one"] {
        bench
            .call("CreateAccountAlias", &[("AccountAlias", alias)])
            .await
            .ok();
        let listed = bench.call("ListAccountAliases", &[]).await.ok();
        assert_eq!(one(&listed, "member"), alias);
    }
    let odd = bench
        .call("CreateAccountAlias", &[("AccountAlias", "a--b")])
        .await;
    assert_eq!(odd.code(), "ValidationError");
    bench
        .call("DeleteAccountAlias", &[("AccountAlias", "second-one")])
        .await
        .ok();
    let listed = bench.call("ListAccountAliases", &[]).await.ok();
    assert!(all(&listed, "member").is_empty());
}

#[tokio::test]
async fn the_account_tells_how_much_there_is_and_who_may_what() {
    let bench = Bench::new().await;
    bench.put_policy("admin", READ).await;
    let summary = bench.call("GetAccountSummary", &[]).await.ok();
    assert!(
        summary.contains("<key>Users</key><value>1</value>"),
        "{summary}"
    );
    let details = bench
        .call(
            "GetAccountAuthorizationDetails",
            &[("Filter.member.1", "User")],
        )
        .await
        .ok();
    assert_eq!(one(&details, "UserName"), "admin");
    assert_eq!(one(&details, "PolicyArn"), ADMINISTRATOR);
    assert_eq!(all(&details, "PolicyName"), ["own", "AdministratorAccess"]);
    let whole = bench.call("GetAccountAuthorizationDetails", &[]).await.ok();
    assert!(whole.contains("AWSPanoramaFullAccess"), "{whole}");
}

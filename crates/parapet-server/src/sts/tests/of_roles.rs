//! Sessions of roles.

use super::*;

const ASK: [(&str, &str); 2] = [("RoleArn", READER), ("RoleSessionName", "ann-1")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&ASK[..], more].concat()
}

#[tokio::test]
async fn a_role_is_assumed_where_both_policies_allow_it() {
    let bench = Bench::new().await;
    let answer = bench.ask(&bench.ann().await, "AssumeRole", &ASK).await;
    assert_eq!(
        answer.text("Arn"),
        "arn:aws:sts::123456789012:assumed-role/reader/ann-1"
    );
    assert_eq!(answer.text("AssumedRoleId"), "AROAreader:ann-1");
    let session = bench.session(&answer).await.expect("a caller");
    assert!(may(&session, "panorama:ListDevices"));
    assert!(!may(&session, "sts:AssumeRole"));
    let who = bench.ask(&session, "GetCallerIdentity", &[]).await;
    assert_eq!(who.text("UserId"), "AROAreader:ann-1");
    // The first part is how the audit trail finds what the session does.
    assert_eq!(
        bench.open(&answer).claims.opened_by,
        "arn:aws:iam::123456789012:user/ann"
    );
}

#[tokio::test]
async fn a_trust_in_the_account_leaves_it_to_the_callers_own_policies() {
    let bench = Bench::new().await;
    let everybody = TRUST_ACCOUNT.replace("arn:aws:iam::123456789012:root", "*");
    bench.role("open", &everybody, READ).await;
    bench.user("bob", READ).await;
    for name in ["reader", "open"] {
        let arn = format!("arn:aws:iam::123456789012:role/{name}");
        let fields = with(&[("RoleArn", &arn)]);
        let ann = bench.ask(&bench.ann().await, "AssumeRole", &fields).await;
        assert_eq!(ann.status, 200, "{name} {ann:?}");
        let bob = bench
            .ask(&bench.key_of("bob").await, "AssumeRole", &fields)
            .await;
        assert_eq!((bob.status, bob.code()), (403, "AccessDenied"), "{name}");
        assert!(
            bob.text("Message").contains("no identity-based policy"),
            "{bob:?}"
        );
    }
}

/// As the original within one account.
#[tokio::test]
async fn a_trust_in_the_caller_by_name_is_enough_unless_something_denies() {
    let bench = Bench::new().await;
    bench.user("bob", READ).await;
    let denied = READ.replace(
        r#"{"Effect""#,
        r#"{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*"},{"Effect""#,
    );
    bench.user("eve", &denied).await;
    let names = r#"["arn:aws:iam::123456789012:user/bob","arn:aws:iam::123456789012:user/eve",
        "arn:aws:iam::123456789012:role/reader"]"#;
    let trust = TRUST_ACCOUNT.replace(r#""arn:aws:iam::123456789012:root""#, names);
    bench.role("named", &trust, READ).await;
    let fields = with(&[
        ("RoleArn", "arn:aws:iam::123456789012:role/named"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "doors"),
        ("SourceIdentity", "somebody"),
    ]);
    let bob = bench.key_of("bob").await;
    let bob = bench.ask(&bob, "AssumeRole", &fields).await;
    assert_eq!(bob.status, 200, "{bob:?}");
    let eve = bench.key_of("eve").await;
    let eve = bench.ask(&eve, "AssumeRole", &fields).await;
    assert_eq!(eve.code(), "AccessDenied");
    assert!(eve.text("Message").contains("explicit deny"), "{eve:?}");

    // A role's session by its role's ARN; a session policy still binds.
    let (ann, narrow) = (
        bench.ann().await,
        READ.replace("panorama:*", "panorama:List*"),
    );
    for (more, status) in [(None, 200), (Some(("Policy", narrow.as_str())), 403)] {
        let opened = with(more.as_slice());
        let opened = bench.ask(&ann, "AssumeRole", &opened).await;
        let session = bench.session(&opened).await.expect("a caller");
        let answer = bench.ask(&session, "AssumeRole", &fields).await;
        assert_eq!(answer.status, status, "{more:?} {answer:?}");
    }
}

#[tokio::test]
async fn who_may_not_assume_a_role_learns_nothing_of_it() {
    let bench = Bench::new().await;
    bench.user("bob", READ).await;
    let bob = bench.key_of("bob").await;
    let trust = TRUST_ACCOUNT.replace("Allow", "Deny");
    bench.role("closed", &trust, READ).await;
    let mut told = Vec::new();
    for name in ["reader", "closed", "missing"] {
        let arn = format!("arn:aws:iam::123456789012:role/{name}");
        let answer = bench
            .ask(&bob, "AssumeRole", &with(&[("RoleArn", &arn)]))
            .await;
        told.push(answer.text("Message").replace(&arn, "ROLE"));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
}

#[tokio::test]
async fn neither_policy_alone_is_enough_and_a_role_that_is_not_there_looks_the_same() {
    let bench = Bench::new().await;
    bench.user("bob", READ).await;
    let denied = bench
        .ask(&bench.key_of("bob").await, "AssumeRole", &ASK)
        .await;
    assert_eq!((denied.status, denied.code()), (403, "AccessDenied"));
    let trust = TRUST_ACCOUNT.replace("123456789012:root", "123456789012:user/bob");
    bench.role("bobs", &trust, READ).await;
    let ask = |name: &str| {
        let arn = format!("arn:aws:iam::123456789012:role/{name}");
        let bench = &bench;
        async move {
            let fields = [("RoleArn", arn.as_str()), ("RoleSessionName", "ann")];
            let answer = bench.ask(&bench.ann().await, "AssumeRole", &fields).await;
            assert_eq!(answer.code(), "AccessDenied");
            answer.text("Message").replace(&arn, "ROLE")
        }
    };
    assert_eq!(ask("bobs").await, ask("missing").await);
}

#[tokio::test]
async fn another_accounts_role_is_refused_clearly() {
    let bench = Bench::new().await;
    let answer = bench
        .ask(
            &bench.ann().await,
            "AssumeRole",
            &with(&[("RoleArn", "arn:aws:iam::999999999999:role/reader")]),
        )
        .await;
    assert_eq!(answer.code(), "AccessDenied");
    assert!(answer.text("Message").contains(ACCOUNT), "{answer:?}");
}

#[tokio::test]
async fn an_external_id_must_be_the_one_that_the_trust_policy_names() {
    let bench = Bench::new().await;
    let trust = TRUST_ACCOUNT.replace(
        r#""Action""#,
        r#""Condition":{"StringEquals":{"sts:ExternalId":"secret-1"}},"Action""#,
    );
    bench.role("partner", &trust, READ).await;
    let partner = [("RoleArn", "arn:aws:iam::123456789012:role/partner")];
    for (id, status) in [
        (None, 403),
        (Some("secret-2"), 403),
        (Some("secret-1"), 200),
    ] {
        let mut fields = with(&partner);
        fields.extend(id.map(|id| ("ExternalId", id)));
        let answer = bench.ask(&bench.ann().await, "AssumeRole", &fields).await;
        assert_eq!(answer.status, status, "{id:?} {answer:?}");
    }
}

#[tokio::test]
async fn names_arns_and_durations_are_held_to_their_limits() {
    let bench = Bench::new().await;
    for field in [
        ("RoleSessionName", "a"),
        ("RoleSessionName", "a/b"),
        ("RoleSessionName", "a b"),
        ("RoleArn", "reader-reader-reader-reader"),
        ("DurationSeconds", "899"),
        // The role allows two hours.
        ("DurationSeconds", "7201"),
        ("DurationSeconds", "43201"),
        ("SourceIdentity", "x"),
    ] {
        let answer = bench
            .ask(&bench.ann().await, "AssumeRole", &with(&[field]))
            .await;
        assert_eq!(answer.code(), "ValidationError", "{field:?}");
    }
    let answer = bench
        .ask(
            &bench.ann().await,
            "AssumeRole",
            &with(&[("DurationSeconds", "7200")]),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let missing = bench
        .ask(&bench.ann().await, "AssumeRole", &[("RoleArn", READER)])
        .await;
    assert_eq!(missing.code(), "ValidationError");
}

/// Attack P6: a session policy takes away and never gives.
#[tokio::test]
async fn a_session_policy_narrows_and_never_widens() {
    let bench = Bench::new().await;
    let list = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
        "Action":["panorama:ListDevices","iam:CreateUser"],"Resource":"*"}]}"#;
    let answer = bench
        .ask(&bench.ann().await, "AssumeRole", &with(&[("Policy", list)]))
        .await;
    let session = bench.session(&answer).await.expect("a caller");
    assert!(may(&session, "panorama:ListDevices"));
    assert!(!may(&session, "panorama:DeleteDevice"));
    assert!(!may(&session, "iam:CreateUser"));
    // A child of a narrowed session is not wider: it may not even assume.
    let child = bench.ask(&session, "AssumeRole", &ASK).await;
    assert_eq!(child.code(), "AccessDenied");
    assert!(
        answer
            .text("PackedPolicySize")
            .parse::<u32>()
            .expect("a number")
            > 0
    );
}

#[tokio::test]
async fn session_policies_that_cannot_be_used_are_refused_before_the_session_begins() {
    let bench = Bench::new().await;
    let long = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"panorama:*","Resource":"arn:{}"}}]}}"#,
        "x".repeat(2_048)
    );
    for (policy, codes) in [
        ("{}", &["MalformedPolicyDocument"][..]),
        ("no JSON", &["MalformedPolicyDocument"]),
        (TRUST_ACCOUNT, &["MalformedPolicyDocument"]),
        (&long, &["MalformedPolicyDocument", "PackedPolicyTooLarge"]),
    ] {
        let answer = bench
            .ask(
                &bench.ann().await,
                "AssumeRole",
                &with(&[("Policy", policy)]),
            )
            .await;
        assert!(codes.contains(&answer.code()), "{answer:?}");
    }
    let missing = "arn:aws:iam::123456789012:policy/missing";
    let answer = bench
        .ask(
            &bench.ann().await,
            "AssumeRole",
            &with(&[("PolicyArns.member.1.arn", missing)]),
        )
        .await;
    assert_eq!(answer.code(), "MalformedPolicyDocument");
}

#[tokio::test]
async fn tags_go_into_the_session_and_transitive_ones_further() {
    let bench = Bench::new().await;
    bench.role("middle", TRUST_ACCOUNT, ASSUME_READER).await;
    let middle = with(&[
        ("RoleArn", "arn:aws:iam::123456789012:role/middle"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "doors"),
        ("Tags.member.2.Key", "shift"),
        ("Tags.member.2.Value", "night"),
        ("TransitiveTagKeys.member.1", "team"),
        ("SourceIdentity", "ann@example"),
    ]);
    let first = bench.ask(&bench.ann().await, "AssumeRole", &middle).await;
    let first = bench.session(&first).await.expect("a caller");
    assert_eq!(first.tags["shift"], "night");
    let second = bench.ask(&first, "AssumeRole", &ASK).await;
    assert_eq!(second.text("SourceIdentity"), "ann@example");
    let claims = bench.open(&second).claims;
    assert_eq!(claims.tags.len(), 1);
    assert_eq!(claims.tags["team"], "doors");
    // Neither the inherited tag nor the source identity can be set again.
    let again = bench
        .ask(
            &first,
            "AssumeRole",
            &with(&[("Tags.member.1.Key", "Team"), ("Tags.member.1.Value", "x")]),
        )
        .await;
    assert_eq!(again.code(), "ValidationError");
    let again = bench
        .ask(&first, "AssumeRole", &with(&[("SourceIdentity", "bob")]))
        .await;
    assert_eq!(again.code(), "AccessDenied");
}

#[tokio::test]
async fn chained_sessions_live_an_hour_at_most() {
    let bench = Bench::new().await;
    bench.role("middle", TRUST_ACCOUNT, ASSUME_READER).await;
    let middle = with(&[("RoleArn", "arn:aws:iam::123456789012:role/middle")]);
    let first = bench.ask(&bench.ann().await, "AssumeRole", &middle).await;
    let first = bench.session(&first).await.expect("a caller");
    let long = bench
        .ask(&first, "AssumeRole", &with(&[("DurationSeconds", "3601")]))
        .await;
    assert_eq!(long.code(), "ValidationError");
    let hour = bench
        .ask(&first, "AssumeRole", &with(&[("DurationSeconds", "3600")]))
        .await;
    assert_eq!(hour.status, 200, "{hour:?}");
}

#[tokio::test]
async fn tags_and_source_identities_need_permissions_of_their_own() {
    let bench = Bench::new().await;
    let only = ASSUME_READER.replace(r#","sts:TagSession","sts:SetSourceIdentity""#, "");
    bench.user("eve", &only).await;
    let eve = bench.key_of("eve").await;
    assert_eq!(bench.ask(&eve, "AssumeRole", &ASK).await.status, 200);
    for more in [
        &[("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "b")][..],
        &[("SourceIdentity", "somebody")],
    ] {
        let answer = bench.ask(&eve, "AssumeRole", &with(more)).await;
        assert_eq!(answer.code(), "AccessDenied", "{more:?}");
    }
}

#[tokio::test]
async fn a_role_made_anew_under_its_name_does_not_inherit_sessions() {
    let bench = Bench::new().await;
    let answer = bench.ask(&bench.ann().await, "AssumeRole", &ASK).await;
    bench
        .write(|tx| {
            tx.execute(
                "UPDATE roles SET id = 'AROAother' WHERE name = 'reader'",
                [],
            )?;
            Ok(())
        })
        .await;
    assert_eq!(
        bench.session(&answer).await.err(),
        Some(SessionRefusal::Gone)
    );
}

#[tokio::test]
async fn what_a_role_may_no_longer_do_its_sessions_may_not_either() {
    let bench = Bench::new().await;
    let answer = bench.ask(&bench.ann().await, "AssumeRole", &ASK).await;
    let before = bench.session(&answer).await.expect("a caller");
    assert!(may(&before, "panorama:ListDevices"));
    bench
        .write(|tx| {
            inline_policies::delete(tx, ACCOUNT, &Holder::role("AROAreader"), "p")?;
            Ok(())
        })
        .await;
    let after = bench.session(&answer).await.expect("a caller");
    assert!(!may(&after, "panorama:ListDevices"));
}

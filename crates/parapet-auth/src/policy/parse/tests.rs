use super::*;

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text, PolicyKind::Managed)
}

/// A document of one statement with these elements.
fn with(elements: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{{{elements}}}]}}"#)
}

fn refusal(text: &str) -> String {
    let error = parse(text).expect_err(text);
    match std::error::Error::source(&error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

const ALLOW: &str = r#""Effect":"Allow","Action":"*","Resource":"*""#;

#[test]
fn documents_of_every_shape_are_read() {
    for text in [
        Policy::ADMINISTRATOR.to_owned(),
        with(ALLOW),
        r#"{"Statement":{"Effect":"Deny","NotAction":["a:b"],"NotResource":["*"]}}"#.to_owned(),
        r#"{"Version":"2008-10-17","Id":"x","Statement":[{"Sid":"","Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::123456789012:user/${aws:username}"}]}"#.to_owned(),
        with(&format!(r#"{ALLOW},"Condition":{{}}"#)),
        with(&format!(r#"{ALLOW},"Condition":{{"Bool":{{"aws:SecureTransport":true}},"NumericLessThan":{{"aws:MultiFactorAuthAge":3600}}}}"#)),
    ] {
        assert!(parse(&text).is_ok(), "{text}: {}", refusal(&text));
    }
}

/// Attack P3; iam-rs probe 12: `Conditions` was an unconditional Allow.
#[test]
fn unknown_elements_are_refused_by_name() {
    for (text, name) in [
        (
            with(&format!(r#"{ALLOW},"Conditions":{{}}"#)),
            "Statement[0].Conditions",
        ),
        (
            with(&format!(r#"{ALLOW},"condition":{{}}"#)),
            "Statement[0].condition",
        ),
        (
            r#"{"Version":"2012-10-17","Statements":[]}"#.to_owned(),
            "Statements",
        ),
        (
            with(&format!(
                r#"{ALLOW},"Condition":{{"StringEqual":{{"aws:username":"a"}}}}"#
            )),
            "Statement[0].Condition.StringEqual",
        ),
        (
            with(&format!(
                r#"{ALLOW},"Condition":{{"StringEquals":{{"aws:usrname":"a"}}}}"#
            )),
            "Statement[0].Condition.StringEquals.aws:usrname",
        ),
    ] {
        let refusal = refusal(&text);
        assert!(refusal.contains(&format!(": {name}")), "{refusal}");
    }
}

/// Attack P3.
#[test]
fn duplicate_keys_are_refused() {
    for elements in [
        format!(r#"{ALLOW},"Effect":"Deny""#),
        format!(r#"{ALLOW},"NotAction":"a:b""#),
        format!(r#"{ALLOW},"NotResource":"*""#),
        format!(
            r#"{ALLOW},"Condition":{{"Bool":{{"aws:SecureTransport":"true","AWS:securetransport":"false"}}}}"#
        ),
        format!(r#"{ALLOW},"Condition":{{"Bool":{{"a:b":"true"}},"Bool":{{"a:c":"true"}}}}"#),
    ] {
        parse(&with(&elements)).expect_err(&elements);
    }
}

/// Attack P3.
#[test]
fn a_megabyte_is_refused_before_it_is_read() {
    let megabyte = with(&format!(r#"{ALLOW},"Sid":"{}""#, "a".repeat(1_000_000)));
    assert!(matches!(parse(&megabyte), Err(PolicyError::TooLong { .. })));
    let blank = format!("{}{}", " ".repeat(200_000), Policy::ADMINISTRATOR);
    assert!(matches!(parse(&blank), Err(PolicyError::TooLong { .. })));
    let nested = with(&format!(
        r#"{ALLOW},"Condition":{}{}"#,
        "[".repeat(2_500),
        "]".repeat(2_500)
    ));
    assert!(refusal(&nested).contains("nested"));
}

#[test]
fn each_kind_has_its_quota_without_white_space() {
    for (kind, quota) in [
        (PolicyKind::Managed, 6_144),
        (PolicyKind::InlineUser, 2_048),
        (PolicyKind::InlineRole, 10_240),
        (PolicyKind::InlineGroup, 5_120),
        (PolicyKind::Session, 2_048),
    ] {
        let most = |extra: usize| {
            let rest = with(&format!(r#"{ALLOW},"Sid":"""#)).len();
            with(&format!(
                r#"{ALLOW}, "Sid" :   "{}""#,
                "a".repeat(quota + extra - rest)
            ))
        };
        assert!(Policy::parse(&most(0), kind).is_ok());
        match Policy::parse(&most(1), kind) {
            Err(PolicyError::TooLong {
                characters,
                quota: named,
            }) => {
                assert_eq!((characters, named), (quota + 1, quota));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(PolicyKind::Trust.quota(), 2_048);
}

#[test]
fn what_is_missing_or_malformed_is_refused() {
    for text in [
        "[]",
        "",
        "null",
        r#"{"Version":"2012-10-17"}"#,
        r#"{"Version":"2012-10-17","Statement":[]}"#,
        r#"{"Version":"2026-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
        r#"{"Version":20121017,"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
        &with(r#""Effect":"allow","Action":"*","Resource":"*""#),
        &with(r#""Action":"*","Resource":"*""#),
        &with(r#""Effect":"Allow","Resource":"*""#),
        &with(r#""Effect":"Allow","Action":"*""#),
        &with(r#""Effect":"Allow","Action":[],"Resource":"*""#),
        &with(r#""Effect":"Allow","Action":"*","Resource":[]"#),
        &with(r#""Effect":"Allow","Action":["*",1],"Resource":"*""#),
        &with(r#""Effect":"Allow","Action":[["*"]],"Resource":"*""#),
        &with(r#""Effect":"Allow","Action":"panorama","Resource":"*""#),
        &with(r#""Effect":"Allow","Action":"panorama:","Resource":"*""#),
        &with(r#""Effect":"Allow","Action":"pan*:Create","Resource":"*""#),
        &with(r#""Effect":"Allow","Action":"panorama:${aws:username}","Resource":"*""#),
        &with(r#""Effect":"Allow","Action":"*","Resource":"device/*""#),
        &with(r#""Effect":"Allow","Action":"*","Resource":"${aws:SourceArn}""#),
        &with(r#""Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username""#),
        &with(r#""Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:usrname}""#),
        &with(&format!(r#"{ALLOW},"Sid":"a b""#)),
        &with(&format!(r#"{ALLOW},"Sid":1"#)),
        &with(&format!(r#"{ALLOW},"Principal":"*""#)),
        &with(&format!(r#"{ALLOW},"Condition":[]"#)),
        &with(&format!(r#"{ALLOW},"Condition":{{"Bool":{{}}}}"#)),
        &with(&format!(
            r#"{ALLOW},"Condition":{{"Bool":"aws:SecureTransport"}}"#
        )),
        &with(&format!(
            r#"{ALLOW},"Condition":{{"StringEquals":{{"aws:username":[]}}}}"#
        )),
        &with(&format!(
            r#"{ALLOW},"Condition":{{"StringEquals":{{"aws:username":null}}}}"#
        )),
        &with(&format!(
            r#"{ALLOW},"Condition":{{"StringEquals":{{"aws:username":[["a"]]}}}}"#
        )),
        r#"{"Statement":[{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with("read a policy: "), "{refusal}");
    }
}

#[test]
fn a_trust_policy_has_a_principal_and_no_resource() {
    let trust = |elements: &str| Policy::parse(&with(elements), PolicyKind::Trust);
    let sts = r#""Effect":"Allow","Action":"sts:AssumeRole""#;
    assert!(trust(&format!(r#"{sts},"Principal":"*""#)).is_ok());
    for elements in [
        sts.to_owned(),
        format!(r#"{sts},"Resource":"*""#),
        format!(r#"{sts},"Principal":"*","Resource":"*""#),
        format!(r#"{sts},"NotPrincipal":"*""#),
        r#""Effect":"Allow","Action":"iam:GetUser","Principal":"*""#.to_owned(),
        r#""Effect":"Allow","Action":"*","Principal":"*""#.to_owned(),
    ] {
        trust(&elements).expect_err(&elements);
    }
}

#[test]
fn the_keys_that_a_policy_asks_for_are_known() {
    let text = with(
        r#""Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username}","Condition":{"StringEquals":{"aws:ResourceTag/Team":"${aws:PrincipalTag/Team}"}}"#,
    );
    let keys: Vec<_> = parse(&text)
        .unwrap()
        .context_keys()
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        keys,
        [
            "aws:PrincipalTag/Team",
            "aws:ResourceTag/Team",
            "aws:username"
        ]
    );
}

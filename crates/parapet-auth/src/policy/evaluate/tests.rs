use super::*;
use crate::policy::{Attached, PolicyKind};

const DEVICE: &str = "arn:aws:panorama:us-west-2:123456789012:device/device-a";

fn policy(name: &str, statements: &str) -> Attached {
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    let policy = Policy::parse(&text, PolicyKind::Managed);
    Attached::new(
        name,
        policy.unwrap_or_else(|error| panic!("{text}: {error}")),
    )
}

fn ask(grants: &Grants, action: &str, resource: &str, context: &Context) -> Decision {
    let question = Question {
        action,
        resource,
        context,
    };
    decide(grants, &question)
}

fn may(statements: &str, action: &str, resource: &str, context: &Context) -> bool {
    let grants = Grants::identity(vec![policy("p", statements)]);
    ask(&grants, action, resource, context).is_allowed()
}

/// Attack P1: every action without policy, by another action's, for another resource, for another
/// account, and by tag.
#[test]
fn every_action_is_denied_but_by_its_own_policy() {
    for action in crate::policy::actions::ACTIONS {
        let name = action.name;
        let (service, _) = name.split_once(':').expect("a service");
        let resource = match action.resources.first() {
            None => "*".to_owned(),
            Some(kind) => format!("arn:aws:{service}:us-west-2:123456789012:{kind}/one"),
        };
        let other = format!("arn:aws:{service}:us-west-2:123456789012:other/*");
        let account = format!("arn:aws:{service}:*:999999999999:*");
        let context = Context::new().with("aws:ResourceTag/Team", "red");
        let tag = |team: &str| {
            format!(
                r#"{{"Effect":"Allow","Action":"{name}","Resource":"*","Condition":{{"StringEquals":{{"aws:ResourceTag/Team":"{team}"}}}}}}"#
            )
        };
        let on = |resource: &str| {
            format!(r#"{{"Effect":"Allow","Action":"{name}","Resource":"{resource}"}}"#)
        };
        let no_policy = Grants::identity(Vec::new());
        assert!(!ask(&no_policy, name, &resource, &context).is_allowed());
        for (statement, opens) in [
            (on("*"), true),
            (on(&resource), true),
            (tag("red"), true),
            (tag("blue"), false),
            (on(&other), false),
            (on(&account), false),
            (
                format!(r#"{{"Effect":"Allow","NotAction":"{name}","Resource":"*"}}"#),
                false,
            ),
        ] {
            let opened = may(&statement, name, &resource, &context);
            assert_eq!(opened, opens, "{name} on {resource} by {statement}");
        }
    }
}

#[test]
fn silence_denies() {
    assert_eq!(
        ask(
            &Grants::identity(Vec::new()),
            "panorama:ListDevices",
            "*",
            &Context::new()
        ),
        Decision::Denied(Denial::NoAllow(Layer::Identity))
    );
}

#[test]
fn the_root_is_not_restricted() {
    let decision = ask(&Grants::Root, "parapet:ViewStream", DEVICE, &Context::new());
    assert_eq!(decision, Decision::Allowed { by: Vec::new() });
}

/// Attack P1: wrong action, wrong resource, other account.
#[test]
fn an_allow_is_for_its_action_and_its_resource_only() {
    let statement = r#"{"Effect":"Allow","Action":["PANORAMA:describe?evice"],"Resource":"arn:aws:panorama:*:123456789012:device/*"}"#;
    let nothing = Context::new();
    let may = |action, resource: &str| may(statement, action, resource, &nothing);
    assert!(may("panorama:DescribeDevice", DEVICE));
    assert!(!may("panorama:DeleteDevice", DEVICE));
    assert!(!may(
        "panorama:DescribeDevice",
        &DEVICE.replace("device/", "package/")
    ));
    assert!(!may(
        "panorama:DescribeDevice",
        &DEVICE.replace("1234", "9234")
    ));
    assert!(!may(
        "panorama:DescribeDevice",
        &DEVICE.to_uppercase().replace("ARN", "arn")
    ));
    assert!(!may("panorama:DescribeDevice", "*"));
}

/// iam-rs probe 13.
#[test]
fn actions_without_resource_ask_for_everything() {
    let nothing = Context::new();
    let list = |resource: &str| {
        format!(r#"{{"Effect":"Allow","Action":"panorama:ListDevices","Resource":"{resource}"}}"#)
    };
    assert!(may(&list("*"), "panorama:ListDevices", "*", &nothing));
    assert!(!may(
        &list("arn:aws:panorama:*:*:device/*"),
        "panorama:ListDevices",
        "*",
        &nothing
    ));
    assert!(!may(&list("arn:*"), "panorama:ListDevices", "*", &nothing));
}

#[test]
fn a_resource_that_is_no_arn_is_denied() {
    let grants = Grants::identity(vec![policy(
        "p",
        r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#,
    )]);
    for resource in ["", "device-a", "arn:aws:s3:bucket", "ARN:aws:s3:::b"] {
        let decision = ask(&grants, "s3:GetObject", resource, &Context::new());
        assert_eq!(decision, Decision::Denied(Denial::NoArn), "{resource}");
    }
}

/// Attack P5.
#[test]
fn whoever_may_create_instances_may_not_pass_roles() {
    let role = "arn:aws:iam::123456789012:role/app";
    let context = Context::new().with("iam:PassedToService", "panorama.amazonaws.com");
    let create = r#"{"Effect":"Allow","Action":"panorama:*","Resource":"*"}"#;
    assert!(!may(create, "iam:PassRole", role, &context));
    let pass = r#"{"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::*:role/app","Condition":{"StringEquals":{"iam:PassedToService":"panorama.amazonaws.com"}}}"#;
    assert!(may(pass, "iam:PassRole", role, &context));
    assert!(!may(pass, "iam:PassRole", role, &Context::new()));
    assert!(!may(
        pass,
        "iam:PassRole",
        "arn:aws:iam::123456789012:role/admin",
        &context
    ));
}

#[test]
fn panorama_does_not_contain_what_goes_beyond_it() {
    let all = r#"{"Effect":"Allow","Action":"panorama:*","Resource":"*"}"#;
    let nothing = Context::new();
    assert!(may(all, "panorama:CreatePackage", "*", &nothing));
    assert!(!may(all, "parapet:ViewStream", DEVICE, &nothing));
}

#[test]
fn a_deny_wins_wherever_it_stands() {
    let allow = policy("allow", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#);
    let deny = policy(
        "deny",
        r#"{"Sid":"Keep","Effect":"Deny","Action":"panorama:Delete*","Resource":"*"}"#,
    );
    let nothing = Context::new();
    let both = vec![deny.clone(), allow.clone()];
    for grants in [
        Grants::identity(both.clone()),
        Grants::identity(both.into_iter().rev().collect()),
        Grants::Policies {
            identity: vec![allow.clone()],
            boundary: Some(deny.clone()),
            session: None,
        },
        Grants::Policies {
            identity: vec![allow.clone()],
            boundary: None,
            session: Some(vec![allow.clone(), deny.clone()]),
        },
    ] {
        match ask(&grants, "panorama:DeleteDevice", DEVICE, &nothing) {
            Decision::Denied(Denial::Explicit(statement)) => {
                assert_eq!(statement.sid.as_deref(), Some("Keep"));
                assert_eq!((&*statement.policy, statement.index), ("deny", 0));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Attack P6.
#[test]
fn boundary_and_session_take_away_and_never_give() {
    let policies = |actions: &str| {
        policy(
            "p",
            &format!(r#"{{"Effect":"Allow","Action":"panorama:{actions}","Resource":"*"}}"#),
        )
    };
    let nothing = Context::new();
    let grants = Grants::Policies {
        identity: vec![policies("D*")],
        boundary: Some(policies("De*")),
        session: Some(vec![
            policies("DescribeDevice"),
            policies("DescribePackage"),
        ]),
    };
    let ask = |action| ask(&grants, action, "*", &nothing);
    assert!(ask("panorama:DescribeDevice").is_allowed());
    assert!(ask("panorama:DescribePackage").is_allowed());
    assert_eq!(
        ask("panorama:DescribeNode"),
        Decision::Denied(Denial::NoAllow(Layer::Session))
    );
    assert_eq!(
        ask("panorama:ListDevices"),
        Decision::Denied(Denial::NoAllow(Layer::Identity))
    );
    let wide = policy("wide", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#);
    for grants in [
        Grants::Policies {
            identity: Vec::new(),
            boundary: Some(wide.clone()),
            session: Some(vec![wide.clone()]),
        },
        Grants::Policies {
            identity: vec![wide.clone()],
            boundary: Some(policies("X")),
            session: Some(vec![wide.clone()]),
        },
        Grants::Policies {
            identity: vec![wide.clone()],
            boundary: None,
            session: Some(Vec::new()),
        },
    ] {
        let question = Question {
            action: "panorama:ListDevices",
            resource: "*",
            context: &nothing,
        };
        assert!(!decide(&grants, &question).is_allowed());
    }
}

/// Attack P6: a session narrowed with nothing but a Deny (`deny_only` elsewhere) may do nothing.
#[test]
fn a_session_policy_of_denials_only_allows_nothing() {
    let wide = policy("wide", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#);
    let deny = policy(
        "deny",
        r#"{"Effect":"Deny","Action":"iam:*","Resource":"*"}"#,
    );
    let grants = Grants::Policies {
        identity: vec![wide],
        boundary: None,
        session: Some(vec![deny]),
    };
    assert_eq!(
        ask(&grants, "panorama:ListDevices", "*", &Context::new()),
        Decision::Denied(Denial::NoAllow(Layer::Session))
    );
}

/// Attack P1, tag condition; attack P2.
#[test]
fn tags_open_what_they_name_and_no_more() {
    let statement = r#"{"Effect":"Allow","Action":"panorama:*","Resource":"arn:aws:panorama:*:*:device/*","Condition":{"StringEquals":{"aws:ResourceTag/Team":"${aws:PrincipalTag/Team}"}}}"#;
    let ask = |principal: &str, resource: &str| {
        let mut context = Context::new();
        context.add_tags("aws:PrincipalTag/", [("Team", principal)]);
        context.add_tags("aws:ResourceTag/", [("team", resource)]);
        may(statement, "panorama:DeleteDevice", DEVICE, &context)
    };
    assert!(ask("red", "red"));
    assert!(!ask("red", "blue"));
    for trick in ["*", "?ed", "${*}", "../red", "${aws:ResourceTag/Team}"] {
        assert!(!ask(trick, "red"), "{trick}");
    }
    assert!(!may(
        statement,
        "panorama:DeleteDevice",
        DEVICE,
        &Context::new()
    ));
}

/// iam-rs probe 1: a tag's value of `*` opened every team's path.
#[test]
fn a_tag_of_star_opens_no_other_path() {
    let statement = r#"{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/${aws:PrincipalTag/team}/*"}"#;
    let ask = |tag: &str, key: &str| {
        let context = Context::new().with("aws:PrincipalTag/team", tag);
        may(
            statement,
            "s3:GetObject",
            &format!("arn:aws:s3:::bucket/{key}"),
            &context,
        )
    };
    assert!(ask("red", "red/x"));
    assert!(!ask("*", "red/x"));
    assert!(ask("*", "*/x"));
    let nothing = Context::new();
    assert!(!may(
        statement,
        "s3:GetObject",
        "arn:aws:s3:::bucket//x",
        &nothing
    ));
}

#[test]
fn not_action_and_not_resource_speak_of_everything_else() {
    let statement =
        r#"{"Effect":"Allow","NotAction":"iam:*","NotResource":"arn:aws:s3:::secret/*"}"#;
    let nothing = Context::new();
    assert!(may(
        statement,
        "s3:GetObject",
        "arn:aws:s3:::open/x",
        &nothing
    ));
    assert!(may(statement, "panorama:ListDevices", "*", &nothing));
    assert!(!may(
        statement,
        "s3:GetObject",
        "arn:aws:s3:::secret/x",
        &nothing
    ));
    assert!(!may(statement, "IAM:GetUser", "*", &nothing));
}

#[test]
fn not_resource_with_an_unknown_variable_never_opens() {
    let statement = |effect: &str| {
        let allow = r#"{"Sid":"all","Effect":"Allow","Action":"*","Resource":"*"}"#;
        let not = format!(
            r#"{{"Effect":"{effect}","Action":"s3:*","NotResource":"arn:aws:s3:::${{aws:username}}"}}"#
        );
        if effect == "Deny" {
            format!("{allow},{not}")
        } else {
            not
        }
    };
    let (nothing, ann) = (Context::new(), Context::new().with("aws:username", "ann"));
    let ask = |effect, context| {
        may(
            &statement(effect),
            "s3:GetObject",
            "arn:aws:s3:::bob",
            context,
        )
    };
    assert!(!ask("Allow", &nothing));
    assert!(ask("Allow", &ann));
    assert!(!ask("Deny", &nothing));
    assert!(!ask("Deny", &ann));
}

#[test]
fn the_older_version_knows_no_variables() {
    let text = r#"{"Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}"}]}"#;
    let grants = Grants::identity(vec![Attached::new(
        "old",
        Policy::parse(text, PolicyKind::Managed).unwrap(),
    )]);
    let ann = Context::new().with("aws:username", "ann");
    assert!(!ask(&grants, "s3:GetObject", "arn:aws:s3:::ann", &ann).is_allowed());
    assert!(
        ask(
            &grants,
            "s3:GetObject",
            "arn:aws:s3:::${aws:username}",
            &ann
        )
        .is_allowed()
    );
}

#[test]
fn conditions_of_a_statement_must_all_be_met() {
    let statement = r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"},"Bool":{"aws:SecureTransport":"true","aws:MultiFactorAuthPresent":"true"}}}"#;
    let whole = Context::new()
        .with("aws:SourceIp", "192.0.2.9")
        .with("aws:SecureTransport", "true")
        .with("aws:MultiFactorAuthPresent", "true");
    assert!(may(statement, "a:B", "*", &whole));
    for (key, value) in [
        ("aws:SourceIp", "198.51.100.1"),
        ("aws:SecureTransport", "false"),
        ("aws:MultiFactorAuthPresent", "false"),
    ] {
        assert!(
            !may(statement, "a:B", "*", &whole.clone().with(key, value)),
            "{key}"
        );
    }
}

#[test]
fn what_cannot_be_judged_denies_whatever_else_allows() {
    let allow = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    let bad = r#"{"Sid":"Level","Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"NumericLessThan":{"aws:ResourceTag/Level":"5"},"Bool":{"aws:SecureTransport":"true"}}}"#;
    let grants = Grants::identity(vec![policy("p", &format!("{allow},{bad}"))]);
    let context = Context::new()
        .with("aws:ResourceTag/Level", "high")
        .with("aws:SecureTransport", "true");
    match ask(&grants, "s3:GetObject", "*", &context) {
        Decision::Denied(Denial::Unjudged { statement, why }) => {
            assert_eq!(statement.sid.as_deref(), Some("Level"));
            assert!(why.contains("needs a number"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    // Not asked: another action; or another condition of the statement is not met anyway.
    assert!(ask(&grants, "iam:GetUser", "*", &context).is_allowed());
    let plain = context.with("aws:SecureTransport", "false");
    assert!(ask(&grants, "s3:GetObject", "*", &plain).is_allowed());
}

/// Attack P10: a decision is made of one snapshot; policies that change make new grants.
#[test]
fn grants_do_not_change_while_they_are_asked() {
    let allow = policy("p", r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#);
    let before = std::sync::Arc::new(Grants::identity(vec![allow]));
    let held = before.clone();
    let after = std::sync::Arc::new(Grants::identity(Vec::new()));
    assert!(ask(&held, "a:B", "*", &Context::new()).is_allowed());
    assert!(!ask(&after, "a:B", "*", &Context::new()).is_allowed());
}

#[test]
fn denials_are_worded_as_clients_expect() {
    let (arn, action) = (
        "arn:aws:iam::123456789012:user/ann",
        "panorama:DeleteDevice",
    );
    let begin =
        format!("User: {arn} is not authorized to perform: {action} on resource: {DEVICE} ");
    let statement = |layer| StatementRef {
        layer,
        policy: "p".into(),
        index: 2,
        sid: None,
    };
    for (denial, end) in [
        (
            Denial::NoAllow(Layer::Identity),
            "because no identity-based policy allows the panorama:DeleteDevice action",
        ),
        (
            Denial::NoAllow(Layer::Boundary),
            "because no permissions boundary allows the panorama:DeleteDevice action",
        ),
        (
            Denial::NoAllow(Layer::Session),
            "because no session policy allows the panorama:DeleteDevice action",
        ),
        (
            Denial::NoAllow(Layer::Trust),
            "because no resource-based policy allows the panorama:DeleteDevice action",
        ),
        (
            Denial::Explicit(statement(Layer::Identity)),
            "with an explicit deny in an identity-based policy",
        ),
        (
            Denial::Explicit(statement(Layer::Boundary)),
            "with an explicit deny in a permissions boundary",
        ),
        (
            Denial::Explicit(statement(Layer::Session)),
            "with an explicit deny in a session policy",
        ),
    ] {
        assert_eq!(denial.message(arn, action, DEVICE), format!("{begin}{end}"));
    }
    let why = Denial::Explicit(statement(Layer::Identity)).explanation(action, DEVICE);
    assert!(
        why.ends_with("denied by statement number 3 of identity-based policy \"p\""),
        "{why}"
    );
}

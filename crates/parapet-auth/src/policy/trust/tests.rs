use super::*;
use crate::policy::StatementRef;
use crate::policy::{Attached, PolicyKind};
use crate::principal::PrincipalKind;

const ACCOUNT: &str = "123456789012";
const ROLE: &str = "arn:aws:iam::123456789012:role/target";

fn user() -> Principal {
    Principal {
        account: ACCOUNT.to_owned(),
        kind: PrincipalKind::User {
            id: "AIDAX".to_owned(),
            path: "/team/".to_owned(),
            name: "ann".to_owned(),
        },
    }
}

fn session() -> Principal {
    Principal {
        account: ACCOUNT.to_owned(),
        kind: PrincipalKind::AssumedRole {
            role_id: "AROAX".to_owned(),
            path: "/service-role/".to_owned(),
            role: "reader".to_owned(),
            session: "one".to_owned(),
        },
    }
}

fn trusting(principal: &str) -> Policy {
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole*","Principal":{principal}}}]}}"#
    );
    Policy::parse(&text, PolicyKind::Trust).unwrap_or_else(|error| panic!("{principal}: {error}"))
}

fn policy(effect: &str, action: &str) -> Attached {
    let text = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"{effect}","Action":"{action}","Resource":"*"}}]}}"#
    );
    Attached::new("p", Policy::parse(&text, PolicyKind::Managed).unwrap())
}

fn assume(grants: &Grants, principal: &Principal, trust: &Policy) -> Decision {
    let question = Question {
        action: "sts:AssumeRole",
        resource: ROLE,
        context: &Context::new(),
    };
    decide_assume(grants, principal, trust, ACCOUNT, &question)
}

fn trusts(trust: &Policy, principal: &Principal) -> bool {
    let asker = Asker::Principal(principal);
    decide_trust(trust, ACCOUNT, &asker, "sts:AssumeRole", &Context::new()).is_allowed()
}

/// iam-rs probes 8 to 10.
#[test]
fn accounts_users_roles_and_sessions_are_named_as_in_the_original() {
    for (principal, covers_user, covers_session) in [
        (r#""*""#, true, true),
        (r#"{"AWS":"*"}"#, true, true),
        (r#"{"AWS":"123456789012"}"#, true, true),
        (r#"{"AWS":"arn:aws:iam::123456789012:root"}"#, true, true),
        (r#"{"AWS":"999999999999"}"#, false, false),
        (
            r#"{"AWS":"arn:aws:iam::123456789012:user/team/ann"}"#,
            true,
            false,
        ),
        (
            r#"{"AWS":"arn:aws:iam::123456789012:user/ann"}"#,
            false,
            false,
        ),
        (
            r#"{"AWS":"arn:aws:iam::123456789012:role/service-role/reader"}"#,
            false,
            true,
        ),
        (
            r#"{"AWS":"arn:aws:iam::123456789012:role/reader"}"#,
            false,
            false,
        ),
        (
            r#"{"AWS":"arn:aws:sts::123456789012:assumed-role/reader/one"}"#,
            false,
            true,
        ),
        (
            r#"{"AWS":"arn:aws:sts::123456789012:assumed-role/reader/two"}"#,
            false,
            false,
        ),
        (r#"{"Service":"panorama.amazonaws.com"}"#, false, false),
        (
            r#"{"AWS":["999999999999","arn:aws:iam::123456789012:user/team/ann"]}"#,
            true,
            false,
        ),
    ] {
        let trust = trusting(principal);
        assert_eq!(trusts(&trust, &user()), covers_user, "{principal}");
        assert_eq!(trusts(&trust, &session()), covers_session, "{principal}");
    }
}

/// iam-rs probe 11.
#[test]
fn principals_are_named_one_by_one() {
    for principal in [
        r#"{"AWS":"arn:aws:iam::123456789012:user/*"}"#,
        r#"{"AWS":"arn:aws:iam::*:root"}"#,
        r#"{"AWS":"arn:aws:iam::123456789012:group/g"}"#,
        r#"{"AWS":"arn:aws:iam::123456789012:user/"}"#,
        r#"{"AWS":"arn:aws:sts::123456789012:assumed-role/reader"}"#,
        r#"{"AWS":"arn:aws:iam::123456789012:user/${aws:username}"}"#,
        r#"{"AWS":"ann"}"#,
        r#"{"AWS":"12345678901"}"#,
        r#"{"AWS":[]}"#,
        r#"{"Aws":"123456789012"}"#,
        r#"{"CanonicalUser":"x"}"#,
        r#"{"Federated":"login.example.com"}"#,
        r#"{"Federated":"arn:aws:iam::123456789012:oidc-provider/*"}"#,
        r#"{"Service":"panorama"}"#,
        r#"{"Service":"*.amazonaws.com"}"#,
        "{}",
        r#""123456789012""#,
        "[]",
    ] {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{principal}}}]}}"#
        );
        let error = Policy::parse(&text, PolicyKind::Trust).expect_err(principal);
        assert!(error.to_string().contains("Principal"), "{error}");
    }
}

#[test]
fn a_trust_in_the_account_or_in_everybody_only_delegates() {
    for principal in [
        r#"{"AWS":"123456789012"}"#,
        r#"{"AWS":"arn:aws:iam::123456789012:root"}"#,
        r#"{"AWS":"*"}"#,
        r#""*""#,
    ] {
        let trust = trusting(principal);
        for asker in [user(), session()] {
            let silent = assume(&Grants::identity(Vec::new()), &asker, &trust);
            assert_eq!(silent, Decision::Denied(Denial::NoAllow(Layer::Identity)));
            let allowed = Grants::identity(vec![policy("Allow", "sts:AssumeRole")]);
            match assume(&allowed, &asker, &trust) {
                Decision::Allowed { by } => {
                    let layers: Vec<_> = by.iter().map(|statement| statement.layer).collect();
                    assert_eq!(layers, [Layer::Trust, Layer::Identity]);
                }
                Decision::Denied(denial) => panic!("{denial:?}"),
            }
        }
    }
}

#[test]
fn a_trust_in_the_principal_itself_is_enough_unless_it_is_denied() {
    let nothing = Grants::Policies {
        identity: Vec::new(),
        boundary: Some(policy("Allow", "panorama:*")),
        session: Some(Vec::new()),
    };
    let (ann, one, reader) = (
        trusting(r#"{"AWS":"arn:aws:iam::123456789012:user/team/ann"}"#),
        trusting(r#"{"AWS":"arn:aws:sts::123456789012:assumed-role/reader/one"}"#),
        trusting(r#"{"AWS":"arn:aws:iam::123456789012:role/service-role/reader"}"#),
    );
    assert!(assume(&nothing, &user(), &ann).is_allowed());
    assert!(assume(&nothing, &session(), &one).is_allowed());
    // The role's ARN leaves boundary and session policies in force.
    assert_eq!(
        assume(&nothing, &session(), &reader),
        Decision::Denied(Denial::NoAllow(Layer::Boundary))
    );
    assert!(assume(&Grants::identity(Vec::new()), &session(), &reader).is_allowed());
    let denied = Grants::identity(vec![policy("Deny", "sts:*")]);
    assert!(matches!(
        assume(&denied, &user(), &ann),
        Decision::Denied(Denial::Explicit(StatementRef {
            layer: Layer::Identity,
            ..
        }))
    ));
}

#[test]
fn the_closest_of_several_trusts_counts() {
    let trust = trusting(r#"{"AWS":["123456789012","arn:aws:iam::123456789012:user/team/ann"]}"#);
    assert!(assume(&Grants::identity(Vec::new()), &user(), &trust).is_allowed());
}

#[test]
fn providers_and_services_need_the_trust_policy_only() {
    let context = Context::new();
    let provider = "arn:aws:iam::123456789012:oidc-provider/login.example.com";
    let trust = trusting(&format!(
        r#"{{"Federated":"{provider}","Service":"panorama.amazonaws.com"}}"#
    ));
    let asks = |asker| {
        decide_trust(
            &trust,
            ACCOUNT,
            &asker,
            "sts:AssumeRoleWithWebIdentity",
            &context,
        )
    };
    assert!(asks(Asker::Federated(provider)).is_allowed());
    assert!(
        !asks(Asker::Federated(
            "arn:aws:iam::123456789012:oidc-provider/login"
        ))
        .is_allowed()
    );
    assert!(asks(Asker::Service("panorama.amazonaws.com")).is_allowed());
    assert!(!asks(Asker::Service("s3.amazonaws.com")).is_allowed());
}

#[test]
fn foreign_accounts_and_the_root_are_refused_with_the_reason() {
    let everybody = trusting(r#""*""#);
    let mut foreign = user();
    foreign.account = "999999999999".to_owned();
    let decision = assume(&Grants::Root, &foreign, &everybody);
    let denial = decision.denial().expect("denied");
    assert_eq!(
        *denial,
        Denial::OtherAccount {
            account: "999999999999".to_owned()
        }
    );
    assert!(
        denial
            .message(&foreign.arn(), "sts:AssumeRole", ROLE)
            .contains("serves one")
    );
    let root = Principal {
        account: ACCOUNT.to_owned(),
        kind: PrincipalKind::Root,
    };
    assert_eq!(
        assume(&Grants::Root, &root, &everybody),
        Decision::Denied(Denial::Root)
    );
}

#[test]
fn a_trust_policy_that_names_another_account_is_told_so() {
    let trust = trusting(r#"{"AWS":["123456789012","arn:aws:iam::999999999999:role/x"]}"#);
    let error = trust.check_account(ACCOUNT).unwrap_err().to_string();
    assert!(error.contains("999999999999"), "{error}");
    assert!(
        trusting(r#"{"AWS":"123456789012"}"#)
            .check_account(ACCOUNT)
            .is_ok()
    );
    assert!(
        trusting(r#"{"Service":"panorama.amazonaws.com"}"#)
            .check_account(ACCOUNT)
            .is_ok()
    );
}

#[test]
fn conditions_of_a_trust_policy_count() {
    let text = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::123456789012:user/team/ann"},"Condition":{"StringEquals":{"sts:ExternalId":"x"}}}]}"#;
    let trust = Policy::parse(text, PolicyKind::Trust).unwrap();
    let ask = |context: &Context| {
        let asker = user();
        decide_trust(
            &trust,
            ACCOUNT,
            &Asker::Principal(&asker),
            "sts:AssumeRole",
            context,
        )
        .is_allowed()
    };
    assert!(!ask(&Context::new()));
    assert!(!ask(&Context::new().with("sts:ExternalId", "y")));
    assert!(ask(&Context::new().with("sts:ExternalId", "x")));
}

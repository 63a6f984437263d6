//! What policies would say: the pure part of `SimulatePrincipalPolicy` and `SimulateCustomPolicy`.

use std::collections::BTreeSet;

use super::evaluate::{Asked, layers};
use super::{Attached, Context, Decision, Denial, Grants, Policy, Question, StatementRef, decide};

/// The answer for one action on one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// As it was asked.
    pub action: String,
    /// As it was asked.
    pub resource: String,
    /// What the policies say.
    pub decision: Decision,
    /// Every statement that speaks of the question with its conditions met, allowing and denying.
    pub matched: Vec<StatementRef>,
    /// Whether the permissions boundary, asked alone, allows it; `None` without one.
    pub boundary_allows: Option<bool>,
    /// Condition keys that the policies ask for and the context lacks, as the policies write them.
    pub missing_context: Vec<String>,
}

impl Decision {
    /// As the simulator's answer calls it: `allowed`, `explicitDeny` or `implicitDeny`.
    #[must_use]
    pub fn simulator_name(&self) -> &'static str {
        match self {
            Self::Allowed { .. } => "allowed",
            Self::Denied(Denial::Explicit(_)) => "explicitDeny",
            Self::Denied(_) => "implicitDeny",
        }
    }
}

/// Asks for each action on each resource, in this order. With no resources, `*` is asked, as in the
/// original. The caller bounds both lists.
#[must_use]
pub fn simulate(
    grants: &Grants,
    actions: &[String],
    resources: &[String],
    context: &Context,
) -> Vec<Simulated> {
    let everything = ["*".to_owned()];
    let resources = if resources.is_empty() {
        &everything
    } else {
        resources
    };
    let missing = missing_context(grants, context);
    actions
        .iter()
        .flat_map(|action| resources.iter().map(move |resource| (action, resource)))
        .map(|(action, resource)| {
            let question = Question {
                action,
                resource,
                context,
            };
            Simulated {
                action: action.clone(),
                resource: resource.clone(),
                decision: decide(grants, &question),
                matched: matched(grants, &question),
                boundary_allows: boundary(grants).map(|it| allows(it, &question)),
                missing_context: missing.clone(),
            }
        })
        .collect()
}

fn boundary(grants: &Grants) -> Option<&Attached> {
    match grants {
        Grants::Root => None,
        Grants::Policies { boundary, .. } => boundary.as_ref(),
    }
}

/// What one policy says when no other is asked.
fn allows(policy: &Attached, question: &Question<'_>) -> bool {
    decide(&Grants::identity(vec![policy.clone()]), question).is_allowed()
}

fn matched(grants: &Grants, question: &Question<'_>) -> Vec<StatementRef> {
    let Ok(asked) = Asked::new(question) else {
        return Vec::new();
    };
    let mut matched = Vec::new();
    for (layer, policies) in layers(grants) {
        for attached in policies {
            for (index, statement) in attached.policy.statements.iter().enumerate() {
                if statement.applies(&asked) == Ok(true) {
                    matched.push(StatementRef {
                        layer,
                        policy: attached.name.clone(),
                        index,
                        sid: statement.sid.clone(),
                    });
                }
            }
        }
    }
    matched
}

fn missing_context(grants: &Grants, context: &Context) -> Vec<String> {
    let keys: BTreeSet<&str> = layers(grants)
        .flat_map(|(_, policies)| policies)
        .flat_map(|attached| Policy::context_keys(&attached.policy))
        .collect();
    keys.into_iter()
        .filter(|key| context.get(key).is_none())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Layer, PolicyKind};

    #[test]
    fn a_simulation_tells_decisions_statements_and_missing_keys() {
        let text = r#"{"Version":"2012-10-17","Statement":[
            {"Sid":"Look","Effect":"Allow","Action":"panorama:Describe*","Resource":"*"},
            {"Effect":"Allow","Action":"panorama:DescribeDevice","Resource":"arn:aws:panorama:*:*:device/*","Condition":{"StringEquals":{"aws:ResourceTag/Team":"${aws:PrincipalTag/Team}"}}},
            {"Effect":"Deny","Action":"panorama:DescribeNode","Resource":"*"}]}"#;
        let policy = Policy::parse(text, PolicyKind::Managed).unwrap();
        let grants = Grants::identity(vec![Attached::new("p", policy)]);
        let actions = [
            "panorama:DescribeDevice",
            "panorama:DescribeNode",
            "panorama:ListDevices",
        ];
        let device = "arn:aws:panorama:us-west-2:123456789012:device/device-a".to_owned();
        let context = Context::new().with("aws:ResourceTag/Team", "red");
        let found = simulate(&grants, &actions.map(str::to_owned), &[device], &context);
        let told: Vec<_> = found
            .iter()
            .map(|it| {
                let indices: Vec<_> = it.matched.iter().map(|it| it.index).collect();
                (it.action.as_str(), it.decision.simulator_name(), indices)
            })
            .collect();
        assert_eq!(
            told,
            [
                (actions[0], "allowed", vec![0]),
                (actions[1], "explicitDeny", vec![0, 2]),
                (actions[2], "implicitDeny", vec![]),
            ]
        );
        assert_eq!(found[0].missing_context, ["aws:PrincipalTag/Team"]);
    }

    #[test]
    fn a_boundary_that_denies_does_not_allow() {
        let text = r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":"panorama:*","Resource":"*"},
            {"Effect":"Deny","Action":"panorama:Delete*","Resource":"*"}]}"#;
        let own = Policy::parse(Policy::ADMINISTRATOR, PolicyKind::Managed).unwrap();
        let own = Attached::new("own", own);
        let boundary = Policy::parse(text, PolicyKind::Managed).unwrap();
        let bounded = Grants::Policies {
            identity: vec![own.clone()],
            boundary: Some(Attached::new("boundary", boundary)),
            session: None,
        };
        let actions = [
            "panorama:ListDevices",
            "panorama:DeleteDevice",
            "iam:GetUser",
        ];
        let told = |grants: &Grants| {
            simulate(grants, &actions.map(str::to_owned), &[], &Context::new())
                .iter()
                .map(|it| it.boundary_allows)
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&bounded), [Some(true), Some(false), Some(false)]);
        assert_eq!(told(&Grants::identity(vec![own])), [None; 3]);
    }

    #[test]
    fn without_resources_everything_is_asked() {
        let policy = Policy::parse(Policy::ADMINISTRATOR, PolicyKind::Managed).unwrap();
        let grants = Grants::Policies {
            identity: vec![Attached::new("p", policy)],
            boundary: None,
            session: Some(Vec::new()),
        };
        let found = simulate(&grants, &["a:B".to_owned()], &[], &Context::new());
        assert_eq!(found[0].resource, "*");
        assert_eq!(
            found[0].decision,
            Decision::Denied(Denial::NoAllow(Layer::Session))
        );
    }
}

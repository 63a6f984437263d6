//! From policies and a question to a decision.
//!
//! Order (IAM user guide, "Policy evaluation logic"): a Deny in any layer denies; then every layer
//! that is there must allow. A statement that speaks of the action and the resource and whose
//! conditions cannot be judged denies too, whatever the others say.

use crate::principal::Caller;

use super::arn::Arn;
use super::parse::{Effect, Listed, Statement};
use super::{Context, Decision, Denial, Grants, Layer, Policy, StatementRef};

/// May this action be done on this resource?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// `panorama:CreatePackage`.
    pub action: &'a str,
    /// An ARN, or `*` where an action has no resource.
    pub resource: &'a str,
    /// What the request is like.
    pub context: &'a Context,
}

/// What the policies say about the question.
#[must_use]
pub fn decide(grants: &Grants, question: &Question<'_>) -> Decision {
    let asked = match Asked::new(question) {
        Ok(asked) => asked,
        Err(denial) => return Decision::Denied(denial),
    };
    let Survey {
        denial,
        by,
        lacking,
    } = survey(grants, &asked);
    match (denial, lacking.first()) {
        (Some(denial), _) => Decision::Denied(denial),
        (None, Some(layer)) => Decision::Denied(Denial::NoAllow(*layer)),
        (None, None) => Decision::Allowed { by },
    }
}

/// What a caller's policies say about `action` on `resource`, when nothing is known of the request
/// but who asks.
#[must_use]
pub fn authorize(caller: &Caller, action: &str, resource: &str) -> Decision {
    let mut context = Context::new();
    caller.describe(&mut context);
    decide(
        &caller.grants,
        &Question {
            action,
            resource,
            context: &context,
        },
    )
}

/// A question made ready to be compared many times.
pub(super) struct Asked<'a> {
    /// In lower case: actions are compared without regard to case, resources with.
    action: String,
    resource: Option<Arn<'a>>,
    context: &'a Context,
}

impl<'a> Asked<'a> {
    /// Refuses a resource that is neither `*` nor an ARN, which no pattern could be held against.
    pub(super) fn new(question: &Question<'a>) -> Result<Self, Denial> {
        let resource = match question.resource {
            "*" => None,
            text => Some(Arn::new(text).ok_or(Denial::NoArn)?),
        };
        Ok(Self {
            action: question.action.to_ascii_lowercase(),
            resource,
            context: question.context,
        })
    }
}

/// What the layers of some grants say.
pub(super) struct Survey {
    /// A Deny, or a statement that could not be judged.
    pub(super) denial: Option<Denial>,
    /// The first allowing statement of each layer that has one.
    pub(super) by: Vec<StatementRef>,
    /// Layers that are there and do not allow.
    pub(super) lacking: Vec<Layer>,
}

pub(super) fn survey(grants: &Grants, asked: &Asked<'_>) -> Survey {
    let mut survey = Survey {
        denial: None,
        by: Vec::new(),
        lacking: Vec::new(),
    };
    for (layer, policies) in layers(grants) {
        let documents = policies.iter().map(|it| (&*it.name, &*it.policy));
        let answer = ask(layer, documents, asked, |_| Some(()));
        match (answer.denial, &survey.denial) {
            (Some(denial @ Denial::Explicit(_)), _) => {
                survey.denial = Some(denial);
                return survey;
            }
            (Some(denial), None) => survey.denial = Some(denial),
            _ => {}
        }
        match answer.allow {
            Some((statement, ())) => survey.by.push(statement),
            None => survey.lacking.push(layer),
        }
    }
    survey
}

/// The layers that are there, in the order in which a lack is reported.
pub(super) fn layers(grants: &Grants) -> impl Iterator<Item = (Layer, &[super::Attached])> {
    let layers = match grants {
        Grants::Root => [None, None, None],
        Grants::Policies {
            identity,
            boundary,
            session,
        } => [
            Some((Layer::Identity, identity.as_slice())),
            boundary
                .as_ref()
                .map(|policy| (Layer::Boundary, std::slice::from_ref(policy))),
            session
                .as_ref()
                .map(|policies| (Layer::Session, policies.as_slice())),
        ],
    };
    layers.into_iter().flatten()
}

/// What the policies of one layer say.
pub(super) struct Answer<R> {
    /// The first Deny, or else the first statement that could not be judged.
    pub(super) denial: Option<Denial>,
    /// The closest allowing statement, the first of equals.
    pub(super) allow: Option<(StatementRef, R)>,
}

/// Asks policies. `rank` says whether a statement speaks of the asker and how closely, least first.
pub(super) fn ask<'a, R: Ord + Copy>(
    layer: Layer,
    policies: impl Iterator<Item = (&'a str, &'a Policy)>,
    asked: &Asked<'_>,
    rank: impl Fn(&Statement) -> Option<R>,
) -> Answer<R> {
    let mut answer = Answer {
        denial: None,
        allow: None,
    };
    for (name, policy) in policies {
        for (index, statement) in policy.statements.iter().enumerate() {
            let Some(rank) = rank(statement) else {
                continue;
            };
            let named = || StatementRef {
                layer,
                policy: name.into(),
                index,
                sid: statement.sid.clone(),
            };
            match (statement.applies(asked), statement.effect) {
                (Ok(false), _) => {}
                (Ok(true), Effect::Deny) => {
                    answer.denial = Some(Denial::Explicit(named()));
                    return answer;
                }
                (Ok(true), Effect::Allow) => {
                    if answer.allow.as_ref().is_none_or(|(_, best)| rank < *best) {
                        answer.allow = Some((named(), rank));
                    }
                }
                (Err(why), _) => {
                    if answer.denial.is_none() {
                        let statement = named();
                        answer.denial = Some(Denial::Unjudged { statement, why });
                    }
                }
            }
        }
    }
    answer
}

impl Statement {
    /// Whether it speaks of the question; the error says why that cannot be told.
    pub(super) fn applies(&self, asked: &Asked<'_>) -> Result<bool, String> {
        if !self.speaks_of_action(&asked.action) || !self.speaks_of_resource(asked) {
            return Ok(false);
        }
        // A condition that is not met settles it, whatever cannot be judged beside it.
        let mut error = None;
        for condition in &self.conditions {
            match condition.is_met(self.effect, asked.context) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => error = error.or(Some(why)),
            }
        }
        error.map_or(Ok(true), Err)
    }

    fn speaks_of_action(&self, action: &str) -> bool {
        let Listed { inverted, patterns } = &self.actions;
        let listed = patterns.iter().any(|it| it.glob.fits(action));
        listed != *inverted
    }

    fn speaks_of_resource(&self, asked: &Asked<'_>) -> bool {
        let Listed { inverted, patterns } = &self.resources;
        // Set when a variable has no value: what the pattern would have named is unknown.
        let mut open = false;
        let listed = patterns.iter().any(|pattern| {
            let fits = match &asked.resource {
                None => Some(pattern.is_any()),
                Some(arn) => pattern.fits(arn, asked.context),
            };
            open |= fits.is_none();
            fits == Some(true)
        });
        // "None of these" cannot be claimed while one of these is unknown: then an Allow does not
        // apply and a Deny does.
        match (inverted, listed) {
            (false, listed) => listed,
            (true, true) => false,
            (true, false) => !open || self.effect == Effect::Deny,
        }
    }
}

#[cfg(test)]
mod tests;

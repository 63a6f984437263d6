//! From policies and a question to a decision.

use crate::principal::{Caller, Principal, PrincipalKind};

use super::parse::{Effect, Statement};
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

/// Who asks to assume a role.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// A user, a role's session, or the root.
    Principal(&'a Principal),
    /// Somebody whom this identity provider (its ARN) vouches for.
    Federated(&'a str),
    /// A service, `panorama.amazonaws.com`.
    Service(&'a str),
}

/// What the policies say about the question.
///
/// An explicit denial in any layer wins; then every layer that is there must allow.
#[must_use]
pub fn decide(grants: &Grants, question: &Question<'_>) -> Decision {
    let Grants::Policies {
        identity,
        boundary,
        session,
    } = grants
    else {
        return Decision::Allowed { by: Vec::new() };
    };
    let layers = [
        Some((Layer::Identity, identity.as_slice())),
        boundary
            .as_ref()
            .map(|policy| (Layer::Boundary, std::slice::from_ref(policy))),
        session
            .as_ref()
            .map(|policies| (Layer::Session, policies.as_slice())),
    ];
    let (mut by, mut lacking) = (Vec::new(), None);
    for (layer, policies) in layers.into_iter().flatten() {
        let documents = policies.iter().map(|it| (&*it.name, &*it.policy));
        match ask(layer, documents, |statement| speaks(statement, question)) {
            Answer::Deny(statement) => return Decision::Denied(Denial::Explicit(statement)),
            Answer::Allow(statement) => by.push(statement),
            Answer::Silence => lacking = lacking.or(Some(layer)),
        }
    }
    match lacking {
        Some(layer) => Decision::Denied(Denial::NoAllow(layer)),
        None => Decision::Allowed { by },
    }
}

/// Whether a role's trust policy lets `asker` do `action` (`sts:AssumeRole`,
/// `sts:AssumeRoleWithWebIdentity`, `sts:TagSession`). `account` is the account of the role.
#[must_use]
pub fn decide_trust(
    policy: &Policy,
    account: &str,
    asker: &Asker<'_>,
    action: &str,
    context: &Context,
) -> Decision {
    if let Asker::Principal(principal) = asker
        && principal.account != account
    {
        return Decision::Denied(Denial::OtherAccount {
            account: principal.account.clone(),
        });
    }
    let question = Question {
        action,
        resource: "*",
        context,
    };
    let documents = [("trust policy", policy)];
    let answer = ask(Layer::Trust, documents.into_iter(), |statement| {
        speaks(statement, &question) && trusts(statement, asker)
    });
    match answer {
        Answer::Deny(statement) => Decision::Denied(Denial::Explicit(statement)),
        Answer::Allow(statement) => Decision::Allowed {
            by: vec![statement],
        },
        Answer::Silence => Decision::Denied(Denial::NoAllow(Layer::Trust)),
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

enum Answer {
    Deny(StatementRef),
    Allow(StatementRef),
    Silence,
}

fn ask<'a>(
    layer: Layer,
    policies: impl Iterator<Item = (&'a str, &'a Policy)>,
    speaks: impl Fn(&Statement) -> bool,
) -> Answer {
    let mut answer = Answer::Silence;
    for (name, policy) in policies {
        for (index, statement) in policy.statements.iter().enumerate() {
            if !speaks(statement) {
                continue;
            }
            let named = StatementRef {
                layer,
                policy: name.into(),
                index,
                sid: statement.sid.clone(),
            };
            match (statement.effect, &answer) {
                (Effect::Deny, _) => return Answer::Deny(named),
                (Effect::Allow, Answer::Silence) => answer = Answer::Allow(named),
                (Effect::Allow, _) => {}
            }
        }
    }
    answer
}

fn speaks(statement: &Statement, question: &Question<'_>) -> bool {
    // Actions are compared without regard to case, resources with.
    let action = question.action.to_ascii_lowercase();
    statement
        .actions
        .iter()
        .any(|pattern| matches(&pattern.to_ascii_lowercase(), &action))
        && statement
            .resources
            .iter()
            .any(|pattern| matches(pattern, question.resource))
}

fn trusts(statement: &Statement, asker: &Asker<'_>) -> bool {
    let names = |kind: &str| statement.principals.get(kind).into_iter().flatten();
    match asker {
        Asker::Principal(principal) => names("AWS").any(|name| {
            *name == principal.account
                || *name == format!("arn:aws:iam::{}:root", principal.account)
                || *name == principal.principal_arn()
                || *name == principal.arn()
                || (name == "*" && principal.kind != PrincipalKind::Root)
        }),
        Asker::Federated(provider) => names("Federated").any(|name| name == provider),
        Asker::Service(service) => names("Service").any(|name| name == service),
    }
}

/// Whether `text` fits `pattern`, in which `*` is any run and `?` any one byte. Linear in practice,
/// at worst the product of both lengths, which are bounded.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to resume when the text after the last star did not fit.
    let mut resume: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                resume = Some((p + 1, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match resume {
                Some((after_star, from)) => {
                    resume = Some((after_star, from + 1));
                    p = after_star;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

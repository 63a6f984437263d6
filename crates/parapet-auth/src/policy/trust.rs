//! Who may assume a role.

use crate::principal::Principal;

use super::evaluate::{Answer, Asked, ask, survey};
use super::trustees::{Closeness, Trustee, is_root};
use super::{Context, Decision, Denial, Grants, Layer, Policy, PolicyError, Question};

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

/// Whether a role's trust policy lets `asker` do `action` (`sts:AssumeRoleWithWebIdentity`,
/// `sts:TagSession`…). `account` is the account of the role.
///
/// That is all there is to ask for providers and services, which have no policies of their own. For
/// principals use [`decide_assume`]: a trust in the whole account, or in everybody, only delegates to the policies of
/// its principals.
#[must_use]
pub fn decide_trust(
    policy: &Policy,
    account: &str,
    asker: &Asker<'_>,
    action: &str,
    context: &Context,
) -> Decision {
    let question = Question {
        action,
        resource: "*",
        context,
    };
    match trust(policy, account, asker, &question) {
        Ok((statement, _)) => Decision::Allowed {
            by: vec![statement],
        },
        Err(denial) => Decision::Denied(denial),
    }
}

/// Whether a principal with these grants may do `question.action` (`sts:AssumeRole`, and
/// `sts:TagSession` when the session is to have tags) on the role `question.resource`, whose trust
/// policy is `policy`, in `account`.
///
/// A Deny on either side denies. A trust policy that names the user or the session itself is enough;
/// one that names the role of the session leaves boundary and session policies in force; one that
/// names the account, or everybody, leaves it to the principal's own policies.
#[must_use]
pub fn decide_assume(
    grants: &Grants,
    principal: &Principal,
    policy: &Policy,
    account: &str,
    question: &Question<'_>,
) -> Decision {
    let (statement, closeness) =
        match trust(policy, account, &Asker::Principal(principal), question) {
            Ok(trusted) => trusted,
            Err(denial) => return Decision::Denied(denial),
        };
    let asked = match Asked::new(question) {
        Ok(asked) => asked,
        Err(denial) => return Decision::Denied(denial),
    };
    let own = survey(grants, &asked);
    if let Some(denial) = own.denial {
        return Decision::Denied(denial);
    }
    let binds = |layer: &Layer| match closeness {
        Closeness::Self_ => false,
        Closeness::Role => *layer != Layer::Identity,
        Closeness::Account => true,
    };
    match own.lacking.into_iter().find(binds) {
        Some(layer) => Decision::Denied(Denial::NoAllow(layer)),
        None => Decision::Allowed {
            by: [vec![statement], own.by].concat(),
        },
    }
}

/// The statement of a trust policy that lets the asker in, and how it came to name them.
fn trust(
    policy: &Policy,
    account: &str,
    asker: &Asker<'_>,
    question: &Question<'_>,
) -> Result<(super::StatementRef, Closeness), Denial> {
    if let Asker::Principal(principal) = asker {
        if principal.account != account {
            return Err(Denial::OtherAccount {
                account: principal.account.clone(),
            });
        }
        if is_root(principal) {
            return Err(Denial::Root);
        }
    }
    let question = Question {
        resource: "*",
        ..*question
    };
    let asked = Asked::new(&question)?;
    let documents = std::iter::once(("trust policy", policy));
    let Answer { denial, allow } = ask(Layer::Trust, documents, &asked, |statement| {
        let names = |trustee: &Trustee| trustee.names(asker);
        statement.trustees.iter().filter_map(names).min()
    });
    match (denial, allow) {
        (Some(denial), _) => Err(denial),
        (None, Some(allowed)) => Ok(allowed),
        (None, None) => Err(Denial::NoAllow(Layer::Trust)),
    }
}

impl Policy {
    /// Refuses a trust policy that names principals of other accounts than `account`: this server
    /// holds one, and a trust that can never be used is a mistake to be told.
    pub fn check_account(&self, account: &str) -> Result<(), PolicyError> {
        let trustees = self.statements.iter().flat_map(|it| &it.trustees);
        match trustees
            .filter_map(Trustee::account)
            .find(|it| *it != account)
        {
            None => Ok(()),
            Some(other) => Err(PolicyError::Element {
                at: "Principal".to_owned(),
                why: format!(
                    "account {other} is not the account of this server, {account}, which serves one"
                ),
            }),
        }
    }
}

#[cfg(test)]
mod tests;

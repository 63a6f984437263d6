//! Principals, their policies, and the decision whether an action is allowed.
//!
//! Holds the shape that everything later widens: a [`Caller`] is a principal with its policy
//! documents, [`authorize`] asks them about one action on one resource. Deny wins, silence denies.
//! What this evaluator does not understand (conditions, `NotAction`, variables) it refuses when a
//! document is parsed, so that a restriction is never quietly ignored
//! (`research/security.md` section 2).

use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

/// Longest policy document, in bytes; a managed policy of the original holds 6,144 characters.
const POLICY_BYTES: usize = 6_144 * 4;

/// Who somebody is, once a signature or a session proved it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Twelve digits.
    pub account: String,
    /// What kind of identity.
    pub kind: PrincipalKind,
}

/// The kinds of identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// An IAM user.
    User {
        /// Unique ID, `AIDA…`.
        id: String,
        /// Name in the account.
        name: String,
    },
}

impl Principal {
    /// `arn:aws:iam::<account>:user/<name>`.
    #[must_use]
    pub fn arn(&self) -> String {
        match &self.kind {
            PrincipalKind::User { name, .. } => {
                format!("arn:aws:iam::{}:user/{name}", self.account)
            }
        }
    }

    /// What `GetCallerIdentity` calls `UserId`.
    #[must_use]
    pub fn unique_id(&self) -> &str {
        match &self.kind {
            PrincipalKind::User { id, .. } => id,
        }
    }
}

/// A principal with the policies that speak for it.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
    /// Its identity policies.
    pub policies: Arc<[Policy]>,
}

/// What the policies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allow,
    /// A statement denies it.
    ExplicitDeny,
    /// No statement allows it.
    ImplicitDeny,
}

impl Decision {
    /// Whether the action may go on.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        self == Self::Allow
    }
}

/// Why a policy document is refused.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// Longer than any policy may be.
    #[error("read a policy: {0} bytes is more than the {POLICY_BYTES} allowed")]
    TooLong(usize),
    /// No JSON, an unknown element, or a missing one.
    #[error("read a policy: use Version, Statement, Sid, Effect, Action and Resource only")]
    Shape(#[from] serde_json::Error),
    /// Not `2012-10-17`.
    #[error("read a policy: Version {0:?} is not supported, write \"2012-10-17\"")]
    Version(String),
    /// A policy variable, which this version does not evaluate.
    #[error("read a policy: {0:?} holds a policy variable, which is not supported yet")]
    Variable(String),
}

/// A parsed policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    actions: Vec<String>,
    resources: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

impl Policy {
    /// The policy of the first user: everything.
    pub const ADMINISTRATOR: &'static str =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

    /// Parses a document; refuses what it would not honour.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > POLICY_BYTES {
            return Err(PolicyError::TooLong(text.len()));
        }
        let document: Document = serde_json::from_str(text)?;
        if document.version != "2012-10-17" {
            return Err(PolicyError::Version(
                document.version.chars().take(40).collect(),
            ));
        }
        let statements = document
            .statement
            .into_vec()
            .into_iter()
            .map(|statement| {
                let (actions, resources) =
                    (statement.action.into_vec(), statement.resource.into_vec());
                match actions
                    .iter()
                    .chain(&resources)
                    .find(|text| text.contains("${"))
                {
                    Some(text) => Err(PolicyError::Variable(text.chars().take(80).collect())),
                    None => Ok(Statement {
                        effect: statement.effect,
                        actions,
                        resources,
                    }),
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }
}

/// What the caller's policies say about `action` (`panorama:CreatePackage`) on `resource` (an ARN,
/// or `*` where an action has no resource).
#[must_use]
pub fn authorize(caller: &Caller, action: &str, resource: &str) -> Decision {
    let mut decision = Decision::ImplicitDeny;
    for statement in caller.policies.iter().flat_map(|policy| &policy.statements) {
        // Actions are compared without regard to case, resources with.
        let speaks = statement
            .actions
            .iter()
            .any(|p| matches(&p.to_ascii_lowercase(), &action.to_ascii_lowercase()))
            && statement.resources.iter().any(|p| matches(p, resource));
        match statement.effect {
            Effect::Deny if speaks => return Decision::ExplicitDeny,
            Effect::Allow if speaks => decision = Decision::Allow,
            Effect::Allow | Effect::Deny => {}
        }
    }
    decision
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Document {
    version: String,
    #[expect(dead_code, reason = "a name for people; part of the document's shape")]
    #[serde(default)]
    id: Option<String>,
    statement: OneOrMany<StatementDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct StatementDocument {
    #[expect(dead_code, reason = "a name for people; part of the document's shape")]
    #[serde(default)]
    sid: Option<String>,
    effect: Effect,
    action: OneOrMany<String>,
    resource: OneOrMany<String>,
}

/// JSON's way to leave out the brackets around a single value.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value],
            Self::Many(values) => values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(documents: &[&str]) -> Caller {
        Caller {
            principal: Principal {
                account: "123456789012".to_owned(),
                kind: PrincipalKind::User {
                    id: "AIDAX".to_owned(),
                    name: "ann".to_owned(),
                },
            },
            policies: documents
                .iter()
                .map(|text| Policy::parse(text).unwrap())
                .collect(),
        }
    }

    #[test]
    fn silence_denies() {
        assert_eq!(
            authorize(&caller(&[]), "panorama:ListDevices", "*"),
            Decision::ImplicitDeny
        );
    }

    #[test]
    fn the_administrator_may_everything() {
        let admin = caller(&[Policy::ADMINISTRATOR]);
        assert_eq!(
            authorize(&admin, "parapet:ViewStream", "arn:x"),
            Decision::Allow
        );
        assert_eq!(admin.principal.arn(), "arn:aws:iam::123456789012:user/ann");
    }

    #[test]
    fn a_deny_wins_wherever_it_stands() {
        let deny = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"panorama:Delete*","Resource":"*"}}"#;
        for order in [[deny, Policy::ADMINISTRATOR], [Policy::ADMINISTRATOR, deny]] {
            let caller = caller(&order);
            assert_eq!(
                authorize(&caller, "panorama:DeleteDevice", "x"),
                Decision::ExplicitDeny
            );
            assert_eq!(
                authorize(&caller, "panorama:ListDevices", "x"),
                Decision::Allow
            );
        }
    }

    #[test]
    fn actions_ignore_case_and_resources_do_not() {
        let one = caller(&[
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["PANORAMA:describe?evice"],"Resource":"arn:aws:panorama:*:1:device/*"}]}"#,
        ]);
        let device = "arn:aws:panorama:us-west-2:1:device/device-a";
        assert!(authorize(&one, "panorama:DescribeDevice", device).is_allowed());
        assert!(!authorize(&one, "panorama:DescribeDevice", &device.to_uppercase()).is_allowed());
        assert!(!authorize(&one, "panorama:DeleteDevice", device).is_allowed());
    }

    #[test]
    fn what_would_not_be_honoured_is_refused() {
        for text in [
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{}}]}"#,
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":"x","Resource":"*"}]}"#,
            r#"{"Version":"2008-10-17","Statement":[]}"#,
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"${aws:username}"}]}"#,
            r#"{"Version":"2012-10-17","Statement":[{"Effect":"allow","Action":"*","Resource":"*"}]}"#,
            "[]",
        ] {
            assert!(Policy::parse(text).is_err(), "{text}");
        }
        assert!(matches!(
            Policy::parse(&" ".repeat(30_000)),
            Err(PolicyError::TooLong(_))
        ));
    }

    #[test]
    fn patterns_match_as_globs_do() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*ab*ab", "xababab", true),
            ("a?c", "ac", false),
            ("", "a", false),
            ("**", "anything", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}

//! Reads policy documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

/// Where a policy is kept, which decides how long it may be and which elements it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// A managed policy, also one that serves as a permissions boundary.
    Managed,
    /// An inline policy of a user. The quota is for all of a user's inline policies together.
    InlineUser,
    /// An inline policy of a role; the quota is for all together.
    InlineRole,
    /// An inline policy of a group; the quota is for all together.
    InlineGroup,
    /// A role's trust policy.
    Trust,
    /// A policy that narrows a session.
    Session,
}

impl PolicyKind {
    /// Most characters, white space not counted (IAM user guide, "IAM and STS quotas").
    #[must_use]
    pub fn quota(self) -> usize {
        match self {
            Self::Managed => 6_144,
            Self::InlineUser | Self::Trust | Self::Session => 2_048,
            Self::InlineRole => 10_240,
            Self::InlineGroup => 5_120,
        }
    }
}

/// Why a policy document is refused.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// Longer than its kind may be.
    #[error("read a policy: it has {characters} characters, {quota} is the most; split it")]
    TooLong {
        /// Characters that are no white space.
        characters: usize,
        /// The most of its kind.
        quota: usize,
    },
    /// No JSON.
    #[error("read a policy: it is no JSON")]
    Json(#[from] serde_json::Error),
    /// An element that is unknown, missing, or not as it must be.
    #[error("read a policy: {at}: {why}")]
    Element {
        /// Where: `Statement[0].Condition`.
        at: String,
        /// What is wrong and what to write instead.
        why: String,
    },
}

/// A parsed policy document.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) sid: Option<Arc<str>>,
    pub(super) effect: Effect,
    pub(super) principals: BTreeMap<String, Vec<String>>,
    pub(super) actions: Vec<String>,
    pub(super) resources: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Effect {
    Allow,
    Deny,
}

impl Policy {
    /// The policy of the first user: everything.
    pub const ADMINISTRATOR: &'static str =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

    /// Parses a document; refuses what it would not honour.
    pub fn parse(text: &str, kind: PolicyKind) -> Result<Self, PolicyError> {
        let characters = Self::characters(text);
        let quota = kind.quota();
        // White space is not counted, but not endless either.
        if characters > quota || text.len() > quota * 16 {
            return Err(PolicyError::TooLong { characters, quota });
        }
        let document: Document = serde_json::from_str(text)?;
        let refuse = |at: &str, why: &str| PolicyError::Element {
            at: at.to_owned(),
            why: why.to_owned(),
        };
        if document.version != "2012-10-17" {
            return Err(refuse("Version", "write \"2012-10-17\""));
        }
        let statements = document
            .statement
            .into_vec()
            .into_iter()
            .map(|statement| {
                let actions = statement.action.into_vec();
                let resources = statement.resource.map(OneOrMany::into_vec);
                let principals = statement.principal.unwrap_or_default();
                let resources = match (kind, resources) {
                    (PolicyKind::Trust, None) if !principals.is_empty() => vec!["*".to_owned()],
                    (PolicyKind::Trust, _) => {
                        return Err(refuse(
                            "Statement",
                            "a trust policy has Principal, no Resource",
                        ));
                    }
                    (_, Some(resources)) if principals.is_empty() => resources,
                    _ => return Err(refuse("Statement", "write Resource and no Principal")),
                };
                if actions
                    .iter()
                    .chain(&resources)
                    .any(|text| text.contains("${"))
                {
                    return Err(refuse(
                        "Statement",
                        "policy variables are not supported yet",
                    ));
                }
                Ok(Statement {
                    sid: statement.sid.map(Into::into),
                    effect: statement.effect,
                    principals: principals
                        .into_iter()
                        .map(|(kind, names)| (kind, names.into_vec()))
                        .collect(),
                    actions,
                    resources,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }

    /// Length of a document as the quotas count it: characters that are no white space.
    #[must_use]
    pub fn characters(text: &str) -> usize {
        text.chars().filter(|char| !char.is_whitespace()).count()
    }
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
    #[serde(default)]
    sid: Option<String>,
    effect: Effect,
    #[serde(default)]
    principal: Option<BTreeMap<String, OneOrMany<String>>>,
    action: OneOrMany<String>,
    #[serde(default)]
    resource: Option<OneOrMany<String>>,
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

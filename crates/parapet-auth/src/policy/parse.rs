//! Reads policy documents and compiles them.
//!
//! Strict: an element that is not known by name is refused, never skipped, because a misspelt
//! `Condition` would be an unconditional Allow.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::arn::{ArnPattern, shortened};
use super::condition::Condition;
use super::glob::Glob;
use super::json::Node;
use super::kind::{PolicyError, PolicyKind};
use super::trustees::{self, Trustee};

/// Longest text, white space included: what the original's API takes.
const TEXT_BYTES: usize = 131_072;

/// A parsed policy document.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) statements: Vec<Statement>,
}

#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) sid: Option<Arc<str>>,
    pub(super) effect: Effect,
    /// Whom a trust policy speaks of; empty in others.
    pub(super) trustees: Vec<Trustee>,
    pub(super) actions: Listed<ActionPattern>,
    pub(super) resources: Listed<ArnPattern>,
    pub(super) conditions: Vec<Condition>,
}

/// What a statement does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// The patterns of `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Debug, Clone)]
pub(super) struct Listed<T> {
    /// Whether the statement speaks of everything but these.
    pub(super) inverted: bool,
    pub(super) patterns: Vec<T>,
}

/// `panorama:Describe*`, in lower case.
#[derive(Debug, Clone)]
pub(super) struct ActionPattern {
    pub(super) text: String,
    pub(super) glob: Glob,
}

impl Policy {
    /// The policy of the first user: everything.
    pub const ADMINISTRATOR: &'static str =
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

    /// Parses a document; refuses what it would not honour.
    pub fn parse(text: &str, kind: PolicyKind) -> Result<Self, PolicyError> {
        let (characters, quota) = (Self::characters(text), kind.quota());
        if characters > quota || text.len() > TEXT_BYTES {
            return Err(PolicyError::TooLong { characters, quota });
        }
        document(&Node::read(text)?, kind)
    }

    /// Length of a document as the quotas count it: characters that are no white space.
    #[must_use]
    pub fn characters(text: &str) -> usize {
        text.chars().filter(|char| !char.is_whitespace()).count()
    }

    /// The condition keys that its conditions and variables ask for, as they are written.
    #[must_use]
    pub fn context_keys(&self) -> BTreeSet<&str> {
        self.statements.iter().flat_map(Statement::keys).collect()
    }
}

impl Statement {
    pub(super) fn keys(&self) -> Vec<&str> {
        let resources = self.resources.patterns.iter();
        let variables = resources.flat_map(ArnPattern::variables);
        self.conditions
            .iter()
            .flat_map(Condition::keys)
            .chain(variables.map(|variable| variable.name.as_str()))
            .collect()
    }
}

fn refuse<T>(at: &str, why: impl Into<String>) -> Result<T, PolicyError> {
    Err(PolicyError::Element {
        at: at.to_owned(),
        why: why.into(),
    })
}

fn document(node: &Node, kind: PolicyKind) -> Result<Policy, PolicyError> {
    let Node::Map(elements) = node else {
        return refuse(
            "document",
            format!("write an object, this is {}", node.kind()),
        );
    };
    let (mut variables, mut statements) = (false, None);
    for (name, value) in elements {
        match (name.as_str(), value) {
            ("Version", Node::Text(version)) => match version.as_str() {
                "2012-10-17" => variables = true,
                "2008-10-17" => {}
                _ => return refuse(name, "write \"2012-10-17\""),
            },
            ("Id", Node::Text(_)) => {}
            ("Statement", Node::List(list)) => statements = Some(list.as_slice()),
            ("Statement", Node::Map(_)) => statements = Some(std::slice::from_ref(value)),
            ("Version" | "Id" | "Statement", _) => return refuse(name, wrong(value)),
            _ => return refuse(&shortened(name), unknown("Version, Id and Statement")),
        }
    }
    let Some(statements) = statements else {
        return refuse("Statement", "it is missing");
    };
    if statements.is_empty() {
        return refuse("Statement", "write at least one");
    }
    let mut sids = BTreeSet::new();
    let statements = statements
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let statement = statement(node, &format!("Statement[{index}]"), kind, variables)?;
            if let Some(sid) = &statement.sid
                && !sids.insert(sid.clone())
            {
                return refuse(&format!("Statement[{index}].Sid"), "an earlier one has it");
            }
            Ok(statement)
        })
        .collect::<Result<_, _>>()?;
    Ok(Policy { statements })
}

fn statement(
    node: &Node,
    at: &str,
    kind: PolicyKind,
    variables: bool,
) -> Result<Statement, PolicyError> {
    let Node::Map(elements) = node else {
        return refuse(at, format!("write an object, this is {}", node.kind()));
    };
    let (mut sid, mut effect, mut trustees) = (None, None, None);
    let (mut actions, mut resources, mut conditions) = (None, None, Vec::new());
    for (name, value) in elements {
        let at = format!("{at}.{}", shortened(name));
        match name.as_str() {
            "Sid" => match value {
                Node::Text(text) if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                    sid = (!text.is_empty()).then(|| text.as_str().into());
                }
                _ => return refuse(&at, "write letters and digits only"),
            },
            "Effect" => match value {
                Node::Text(text) if text == "Allow" => effect = Some(Effect::Allow),
                Node::Text(text) if text == "Deny" => effect = Some(Effect::Deny),
                _ => return refuse(&at, "write \"Allow\" or \"Deny\""),
            },
            "Principal" => trustees = Some(trustees::parse(value, &at)?),
            "NotPrincipal" => {
                return refuse(
                    &at,
                    "it is not supported: write Principal \"*\" and a condition on \
                     aws:PrincipalArn",
                );
            }
            "Action" | "NotAction" if actions.is_some() => {
                return refuse(&at, "write either Action or NotAction");
            }
            "Action" | "NotAction" => {
                let read = |text: &String| action(text, kind);
                actions = Some(listed(value, &at, name.starts_with("Not"), read)?);
            }
            "Resource" | "NotResource" if resources.is_some() => {
                return refuse(&at, "write either Resource or NotResource");
            }
            "Resource" | "NotResource" => {
                let read = |text: &String| match ArnPattern::new(text, variables)? {
                    pattern if pattern.is_variable() => Err(format!(
                        "{:?} is no ARN: write its first five parts",
                        shortened(text)
                    )),
                    pattern => Ok(pattern),
                };
                resources = Some(listed(value, &at, name.starts_with("Not"), read)?);
            }
            "Condition" => conditions = conditions_of(value, &at, variables)?,
            _ => {
                let known = "Sid, Effect, Principal, Action, NotAction, Resource, NotResource and \
                             Condition";
                return refuse(&at, unknown(known));
            }
        }
    }
    let Some(effect) = effect else {
        return refuse(at, "Effect is missing");
    };
    let Some(actions) = actions else {
        return refuse(at, "Action or NotAction is missing");
    };
    let (trustees, resources) = match (kind, trustees, resources) {
        (PolicyKind::Trust, Some(trustees), None) => {
            let everything = Listed {
                inverted: false,
                patterns: vec![ArnPattern::Any],
            };
            (trustees, everything)
        }
        (PolicyKind::Trust, None, _) => return refuse(at, "Principal is missing"),
        (PolicyKind::Trust, _, Some(_)) => {
            return refuse(at, "a trust policy has no Resource: the role is meant");
        }
        (_, None, Some(resources)) => (Vec::new(), resources),
        (_, Some(_), _) => return refuse(at, "only trust policies have Principal"),
        (_, None, None) => return refuse(at, "Resource or NotResource is missing"),
    };
    Ok(Statement {
        sid,
        effect,
        trustees,
        actions,
        resources,
        conditions,
    })
}

fn listed<T>(
    value: &Node,
    at: &str,
    inverted: bool,
    read: impl Fn(&String) -> Result<T, String>,
) -> Result<Listed<T>, PolicyError> {
    let texts = texts(value, at)?;
    if texts.is_empty() {
        return refuse(at, "write at least one");
    }
    let patterns = texts
        .into_iter()
        .map(|text| read(text).or_else(|why| refuse(at, why)))
        .collect::<Result<_, _>>()?;
    Ok(Listed { inverted, patterns })
}

/// The strings of one string or an array of them.
pub(super) fn texts<'a>(value: &'a Node, at: &str) -> Result<Vec<&'a String>, PolicyError> {
    let list = match value {
        Node::List(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    list.iter()
        .map(|item| match item {
            Node::Text(text) => Ok(text),
            other => refuse(at, wrong(other)),
        })
        .collect()
}

fn action(text: &str, kind: PolicyKind) -> Result<ActionPattern, String> {
    let lower = text.to_ascii_lowercase();
    let service = |text: &str| {
        text == "*"
            || !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'*' || byte == b'?')
    };
    let split = lower.split_once(':');
    if lower != "*" && !split.is_some_and(|(before, after)| service(before) && name(after)) {
        return Err(format!(
            "{:?} is no action: write service:Name, in which * and ? stand for characters",
            shortened(text)
        ));
    }
    if kind == PolicyKind::Trust && split.is_none_or(|(service, _)| service != "sts") {
        return Err(format!(
            "{:?} is no action of a trust policy: write those of sts",
            shortened(text)
        ));
    }
    Ok(ActionPattern {
        glob: Glob::of(&lower),
        text: lower,
    })
}

fn conditions_of(value: &Node, at: &str, variables: bool) -> Result<Vec<Condition>, PolicyError> {
    let Node::Map(operators) = value else {
        return refuse(at, wrong(value));
    };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let at = format!("{at}.{}", shortened(operator));
        let Node::Map(keys) = keys else {
            return refuse(&at, wrong(keys));
        };
        if keys.is_empty() {
            return refuse(&at, "it names no condition key");
        }
        let mut seen = BTreeSet::new();
        for (key, values) in keys {
            let at = format!("{at}.{}", shortened(key));
            if !seen.insert(key.to_ascii_lowercase()) {
                return refuse(&at, "the key is there twice: its names ignore case");
            }
            let list = match values {
                Node::List(list) => list.as_slice(),
                one => std::slice::from_ref(one),
            };
            let values = list
                .iter()
                .map(|value| match value {
                    Node::Text(text) | Node::Number(text) => Ok(text.clone()),
                    Node::Bool(value) => Ok(value.to_string()),
                    other => refuse(&at, wrong(other)),
                })
                .collect::<Result<Vec<_>, _>>()?;
            match Condition::new(operator, key, &values, variables) {
                Ok(condition) => conditions.push(condition),
                Err(why) => return refuse(&at, why),
            }
        }
    }
    Ok(conditions)
}

fn wrong(value: &Node) -> String {
    format!("it must not be {}", value.kind())
}

fn unknown(known: &str) -> String {
    format!("an unknown element; known are {known}")
}

#[cfg(test)]
mod tests;

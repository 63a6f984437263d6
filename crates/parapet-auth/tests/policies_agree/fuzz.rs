//! The same comparison over policies that mutation makes, within the forms that the second
//! evaluator knows: what lies outside is not compared.

use std::collections::BTreeMap;

use parapet_auth::{Policy, PolicyKind};
use parapet_fuzz::{Target, feed};
use serde_json::Value;

use crate::generate::{ASKED_ACTIONS, Asked};
use crate::naive::{self, Documents, Facts};
use crate::{context, grants, verdict};

const WORDS: &[&str] = &[
    "Allow",
    "Deny",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
    "2012-10-17",
    "StringEquals",
    "StringNotLike",
    "StringEqualsIgnoreCase",
    "ForAllValues:StringLike",
    "ForAnyValue:StringNotEquals",
    "ArnLike",
    "NumericLessThan",
    "IpAddress",
    "Null",
    "IfExists",
    "aws:username",
    "aws:TagKeys",
    "aws:PrincipalTag/team",
    "${aws:username}",
    "${aws:TagKeys}",
    "${aws:PrincipalTag/team, 'red'}",
    "${*}",
    "${?}",
    "${$}",
    "*",
    "?",
    ":",
    "**",
    "arn:aws:s3:::bucket/",
    "s3:Get*",
    "true",
    "5",
    "192.0.2.0/24",
    "\u{fc}",
    "\u{130}",
];
/// Keys of a request whose values are texts.
const TEXTS: [&str; 5] = [
    "aws:username",
    "aws:principaltag/team",
    "aws:tagkeys",
    "aws:resourcetag/level",
    "aws:sourcearn",
];

fn read(input: &[u8]) -> Option<Asked> {
    let input: Value = serde_json::from_slice(input).ok()?;
    let list = |name: &str| -> Option<Vec<Value>> { Some(input[name].as_array()?.clone()) };
    let documents = Documents {
        identity: list("identity")?,
        boundary: Some(input["boundary"].clone()).filter(|boundary| !boundary.is_null()),
        session: list("session"),
    };
    let all = documents.identity.iter().chain(&documents.boundary);
    let mut all = all.chain(documents.session.iter().flatten());
    if !all.all(is_known) {
        return None;
    }
    let action = usize::try_from(input["action"].as_u64()?).ok()?;
    let mut facts: Facts = BTreeMap::new();
    for name in TEXTS {
        let values = input["facts"][name].as_array().into_iter().flatten();
        let values = values.filter_map(Value::as_str).map(str::to_owned);
        facts.insert(name.to_owned(), values.collect());
    }
    for (name, value) in [
        ("aws:sourceip", "192.0.2.9"),
        ("aws:currenttime", "2026-11-25T10:00:00Z"),
        ("aws:securetransport", "true"),
        ("aws:principalaccount", "123456789012"),
    ] {
        facts.insert(name.to_owned(), vec![value.to_owned()]);
    }
    Some(Asked {
        documents,
        action: ASKED_ACTIONS[action % ASKED_ACTIONS.len()],
        resource: input["resource"].as_str()?.to_owned(),
        facts,
    })
}

/// Whether the second evaluator reads this policy, which the first has taken.
fn is_known(policy: &Value) -> bool {
    let statements = match &policy["Statement"] {
        Value::Array(statements) => statements.as_slice(),
        one => std::slice::from_ref(one),
    };
    Policy::parse(&policy.to_string(), PolicyKind::Managed).is_ok()
        && statements.iter().all(|statement| {
            let operators = statement["Condition"].as_object();
            operators.into_iter().flatten().all(|(operator, keys)| {
                let keys = keys.as_object();
                keys.into_iter()
                    .flatten()
                    .all(|(key, values)| is_condition(operator, key, values))
            })
        })
}

fn is_condition(operator: &str, key: &str, values: &Value) -> bool {
    let values = match values {
        Value::Array(values) => values.as_slice(),
        one => std::slice::from_ref(one),
    };
    let base = operator.rsplit(':').next().unwrap_or_default();
    let base = base.strip_suffix("IfExists").unwrap_or(base);
    let text = TEXTS.contains(&&*key.to_lowercase());
    match base {
        "StringEquals"
        | "StringNotEquals"
        | "StringLike"
        | "StringNotLike"
        | "StringEqualsIgnoreCase"
        | "StringNotEqualsIgnoreCase"
        | "ArnEquals"
        | "ArnLike"
        | "ArnNotEquals"
        | "ArnNotLike" => text && values.iter().all(Value::is_string),
        // One value, and no prefix.
        "Null" => operator == "Null" && values.len() == 1,
        _ => false,
    }
}

/// Both evaluators say the same.
#[test]
fn evaluators_breaks_no_promise() {
    feed(&Target {
        name: "evaluators",
        words: WORDS,
        run: &|input| {
            let Some(asked) = read(input) else {
                return false;
            };
            let wanted = naive::decide(
                &asked.documents,
                asked.action,
                &asked.resource,
                &asked.facts,
            );
            assert_eq!(
                verdict(&grants(&asked), &asked, &context(&asked)),
                wanted,
                "{asked:?}"
            );
            true
        },
    });
}

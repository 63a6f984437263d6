//! Policies and questions from small pools, so that they meet often.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::naive::{Documents, Facts};

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) documents: Documents,
    pub(crate) action: &'static str,
    pub(crate) resource: String,
    pub(crate) facts: Facts,
}

const ACTIONS: &[&str] = &[
    "*",
    "s3:*",
    "s3:Get*",
    "S3:getobject",
    "s3:?etObject",
    "panorama:*",
    "panorama:Describe?evice",
    "panorama:List*",
    "iam:PassRole",
    "s3:*Object",
    "*:*",
];

const RESOURCES: &[&str] = &[
    "*",
    "*",
    "arn:aws:s3:*",
    "arn:*",
    "arn:aws:s3:::bucket/*",
    "arn:aws:s3:::bucket/${aws:username}/*",
    "arn:aws:s3:::bucket/${aws:username, 'none'}/x",
    "arn:aws:s3:::${aws:PrincipalTag/team}*",
    "arn:aws:s3:::bucket/${*}/?",
    "arn:aws:s3:::bucket/${aws:TagKeys}/x",
    "arn:aws:panorama:*:*:device/*",
    "arn:aws:panorama:us-*:123456789012:device/device-?",
    "arn:aws:panorama:*:${aws:PrincipalAccount}:*",
    "arn:aws:*:us-west-2:*:*",
];

pub(crate) const ASKED_ACTIONS: &[&str] = &[
    "s3:GetObject",
    "s3:PutObject",
    "panorama:DescribeDevice",
    "panorama:ListDevices",
    "IAM:passrole",
];

const ASKED_RESOURCES: &[&str] = &[
    "*",
    "arn:aws:s3:::bucket/ann/x",
    "arn:aws:s3:::bucket/*/x",
    "arn:aws:s3:::bucket/none/x",
    "arn:aws:s3:::bucket/a:b/x",
    "arn:aws:s3:::red:bucket",
    "arn:aws:panorama:us-west-2:123456789012:device/device-a",
    "arn:aws:panorama:us-west-2:999999999999:package/p",
    "device",
];

const TEXTS: &[&str] = &[
    "ann",
    "ANN",
    "*",
    "a*",
    "?nn",
    "red",
    "${*}",
    "${aws:username}",
    "${aws:PrincipalTag/team, 'red'}",
    "${aws:TagKeys}",
    "a${$}b",
];

const TEXT_KEYS: &[&str] = &[
    "aws:username",
    "AWS:UserName",
    "aws:PrincipalTag/Team",
    "aws:ResourceTag/Level",
    "aws:TagKeys",
];

const ARNS: &[&str] = &[
    "*",
    "arn:aws:s3:::bucket/*",
    "arn:aws:s3:*",
    "arn:aws:iam::*:role/*",
    "${aws:SourceArn}",
    "arn:aws:s3:::bucket/${aws:username}/x",
];

pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    (
        documents(),
        select(ASKED_ACTIONS),
        select(ASKED_RESOURCES),
        facts(),
    )
        .prop_map(|(documents, action, resource, facts)| Asked {
            documents,
            action,
            resource: resource.to_owned(),
            facts,
        })
}

fn documents() -> impl Strategy<Value = Documents> {
    let few = vec(policy(), 0..3);
    (
        vec(policy(), 0..4),
        option::weighted(0.3, policy()),
        option::weighted(0.3, few),
    )
        .prop_map(|(identity, boundary, session)| Documents {
            identity,
            boundary,
            session,
        })
}

fn policy() -> impl Strategy<Value = Value> {
    (any::<bool>(), vec(statement(), 1..4)).prop_map(|(current, mut statements)| {
        if current {
            return json!({ "Version": "2012-10-17", "Statement": statements });
        }
        // The older version has no variables, so these two are no ARNs in it.
        let text = Value::Array(std::mem::take(&mut statements)).to_string();
        let text = text
            .replace("\"${aws:SourceArn}\"", "\"*\"")
            .replace("${aws:PrincipalAccount}", "*");
        let statements: Value = serde_json::from_str(&text).expect("JSON");
        json!({ "Statement": statements })
    })
}

fn statement() -> impl Strategy<Value = Value> {
    (
        prop::bool::weighted(0.75),
        prop::bool::weighted(0.85),
        vec(select(ACTIONS), 1..3),
        prop::bool::weighted(0.8),
        vec(select(RESOURCES), 1..3),
        vec(condition(), 0..3),
    )
        .prop_map(
            |(allow, plain_action, actions, plain_resource, resources, conditions)| {
                let mut statement = Map::new();
                statement.insert(
                    "Effect".to_owned(),
                    json!(if allow { "Allow" } else { "Deny" }),
                );
                let name = |plain, name: &str| {
                    if plain {
                        name.to_owned()
                    } else {
                        format!("Not{name}")
                    }
                };
                statement.insert(name(plain_action, "Action"), one_or_many(&actions));
                statement.insert(name(plain_resource, "Resource"), one_or_many(&resources));
                let mut operators: Map<String, Value> = Map::new();
                for (operator, key, values) in conditions {
                    let keys = operators.entry(operator).or_insert_with(|| json!({}));
                    let keys = keys.as_object_mut().expect("an object");
                    // Keys ignore case, and each may be there once.
                    if !keys.keys().any(|there| there.eq_ignore_ascii_case(key)) {
                        keys.insert(key.to_owned(), values);
                    }
                }
                if !operators.is_empty() {
                    statement.insert("Condition".to_owned(), Value::Object(operators));
                }
                Value::Object(statement)
            },
        )
}

fn one_or_many(texts: &[&str]) -> Value {
    match texts {
        [one] => json!(one),
        many => json!(many),
    }
}

fn condition() -> impl Strategy<Value = (String, &'static str, Value)> {
    let prefix = select(&["", "", "", "ForAllValues:", "ForAnyValue:"][..]);
    let suffix = select(&["", "", "IfExists"][..]);
    let text = named(
        &[
            "StringEquals",
            "StringNotEquals",
            "StringLike",
            "StringNotLike",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
        ],
        TEXT_KEYS,
        TEXTS,
    );
    let number = named(
        &[
            "NumericEquals",
            "NumericNotEquals",
            "NumericLessThan",
            "NumericLessThanEquals",
            "NumericGreaterThan",
            "NumericGreaterThanEquals",
        ],
        &["aws:ResourceTag/Level"],
        &["5", "5.0", "-1", "10", "4.9"],
    );
    let date = named(
        &[
            "DateEquals",
            "DateNotEquals",
            "DateLessThan",
            "DateLessThanEquals",
            "DateGreaterThan",
            "DateGreaterThanEquals",
        ],
        &["aws:CurrentTime"],
        &[
            "2026-11-25T10:00:00Z",
            "2026-11-25T10:00:01Z",
            "2025-01-01T00:00:00Z",
        ],
    );
    let address = named(
        &["IpAddress", "NotIpAddress"],
        &["aws:SourceIp"],
        &[
            "192.0.2.0/24",
            "192.0.2.9",
            "0.0.0.0/0",
            "198.51.100.128/25",
        ],
    );
    let arn = named(
        &["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
        &["aws:SourceArn", "aws:PrincipalArn"],
        ARNS,
    );
    let boolean = named(&["Bool"], &["aws:SecureTransport"], &["true", "false"]);
    let null = (select(TEXT_KEYS), select(&["true", "false"][..]))
        .prop_map(|(key, value)| ("Null".to_owned(), key, json!(value)));
    let compared =
        prop_oneof![4 => text, 1 => number, 1 => date, 1 => address, 2 => arn, 1 => boolean];
    let compared = (prefix, compared, suffix).prop_map(|(prefix, (name, key, values), suffix)| {
        (format!("{prefix}{name}{suffix}"), key, values)
    });
    prop_oneof![9 => compared, 1 => null]
}

fn named(
    operators: &'static [&'static str],
    keys: &'static [&'static str],
    values: &'static [&'static str],
) -> impl Strategy<Value = (&'static str, &'static str, Value)> {
    (select(operators), select(keys), vec(select(values), 1..3))
        .prop_map(|(operator, key, values)| (operator, key, one_or_many(&values)))
}

fn facts() -> impl Strategy<Value = Facts> {
    let names = || vec(select(&["ann", "bob", "*", "red", "a:b", "a$b"][..]), 0..2);
    (
        names(),
        names(),
        vec(select(&["ann", "red", "x"][..]), 0..4),
        vec(select(&["5", "4.9", "-1", "11", "high"][..]), 0..2),
        vec(
            select(&["192.0.2.9", "198.51.100.200", "203.0.113.1", "nowhere"][..]),
            0..2,
        ),
        vec(
            select(&["2026-11-25T10:00:00Z", "2026-11-25T10:00:02Z", "soon"][..]),
            0..2,
        ),
        vec(select(&["true", "false", "yes"][..]), 0..2),
        vec(
            select(
                &[
                    "arn:aws:s3:::bucket/ann/x",
                    "arn:aws:iam::123456789012:role/r",
                    "bucket",
                ][..],
            ),
            0..2,
        ),
    )
        .prop_map(|(user, team, keys, level, address, time, tls, source)| {
            let account = vec!["123456789012"];
            [
                ("aws:username", user),
                ("aws:principaltag/team", team),
                ("aws:tagkeys", keys),
                ("aws:resourcetag/level", level),
                ("aws:sourceip", address),
                ("aws:currenttime", time),
                ("aws:securetransport", tls),
                ("aws:sourcearn", source),
                ("aws:principalaccount", account),
            ]
            .into_iter()
            .map(|(key, values)| {
                (
                    key.to_owned(),
                    values.into_iter().map(str::to_owned).collect(),
                )
            })
            .collect()
        })
}

use super::*;

/// Whether a condition is met in an Allow.
fn met(operator: &str, key: &str, values: &[&str], context: &Context) -> Result<bool, String> {
    let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
    Condition::new(operator, key, &values, true)
        .unwrap_or_else(|why| panic!("{operator}: {why}"))
        .is_met(Effect::Allow, context)
}

fn refused(operator: &str, key: &str, values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
    Condition::new(operator, key, &values, true).expect_err(operator)
}

/// A context with one value of `k:k`.
fn one(value: &str) -> Context {
    Context::new().with("k:k", value)
}

/// Among them iam-rs probe 6: `ArnEquals` knows wildcards.
#[test]
fn every_operator_compares_as_its_name_says() {
    for (operator, wanted, value, is_met) in [
        ("StringEquals", "a*", "a*", true),
        ("StringEquals", "a*", "ab", false),
        ("StringEquals", "a", "A", false),
        ("StringNotEquals", "a", "A", true),
        ("StringNotEquals", "a", "a", false),
        ("StringEqualsIgnoreCase", "Ä", "ä", true),
        ("StringEqualsIgnoreCase", "a", "b", false),
        ("StringNotEqualsIgnoreCase", "A", "a", false),
        ("StringNotEqualsIgnoreCase", "A", "b", true),
        ("StringLike", "a*c", "abc", true),
        ("StringLike", "a*c", "a:b/c", true),
        ("StringLike", "a?c", "ac", false),
        ("StringNotLike", "a*", "abc", false),
        ("StringNotLike", "a*", "b", true),
        ("NumericEquals", "1.0", "1", true),
        ("NumericNotEquals", "1", "2", true),
        ("NumericLessThan", "10", "9", true),
        ("NumericLessThan", "10", "10", false),
        ("NumericLessThanEquals", "10", "10", true),
        (
            "NumericGreaterThan",
            "9007199254740992",
            "9007199254740993",
            true,
        ),
        ("NumericGreaterThanEquals", "10", "9.99", false),
        ("DateEquals", "2026-11-25", "2026-11-25T00:00:00Z", true),
        ("DateNotEquals", "2026-11-25", "2026-11-25T00:00:01Z", true),
        (
            "DateLessThan",
            "2026-11-25T01:00:00+01:00",
            "2026-11-24T23:59:59Z",
            true,
        ),
        (
            "DateLessThanEquals",
            "2026-11-25",
            "2026-11-25T00:00:00Z",
            true,
        ),
        (
            "DateGreaterThan",
            "1767225600",
            "2026-01-01T00:00:01Z",
            true,
        ),
        (
            "DateGreaterThanEquals",
            "2026",
            "2025-12-31T23:59:59Z",
            false,
        ),
        ("Bool", "true", "true", true),
        ("Bool", "True", "false", false),
        ("BinaryEquals", "QmluYXJ5", "QmluYXJ5", true),
        ("BinaryEquals", "QmluYXJ5", "QmluYXJ4", false),
        ("IpAddress", "203.0.113.0/24", "203.0.113.200", true),
        ("IpAddress", "2001:db8::/32", "2001:db8::7", true),
        ("NotIpAddress", "203.0.113.0/24", "203.0.113.200", false),
        ("NotIpAddress", "203.0.113.0/24", "2001:db8::7", true),
        ("ArnEquals", "arn:aws:s3:::b*", "arn:aws:s3:::bucket", true),
        (
            "ArnLike",
            "arn:aws:iam::*:role/*",
            "arn:aws:iam::123456789012:role/x",
            true,
        ),
        (
            "ArnLike",
            "arn:aws:*:role/*",
            "arn:aws:iam::123456789012:role/x",
            false,
        ),
        ("ArnNotEquals", "arn:aws:s3:::b", "arn:aws:s3:::c", true),
        ("ArnNotLike", "arn:aws:s3:::b*", "arn:aws:s3:::bc", false),
    ] {
        let found = if operator == "ArnLike" && wanted == "arn:aws:*:role/*" {
            // Refused when read: it could only have been meant to cross colons.
            refused(operator, "k:k", &[wanted]);
            Ok(false)
        } else {
            met(operator, "k:k", &[wanted], &one(value))
        };
        assert_eq!(found, Ok(is_met), "{operator} {wanted} {value}");
    }
}

#[test]
fn several_values_are_alternatives_and_a_negated_operator_wants_none() {
    assert_eq!(met("StringEquals", "k:k", &["a", "b"], &one("b")), Ok(true));
    assert_eq!(
        met("StringNotEquals", "k:k", &["a", "b"], &one("b")),
        Ok(false)
    );
    assert_eq!(
        met("StringNotEquals", "k:k", &["a", "b"], &one("c")),
        Ok(true)
    );
    let both = ["203.0.113.0/24", "198.51.100.0/24"];
    assert_eq!(
        met("NotIpAddress", "k:k", &both, &one("198.51.100.1")),
        Ok(false)
    );
}

/// Attack P4.
#[test]
fn a_missing_key_meets_negated_operators_if_exists_and_for_all_values_only() {
    let nothing = Context::new();
    for (operator, is_met) in [
        ("StringEquals", false),
        ("StringLike", false),
        ("StringNotEquals", true),
        ("StringNotLike", true),
        ("StringEqualsIfExists", true),
        ("StringNotEqualsIfExists", true),
        ("ForAllValues:StringEquals", true),
        ("ForAllValues:StringNotEquals", true),
        ("ForAllValues:StringLikeIfExists", true),
        ("ForAnyValue:StringEquals", false),
        ("ForAnyValue:StringNotEquals", false),
        ("ForAnyValue:StringEqualsIfExists", true),
    ] {
        assert_eq!(
            met(operator, "k:k", &["a"], &nothing),
            Ok(is_met),
            "{operator}"
        );
    }
    for (operator, value, is_met) in [
        ("NumericLessThan", "1", false),
        ("NumericNotEquals", "1", true),
        ("DateNotEquals", "2026", true),
        ("DateLessThan", "2026", false),
        ("Bool", "false", false),
        ("BoolIfExists", "true", true),
        ("IpAddress", "::/0", false),
        ("NotIpAddress", "::/0", true),
        ("ArnNotLike", "*", true),
        ("ArnLike", "*", false),
    ] {
        assert_eq!(
            met(operator, "k:k", &[value], &nothing),
            Ok(is_met),
            "{operator}"
        );
    }
    let mut empty = Context::new();
    empty.set_all("k:k", Vec::<String>::new());
    assert_eq!(
        met("ForAllValues:StringEquals", "k:k", &["a"], &empty),
        Ok(true)
    );
    assert_eq!(
        met("ForAnyValue:StringEquals", "k:k", &["a"], &empty),
        Ok(false)
    );
}

/// Attack P4, GHSA-v9cp-qfw9-9pfp.
#[test]
fn negated_sets_negate_for_each_value() {
    for (operator, request, is_met) in [
        ("ForAllValues:StringEquals", &["a", "b"][..], true),
        ("ForAllValues:StringEquals", &["a", "x"], false),
        ("ForAnyValue:StringEquals", &["a", "x"], true),
        ("ForAnyValue:StringEquals", &["x", "y"], false),
        ("ForAllValues:StringNotEquals", &["x", "y"], true),
        ("ForAllValues:StringNotEquals", &["a", "x"], false),
        ("ForAnyValue:StringNotEquals", &["a", "x"], true),
        ("ForAnyValue:StringNotEquals", &["a", "b"], false),
        ("ForAnyValue:StringLike", &["x", "ab"], false),
    ] {
        let mut context = Context::new();
        context.set_all("k:k", request.iter().copied());
        assert_eq!(
            met(operator, "k:k", &["a", "b"], &context),
            Ok(is_met),
            "{operator} {request:?}"
        );
    }
}

#[test]
fn null_asks_whether_a_key_is_missing() {
    for (value, missing, present) in [("true", true, false), ("false", false, true)] {
        assert_eq!(met("Null", "k:k", &[value], &Context::new()), Ok(missing));
        assert_eq!(met("Null", "k:k", &[value], &one("x")), Ok(present));
    }
}

#[test]
fn what_a_request_says_wrongly_cannot_be_judged() {
    for (operator, value, request) in [
        ("NumericLessThan", "5", "five"),
        ("NumericNotEquals", "5", "five"),
        ("DateLessThan", "2026", "soon"),
        ("Bool", "true", "yes"),
        ("IpAddress", "::/0", "nowhere"),
        ("NotIpAddress", "::/0", "10.0.0.0/8"),
        ("ArnLike", "arn:aws:s3:::*", "bucket"),
        ("BinaryEquals", "QUJD", "%"),
    ] {
        assert!(
            met(operator, "k:k", &[value], &one(request)).is_err(),
            "{operator}"
        );
    }
    let mut several = Context::new();
    several.set_all("k:k", ["a", "b"]);
    let why = met("StringEquals", "k:k", &["a"], &several).unwrap_err();
    assert!(why.contains("ForAnyValue"), "{why}");
}

#[test]
fn a_value_that_settles_a_set_counts_more_than_one_that_cannot_be_read() {
    let mut context = Context::new();
    context.set_all("k:k", ["five", "1"]);
    assert_eq!(
        met("ForAnyValue:NumericLessThan", "k:k", &["3"], &context),
        Ok(true)
    );
    assert!(met("ForAllValues:NumericLessThan", "k:k", &["3"], &context).is_err());
    assert_eq!(
        met("ForAllValues:NumericLessThan", "k:k", &["0"], &context),
        Ok(false)
    );
    assert!(met("ForAnyValue:NumericLessThan", "k:k", &["0"], &context).is_err());
}

#[test]
fn values_may_be_variables_in_text_and_arns() {
    let context = one("ann").with("aws:username", "ann");
    assert_eq!(
        met("StringEquals", "k:k", &["${aws:username}"], &context),
        Ok(true)
    );
    assert_eq!(
        met("StringNotEquals", "k:k", &["${aws:username}"], &context),
        Ok(false)
    );
    assert_eq!(met("StringEquals", "k:k", &["${*}"], &one("*")), Ok(true));
    let arn = "arn:aws:s3:::ann";
    let context = one(arn)
        .with("aws:SourceArn", arn)
        .with("aws:username", "ann");
    assert_eq!(
        met("ArnEquals", "k:k", &["${aws:SourceArn}"], &context),
        Ok(true)
    );
    assert_eq!(
        met(
            "ArnLike",
            "k:k",
            &["arn:aws:s3:::${aws:username}"],
            &context
        ),
        Ok(true)
    );
    for operator in [
        "NumericEquals",
        "DateEquals",
        "Bool",
        "IpAddress",
        "BinaryEquals",
        "Null",
    ] {
        refused(operator, "k:k", &["${aws:username}"]);
    }
}

#[test]
fn none_of_these_cannot_be_claimed_while_one_is_unknown() {
    let values = ["bob".to_owned(), "${aws:username}".to_owned()];
    let condition = Condition::new("StringNotEquals", "k:k", &values, true).unwrap();
    assert_eq!(condition.is_met(Effect::Allow, &one("ann")), Ok(false));
    assert_eq!(condition.is_met(Effect::Deny, &one("ann")), Ok(true));
    assert_eq!(condition.is_met(Effect::Deny, &one("bob")), Ok(false));
}

/// Attack P3; iam-rs probe 5 for the operator that must parse.
#[test]
fn unknown_operators_and_unreadable_values_are_refused() {
    for operator in [
        "StringEqual",
        "stringEquals",
        "ForEachValue:StringEquals",
        "ForAllValues:",
        "IfExists",
        "NullIfExists",
        "ForAnyValue:Null",
        "StringEqualsIfExistsIfExists",
        "BoolNot",
        "NotStringEquals",
        "",
    ] {
        refused(operator, "k:k", &["true"]);
    }
    for (operator, value) in [
        ("NumericEquals", "1e3"),
        ("DateEquals", "today"),
        ("Bool", "1"),
        ("IpAddress", "1.2.3.4/40"),
        ("BinaryEquals", "***"),
        ("ArnLike", "bucket"),
        ("Null", "maybe"),
    ] {
        let why = refused(operator, "k:k", &[value]);
        assert!(why.contains(value), "{why}");
    }
    refused("StringEquals", "k:k", &[]);
    refused("Null", "k:k", &["true", "false"]);
    let any = met("ForAnyValue:StringEqualsIfExists", "k:k", &["a"], &one("a"));
    assert_eq!(any, Ok(true));
}

#[test]
fn keys_of_conditions_and_variables_are_listed_as_written() {
    let values = ["${aws:PrincipalTag/Team}".to_owned()];
    let condition = Condition::new("StringLike", "aws:ResourceTag/Team", &values, true).unwrap();
    assert_eq!(
        condition.keys(),
        ["aws:ResourceTag/Team", "aws:PrincipalTag/Team"]
    );
}

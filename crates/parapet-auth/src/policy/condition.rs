//! Conditions: one operator, one key, the values it is compared with.
//!
//! Follows IAM user guide, "IAM JSON policy elements: Condition operators" and "Condition keys with
//! multiple values". Of a key that is missing: operators are not met, negated ones are, `IfExists`
//! and `ForAllValues` are, `ForAnyValue` is not. Negated operators under a set prefix negate for each
//! value of the request (GHSA-v9cp-qfw9-9pfp).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;

use super::arn::{Arn, ArnPattern, shortened};
use super::context::Context;
use super::network::Network;
use super::number::Decimal;
use super::pattern::{Pattern, Syntax, Variable};
use super::{Effect, date, keys};

/// One entry of a `Condition` element.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// The operator as it is written, for explanations.
    operator: String,
    /// The key as it is written.
    key: String,
    /// The key in lower case.
    lookup: String,
    quantifier: Quantifier,
    if_exists: bool,
    negated: bool,
    test: Test,
}

/// How the values of the request are taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    /// There must be one.
    Single,
    /// `ForAllValues:`.
    All,
    /// `ForAnyValue:`.
    Any,
}

/// What a value is compared with, of which one must fit.
#[derive(Debug, Clone)]
enum Test {
    Text(Vec<Pattern>),
    Arn(Vec<ArnPattern>),
    Number(Comparison, Vec<Decimal>),
    Date(Comparison, Vec<Timestamp>),
    Bool(Vec<bool>),
    Bytes(Vec<Vec<u8>>),
    Address(Vec<Network>),
    /// Whether the key must be missing.
    Null(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds<T: Ord>(self, value: &T, limit: &T) -> bool {
        match self {
            Self::Equal => value == limit,
            Self::Less => value < limit,
            Self::LessOrEqual => value <= limit,
            Self::Greater => value > limit,
            Self::GreaterOrEqual => value >= limit,
        }
    }
}

impl Condition {
    /// Compiles an entry; the error says what is wrong with it.
    pub(super) fn new(
        operator: &str,
        key: &str,
        values: &[String],
        variables: bool,
    ) -> Result<Self, String> {
        keys::check(key)?;
        let (quantifier, rest) = match operator.split_once(':') {
            None => (Quantifier::Single, operator),
            Some(("ForAllValues", rest)) => (Quantifier::All, rest),
            Some(("ForAnyValue", rest)) => (Quantifier::Any, rest),
            Some(_) => return Err(unknown(operator)),
        };
        let (base, if_exists) = match rest.strip_suffix("IfExists") {
            Some(base) => (base, true),
            None => (rest, false),
        };
        if values.is_empty() {
            return Err(format!(
                "{operator} of {key} names no value, write at least one"
            ));
        }
        let test = test(base, values, variables)?.ok_or_else(|| unknown(operator))?;
        if matches!(test, Test::Null(_)) && (if_exists || quantifier != Quantifier::Single) {
            return Err(format!(
                "{operator} is no operator: Null takes neither IfExists nor a set prefix"
            ));
        }
        Ok(Self {
            operator: operator.to_owned(),
            key: key.to_owned(),
            lookup: key.to_ascii_lowercase(),
            quantifier,
            if_exists,
            negated: base.contains("Not"),
            test,
        })
    }

    /// The key it asks for and those of its variables, as they are written.
    pub(super) fn keys(&self) -> Vec<&str> {
        let variables: Vec<&Variable> = match &self.test {
            Test::Text(patterns) => patterns.iter().flat_map(Pattern::variables).collect(),
            Test::Arn(patterns) => patterns.iter().flat_map(ArnPattern::variables).collect(),
            _ => Vec::new(),
        };
        std::iter::once(self.key.as_str())
            .chain(variables.into_iter().map(|variable| variable.name.as_str()))
            .collect()
    }

    /// Whether it is met, in a statement of this effect; the error says why that cannot be told.
    pub(super) fn is_met(&self, effect: Effect, context: &Context) -> Result<bool, String> {
        let values = context.get_lower(&self.lookup);
        if let Test::Null(missing) = self.test {
            return Ok(values.is_none() == missing);
        }
        let Some(values) = values else {
            return Ok(match self.quantifier {
                _ if self.if_exists => true,
                Quantifier::All => true,
                Quantifier::Any => false,
                Quantifier::Single => self.negated,
            });
        };
        let meets = |value: &String| self.meets(value, effect, context);
        match (self.quantifier, values) {
            (Quantifier::Single, [value]) => meets(value),
            (Quantifier::Single, _) => Err(format!(
                "{} compares one value and {} has {}: write ForAllValues: or ForAnyValue:",
                self.operator,
                self.key,
                values.len()
            )),
            (Quantifier::All, _) => search(values.iter().map(meets), false),
            (Quantifier::Any, _) => search(values.iter().map(meets), true),
        }
    }

    fn meets(&self, value: &str, effect: Effect, context: &Context) -> Result<bool, String> {
        let unreadable = |what: &str| {
            format!(
                "{} needs {what}, and {} is {:?}",
                self.operator,
                self.key,
                shortened(value)
            )
        };
        // Set when a variable has no value: what it would have been compared with is unknown.
        let mut open = false;
        let mut known = |fits: Option<bool>| {
            open |= fits.is_none();
            fits == Some(true)
        };
        let found = match &self.test {
            Test::Text(patterns) => patterns.iter().any(|it| known(it.fits(value, context))),
            Test::Arn(patterns) => {
                let arn = Arn::new(value).ok_or_else(|| unreadable("an ARN"))?;
                patterns.iter().any(|it| known(it.fits(&arn, context)))
            }
            Test::Number(comparison, limits) => {
                let value = Decimal::new(value).ok_or_else(|| unreadable("a number"))?;
                limits.iter().any(|limit| comparison.holds(&value, limit))
            }
            Test::Date(comparison, limits) => {
                let value = date::parse(value).ok_or_else(|| unreadable("a date"))?;
                limits.iter().any(|limit| comparison.holds(&value, limit))
            }
            Test::Bool(wanted) => {
                let value = boolean(value).ok_or_else(|| unreadable("true or false"))?;
                wanted.contains(&value)
            }
            Test::Bytes(wanted) => {
                let value = BASE64.decode(value).map_err(|_| unreadable("base64"))?;
                wanted.contains(&value)
            }
            Test::Address(networks) => {
                let value: IpAddr = value.parse().map_err(|_| unreadable("an address"))?;
                networks.iter().any(|network| network.contains(value))
            }
            // Answered before any value is looked at.
            Test::Null(_) => false,
        };
        // "Is none of these" cannot be claimed while one of these is unknown: then an Allow does
        // not apply and a Deny does.
        Ok(if self.negated {
            !(found || open && effect == Effect::Allow)
        } else {
            found
        })
    }
}

/// Whether one of the answers is `wanted` (`ForAnyValue`), or all are (`ForAllValues`, sought as
/// one that is not). An answer that settles it counts more than one that could not be found.
fn search(
    answers: impl Iterator<Item = Result<bool, String>>,
    wanted: bool,
) -> Result<bool, String> {
    let mut error = None;
    for answer in answers {
        match answer {
            Ok(answer) if answer == wanted => return Ok(wanted),
            Ok(_) => {}
            Err(why) => error = Some(why),
        }
    }
    error.map_or(Ok(!wanted), Err)
}

/// `None` for an unknown operator.
fn test(base: &str, values: &[String], variables: bool) -> Result<Option<Test>, String> {
    let text = |wildcards, fold| {
        let syntax = Syntax {
            variables,
            wildcards,
            fold,
        };
        let patterns = values.iter().map(|value| Pattern::new(value, syntax));
        patterns.collect::<Result<_, _>>().map(Test::Text)
    };
    let number = |comparison| {
        each(values, "a decimal number", Decimal::new)
            .map(|values| Test::Number(comparison, values))
    };
    let date = |comparison| {
        each(values, "a date as 2026-11-25T10:00:00Z", date::parse)
            .map(|values| Test::Date(comparison, values))
    };
    let test = match base {
        "StringEquals" | "StringNotEquals" => text(false, false)?,
        "StringEqualsIgnoreCase" | "StringNotEqualsIgnoreCase" => text(false, true)?,
        "StringLike" | "StringNotLike" => text(true, false)?,
        // The original does not tell the two apart: both know wildcards.
        "ArnEquals" | "ArnLike" | "ArnNotEquals" | "ArnNotLike" => {
            let patterns = values.iter().map(|value| ArnPattern::new(value, variables));
            Test::Arn(patterns.collect::<Result<_, _>>()?)
        }
        "NumericEquals" | "NumericNotEquals" => number(Comparison::Equal)?,
        "NumericLessThan" => number(Comparison::Less)?,
        "NumericLessThanEquals" => number(Comparison::LessOrEqual)?,
        "NumericGreaterThan" => number(Comparison::Greater)?,
        "NumericGreaterThanEquals" => number(Comparison::GreaterOrEqual)?,
        "DateEquals" | "DateNotEquals" => date(Comparison::Equal)?,
        "DateLessThan" => date(Comparison::Less)?,
        "DateLessThanEquals" => date(Comparison::LessOrEqual)?,
        "DateGreaterThan" => date(Comparison::Greater)?,
        "DateGreaterThanEquals" => date(Comparison::GreaterOrEqual)?,
        "Bool" => Test::Bool(each(values, "true or false", boolean)?),
        "BinaryEquals" => Test::Bytes(each(values, "base64", |text| BASE64.decode(text).ok())?),
        "IpAddress" | "NotIpAddress" => Test::Address(each(
            values,
            "an address or a network as 203.0.113.0/24",
            Network::new,
        )?),
        "Null" => match each(values, "true or false", boolean)?.as_slice() {
            [missing] => Test::Null(*missing),
            _ => return Err("Null takes one value, true or false".to_owned()),
        },
        _ => return Ok(None),
    };
    Ok(Some(test))
}

fn each<T>(
    values: &[String],
    what: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, String> {
    let read =
        |text: &String| read(text).ok_or_else(|| format!("{:?} is not {what}", shortened(text)));
    values.iter().map(read).collect()
}

fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn unknown(operator: &str) -> String {
    format!(
        "{:?} is an unknown operator; names are as StringEquals, ForAnyValue:ArnLikeIfExists",
        shortened(operator)
    )
}

#[cfg(test)]
mod tests;

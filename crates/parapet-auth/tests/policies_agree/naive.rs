//! A second evaluator: slow, plain, and written apart from the first one.
//!
//! Works on the JSON as it is, compiles nothing, shares no code with `parapet_auth::policy`. It
//! knows the forms that the generator makes: whole and decimal numbers, dates of one form, IPv4.

use std::collections::BTreeMap;

use serde_json::Value;

/// Condition keys in lower case.
pub(crate) type Facts = BTreeMap<String, Vec<String>>;

/// What the policies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Explicit,
    Broken,
    LacksIdentity,
    LacksBoundary,
    LacksSession,
    NoArn,
    Allowed,
}

/// All that speaks for somebody, as documents.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    pub(crate) identity: Vec<Value>,
    pub(crate) boundary: Option<Value>,
    pub(crate) session: Option<Vec<Value>>,
}

pub(crate) fn decide(
    documents: &Documents,
    action: &str,
    resource: &str,
    facts: &Facts,
) -> Verdict {
    if resource != "*" && !is_arn(resource) {
        return Verdict::NoArn;
    }
    let boundary: Vec<Value> = documents.boundary.iter().cloned().collect();
    let session = documents.session.clone().unwrap_or_default();
    let mut answers = Vec::new();
    for (there, policies, lack) in [
        (true, &documents.identity, Verdict::LacksIdentity),
        (
            documents.boundary.is_some(),
            &boundary,
            Verdict::LacksBoundary,
        ),
        (documents.session.is_some(), &session, Verdict::LacksSession),
    ] {
        if !there {
            continue;
        }
        let mut allows = false;
        for policy in policies {
            for statement in as_list(&policy["Statement"]) {
                let speaks = speaks(policy, statement, action, resource, facts);
                match (speaks, statement["Effect"] == "Allow") {
                    (Err(()), _) => answers.push(Verdict::Broken),
                    (Ok(true), false) => answers.push(Verdict::Explicit),
                    (Ok(true), true) => allows = true,
                    (Ok(false), _) => {}
                }
            }
        }
        if !allows {
            answers.push(lack);
        }
    }
    // The order of the enum is the order of what counts.
    answers.into_iter().min().unwrap_or(Verdict::Allowed)
}

fn as_list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> Vec<String> {
    as_list(value)
        .into_iter()
        .map(|item| match item {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect()
}

fn speaks(
    policy: &Value,
    statement: &Value,
    action: &str,
    resource: &str,
    facts: &Facts,
) -> Result<bool, ()> {
    let variables = policy["Version"] == "2012-10-17";
    let allow = statement["Effect"] == "Allow";
    let action_listed = |key: &str| {
        texts(&statement[key]).iter().any(|pattern| {
            let symbols = symbols(&pattern.to_lowercase(), false, true, &Facts::new());
            like(&symbols, &action.to_lowercase()) == Some(true)
        })
    };
    let of_action = if statement.get("Action").is_some() {
        action_listed("Action")
    } else {
        !action_listed("NotAction")
    };
    if !of_action {
        return Ok(false);
    }
    let fits: Vec<Option<bool>> = ["Resource", "NotResource"]
        .iter()
        .filter_map(|key| statement.get(*key))
        .flat_map(texts)
        .map(|pattern| match (pattern.as_str(), resource) {
            ("*", _) => Some(true),
            (_, "*") => Some(false),
            _ => arn_like(&pattern, resource, variables, facts),
        })
        .collect();
    let listed = fits.contains(&Some(true));
    let of_resource = if statement.get("Resource").is_some() {
        listed
    } else {
        !listed && (!fits.contains(&None) || !allow)
    };
    if !of_resource {
        return Ok(false);
    }
    let mut answers = Vec::new();
    if let Some(Value::Object(operators)) = statement.get("Condition") {
        for (operator, keys) in operators {
            for (key, values) in keys.as_object().expect("an object") {
                answers.push(condition(
                    operator,
                    key,
                    &texts(values),
                    allow,
                    variables,
                    facts,
                ));
            }
        }
    }
    if answers.contains(&Ok(false)) {
        Ok(false)
    } else if answers.contains(&Err(())) {
        Err(())
    } else {
        Ok(true)
    }
}

fn condition(
    operator: &str,
    key: &str,
    wanted: &[String],
    allow: bool,
    variables: bool,
    facts: &Facts,
) -> Result<bool, ()> {
    let none = Vec::new();
    let given = facts.get(&key.to_lowercase()).unwrap_or(&none);
    if operator == "Null" {
        return Ok((wanted[0] == "true") == given.is_empty());
    }
    let all = operator.starts_with("ForAllValues:");
    let any = operator.starts_with("ForAnyValue:");
    let base = operator
        .replace("ForAllValues:", "")
        .replace("ForAnyValue:", "");
    let if_exists = base.ends_with("IfExists");
    let base = base.replace("IfExists", "");
    let negated = base.contains("Not");
    if given.is_empty() {
        return Ok(if_exists || all || (negated && !any));
    }
    if !all && !any && given.len() > 1 {
        return Err(());
    }
    let answers: Vec<Result<bool, ()>> = given
        .iter()
        .map(|value| {
            let fits = wanted
                .iter()
                .map(|wanted| compare(&base.replace("Not", ""), value, wanted, variables, facts))
                .collect::<Result<Vec<_>, ()>>()?;
            Ok(if fits.contains(&Some(true)) {
                !negated
            } else if negated && fits.contains(&None) {
                !allow
            } else {
                negated
            })
        })
        .collect();
    let settles = any || !all;
    if answers.contains(&Ok(settles)) {
        Ok(settles)
    } else if answers.contains(&Err(())) {
        Err(())
    } else {
        Ok(!settles)
    }
}

/// Whether one value of the request fits one of the policy; `None` when a variable is unknown.
fn compare(
    base: &str,
    value: &str,
    wanted: &str,
    variables: bool,
    facts: &Facts,
) -> Result<Option<bool>, ()> {
    Ok(match base {
        "StringEquals" => like(&symbols(wanted, variables, false, facts), value),
        "StringEqualsIgnoreCase" => {
            let symbols = symbols(wanted, variables, false, facts);
            let lower = symbols.into_iter().map(|symbol| match symbol {
                Symbol::Char(char) => Symbol::Char(char.to_ascii_lowercase()),
                other => other,
            });
            like(&lower.collect::<Vec<_>>(), &value.to_ascii_lowercase())
        }
        "StringLike" => like(&symbols(wanted, variables, true, facts), value),
        "ArnEquals" | "ArnLike" if !is_arn(value) => return Err(()),
        "ArnEquals" | "ArnLike" => arn_like(wanted, value, variables, facts),
        "Bool" => match value {
            "true" | "false" => Some(value == wanted),
            _ => return Err(()),
        },
        "IpAddress" => {
            let (network, bits) = wanted.split_once('/').unwrap_or((wanted, "32"));
            let mask = match bits.parse::<u32>().map_err(drop)? {
                0 => 0,
                bits => u32::MAX << (32 - bits),
            };
            Some(ipv4(network)? & mask == ipv4(value)? & mask)
        }
        _ if base.starts_with("Numeric") => {
            let (value, wanted) = (tenths(value)?, tenths(wanted)?);
            Some(order(&base["Numeric".len()..], &value, &wanted))
        }
        _ if base.starts_with("Date") => {
            if value.len() != 20 {
                return Err(());
            }
            Some(order(&base["Date".len()..], &value, &wanted))
        }
        other => panic!("the generator makes no {other}"),
    })
}

fn order<T: Ord>(name: &str, value: &T, wanted: &T) -> bool {
    match name {
        "Equals" => value == wanted,
        "LessThan" => value < wanted,
        "LessThanEquals" => value <= wanted,
        "GreaterThan" => value > wanted,
        "GreaterThanEquals" => value >= wanted,
        other => panic!("the generator makes no {other}"),
    }
}

/// A number with at most one digit behind the point, in tenths.
fn tenths(text: &str) -> Result<i64, ()> {
    let with_point = if text.contains('.') {
        text.to_owned()
    } else {
        format!("{text}.0")
    };
    with_point.replace('.', "").parse().map_err(drop)
}

fn ipv4(text: &str) -> Result<u32, ()> {
    let parts: Vec<u32> = text
        .split('.')
        .map(|part| part.parse::<u8>().map(u32::from).map_err(drop))
        .collect::<Result<_, _>>()?;
    match parts.as_slice() {
        [a, b, c, d] => Ok(a << 24 | b << 16 | c << 8 | d),
        _ => Err(()),
    }
}

fn is_arn(text: &str) -> bool {
    text.starts_with("arn:") && text.matches(':').count() >= 5
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol {
    Char(char),
    /// A colon of the policy's text, not of a value.
    Colon,
    Star,
    One,
    Unknown,
}

fn symbols(text: &str, variables: bool, wildcards: bool, facts: &Facts) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if variables && rest.starts_with("${") {
            let end = rest.find('}').expect("the generator closes its braces");
            let inside = &rest[2..end];
            rest = &rest[end + 1..];
            if ["*", "?", "$"].contains(&inside) {
                symbols.extend(inside.chars().map(Symbol::Char));
                continue;
            }
            let (key, default) = match inside.split_once(", ") {
                Some((key, default)) => (key, Some(default.replace('\'', ""))),
                None => (inside, None),
            };
            let value = match facts.get(&key.to_lowercase()).map(Vec::as_slice) {
                Some([value]) => Some(value.clone()),
                None | Some([]) => default,
                Some(_) => None,
            };
            match value {
                Some(value) => symbols.extend(value.chars().map(Symbol::Char)),
                None => symbols.push(Symbol::Unknown),
            }
            continue;
        }
        let char = rest.chars().next().expect("not empty");
        rest = &rest[char.len_utf8()..];
        symbols.push(match char {
            '*' if wildcards => Symbol::Star,
            '?' if wildcards => Symbol::One,
            ':' => Symbol::Colon,
            char => Symbol::Char(char),
        });
    }
    symbols
}

/// By the definition, over all pairs of ends.
fn like(symbols: &[Symbol], text: &str) -> Option<bool> {
    if symbols.contains(&Symbol::Unknown) {
        return None;
    }
    let text: Vec<char> = text.chars().collect();
    // `fits[t]`: whether the symbols so far fit the first `t` characters.
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for symbol in symbols {
        let mut next = vec![false; text.len() + 1];
        for end in 0..=text.len() {
            next[end] = match symbol {
                Symbol::Star => fits[..=end].contains(&true),
                Symbol::One => end > 0 && fits[end - 1],
                Symbol::Char(char) => end > 0 && fits[end - 1] && text[end - 1] == *char,
                Symbol::Colon => end > 0 && fits[end - 1] && text[end - 1] == ':',
                Symbol::Unknown => false,
            };
        }
        fits = next;
    }
    Some(fits[text.len()])
}

fn arn_like(pattern: &str, arn: &str, variables: bool, facts: &Facts) -> Option<bool> {
    if pattern == "*" {
        return Some(true);
    }
    let symbols = symbols(pattern, variables, true, facts);
    if variables && pattern.starts_with("${") && pattern.find('}') == Some(pattern.len() - 1) {
        return like(&symbols, arn);
    }
    let parts: Vec<&[Symbol]> = symbols
        .splitn(6, |symbol| *symbol == Symbol::Colon)
        .collect();
    let given: Vec<&str> = arn.splitn(6, ':').collect();
    let mut answers: Vec<Option<bool>> = Vec::new();
    for (part, given) in parts.iter().zip(given) {
        answers.push(like(part, given));
    }
    if answers.contains(&Some(false)) {
        Some(false)
    } else if answers.contains(&None) {
        None
    } else {
        Some(true)
    }
}

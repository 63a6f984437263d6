//! ARNs and patterns for them, compared part by part: a `*` does not cross a colon.
//!
//! The last part of six may hold colons itself (`log-group:name`), and a star in it matches them.

use super::Context;
use super::glob::Unit;
use super::pattern::{Pattern, Piece, Syntax, Variable, pieces};

/// `arn:partition:service:region:account:resource`.
const PARTS: usize = 6;

/// An ARN of a request, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arn<'a> {
    whole: &'a str,
    parts: [&'a str; PARTS],
}

impl<'a> Arn<'a> {
    /// `None` when it has fewer than six parts or does not begin with `arn`.
    pub(super) fn new(text: &'a str) -> Option<Self> {
        let mut parts = [""; PARTS];
        let mut split = text.splitn(PARTS, ':');
        for part in &mut parts {
            *part = split.next()?;
        }
        (parts[0] == "arn").then_some(Self { whole: text, parts })
    }
}

/// What a policy writes where ARNs are compared.
#[derive(Debug, Clone)]
pub(super) enum ArnPattern {
    /// `*`.
    Any,
    /// Nothing but one variable, whose value is a whole ARN.
    Whole(Variable),
    /// The six parts, or the first of them when what follows is free (`arn:aws:s3:*`).
    Parts(Vec<Pattern>),
}

impl ArnPattern {
    /// Compiles a text; the error says what is wrong with it.
    pub(super) fn new(text: &str, variables: bool) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let syntax = Syntax {
            variables,
            wildcards: true,
            fold: false,
        };
        let mut parts: Vec<Vec<Piece>> = vec![Vec::new()];
        // Colons of the text separate, colons of a variable's name or value do not.
        for piece in pieces(text, syntax)? {
            let Piece::Unit(Unit::Text(literal)) = &piece else {
                last(&mut parts).push(piece);
                continue;
            };
            let mut rest = literal.as_str();
            while parts.len() < PARTS
                && let Some((before, after)) = rest.split_once(':')
            {
                push(last(&mut parts), before);
                parts.push(Vec::new());
                rest = after;
            }
            push(last(&mut parts), rest);
        }
        if let [only] = parts.as_mut_slice()
            && let [Piece::Variable(_)] = only.as_slice()
            && let Some(Piece::Variable(variable)) = only.pop()
        {
            return Ok(Self::Whole(variable));
        }
        let refuse = |why: &str| Err(format!("{:?} {why}", shortened(text)));
        if !matches!(parts[0].as_slice(), [Piece::Unit(Unit::Text(text))] if text == "arn") {
            return refuse("is no ARN: write \"*\" or arn:aws:service:region:account:resource");
        }
        if parts.len() < PARTS {
            let ends_free = matches!(
                parts.last().map(Vec::as_slice),
                Some([Piece::Unit(Unit::Star)])
            );
            if !ends_free || parts.len() < 2 {
                return refuse(
                    "has fewer than six parts: write arn:aws:service:region:account:resource",
                );
            }
            parts.pop();
        }
        // A star stays within its part. What could only have been meant otherwise is refused, so
        // that a Deny does not silently miss its resource.
        if let Some(account) = parts.get(4)
            && !account.iter().all(|piece| match piece {
                Piece::Unit(Unit::Text(text)) => {
                    text == "aws" || text.bytes().all(|byte| byte.is_ascii_digit())
                }
                _ => true,
            })
        {
            return refuse("has no account of digits or wildcards as its fifth part");
        }
        let compile = |pieces| Pattern::from_pieces(pieces, false);
        Ok(Self::Parts(parts.into_iter().map(compile).collect()))
    }

    /// Whether an ARN fits; `None` when that hangs on a variable that has no value.
    pub(super) fn fits(&self, arn: &Arn<'_>, context: &Context) -> Option<bool> {
        match self {
            Self::Any => Some(true),
            Self::Whole(variable) => Some(variable.value(context)? == arn.whole),
            Self::Parts(parts) => {
                let mut all = Some(true);
                for (pattern, part) in parts.iter().zip(arn.parts) {
                    match pattern.fits(part, context) {
                        Some(true) => {}
                        Some(false) => return Some(false),
                        None => all = None,
                    }
                }
                all
            }
        }
    }

    /// Whether it is the bare star.
    pub(super) fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }

    /// Whether it is nothing but a variable.
    pub(super) fn is_variable(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// The variables in it.
    pub(super) fn variables(&self) -> Vec<&Variable> {
        match self {
            Self::Any => Vec::new(),
            Self::Whole(variable) => vec![variable],
            Self::Parts(parts) => parts.iter().flat_map(Pattern::variables).collect(),
        }
    }
}

fn push(part: &mut Vec<Piece>, literal: &str) {
    if !literal.is_empty() {
        part.push(Piece::Unit(Unit::Text(literal.to_owned())));
    }
}

fn last(parts: &mut Vec<Vec<Piece>>) -> &mut Vec<Piece> {
    if parts.is_empty() {
        parts.push(Vec::new());
    }
    let at = parts.len() - 1;
    &mut parts[at]
}

/// For errors: hostile text is cut.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        let arn = Arn::new(text).expect("an ARN");
        let pattern = ArnPattern::new(pattern, true).expect("a pattern");
        pattern.fits(&arn, &Context::new()) == Some(true)
    }

    /// iam-rs probe 7.
    #[test]
    fn a_star_does_not_cross_a_colon() {
        let device = "arn:aws:panorama:us-west-2:123456789012:device/device-a";
        assert!(fits("arn:aws:panorama:*:*:device/*", device));
        assert!(fits(
            "arn:*:panorama:us-*:1234567890??:device/device-a",
            device
        ));
        assert!(!fits("arn:aws:panorama:*:*:package/*", device));
        assert!(!fits("arn:aws:*:*:*:x", device));
    }

    #[test]
    fn the_last_part_may_hold_colons() {
        let group = "arn:aws:logs:us-west-2:123456789012:log-group:/aws/panorama:log-stream:x";
        assert!(fits("arn:aws:logs:*:*:log-group:/aws/panorama*", group));
        assert!(!fits("arn:aws:logs:*:*:log-group:/aws/panorama", group));
    }

    #[test]
    fn a_last_part_of_one_star_stands_for_all_that_follow() {
        let bucket = "arn:aws:s3:::bucket/key";
        for open in ["arn:*", "arn:aws:*", "arn:aws:s3:*", "arn:aws:s3::*", "*"] {
            assert!(fits(open, bucket), "{open}");
        }
        assert!(!fits("arn:aws:sts:*", bucket));
    }

    #[test]
    fn what_could_only_be_meant_otherwise_is_refused() {
        for text in [
            "",
            "**",
            "device/*",
            "arn",
            "arn:aws:s3",
            "arn:aws:s3*",
            "arn:aws:panorama:*:device/*",
            "arn:aws:logs:*:log-group:x",
            "ARN:aws:s3:::x",
            "*:aws:s3:::x",
        ] {
            assert!(ArnPattern::new(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_with_colons_does_not_move_the_parts() {
        let pattern = ArnPattern::new("arn:aws:s3:::${aws:username}", true).unwrap();
        let value = "a:b";
        let context = Context::new().with("aws:username", value);
        let arn = Arn::new("arn:aws:s3:::a:b").unwrap();
        assert_eq!(pattern.fits(&arn, &context), Some(true));
        let account = ArnPattern::new("arn:aws:panorama:*:${aws:username}:device/x", true).unwrap();
        let shifted = Context::new().with("aws:username", "1:device/x:");
        let arn = Arn::new("arn:aws:panorama:r:1:device/x:device/x").unwrap();
        assert_eq!(account.fits(&arn, &shifted), Some(false));
    }
}

//! Texts of a policy that are compared with a request: wildcards and policy variables.
//!
//! The value of a variable is literal by type: it becomes a [`Unit::Text`], so that a tag or a name
//! of `*` is a star and never a wildcard (attack P2).

use super::Context;
use super::glob::{Bit, Glob, Part as _, Unit, fits};

/// Which signs of a text are special.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    /// `${…}`: from version 2012-10-17 on.
    pub(super) variables: bool,
    /// `*` and `?`.
    pub(super) wildcards: bool,
    /// Compare without regard to case.
    pub(super) fold: bool,
}

/// `${aws:username}`, `${aws:PrincipalTag/team, 'none'}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    /// The condition key, as it is written.
    pub(super) name: String,
    /// The condition key in lower case.
    key: String,
    default: Option<String>,
}

impl Variable {
    /// Its value; `None` when the key is missing and there is no default, or the key has several.
    pub(super) fn value<'a>(&'a self, context: &'a Context) -> Option<&'a str> {
        match context.get_lower(&self.key) {
            Some([value]) => Some(value),
            Some(_) => None,
            None => self.default.as_deref(),
        }
    }
}

/// A compiled text.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// Without variables.
    Fixed { glob: Glob, fold: bool },
    /// With variables, compiled when their values are known.
    Template { pieces: Vec<Piece>, fold: bool },
}

#[derive(Debug, Clone)]
pub(super) enum Piece {
    Unit(Unit),
    Variable(Variable),
}

impl Pattern {
    /// Compiles a text; the error says what is wrong with it.
    pub(super) fn new(text: &str, syntax: Syntax) -> Result<Self, String> {
        Ok(Self::from_pieces(pieces(text, syntax)?, syntax.fold))
    }

    pub(super) fn from_pieces(pieces: Vec<Piece>, fold: bool) -> Self {
        if pieces
            .iter()
            .any(|piece| matches!(piece, Piece::Variable(_)))
        {
            return Self::Template { pieces, fold };
        }
        let units = pieces.into_iter().filter_map(|piece| match piece {
            Piece::Unit(unit) => Some(unit),
            Piece::Variable(_) => None,
        });
        Self::Fixed {
            glob: Glob::new(units.map(|unit| folded(unit, fold))),
            fold,
        }
    }

    /// Whether a text fits; `None` when a variable has no value.
    pub(super) fn fits(&self, text: &str, context: &Context) -> Option<bool> {
        match self {
            Self::Fixed { glob, fold: false } => Some(glob.fits(text)),
            Self::Fixed { glob, fold: true } => Some(glob.fits(&text.to_lowercase())),
            Self::Template { pieces, fold } => {
                let bits = pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Unit(unit) => Some(unit.bit()),
                        Piece::Variable(variable) => variable.value(context).map(Bit::Text),
                    })
                    .collect::<Option<Vec<_>>>()?;
                if !fold {
                    return Some(fits(&bits, text));
                }
                let lower = bits.into_iter().map(|bit| match bit {
                    Bit::Text(text) => Unit::Text(text.to_lowercase()),
                    Bit::One => Unit::One,
                    Bit::Star => Unit::Star,
                });
                Some(Glob::new(lower).fits(&text.to_lowercase()))
            }
        }
    }

    /// The variables in it.
    pub(super) fn variables(&self) -> impl Iterator<Item = &Variable> {
        let pieces = match self {
            Self::Fixed { .. } => &[],
            Self::Template { pieces, .. } => pieces.as_slice(),
        };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable),
            Piece::Unit(_) => None,
        })
    }
}

fn folded(unit: Unit, fold: bool) -> Unit {
    match unit {
        Unit::Text(text) if fold => Unit::Text(text.to_lowercase()),
        unit => unit,
    }
}

/// Takes a text apart.
pub(super) fn pieces(text: &str, syntax: Syntax) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        let special = match char {
            '*' if syntax.wildcards => Some((Piece::Unit(Unit::Star), &rest[1..])),
            '?' if syntax.wildcards => Some((Piece::Unit(Unit::One), &rest[1..])),
            '$' if syntax.variables && rest.starts_with("${") => {
                let (inside, after) = inside(&rest[2..]).ok_or_else(|| {
                    "a policy variable begins with \"${\" and does not end with \"}\"".to_owned()
                })?;
                let piece = match inside {
                    "*" | "?" | "$" => Piece::Unit(Unit::Text(inside.to_owned())),
                    _ => Piece::Variable(variable(inside)?),
                };
                Some((piece, after))
            }
            _ => None,
        };
        if let Some((piece, after)) = special {
            if !literal.is_empty() {
                pieces.push(Piece::Unit(Unit::Text(std::mem::take(&mut literal))));
            }
            pieces.push(piece);
            rest = after;
        } else {
            literal.push(char);
            rest = &rest[char.len_utf8()..];
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Unit(Unit::Text(literal)));
    }
    Ok(pieces)
}

/// What is before the closing brace, and what is after it. A brace in a quoted default value does
/// not close.
fn inside(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    for (at, char) in text.char_indices() {
        match char {
            '\'' => quoted = !quoted,
            '}' if !quoted => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

fn variable(inside: &str) -> Result<Variable, String> {
    let (name, default) = match inside.split_once(',') {
        None => (inside.trim(), None),
        Some((name, default)) => {
            let default = default
                .trim()
                .strip_prefix('\'')
                .and_then(|text| text.strip_suffix('\''))
                .filter(|text| !text.contains('\''))
                .ok_or_else(|| {
                    format!("write the default of ${{{inside}}} in single quotes: ${{key, 'text'}}")
                })?;
            (name.trim(), Some(default.to_owned()))
        }
    };
    super::keys::check(name)?;
    Ok(Variable {
        name: name.to_owned(),
        key: name.to_ascii_lowercase(),
        default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIKE: Syntax = Syntax {
        variables: true,
        wildcards: true,
        fold: false,
    };

    fn fits(pattern: &str, text: &str, context: &Context) -> Option<bool> {
        Pattern::new(pattern, LIKE).unwrap().fits(text, context)
    }

    /// Attack P2, iam-rs probe 1.
    #[test]
    fn a_value_of_star_opens_nothing() {
        for value in ["*", "?", "a*", "${*}", "../b", "${aws:username}"] {
            let context = Context::new().with("aws:username", value);
            let pattern = "home/${aws:username}/*";
            assert_eq!(
                fits(pattern, "home/ann/x", &context),
                Some(false),
                "{value}"
            );
            assert_eq!(fits(pattern, "home/b/x", &context), Some(false), "{value}");
            let own = format!("home/{value}/x");
            assert_eq!(fits(pattern, &own, &context), Some(true), "{value}");
        }
    }

    /// iam-rs probe 2.
    #[test]
    fn a_variable_without_value_fits_nothing_not_even_nothing() {
        assert_eq!(fits("home/${aws:username}", "home/", &Context::new()), None);
        let mut several = Context::new();
        several.set_all("aws:TagKeys", ["a", "b"]);
        assert_eq!(fits("${aws:TagKeys, 'a'}", "a", &several), None);
    }

    /// iam-rs probe 3.
    #[test]
    fn stars_question_marks_and_dollars_can_be_written_literally() {
        let context = Context::new();
        assert_eq!(fits("a${*}", "a*", &context), Some(true));
        assert_eq!(fits("a${*}", "ab", &context), Some(false));
        assert_eq!(fits("a${?}", "a?", &context), Some(true));
        assert_eq!(fits("a${?}", "ab", &context), Some(false));
        assert_eq!(fits("a${$}{b}", "a${b}", &context), Some(true));
        assert_eq!(fits("a$b", "a$b", &context), Some(true));
    }

    #[test]
    fn a_default_stands_in_for_a_missing_key_only() {
        let pattern = "${aws:PrincipalTag/Team, 'no}*'}/*";
        assert_eq!(fits(pattern, "no}*/x", &Context::new()), Some(true));
        assert_eq!(fits(pattern, "no}y/x", &Context::new()), Some(false));
        let red = Context::new().with("AWS:principaltag/team", "red");
        assert_eq!(fits(pattern, "red/x", &red), Some(true));
        assert_eq!(fits(pattern, "no}*/x", &red), Some(false));
    }

    #[test]
    fn broken_variables_are_refused() {
        for text in [
            "${aws:username",
            "${}",
            "${aws:username, x}",
            "${a b}",
            "${aws:username, 'a'b'}",
        ] {
            assert!(Pattern::new(text, LIKE).is_err(), "{text}");
        }
    }

    /// iam-rs probe 4.
    #[test]
    fn the_older_version_has_no_variables() {
        let old = Syntax {
            variables: false,
            ..LIKE
        };
        let context = Context::new().with("aws:username", "ann");
        let pattern = Pattern::new("${aws:username}", old).unwrap();
        assert_eq!(pattern.fits("ann", &context), Some(false));
        assert_eq!(pattern.fits("${aws:username}", &context), Some(true));
    }

    #[test]
    fn case_can_be_ignored_in_text_and_value() {
        let fold = Syntax {
            variables: true,
            wildcards: false,
            fold: true,
        };
        let pattern = Pattern::new("Ü-${aws:username}*", fold).unwrap();
        let context = Context::new().with("aws:username", "Ann");
        assert_eq!(pattern.fits("ü-aNN*", &context), Some(true));
        assert_eq!(pattern.fits("ü-ann", &context), Some(false));
    }
}

//! Patterns with `*` (any run of characters) and `?` (any one character), compiled once.
//!
//! No regular expressions and no backtracking: the text is walked once, the parts between stars
//! are found left to right. Time is linear in the text, but for parts that hold a `?`, where it is
//! at worst the product of the part's and the text's lengths, both bounded by the quotas.

/// What a pattern is made of, before it is compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unit {
    /// These characters.
    Text(String),
    /// Any one character.
    One,
    /// Any run of characters.
    Star,
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Glob {
    /// `*`.
    Any,
    /// No wildcard.
    Exact(Box<str>),
    /// Characters, then one star.
    Prefix(Box<str>),
    /// Anything else: parts between stars, of which the first is anchored at the beginning and the
    /// last at the end. One part means no star.
    Parts(Vec<Part>),
}

/// Units without stars.
type Part = Vec<Unit>;

impl Glob {
    /// Compiles units.
    pub(super) fn new(units: impl IntoIterator<Item = Unit>) -> Self {
        let mut parts: Vec<Part> = vec![Vec::new()];
        for unit in units {
            let last = parts.len() - 1;
            match (unit, parts[last].last_mut()) {
                // Two stars are one: a part between them would be empty.
                (Unit::Star, None) if last > 0 => {}
                (Unit::Star, _) => parts.push(Vec::new()),
                (Unit::Text(text), Some(Unit::Text(before))) => before.push_str(&text),
                (Unit::Text(text), _) if text.is_empty() => {}
                (unit, _) => parts[last].push(unit),
            }
        }
        match parts.as_mut_slice() {
            [first] if first.is_empty() => Self::Exact("".into()),
            [first] => match first.as_mut_slice() {
                [Unit::Text(text)] => Self::Exact(std::mem::take(text).into()),
                _ => Self::Parts(parts),
            },
            [first, last] if last.is_empty() => match first.as_mut_slice() {
                [] => Self::Any,
                [Unit::Text(text)] => Self::Prefix(std::mem::take(text).into()),
                _ => Self::Parts(parts),
            },
            _ => Self::Parts(parts),
        }
    }

    /// Compiles a text in which nothing but `*` and `?` is special.
    pub(super) fn of(pattern: &str) -> Self {
        Self::new(pattern.chars().map(|char| match char {
            '*' => Unit::Star,
            '?' => Unit::One,
            char => Unit::Text(char.to_string()),
        }))
    }

    /// Whether all of `text` fits.
    pub(super) fn fits(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(wanted) => **wanted == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Parts(parts) => fits_parts(parts, text),
        }
    }
}

fn fits_parts(parts: &[Part], text: &str) -> bool {
    let Some((first, rest)) = parts.split_first() else {
        return text.is_empty();
    };
    let Some(mut text) = strip_start(first, text) else {
        return false;
    };
    let Some((last, middle)) = rest.split_last() else {
        return text.is_empty();
    };
    // The leftmost place of each part leaves the most to those after it.
    for part in middle {
        let Some(after) = strip_through(part, text) else {
            return false;
        };
        text = after;
    }
    strip_end(last, text).is_some()
}

/// What follows `part` at the beginning of `text`.
fn strip_start<'a>(part: &[Unit], text: &'a str) -> Option<&'a str> {
    part.iter().try_fold(text, |text, unit| match unit {
        Unit::Text(wanted) => text.strip_prefix(wanted.as_str()),
        Unit::One | Unit::Star => {
            let mut chars = text.chars();
            chars.next()?;
            Some(chars.as_str())
        }
    })
}

/// What precedes `part` at the end of `text`.
fn strip_end<'a>(part: &[Unit], text: &'a str) -> Option<&'a str> {
    part.iter().rev().try_fold(text, |text, unit| match unit {
        Unit::Text(wanted) => text.strip_suffix(wanted.as_str()),
        Unit::One | Unit::Star => {
            let mut chars = text.chars();
            chars.next_back()?;
            Some(chars.as_str())
        }
    })
}

/// What follows the leftmost place of `part` in `text`.
fn strip_through<'a>(part: &[Unit], text: &'a str) -> Option<&'a str> {
    if let [Unit::Text(wanted)] = part {
        return text.split_once(wanted.as_str()).map(|(_, after)| after);
    }
    let mut rest = text;
    loop {
        if let Some(after) = strip_start(part, rest) {
            return Some(after);
        }
        let mut chars = rest.chars();
        chars.next()?;
        rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn common_forms_are_compiled_to_the_cheap_ones() {
        assert_eq!(Glob::of("***"), Glob::Any);
        assert_eq!(Glob::of(""), Glob::Exact("".into()));
        assert_eq!(Glob::of("abc"), Glob::Exact("abc".into()));
        assert_eq!(Glob::of("abc**"), Glob::Prefix("abc".into()));
    }

    #[test]
    fn patterns_match_as_globs_do() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*ab*ab", "xababab", true),
            ("a*a", "a", false),
            ("a?c", "ac", false),
            ("a?c", "aüc", true),
            ("*?", "", false),
            ("*?", "ü", true),
            ("?*?", "ab", true),
            ("?*?", "a", false),
            ("", "a", false),
            ("**", "anything", true),
            ("*a?c*", "xxabxabcx", true),
        ] {
            assert_eq!(Glob::of(pattern).fits(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_made_to_backtrack_takes_no_time() {
        let pattern = "*a".repeat(1_000) + "b";
        assert!(!Glob::of(&pattern).fits(&"a".repeat(10_000)));
    }

    /// By the definition, one character at a time.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                by_definition(rest, text)
                    || matches!(text, [_, after @ ..] if by_definition(pattern, after))
            }
            (['?', rest @ ..], [_, after @ ..]) => by_definition(rest, after),
            ([a, rest @ ..], [b, after @ ..]) if a == b => by_definition(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn compiled_patterns_agree_with_the_definition(
            pattern in "[abü*?]{0,10}",
            text in "[abü]{0,12}",
        ) {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                Glob::of(&pattern).fits(&text),
                by_definition(&chars(&pattern), &chars(&text))
            );
        }
    }
}

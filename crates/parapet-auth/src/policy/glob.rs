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

/// A [`Unit`] whose text is kept elsewhere, as the value of a variable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bit<'a> {
    /// These characters.
    Text(&'a str),
    /// Any one character.
    One,
    /// Any run of characters.
    Star,
}

/// What a text can be held against: units as they are compiled, and those with values put in.
pub(super) trait Part {
    /// What it is.
    fn bit(&self) -> Bit<'_>;
}

impl Part for Unit {
    fn bit(&self) -> Bit<'_> {
        match self {
            Self::Text(text) => Bit::Text(text),
            Self::One => Bit::One,
            Self::Star => Bit::Star,
        }
    }
}

impl Part for Bit<'_> {
    fn bit(&self) -> Bit<'_> {
        *self
    }
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
    /// Anything else; no two stars and no two texts are neighbours.
    Units(Vec<Unit>),
}

impl Glob {
    /// Compiles units.
    pub(super) fn new(units: impl IntoIterator<Item = Unit>) -> Self {
        let mut merged: Vec<Unit> = Vec::new();
        for unit in units {
            match (unit, merged.last_mut()) {
                (Unit::Star, Some(Unit::Star)) => {}
                (Unit::Text(text), _) if text.is_empty() => {}
                (Unit::Text(text), Some(Unit::Text(before))) => before.push_str(&text),
                (unit, _) => merged.push(unit),
            }
        }
        match merged.as_mut_slice() {
            [] => Self::Exact("".into()),
            [Unit::Star] => Self::Any,
            [Unit::Text(text)] => Self::Exact(std::mem::take(text).into()),
            [Unit::Text(text), Unit::Star] => Self::Prefix(std::mem::take(text).into()),
            _ => Self::Units(merged),
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
            Self::Units(units) => fits(units, text),
        }
    }
}

/// Whether all of `text` fits.
pub(super) fn fits(units: &[impl Part], text: &str) -> bool {
    let mut parts = units.split(|unit| unit.bit() == Bit::Star);
    let Some(mut text) = parts.next().and_then(|first| strip_start(first, text)) else {
        return false;
    };
    // Without a star, the first part is the whole.
    let Some(last) = parts.next_back() else {
        return text.is_empty();
    };
    // The leftmost place of each part leaves the most to those after it.
    for part in parts {
        let Some(after) = strip_through(part, text) else {
            return false;
        };
        text = after;
    }
    strip_end(last, text).is_some()
}

/// What follows `part` at the beginning of `text`.
fn strip_start<'t>(part: &[impl Part], text: &'t str) -> Option<&'t str> {
    part.iter().try_fold(text, |text, unit| match unit.bit() {
        Bit::Text(wanted) => text.strip_prefix(wanted),
        Bit::One | Bit::Star => {
            let mut chars = text.chars();
            chars.next()?;
            Some(chars.as_str())
        }
    })
}

/// What precedes `part` at the end of `text`.
fn strip_end<'t>(part: &[impl Part], text: &'t str) -> Option<&'t str> {
    part.iter()
        .rev()
        .try_fold(text, |text, unit| match unit.bit() {
            Bit::Text(wanted) => text.strip_suffix(wanted),
            Bit::One | Bit::Star => {
                let mut chars = text.chars();
                chars.next_back()?;
                Some(chars.as_str())
            }
        })
}

/// Needles up to this length are sought place by place: for texts of a few dozen characters the
/// set-up of the standard library's linear search costs more than it saves.
const SHORT: usize = 16;

/// What follows the leftmost place of `part` in `text`.
fn strip_through<'t>(part: &[impl Part], text: &'t str) -> Option<&'t str> {
    if let [only] = part
        && let Bit::Text(wanted) = only.bit()
    {
        let at = match wanted.as_bytes() {
            [first, ..] if wanted.len() <= SHORT => text
                .as_bytes()
                .windows(wanted.len())
                .position(|place| place[0] == *first && place == wanted.as_bytes())?,
            _ => text.find(wanted)?,
        };
        return text.get(at + wanted.len()..);
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

//! Constraints of text parameters: length and alphabet, with the words that AWS refuses with.

use super::failure::Failure;

/// What a text parameter may be.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// Fewest characters.
    pub min: usize,
    /// Most characters.
    pub max: usize,
    /// The characters, as the model's pattern says it; for the message.
    pub pattern: &'static str,
    /// Whether a text fits that pattern.
    pub fits: fn(&str) -> bool,
}

impl Text {
    /// Any text of these lengths.
    #[must_use]
    pub const fn any(min: usize, max: usize) -> Self {
        Self {
            min,
            max,
            pattern: "",
            fits: |_| true,
        }
    }

    /// Letters, digits and `+=,.@-_`: names.
    #[must_use]
    pub const fn name(max: usize) -> Self {
        Self {
            min: 1,
            max,
            pattern: r"[\w+=,.@-]+",
            fits: |text| text.chars().all(is_name),
        }
    }

    /// Refuses a `value` of parameter `name` that breaks the constraint.
    pub fn check(&self, name: &str, value: &str) -> Result<(), Failure> {
        let length = value.chars().count();
        if length > self.max {
            return Err(fault(
                name,
                value,
                &format!("Member must have length less than or equal to {}", self.max),
            ));
        }
        if length < self.min {
            return Err(fault(
                name,
                value,
                &format!(
                    "Member must have length greater than or equal to {}",
                    self.min
                ),
            ));
        }
        if !(self.fits)(value) {
            return Err(fault(
                name,
                value,
                &format!(
                    "Member must satisfy regular expression pattern: {}",
                    self.pattern
                ),
            ));
        }
        Ok(())
    }
}

/// A character of a name.
pub(crate) fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
}

/// One broken constraint in AWS's words. Long values are cut: the caller knows what it sent.
pub(super) fn fault(name: &str, value: &str, constraint: &str) -> Failure {
    let mut shown: String = value.chars().take(128).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    let mut member = name.to_owned();
    if let Some(first) = member.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    Failure::validation(format!(
        "1 validation error detected: Value '{shown}' at '{member}' failed to satisfy constraint: \
         {constraint}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_parameter_value_and_rule() {
        let name = Text::name(64);
        assert!(name.check("UserName", "ann+b=c,d.e@f-g_h").is_ok());
        for (value, told) in [
            ("", "length greater than or equal to 1"),
            ("a b", r"pattern: [\w+=,.@-]+"),
            ("*", r"pattern: [\w+=,.@-]+"),
            ("../x", r"pattern: [\w+=,.@-]+"),
            (&"a".repeat(65), "length less than or equal to 64"),
        ] {
            let refused = name.check("UserName", value).expect_err(value).to_string();
            assert!(refused.contains("at 'userName'"), "{refused}");
            assert!(refused.contains(told), "{refused}");
        }
    }
}

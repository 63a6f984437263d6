//! Numbers of conditions as decimals, compared digit by digit and never as floating point.

use std::cmp::Ordering;

/// Most digits on each side of the point.
const DIGITS: usize = 40;

/// A decimal number. Equal numbers are equal values: leading and trailing zeros are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    whole: String,
    fraction: String,
}

impl Decimal {
    /// `-12.50`; no exponent, no white space.
    pub(super) fn new(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return None,
            None => (digits, ""),
        };
        let fine =
            |part: &str| part.len() <= DIGITS && part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !fine(whole) || !fine(fraction) {
            return None;
        }
        let (whole, fraction) = (
            whole.trim_start_matches('0'),
            fraction.trim_end_matches('0'),
        );
        Some(Self {
            negative: negative && !(whole.is_empty() && fraction.is_empty()),
            whole: whole.to_owned(),
            fraction: fraction.to_owned(),
        })
    }

    fn size(&self, other: &Self) -> Ordering {
        // Without leading zeros the longer one is greater; a fraction is ordered as text is.
        (self.whole.len().cmp(&other.whole.len()))
            .then_with(|| self.whole.cmp(&other.whole))
            .then_with(|| self.fraction.cmp(&other.fraction))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.size(other),
            (true, true) => other.size(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_by_value() {
        let ordered = [
            "-100",
            "-2.5",
            "-2.05",
            "-0.001",
            "0",
            "0.05",
            "0.5",
            "1",
            "9",
            "10",
            "10.01",
            "9007199254740992",
            "9007199254740993",
        ];
        for (at, a) in ordered.iter().enumerate() {
            for (after, b) in ordered.iter().enumerate() {
                let (x, y) = (Decimal::new(a).unwrap(), Decimal::new(b).unwrap());
                assert_eq!(x.cmp(&y), at.cmp(&after), "{a} {b}");
            }
        }
    }

    #[test]
    fn equal_numbers_are_equal_however_they_are_written() {
        for (a, b) in [("1", "1.0"), ("-0", "0"), ("007", "+7"), ("1.50", "1.5")] {
            assert_eq!(Decimal::new(a), Decimal::new(b));
        }
    }

    #[test]
    fn other_texts_are_no_numbers() {
        for text in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "1e3",
            " 1",
            "0x1",
            "NaN",
            "１",
            "--1",
            &"1".repeat(41),
        ] {
            assert_eq!(Decimal::new(text), None, "{text}");
        }
    }
}

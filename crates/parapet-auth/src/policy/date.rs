//! Dates of conditions: the W3C profile of ISO 8601, or seconds since 1970.

use jiff::Timestamp;

/// A moment. `2026`, `2026-11`, `2026-11-25`, `2026-11-25T10:00Z`, `2026-11-25T10:00:00.5+01:00`
/// or seconds since 1970 (`1764028800`); four digits are a year. What says no time zone is UTC.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_prefix('-').unwrap_or(text);
    if digits(number) && text.len() != 4 {
        return Timestamp::from_second(text.parse().ok()?).ok();
    }
    // `jiff` reads more than this profile, as `[Europe/Berlin]` behind a date.
    let fine = |byte: u8| byte.is_ascii_digit() || b"-:.TZ+".contains(&byte);
    if text.len() > 40 || !text.bytes().all(fine) {
        return None;
    }
    let full = match text.len() {
        4 => format!("{text}-01-01T00:00:00Z"),
        7 => format!("{text}-01T00:00:00Z"),
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    full.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_says_the_same_moment() {
        let newyear = parse("2026-01-01T00:00:00Z").unwrap();
        for text in [
            "2026",
            "2026-01",
            "2026-01-01",
            "2026-01-01T00:00Z",
            "2026-01-01T01:00:00+01:00",
            "2026-01-01T00:00:00.000Z",
            "1767225600",
        ] {
            assert_eq!(parse(text), Some(newyear), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_dates() {
        for text in [
            "",
            "now",
            "2026-13",
            "2026-02-30",
            "2026-01-01T00:00:00Z[UTC]",
            "2026/01/01",
            "99999999999999",
            "2026-01-01 00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

//! `YYYYMMDDThhmmssZ`, the one form of time in signatures.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Seconds since the epoch; `None` when the text has another form or names no instant.
pub(super) fn parse(text: &str) -> Option<i64> {
    let shape = text.len() == 16
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    if !shape {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<i16>().ok();
    let small = |range: std::ops::Range<usize>| text[range].parse::<i8>().ok();
    let civil = DateTime::new(
        number(0..4)?,
        small(4..6)?,
        small(6..8)?,
        small(9..11)?,
        small(11..13)?,
        small(13..15)?,
        0,
    )
    .ok()?;
    Some(TimeZone::UTC.to_timestamp(civil).ok()?.as_second())
}

/// The text of an instant; `None` outside of jiff's years.
pub(super) fn format(seconds: i64) -> Option<String> {
    let civil = TimeZone::UTC.to_datetime(Timestamp::from_second(seconds).ok()?);
    Some(format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        civil.year(),
        civil.month(),
        civil.day(),
        civil.hour(),
        civil.minute(),
        civil.second()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_one_text() {
        assert_eq!(parse("20150830T123600Z"), Some(1_440_938_160));
        assert_eq!(format(1_440_938_160).as_deref(), Some("20150830T123600Z"));
        for text in [
            "20150830T123600",
            "2015083012:3600Z",
            "20150230T000000Z",
            "+0150830T123600Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

//! What every key begins with, and the one form of time in the database.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// The account and region that a row belongs to: the first two columns of every key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Twelve digits.
    pub account: String,
    /// As ARNs carry it, e.g. `us-west-2`.
    pub region: String,
}

/// An instant: microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// The present, by the server's clock.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Seconds since the epoch as the API writes them, with a fraction of milliseconds.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        // Whole milliseconds: exact in a double for the next 280,000 years.
        self.0.div_euclid(1000) as f64 / 1000.0
    }

    /// RFC 3339 in whole seconds, UTC: `2026-11-25T16:09:00Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.written(Timestamp::from_second(self.0.div_euclid(1_000_000)))
    }

    /// RFC 3339 with the microseconds that it has, UTC: `2026-11-25T16:09:00.25Z`.
    #[must_use]
    pub fn rfc3339_exact(self) -> String {
        self.written(Timestamp::from_microsecond(self.0))
    }

    fn written(self, time: Result<Timestamp, jiff::Error>) -> String {
        // Outside of jiff's years there is no such text; the number stands in its place.
        time.map_or_else(|_| self.0.to_string(), |time| time.to_string())
    }

    /// The instant `duration` later.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

impl From<SystemTime> for Micros {
    fn from(time: SystemTime) -> Self {
        let micros = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Self(micros)
    }
}

impl ToSql for Micros {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for Micros {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_622_940, "2026-11-25T16:09:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(Micros(seconds * 1_000_000).rfc3339_exact(), text);
            let late = Micros(seconds * 1_000_000 + 999_999);
            assert_eq!(late.rfc3339(), text);
            let exact = text.replace('Z', ".999999Z");
            assert_eq!(late.rfc3339_exact(), exact);
        }
        assert_eq!(Micros(i64::MAX).rfc3339(), i64::MAX.to_string());
    }
}

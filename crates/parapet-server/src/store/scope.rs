//! What every key begins with, and the one form of time in the database.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

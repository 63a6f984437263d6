//! Pages by key, newest first: a page starts after the last row of the page before.

use serde::{Deserialize, Serialize};

use super::scope::Micros;

/// Where a page ended: creation time and ID of its last row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// `created_us` of the row.
    pub created_us: i64,
    /// Its ID, which orders rows of the same microsecond.
    pub id: String,
}

impl Position {
    /// Before the first row.
    #[must_use]
    pub fn start() -> Self {
        // Every real ID is text that sorts before this one, and no row is younger.
        Self {
            created_us: i64::MAX,
            id: "\u{10ffff}".to_owned(),
        }
    }

    /// Of a row.
    #[must_use]
    pub fn of(created: Micros, id: &str) -> Self {
        Self {
            created_us: created.0,
            id: id.to_owned(),
        }
    }
}

/// Some rows, and where to go on if there are more.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The rows, newest first.
    pub rows: Vec<T>,
    /// Position of the last row; `None` on the last page.
    pub next: Option<Position>,
}

impl<T> Page<T> {
    /// From rows of which one more than `limit` was asked for.
    #[must_use]
    pub fn cut(mut rows: Vec<T>, limit: usize, position: impl Fn(&T) -> Position) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more {
            rows.last().map(position)
        } else {
            None
        };
        Self { rows, next }
    }
}

/// A LIMIT that tells whether there is another page.
pub(super) fn one_more(limit: usize) -> i64 {
    i64::try_from(limit)
        .unwrap_or(i64::MAX - 1)
        .saturating_add(1)
}

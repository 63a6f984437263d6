//! Pages of lists that are ordered by name, as IAM's are.

/// Which rows of a list by name are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Only rows whose path begins so; `/` for all.
    pub path_prefix: String,
    /// Rows after this name; empty for the first page.
    pub after: String,
    /// Most rows.
    pub limit: usize,
}

impl Names {
    /// Every row there is: lists are bounded by their quotas.
    #[must_use]
    pub fn all() -> Self {
        Self {
            path_prefix: "/".to_owned(),
            after: String::new(),
            limit: usize::MAX,
        }
    }

    /// A LIMIT that tells whether there is another page.
    pub(super) fn one_more(&self) -> i64 {
        super::page::one_more(self.limit)
    }
}

/// Some rows in the order of their names, and whether more follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePage<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Whether the list goes on after the last of them.
    pub more: bool,
}

impl<T> NamePage<T> {
    /// From rows of which one more than `limit` was asked for.
    #[must_use]
    pub fn cut(mut rows: Vec<T>, limit: usize) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        Self { rows, more }
    }
}

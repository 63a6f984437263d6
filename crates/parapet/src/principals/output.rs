//! Printing: JSON as the AWS command prints it, or columns for people.

use std::io::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// For people, or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// JSON with the members that the AWS command prints
    Json,
    /// Columns
    Table,
}

impl Output {
    /// Prints a value, or the table of it.
    pub(crate) fn print(self, value: &Value, table: impl FnOnce() -> Table) -> Result<()> {
        let text = match self {
            Self::Json => format!("{value:#}\n"),
            Self::Table => table().to_string(),
        };
        let written = std::io::stdout().lock().write_all(text.as_bytes());
        written.context("print the answer")
    }
}

/// Rows of cells, the columns as wide as their widest cell.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a first row of headings.
    pub(crate) fn with_headings(headings: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(headings.iter().copied());
        table
    }

    /// Adds a row.
    pub(crate) fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| plain(&cell.into()));
        self.rows.push(cells.collect());
    }

    /// One row for each item, with these members of it.
    pub(crate) fn members<'v>(
        &mut self,
        items: impl IntoIterator<Item = &'v Value>,
        members: &[&str],
    ) {
        for item in items {
            self.row(members.iter().map(|member| cell(&item[*member])));
        }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths);
            let cells: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A member as a cell.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Without control characters: what others wrote does not steer this terminal.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_escapes_are_shown() {
        let mut table = Table::with_headings(&["NAME", "ARN"]);
        let users = json!([
            { "UserName": "ann", "Arn": "arn:1" },
            { "UserName": "bartholomew\u{1b}[2J", "Arn": null },
        ]);
        table.members(users.as_array().into_iter().flatten(), &["UserName", "Arn"]);
        assert_eq!(
            table.to_string(),
            "NAME             ARN\nann              arn:1\nbartholomew\u{fffd}[2J  -\n"
        );
    }
}

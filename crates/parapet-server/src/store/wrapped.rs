//! Every column that holds sealed values: one list, for everything that must reach all of them.
//!
//! Rotation of the master key walks this list. A test compares it with the schema, so that a new
//! column named `wrapped…` cannot be forgotten. Values come and go sealed.

use parapet_auth::{KeyId, Label};
use rusqlite::{Connection, params};

use super::{StoreError, Tx};

/// A column of sealed values, and from what its labels are made. The texts are SQL of this file,
/// never anybody's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Table, and first part of the label. It has an `account` and a rowid.
    pub table: &'static str,
    /// Column, and fourth part of the label.
    pub column: &'static str,
    /// Expression for the row's ID in the label.
    id: &'static str,
    /// Expression for the version in the label.
    version: &'static str,
}

/// All of them. Whoever adds a table with a sealed column adds it here.
pub const COLUMNS: &[Column] = &[
    Column {
        table: "access_keys",
        column: "wrapped",
        id: "id",
        version: "1",
    },
    Column {
        table: "authorities",
        column: "wrapped",
        id: "id",
        version: "1",
    },
    Column {
        table: "mfa_devices",
        column: "wrapped",
        id: "serial",
        version: "1",
    },
    Column {
        table: "secrets",
        column: "wrapped",
        id: "id",
        version: "version",
    },
    Column {
        table: "service_keys",
        column: "wrapped",
        id: "name",
        version: "1",
    },
    Column {
        table: "session_keys",
        column: "wrapped",
        id: "CAST(id AS TEXT)",
        version: "1",
    },
];

/// A sealed value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Where in its table.
    pub rowid: i64,
    /// Account of the label.
    pub account: String,
    /// ID of the label.
    pub id: String,
    /// Version of the label.
    pub version: u64,
    /// The value.
    pub sealed: Vec<u8>,
}

impl Sealed {
    /// The label under which the value is sealed.
    #[must_use]
    pub fn label(&self, column: &Column) -> Label<'_> {
        Label {
            table: column.table,
            account: &self.account,
            id: &self.id,
            column: column.column,
            version: self.version,
        }
    }
}

impl Column {
    /// Up to `most` values behind `after`, in the order of their rowids.
    pub fn values(
        &self,
        connection: &Connection,
        after: i64,
        most: usize,
    ) -> Result<Vec<Sealed>, StoreError> {
        let Self {
            table,
            column,
            id,
            version,
        } = self;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT rowid, account, {id}, {version}, {column} FROM {table}
             WHERE rowid > ?1 AND {column} IS NOT NULL ORDER BY rowid LIMIT ?2"
        ))?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![after, most], |row| {
            Ok(Sealed {
                rowid: row.get(0)?,
                account: row.get(1)?,
                id: row.get(2)?,
                version: row.get::<_, i64>(3)?.unsigned_abs(),
                sealed: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many values there are.
    pub fn count(&self, connection: &Connection) -> Result<u64, StoreError> {
        let Self { table, column, .. } = self;
        let count: i64 = connection.query_row(
            &format!("SELECT count(*) FROM {table} WHERE {column} IS NOT NULL"),
            [],
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
    }

    /// How many values are not under `key`.
    pub fn count_not_under(&self, connection: &Connection, key: KeyId) -> Result<u64, StoreError> {
        let Self { table, column, .. } = self;
        let count: i64 = connection.query_row(
            &format!(
                "SELECT count(*) FROM {table}
                 WHERE {column} IS NOT NULL AND substr({column}, 1, length(?1)) <> ?1"
            ),
            [key.sealed_prefix()],
            |row| row.get(0),
        )?;
        Ok(count.unsigned_abs())
    }

    /// Puts a value in the place of another, if that one is still there; says whether it was.
    pub fn replace(
        &self,
        tx: &Tx<'_>,
        rowid: i64,
        before: &[u8],
        after: &[u8],
    ) -> Result<bool, StoreError> {
        let Self { table, column, .. } = self;
        let changed = tx
            .prepare_cached(&format!(
                "UPDATE {table} SET {column} = ?3 WHERE rowid = ?1 AND {column} = ?2"
            ))?
            .execute(params![rowid, before, after])?;
        Ok(changed == 1)
    }
}

/// How many values are not under `key`, in all columns.
pub fn count_not_under(connection: &Connection, key: KeyId) -> Result<u64, StoreError> {
    COLUMNS.iter().try_fold(0, |sum, column| {
        Ok(sum + column.count_not_under(connection, key)?)
    })
}

/// How many values there are, in all columns.
pub fn count(connection: &Connection) -> Result<u64, StoreError> {
    COLUMNS
        .iter()
        .try_fold(0, |sum, column| Ok(sum + column.count(connection)?))
}

/// Prepares the writer's connection for [`retire`]. The tables and triggers are temporary: a
/// restarted server has no value under way that a retired key has sealed.
pub(super) fn prepare_fence(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch("CREATE TEMP TABLE retired_master_keys (prefix BLOB PRIMARY KEY)")?;
    for Column { table, column, .. } in COLUMNS {
        for event in ["INSERT".to_owned(), format!("UPDATE OF {column}")] {
            let name = format!("fence_{table}_{column}_{}", &event[..6]);
            connection.execute_batch(&format!(
                "CREATE TEMP TRIGGER {name} BEFORE {event} ON main.{table}
                 WHEN EXISTS (SELECT 1 FROM temp.retired_master_keys
                              WHERE prefix = substr(NEW.{column}, 1, length(prefix)))
                 BEGIN
                    SELECT RAISE(ABORT, 'sealed under a master key that was retired meanwhile');
                 END"
            ))?;
        }
    }
    Ok(())
}

/// Lets no value under `keys` into the database from here on; says how many values are not under
/// `current`, which must be none before a key is given up.
///
/// A request that sealed its secret before the keys changed and writes it after is refused here
/// and is to be sent again; without this its row would need a key that is gone.
pub fn retire(tx: &Tx<'_>, current: KeyId, keys: &[KeyId]) -> Result<u64, StoreError> {
    for key in keys {
        tx.execute(
            "INSERT OR IGNORE INTO temp.retired_master_keys (prefix) VALUES (?1)",
            [key.sealed_prefix()],
        )?;
    }
    // A key that was retired and has come back seals again.
    tx.execute(
        "DELETE FROM temp.retired_master_keys WHERE prefix = ?1",
        [current.sealed_prefix()],
    )?;
    count_not_under(tx, current)
}

/// Lets values under `key` in again: it seals from here on.
pub fn readmit(tx: &Tx<'_>, key: KeyId) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM temp.retired_master_keys WHERE prefix = ?1",
        [key.sealed_prefix()],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::migrations;

    #[test]
    fn every_sealed_column_of_the_schema_is_in_the_list() -> Result<(), StoreError> {
        let mut connection = Connection::open_in_memory()?;
        migrations::apply(&mut connection)?;
        let mut found = BTreeSet::new();
        let mut columns = connection.prepare(
            "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table' AND c.name LIKE '%wrapped%'",
        )?;
        let mut rows = columns.query([])?;
        while let Some(row) = rows.next()? {
            found.insert((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        }
        let listed: BTreeSet<_> = COLUMNS
            .iter()
            .map(|column| (column.table.to_owned(), column.column.to_owned()))
            .collect();
        assert_eq!(listed, found);
        Ok(())
    }

    #[test]
    fn every_listed_column_can_be_walked() -> Result<(), StoreError> {
        let mut connection = Connection::open_in_memory()?;
        migrations::apply(&mut connection)?;
        prepare_fence(&connection)?;
        for column in COLUMNS {
            assert_eq!(column.values(&connection, 0, 10)?, Vec::new(), "{column:?}");
            assert_eq!(column.count(&connection)?, 0);
        }
        Ok(())
    }
}

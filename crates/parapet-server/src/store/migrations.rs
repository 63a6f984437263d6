//! The schema, as numbered steps that only go forward.
//!
//! A step once released is never edited. Numbers 1 to 49 belong to the registry (devices,
//! packages, instances, desired documents), 50 to 99 to identities and objects; they are applied
//! in the order of their numbers and each is recorded by its number, so that a step may be added
//! to either range.

use rusqlite::{Connection, params};

use super::error::StoreError;
use super::scope::Micros;

/// A numbered step.
struct Migration {
    number: i64,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        sql: include_str!("migrations/0001_registry.sql"),
    },
    Migration {
        number: 50,
        sql: include_str!("migrations/0050_identity.sql"),
    },
];

/// Applies what is missing, each step in a transaction of its own.
pub(super) fn apply(connection: &mut Connection) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (
            number INTEGER PRIMARY KEY,
            applied_us INTEGER NOT NULL
         ) STRICT",
    )?;
    let known = MIGRATIONS.iter().map(|m| m.number).max().unwrap_or(0);
    let found: i64 =
        connection.query_row("SELECT coalesce(max(number), 0) FROM migrations", [], |r| {
            r.get(0)
        })?;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    for migration in MIGRATIONS {
        let step =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let done: bool = step.query_row(
            "SELECT EXISTS (SELECT 1 FROM migrations WHERE number = ?1)",
            [migration.number],
            |r| r.get(0),
        )?;
        if !done {
            step.execute_batch(migration.sql)?;
            step.execute(
                "INSERT INTO migrations (number, applied_us) VALUES (?1, ?2)",
                params![migration.number, Micros::now()],
            )?;
        }
        step.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_upwards_and_once() {
        assert!(
            MIGRATIONS
                .windows(2)
                .all(|pair| pair[0].number < pair[1].number)
        );
    }

    #[test]
    fn applying_twice_changes_nothing() -> Result<(), StoreError> {
        let mut connection = Connection::open_in_memory()?;
        apply(&mut connection)?;
        apply(&mut connection)
    }

    #[test]
    fn a_newer_schema_is_refused() -> Result<(), StoreError> {
        let mut connection = Connection::open_in_memory()?;
        apply(&mut connection)?;
        connection.execute("INSERT INTO migrations VALUES (1000, 0)", [])?;
        let refused = apply(&mut connection);
        assert!(
            matches!(refused, Err(StoreError::NewerSchema { found: 1000, .. })),
            "{refused:?}"
        );
        Ok(())
    }
}

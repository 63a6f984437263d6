//! The schema, as numbered steps that only go forward.
//!
//! A step once released is never edited. Numbers 1 to 49 belong to the registry (devices,
//! packages, instances, desired documents, the audit trail), 50 to 99 to identities and objects;
//! they are applied in the order of their numbers and each is recorded by its number, so that a
//! step may be added to either range.

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
        number: 3,
        sql: include_str!("migrations/0003_audit.sql"),
    },
    Migration {
        number: 5,
        sql: include_str!("migrations/0005_confinements.sql"),
    },
    Migration {
        number: 50,
        sql: include_str!("migrations/0050_identity.sql"),
    },
    Migration {
        number: 51,
        sql: include_str!("migrations/0051_principals.sql"),
    },
    Migration {
        number: 52,
        sql: include_str!("migrations/0052_sessions.sql"),
    },
    Migration {
        number: 55,
        sql: include_str!("migrations/0055_replays.sql"),
    },
    Migration {
        number: 60,
        sql: include_str!("migrations/0060_secrets.sql"),
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
    fn what_a_user_was_allowed_before_there_were_managed_policies_stays_allowed()
    -> Result<(), StoreError> {
        let mut connection = Connection::open_in_memory()?;
        for migration in MIGRATIONS.iter().filter(|m| matches!(m.number, 1 | 50)) {
            connection.execute_batch(migration.sql)?;
        }
        connection.execute_batch(
            "CREATE TABLE migrations (number INTEGER PRIMARY KEY, applied_us INTEGER NOT NULL) STRICT;
             INSERT INTO migrations VALUES (1, 0), (50, 0);
             INSERT INTO users VALUES ('123456789012', 'AIDAOLD', 'admin', '{\"old\":1}', 7);
             INSERT INTO access_keys VALUES ('123456789012', 'AKIAOLD', 'AIDAOLD', x'00', 8);",
        )?;
        apply(&mut connection)?;
        let kept = crate::store::inline_policies::of(
            &connection,
            "123456789012",
            &crate::store::Holder::user("AIDAOLD"),
        )?;
        assert_eq!(
            kept,
            [("InitialPolicy".to_owned(), r#"{"old":1}"#.to_owned())]
        );
        let user = crate::store::users::by_name(&connection, "123456789012", "admin")?;
        assert_eq!(user.map(|user| user.path), Some("/".to_owned()));
        let key = crate::store::access_keys::get(&connection, "AKIAOLD")?;
        assert_eq!(
            key.map(|key| key.status),
            Some(crate::store::access_keys::KeyStatus::Active)
        );
        Ok(())
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

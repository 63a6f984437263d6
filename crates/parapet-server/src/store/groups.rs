//! IAM groups and who is in them.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::names::{NamePage, Names};
use super::users::User;
use super::{Micros, StoreError, Tx};

/// An IAM group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// `AGPA…`.
    pub id: String,
    /// Unique in the account, whatever the case of its letters.
    pub name: String,
    /// `/` or `/…/`.
    pub path: String,
    /// When it was made.
    pub created: Micros,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Group> {
    Ok(Group {
        id: row.get(0)?,
        name: row.get(1)?,
        path: row.get(2)?,
        created: row.get(3)?,
    })
}

/// Adds a group.
pub fn insert(tx: &Tx<'_>, account: &str, group: &Group) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO groups (account, id, name, path, created_us) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![account, group.id, group.name, group.path, group.created],
    )?;
    Ok(())
}

/// Writes name and path of the group with this ID.
pub fn update(tx: &Tx<'_>, account: &str, group: &Group) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE groups SET name = ?3, path = ?4 WHERE account = ?1 AND id = ?2",
        params![account, group.id, group.name, group.path],
    )?;
    Ok(())
}

/// Removes a group that has no members.
pub fn delete(tx: &Tx<'_>, account: &str, id: &str) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM groups WHERE account = ?1 AND id = ?2",
        params![account, id],
    )?;
    Ok(())
}

/// The group of this name.
pub fn by_name(
    connection: &Connection,
    account: &str,
    name: &str,
) -> Result<Option<Group>, StoreError> {
    let group = connection
        .prepare_cached(
            "SELECT id, name, path, created_us FROM groups WHERE account = ?1 AND name = ?2",
        )?
        .query_row([account, name], read)
        .optional()?;
    Ok(group)
}

/// Whether a group has this name, letters of either case being the same.
pub fn is_taken(connection: &Connection, account: &str, name: &str) -> Result<bool, StoreError> {
    let taken = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM groups WHERE account = ?1 AND name = ?2 COLLATE NOCASE)",
        )?
        .query_row([account, name], |row| row.get(0))?;
    Ok(taken)
}

/// Groups in the order of their names.
pub fn list(
    connection: &Connection,
    account: &str,
    wanted: &Names,
) -> Result<NamePage<Group>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, path, created_us FROM groups
         WHERE account = ?1 AND substr(path, 1, length(?2)) = ?2 AND name > ?3
         ORDER BY name LIMIT ?4",
    )?;
    let rows = statement.query_map(
        params![account, wanted.path_prefix, wanted.after, wanted.one_more()],
        read,
    )?;
    Ok(NamePage::cut(rows.collect::<Result<_, _>>()?, wanted.limit))
}

/// How many groups there are.
pub fn count(connection: &Connection, account: &str) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM groups WHERE account = ?1")?
        .query_row([account], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Puts a user into a group; again is no error.
pub fn add_member(tx: &Tx<'_>, account: &str, group: &str, user: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO group_members (account, group_id, user_id) VALUES (?1, ?2, ?3)
         ON CONFLICT DO NOTHING",
        [account, group, user],
    )?;
    Ok(())
}

/// Takes a user out of a group; whether it was in it.
pub fn remove_member(
    tx: &Tx<'_>,
    account: &str,
    group: &str,
    user: &str,
) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "DELETE FROM group_members WHERE account = ?1 AND group_id = ?2 AND user_id = ?3",
        [account, group, user],
    )?;
    Ok(changed > 0)
}

/// The groups that a user is in, in the order of their names.
pub fn of_user(
    connection: &Connection,
    account: &str,
    user: &str,
) -> Result<Vec<Group>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT g.id, g.name, g.path, g.created_us FROM group_members m
         JOIN groups g ON g.account = m.account AND g.id = m.group_id
         WHERE m.account = ?1 AND m.user_id = ?2 ORDER BY g.name",
    )?;
    let rows = statement.query_map([account, user], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The members of a group in the order of their names.
pub fn members(
    connection: &Connection,
    account: &str,
    group: &str,
    wanted: &Names,
) -> Result<NamePage<User>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT u.id, u.name, u.path, u.boundary, u.not_before_us, u.created_us
         FROM group_members m JOIN users u ON u.account = m.account AND u.id = m.user_id
         WHERE m.account = ?1 AND m.group_id = ?2 AND u.name > ?3 ORDER BY u.name LIMIT ?4",
    )?;
    let rows = statement.query_map(
        params![account, group, wanted.after, wanted.one_more()],
        super::users::read,
    )?;
    Ok(NamePage::cut(rows.collect::<Result<_, _>>()?, wanted.limit))
}

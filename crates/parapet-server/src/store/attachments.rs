//! Which managed policies speak for which users, groups and roles.

use rusqlite::{Connection, params};

use super::holder::{Holder, HolderKind};
use super::{StoreError, Tx};

/// Attaches a policy; again is no error.
pub fn attach(tx: &Tx<'_>, account: &str, holder: &Holder, arn: &str) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO policy_attachments (account, holder_kind, holder, arn)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![account, holder.kind.as_str(), holder.id, arn],
    )?;
    Ok(())
}

/// Detaches a policy; whether it was attached.
pub fn detach(tx: &Tx<'_>, account: &str, holder: &Holder, arn: &str) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "DELETE FROM policy_attachments
         WHERE account = ?1 AND holder_kind = ?2 AND holder = ?3 AND arn = ?4",
        params![account, holder.kind.as_str(), holder.id, arn],
    )?;
    Ok(changed > 0)
}

/// ARNs of the policies attached to somebody.
pub fn of(
    connection: &Connection,
    account: &str,
    holder: &Holder,
) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT arn FROM policy_attachments
         WHERE account = ?1 AND holder_kind = ?2 AND holder = ?3 ORDER BY arn",
    )?;
    let rows = statement.query_map(params![account, holder.kind.as_str(), holder.id], |row| {
        row.get(0)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// To how many users, groups and roles a policy is attached.
pub fn count(connection: &Connection, account: &str, arn: &str) -> Result<u64, StoreError> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM policy_attachments WHERE account = ?1 AND arn = ?2")?
        .query_row([account, arn], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// A holder by name, as lists give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedHolder {
    /// What it is, and its ID.
    pub holder: Holder,
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
}

/// Whom a policy is attached to: users, groups, roles, each in the order of their names.
pub fn holders(
    connection: &Connection,
    account: &str,
    arn: &str,
) -> Result<Vec<NamedHolder>, StoreError> {
    let mut found = Vec::new();
    for (kind, table) in [
        (HolderKind::User, "users"),
        (HolderKind::Group, "groups"),
        (HolderKind::Role, "roles"),
    ] {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT t.id, t.name, t.path FROM policy_attachments a
             JOIN {table} t ON t.account = a.account AND t.id = a.holder
             WHERE a.account = ?1 AND a.holder_kind = ?2 AND a.arn = ?3 ORDER BY t.name"
        ))?;
        let rows = statement.query_map(params![account, kind.as_str(), arn], |row| {
            Ok(NamedHolder {
                holder: Holder {
                    kind,
                    id: row.get(0)?,
                },
                name: row.get(1)?,
                path: row.get(2)?,
            })
        })?;
        for row in rows {
            found.push(row?);
        }
    }
    Ok(found)
}

//! Tags of users, roles, managed policies, identity providers and second factors.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::{StoreError, Tx};

/// What has tags in IAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tagged {
    /// A user, by its ID.
    User,
    /// A role, by its ID.
    Role,
    /// A managed policy, by its ID.
    Policy,
    /// An identity provider, by its ARN.
    OidcProvider,
    /// A second factor, by its serial number.
    Mfa,
}

impl Tagged {
    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Role => "role",
            Self::Policy => "policy",
            Self::OidcProvider => "oidc-provider",
            Self::Mfa => "mfa",
        }
    }
}

/// The tags of something.
pub fn get(
    connection: &Connection,
    account: &str,
    kind: Tagged,
    id: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value FROM principal_tags WHERE account = ?1 AND kind = ?2 AND holder = ?3",
    )?;
    let rows = statement.query_map([account, kind.as_str(), id], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds tags, or overwrites those with the same keys, letters of either case being the same.
pub fn put(
    tx: &Tx<'_>,
    account: &str,
    kind: Tagged,
    id: &str,
    tags: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    remove(tx, account, kind, id, tags.keys())?;
    let mut statement = tx.prepare_cached(
        "INSERT INTO principal_tags (account, kind, holder, key, value) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for (key, value) in tags {
        statement.execute(params![account, kind.as_str(), id, key, value])?;
    }
    Ok(())
}

/// Removes the tags with these keys, letters of either case being the same; missing ones are left.
pub fn remove<'k>(
    tx: &Tx<'_>,
    account: &str,
    kind: Tagged,
    id: &str,
    keys: impl IntoIterator<Item = &'k String>,
) -> Result<(), StoreError> {
    let mut statement = tx.prepare_cached(
        "DELETE FROM principal_tags
         WHERE account = ?1 AND kind = ?2 AND holder = ?3 AND key = ?4 COLLATE NOCASE",
    )?;
    for key in keys {
        statement.execute(params![account, kind.as_str(), id, key])?;
    }
    Ok(())
}

/// Removes all tags of something that is going away.
pub fn forget(tx: &Tx<'_>, account: &str, kind: Tagged, id: &str) -> Result<(), StoreError> {
    tx.prepare_cached(
        "DELETE FROM principal_tags WHERE account = ?1 AND kind = ?2 AND holder = ?3",
    )?
    .execute([account, kind.as_str(), id])?;
    Ok(())
}

//! Getting back in when the keys of `admin` are lost, or nothing lets it act any more.
//!
//! Works on the data directory itself, beside a running server or without one: whoever can read the
//! database and the master key holds every secret anyway, so nobody gains a right by this. Keys,
//! policies and the audit record are one transaction; the file with the new key follows it. A
//! running server sees the change within a second (`directory`).

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::admin::{ADMIN, ADMINISTRATOR, CREDENTIALS, credentials, new_key, new_user, replace};
use super::{IdentityError, KeyRing, KeySource};
use crate::audit::{self, Event};
use crate::config::ServerConfig;
use crate::iam::arn;
use crate::store::access_keys::{AccessKey, KeyStatus};
use crate::store::users::User;
use crate::store::{
    Holder, Micros, Scope, Store, StoreError, Tx, access_keys, accounts, attachments, groups,
    inline_policies, users, wrapped,
};

/// Access keys of a user, at most.
const MOST_KEYS: usize = 2;
/// Sealed values that are opened before anything is changed: enough to know the master key by.
const TRIED: usize = 16;

/// What becomes of the keys that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKeys {
    /// They stay, but for one where there is no room for another: they are only lost.
    Keep,
    /// They are deleted, and sessions are void: somebody else has them.
    End,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The account.
    pub account: String,
    /// Name of the user.
    pub user: String,
    /// ID of its new key.
    pub access_key: String,
    /// The file with the new key and its secret.
    pub credentials: PathBuf,
    /// The user was gone and is made anew.
    pub is_new_user: bool,
    /// `AdministratorAccess` was not attached and is.
    pub is_newly_attached: bool,
    /// The permissions boundary that was taken away.
    pub removed_boundary: Option<String>,
    /// IDs of the keys that were deleted.
    pub removed_keys: Vec<String>,
    /// ID of its other key that can be used.
    pub other_key: Option<String>,
    /// Other policies that speak for the user, and groups: a deny in one of them still counts.
    pub other_policies: Vec<String>,
}

/// Makes a new key for `admin`, the user itself and its policy too where they are missing, and
/// writes `DATA/admin/credentials`. `uid` is who asks, for the audit trail.
pub async fn recover(
    config: &ServerConfig,
    others: OtherKeys,
    uid: u32,
) -> Result<Recovered, IdentityError> {
    let database = config.data.join("parapet.db");
    if !database.is_file() {
        return Err(IdentityError::NoControlPlane(config.data.clone()));
    }
    let source = KeySource::choose(config)?;
    let master = KeyRing::new(source.load(true).await?);
    let store = Store::open(&database)?;
    let account = store.read(accounts::first).await?;
    let account = account.ok_or_else(|| IdentityError::NoControlPlane(config.data.clone()))?;
    // A key sealed by another master key than the server's would be of no use to the server.
    for (column, sealed) in store.read(authorities).await? {
        master.unwrap(&sealed.label(column), &sealed.sealed)?;
    }
    let now = Micros::now();
    let fresh = new_user(now)?;
    let scope = Scope {
        account: account.clone(),
        region: config.region.clone(),
    };
    let (name, owner) = (ADMIN, account.clone());
    let found = store
        .read::<_, StoreError, _>(move |connection| users::by_name(connection, &owner, name))
        .await?;
    let id = found.map_or_else(|| fresh.id.clone(), |user| user.id);
    let (key, secret) = new_key(&account, &id, &master, now)?;
    let (made, mut done) = store
        .write(move |tx| change(tx, &scope, fresh, key, others, uid))
        .await?;
    done.credentials = write_credentials(&config.data, &credentials(&made, &secret))?;
    Ok(done)
}

/// Everything that is changed in the database; the key's ID and what was done.
fn change(
    tx: &Tx<'_>,
    scope: &Scope,
    fresh: User,
    key: AccessKey,
    others: OtherKeys,
    uid: u32,
) -> Result<(String, Recovered), StoreError> {
    let account = &scope.account;
    let found = users::by_name(tx, account, ADMIN)?;
    let is_new_user = found.is_none();
    let mut user = if let Some(user) = found {
        user
    } else {
        users::insert(tx, account, &fresh)?;
        fresh
    };
    let removed_boundary = user.boundary.take();
    if others == OtherKeys::End {
        user.not_before = Some(key.created);
    }
    if removed_boundary.is_some() || others == OtherKeys::End {
        users::update(tx, account, &user)?;
    }
    let holder = Holder::user(&user.id);
    let attached = attachments::of(tx, account, &holder)?;
    let is_newly_attached = !attached.iter().any(|arn| arn == ADMINISTRATOR);
    attachments::attach(tx, account, &holder, ADMINISTRATOR)?;

    let keys = access_keys::of_user(tx, account, &user.id)?;
    let (removed, kept): (Vec<_>, Vec<_>) = match others {
        OtherKeys::End => (keys, Vec::new()),
        OtherKeys::Keep => {
            let going = one_too_many(&keys).map(|key| key.id.clone());
            keys.into_iter()
                .partition(|key| Some(&key.id) == going.as_ref())
        }
    };
    let removed_keys: Vec<String> = removed.into_iter().map(|key| key.id).collect();
    for id in &removed_keys {
        access_keys::delete(tx, account, id)?;
    }
    let other_key = kept
        .into_iter()
        .find(|key| key.status == KeyStatus::Active)
        .map(|key| key.id);
    let key = AccessKey {
        user: user.id.clone(),
        ..key
    };
    access_keys::insert(tx, &key)?;

    let mut other_policies = attached;
    other_policies.retain(|arn| arn != ADMINISTRATOR);
    let inline = inline_policies::of(tx, account, &holder)?;
    other_policies.extend(inline.into_iter().map(|(name, _)| name));
    let groups = groups::of_user(tx, account, &user.id)?;
    other_policies.extend(
        groups
            .into_iter()
            .map(|group| format!("group {}", group.name)),
    );

    let event = Event::AdminRecovered {
        user: &arn::user(account, &user.path, &user.name),
        key: &key.id,
        removed: &removed_keys,
        boundary: removed_boundary.as_deref(),
        uid,
    };
    audit::append_event(tx, scope, &event)?;
    let done = Recovered {
        account: account.clone(),
        user: user.name,
        access_key: key.id.clone(),
        credentials: PathBuf::new(),
        is_new_user,
        is_newly_attached,
        removed_boundary,
        removed_keys,
        other_key,
        other_policies,
    };
    Ok((key.id, done))
}

/// The key that makes room for one more: one that cannot be used, else the oldest.
fn one_too_many(keys: &[AccessKey]) -> Option<&AccessKey> {
    if keys.len() < MOST_KEYS {
        return None;
    }
    keys.iter()
        .find(|key| key.status == KeyStatus::Inactive)
        .or(keys.first())
}

/// The sealed keys of the authorities: there are some in every data directory.
fn authorities(
    connection: &Connection,
) -> Result<Vec<(&'static wrapped::Column, wrapped::Sealed)>, StoreError> {
    let mut found = Vec::new();
    for column in wrapped::COLUMNS {
        if column.table == "authorities" {
            let values = column.values(connection, 0, TRIED)?;
            found.extend(values.into_iter().map(|value| (column, value)));
        }
    }
    Ok(found)
}

fn write_credentials(data: &Path, text: &str) -> Result<PathBuf, IdentityError> {
    let directory = data.join("admin");
    fs::create_dir_all(&directory).map_err(|source| IdentityError::File {
        path: directory.clone(),
        source,
    })?;
    let file = directory.join(CREDENTIALS);
    replace(&file, text)?;
    Ok(file)
}

//! The first account and its user `admin`, and the files that point the AWS tools at this server.
//!
//! `super::recover` makes another key for `admin` with what is here.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use parapet_auth::Label;
use zeroize::Zeroizing;

use super::{IdentityError, KeyRing};
use crate::config::ServerConfig;
use crate::random;
use crate::store::access_keys::{AccessKey, KeyStatus};
use crate::store::users::User;
use crate::store::{
    Holder, Micros, Scope, Store, StoreError, access_keys, accounts, attachments, users,
};

/// Name of the first user. Not the account's root: it has a policy and can be taken away.
pub(super) const ADMIN: &str = "admin";
/// What it may: everything, by a policy that can be seen and detached.
pub(super) const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";
/// The file in `DATA/admin` with the key of `admin`.
pub(super) const CREDENTIALS: &str = "credentials";

/// How clients reach the server.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// `https://<IP>:<port>`.
    pub url: &'a str,
    /// Certificate of the server's authority, PEM.
    pub ca_pem: &'a str,
}

/// The account and region of this data directory; makes account, user and key at the first start.
pub async fn first_start(
    store: &Store,
    config: &ServerConfig,
    master: &KeyRing,
) -> Result<Scope, IdentityError> {
    let found = store.read(accounts::first).await?;
    if let Some(found) = found {
        if let Some(wanted) = config.account_id.clone().filter(|wanted| *wanted != found) {
            return Err(IdentityError::OtherAccount { wanted, found });
        }
        return Ok(Scope {
            account: found,
            region: config.region.clone(),
        });
    }
    let account = match &config.account_id {
        Some(account) => account.clone(),
        None => random_account()?,
    };
    let now = Micros::now();
    let user = new_user(now)?;
    let (key, _) = new_key(&account, &user.id, master, now)?;
    let owner = account.clone();
    store
        .write(move |tx| {
            users::insert(tx, &owner, &user)?;
            attachments::attach(tx, &owner, &Holder::user(&user.id), ADMINISTRATOR)?;
            access_keys::insert(tx, &key)
        })
        .await?;
    tracing::info!(account, "made the account and its user admin");
    Ok(Scope {
        account,
        region: config.region.clone(),
    })
}

/// The user `admin`, new.
pub(super) fn new_user(now: Micros) -> Result<User, IdentityError> {
    let random = random::base32::<16>().map_err(IdentityError::Random)?;
    Ok(User {
        id: format!("AIDA{}", &random[..17]),
        name: ADMIN.to_owned(),
        path: "/".to_owned(),
        boundary: None,
        not_before: None,
        created: now,
    })
}

/// An access key for the user with this ID, and its secret.
pub(super) fn new_key(
    account: &str,
    user: &str,
    master: &KeyRing,
    now: Micros,
) -> Result<(AccessKey, Zeroizing<String>), IdentityError> {
    let made = IdentityError::Random;
    let id = format!("AKIA{}", &random::base32::<16>().map_err(made)?[..16]);
    let bytes = Zeroizing::new(random::bytes::<30>().map_err(made)?);
    let secret = Zeroizing::new(data_encoding::BASE64.encode(&*bytes));
    let wrapped = master.wrap(
        &key_label(account, &id),
        secret.as_bytes(),
        random::bytes().map_err(made)?,
    )?;
    let key = AccessKey {
        account: account.to_owned(),
        id,
        user: user.to_owned(),
        wrapped,
        status: KeyStatus::Active,
        last_use: None,
        created: now,
    };
    Ok((key, secret))
}

/// Writes `DATA/admin/{credentials,config,ca.pem,env}`, anew at every start: the port may differ.
pub async fn write_files(
    store: &Store,
    config: &ServerConfig,
    scope: &Scope,
    master: &KeyRing,
    endpoint: Endpoint<'_>,
) -> Result<(), IdentityError> {
    let account = scope.account.clone();
    let before = fs::read_to_string(config.data.join("admin").join(CREDENTIALS));
    let before = Zeroizing::new(before.unwrap_or_default());
    let key = store
        .read::<_, StoreError, _>(move |connection| {
            let Some(admin) = users::by_name(connection, &account, ADMIN)? else {
                return Ok(None);
            };
            Ok(chosen(
                access_keys::of_user(connection, &account, &admin.id)?,
                &before,
            ))
        })
        .await?;
    // Without a key (all may have been deleted) the other files are still of use.
    let credentials = match key {
        Some(key) => {
            let secret = master.unwrap(&key_label(&key.account, &key.id), &key.wrapped)?;
            Some(credentials(&key.id, &String::from_utf8_lossy(&secret)))
        }
        None => None,
    };
    let directory = config.data.join("admin");
    fs::create_dir_all(&directory).map_err(|source| IdentityError::File {
        path: directory.clone(),
        source,
    })?;
    let directory = directory
        .canonicalize()
        .map_err(|source| IdentityError::File {
            path: directory,
            source,
        })?;
    let file = |name: &str| directory.join(name).display().to_string();
    let (ca, url, region) = (file("ca.pem"), endpoint.url, &scope.region);
    // Path style: a bucket name in front of the host would need DNS and another certificate. The
    // signature's version: botocore presigns with SigV2 in the older regions, us-west-2 among them.
    let profile = format!(
        "[default]\nregion = {region}\nendpoint_url = {url}\nca_bundle = {ca}\noutput = json\n\
         s3 =\n    addressing_style = path\n    signature_version = s3v4\n"
    );
    let exports = [
        ("AWS_SHARED_CREDENTIALS_FILE", file("credentials")),
        ("AWS_CONFIG_FILE", file("config")),
        ("AWS_CA_BUNDLE", ca.clone()),
        ("AWS_ENDPOINT_URL", url.to_owned()),
    ]
    .map(|(name, value)| format!("export {name}={}\n", quoted(&value)))
    .concat();
    for (name, text) in [
        ("ca.pem", Some(endpoint.ca_pem)),
        ("config", Some(profile.as_str())),
        ("env", Some(exports.as_str())),
        (CREDENTIALS, credentials.as_ref().map(|text| text.as_str())),
    ] {
        if let Some(text) = text {
            replace(&directory.join(name), text)?;
        }
    }
    Ok(())
}

/// The key that the files give: the one they gave `before` while it is active, else the oldest
/// active one. So a start does not take back the key of a recovery.
fn chosen(keys: Vec<AccessKey>, before: &str) -> Option<AccessKey> {
    let mut active: Vec<AccessKey> = keys
        .into_iter()
        .filter(|key| key.status == KeyStatus::Active)
        .collect();
    let known = active.iter().position(|key| before.contains(&key.id));
    (!active.is_empty()).then(|| active.swap_remove(known.unwrap_or(0)))
}

/// The text of `DATA/admin/credentials`.
pub(super) fn credentials(id: &str, secret: &str) -> Zeroizing<String> {
    Zeroizing::new(format!(
        "[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"
    ))
}

/// Writes `DATA/admin/ca.pem`: the server's authorities that clients trust.
pub(super) fn write_ca(file: &Path, pem: &str) -> Result<(), IdentityError> {
    replace(file, pem)
}

/// Where an access key's secret is stored.
pub(crate) fn key_label<'a>(account: &'a str, id: &'a str) -> Label<'a> {
    Label {
        table: "access_keys",
        account,
        id,
        column: "wrapped",
        version: 1,
    }
}

/// Twelve random digits, the first of which is not zero: spreadsheets eat leading zeros.
fn random_account() -> Result<String, IdentityError> {
    let number = u64::from_be_bytes(random::bytes().map_err(IdentityError::Random)?);
    Ok((100_000_000_000 + number % 900_000_000_000).to_string())
}

/// For a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Writes a file that its owner alone can read, all or nothing.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), IdentityError> {
    let failed = |source| IdentityError::File {
        path: path.to_owned(),
        source,
    };
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    fs::rename(&new, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, status: KeyStatus) -> AccessKey {
        AccessKey {
            account: "123456789012".to_owned(),
            id: id.to_owned(),
            user: "AIDA".to_owned(),
            wrapped: Vec::new(),
            status,
            last_use: None,
            created: Micros(0),
        }
    }

    fn chosen_id(keys: &[(&str, KeyStatus)], before: &str) -> Option<String> {
        let keys = keys.iter().map(|(id, status)| key(id, *status)).collect();
        chosen(keys, before).map(|key| key.id)
    }

    #[test]
    fn the_files_keep_the_key_that_they_have_while_it_is_active() {
        use KeyStatus::{Active, Inactive};
        let file = credentials("AKIANEW", "secret");
        let both = [("AKIAOLD", Active), ("AKIANEW", Active)];
        assert_eq!(chosen_id(&both, &file).as_deref(), Some("AKIANEW"));
        assert_eq!(chosen_id(&both, "").as_deref(), Some("AKIAOLD"));
        let one = [("AKIAOLD", Active), ("AKIANEW", Inactive)];
        assert_eq!(chosen_id(&one, &file).as_deref(), Some("AKIAOLD"));
        assert_eq!(chosen_id(&[("AKIAOLD", Inactive)], ""), None);
        assert_eq!(chosen_id(&[], &file), None);
    }
}

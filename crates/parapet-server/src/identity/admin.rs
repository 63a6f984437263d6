//! The first account and its user `admin`, and the files that point the AWS tools at this server.

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
const ADMIN: &str = "admin";
/// What it may: everything, by a policy that can be seen and detached.
const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

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
    let made = IdentityError::Random;
    let now = Micros::now();
    let user = User {
        id: format!("AIDA{}", &random::base32::<16>().map_err(made)?[..17]),
        name: ADMIN.to_owned(),
        path: "/".to_owned(),
        boundary: None,
        not_before: None,
        created: now,
    };
    let id = format!("AKIA{}", &random::base32::<16>().map_err(made)?[..16]);
    let secret =
        Zeroizing::new(data_encoding::BASE64.encode(&random::bytes::<30>().map_err(made)?));
    let wrapped = master.wrap(
        &key_label(&account, &id),
        secret.as_bytes(),
        random::bytes().map_err(made)?,
    )?;
    let key = AccessKey {
        account: account.clone(),
        id,
        user: user.id.clone(),
        wrapped,
        status: KeyStatus::Active,
        last_use: None,
        created: now,
    };
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

/// Writes `DATA/admin/{credentials,config,ca.pem,env}`, anew at every start: the port may differ.
pub async fn write_files(
    store: &Store,
    config: &ServerConfig,
    scope: &Scope,
    master: &KeyRing,
    endpoint: Endpoint<'_>,
) -> Result<(), IdentityError> {
    let account = scope.account.clone();
    let key = store
        .read::<_, StoreError, _>(move |connection| {
            let Some(admin) = users::by_name(connection, &account, ADMIN)? else {
                return Ok(None);
            };
            let keys = access_keys::of_user(connection, &account, &admin.id)?;
            Ok(keys.into_iter().next())
        })
        .await?;
    // Without the first key (it may have been deleted) the other files are still of use.
    let credentials = match key {
        Some(key) => {
            let secret = master.unwrap(&key_label(&key.account, &key.id), &key.wrapped)?;
            Some(Zeroizing::new(format!(
                "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
                key.id,
                String::from_utf8_lossy(&secret)
            )))
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
        (
            "credentials",
            credentials.as_ref().map(|text| text.as_str()),
        ),
    ] {
        if let Some(text) = text {
            replace(&directory.join(name), text)?;
        }
    }
    Ok(())
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
fn replace(path: &Path, text: &str) -> Result<(), IdentityError> {
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

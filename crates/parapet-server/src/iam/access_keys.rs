//! `CreateAccessKey`, `ListAccessKeys`, `UpdateAccessKey`, `DeleteAccessKey`.

use zeroize::Zeroizing;

use super::paging::Page;
use super::{Answer, Call, names, quotas};
use crate::identity::key_label;
use crate::query::{Failure, Xml};
use crate::random;
use crate::store::access_keys::{self, AccessKey, KeyStatus};
use crate::store::users::{self, User};
use crate::store::{HolderKind, Micros, Tx};

/// Makes a key. Its secret is in this answer and in no other.
pub(super) async fn create(call: &Call) -> Answer {
    let (user, _) = call.user_or_caller().await?;
    let random = random::base32::<16>().map_err(Failure::internal)?;
    let id = format!("AKIA{}", &random[..16]);
    let bytes = Zeroizing::new(random::bytes::<30>().map_err(Failure::internal)?);
    let secret = Zeroizing::new(data_encoding::BASE64.encode(&*bytes));
    let wrapped = call
        .ctx()
        .seal(&key_label(&call.account, &id), secret.as_bytes())
        .map_err(Failure::internal)?;
    let key = AccessKey {
        account: call.account.clone(),
        id,
        user: user.id.clone(),
        wrapped,
        status: KeyStatus::Active,
        last_use: None,
        created: Micros::now(),
    };
    let account = call.account.clone();
    let key = call
        .write(move |tx| {
            if users::by_id(tx, &account, &key.user)?.is_none() {
                return Err(super::subject::missing(HolderKind::User, &user.name));
            }
            let have = access_keys::of_user(tx, &account, &key.user)?.len() as u64;
            quotas::room("AccessKeysPerUser", have, quotas::ACCESS_KEYS)?;
            access_keys::insert(tx, &key)?;
            Ok((key, user.name))
        })
        .await?;
    let (key, user) = key;
    let mut xml = Xml::default();
    xml.element("AccessKey", |xml| {
        xml.text("UserName", &user);
        xml.text("AccessKeyId", &key.id);
        xml.text("Status", key.status.as_str());
        xml.text("SecretAccessKey", secret.as_str());
        xml.text("CreateDate", key.created.rfc3339());
    });
    Ok(Some(xml))
}

pub(super) async fn list(call: &Call) -> Answer {
    let (user, _) = call.user_or_caller().await?;
    let page = Page::of(call, &[&user.id])?;
    let (account, id) = (call.account.clone(), user.id.clone());
    let found = call
        .read(move |connection| Ok(access_keys::of_user(connection, &account, &id)?))
        .await?;
    let order = |key: &AccessKey| format!("{:020}{}", key.created.0, key.id);
    let (found, more) = page.cut(found, order);
    let mut xml = Xml::default();
    xml.list("AccessKeyMetadata", &found, |xml, key| {
        xml.text("UserName", &user.name);
        xml.text("AccessKeyId", &key.id);
        xml.text("Status", key.status.as_str());
        xml.text("CreateDate", key.created.rfc3339());
    });
    page.end(call, &mut xml, found.last().map(order), more)?;
    Ok(Some(xml))
}

pub(super) async fn update(call: &Call) -> Answer {
    let (user, _) = call.user_or_caller().await?;
    let id = call.form.required("AccessKeyId", &names::ACCESS_KEY)?;
    let status = match call.form.choice("Status", &["Active", "Inactive"])? {
        Some("Active") => KeyStatus::Active,
        Some(_) => KeyStatus::Inactive,
        None => {
            return Err(Failure::validation(
                "1 validation error detected: Value null at 'status' failed to satisfy \
                 constraint: Member must not be null",
            ));
        }
    };
    let account = call.account.clone();
    call.write(move |tx| {
        of_user(tx, &account, &user, &id)?;
        Ok(access_keys::set_status(tx, &account, &id, status)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn delete(call: &Call) -> Answer {
    let (user, _) = call.user_or_caller().await?;
    let id = call.form.required("AccessKeyId", &names::ACCESS_KEY)?;
    let account = call.account.clone();
    call.write(move |tx| {
        of_user(tx, &account, &user, &id)?;
        Ok(access_keys::delete(tx, &account, &id)?)
    })
    .await?;
    Ok(None)
}

/// Refuses a key that is not the user's: it was the user that the caller was asked about.
fn of_user(tx: &Tx<'_>, account: &str, user: &User, id: &str) -> Result<(), Failure> {
    let is_of_user =
        access_keys::get(tx, id)?.is_some_and(|key| key.account == account && key.user == user.id);
    if is_of_user {
        return Ok(());
    }
    Err(Failure::not_found(format!(
        "The Access Key with id {id} cannot be found."
    )))
}

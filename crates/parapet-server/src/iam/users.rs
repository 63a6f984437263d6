//! `CreateUser`, `GetUser`, `ListUsers`, `UpdateUser`, `DeleteUser`.

use super::call::{Ask, Tags, unique_id};
use super::paging::Page;
use super::permissions_boundaries::{self as boundaries, write_boundary};
use super::subject::{in_use, missing, taken};
use super::tags::write_tags;
use super::{Answer, Call, arn, names, quotas};
use crate::query::Xml;
use crate::store::principal_tags::{self, Tagged};
use crate::store::users::User;
use crate::store::{
    Holder, HolderKind, Micros, access_keys, attachments, groups, inline_policies, mfa_devices,
    users,
};

/// The members that every answer has.
pub(super) fn write_user(xml: &mut Xml, account: &str, user: &User) {
    xml.text("Path", &user.path);
    xml.text("UserName", &user.name);
    xml.text("UserId", &user.id);
    xml.text("Arn", arn::user(account, &user.path, &user.name));
    xml.text("CreateDate", user.created.rfc3339());
}

fn write_all(xml: &mut Xml, account: &str, user: &User, tags: &Tags) {
    write_user(xml, account, user);
    write_boundary(xml, user.boundary.as_deref());
    write_tags(xml, tags);
}

pub(super) async fn create(call: &Call) -> Answer {
    let name = call.form.required("UserName", &names::USER)?;
    let path = names::path(&call.form)?;
    let tags = call.form.tags("Tags")?;
    let boundary = boundaries::parameter(call, false)?;
    let resource = arn::user(&call.account, &path, &name);
    let mut ask = call.ask(&resource).tagging(&tags);
    if let Some(boundary) = &boundary {
        ask = ask.with("iam:PermissionsBoundary", boundary);
    }
    call.authorize(&ask)?;
    if !tags.is_empty() {
        call.authorize(&Ask::new("iam:TagUser", &resource).tagging(&tags))?;
    }
    let user = User {
        id: unique_id("AIDA")?,
        name,
        path,
        boundary,
        not_before: None,
        created: Micros::now(),
    };
    let account = call.account.clone();
    let (user, tags) = call
        .write(move |tx| {
            if users::is_taken(tx, &account, &user.name)? {
                return Err(taken("User", &user.name));
            }
            quotas::room(
                "UsersPerAccount",
                users::count(tx, &account)?,
                quotas::USERS,
            )?;
            boundaries::must_exist(tx, &account, user.boundary.as_deref())?;
            users::insert(tx, &account, &user)?;
            principal_tags::put(tx, &account, Tagged::User, &user.id, &tags)?;
            Ok((user, tags))
        })
        .await?;
    let mut xml = Xml::default();
    xml.element("User", |xml| write_all(xml, &call.account, &user, &tags));
    Ok(Some(xml))
}

pub(super) async fn get(call: &Call) -> Answer {
    let (user, tags) = call.user_or_caller().await?;
    let mut xml = Xml::default();
    xml.element("User", |xml| write_all(xml, &call.account, &user, &tags));
    Ok(Some(xml))
}

pub(super) async fn list(call: &Call) -> Answer {
    let prefix = names::path_prefix(&call.form)?;
    let page = Page::of(call, &[&prefix])?;
    call.authorize(&call.ask(&arn::user(&call.account, &prefix, "")))?;
    let (account, wanted) = (call.account.clone(), page.names(prefix));
    let found = call
        .read(move |connection| Ok(users::list(connection, &account, &wanted)?))
        .await?;
    let mut xml = Xml::default();
    let last = found.rows.last().map(|user| user.name.clone());
    xml.list("Users", &found.rows, |xml, user| {
        write_user(xml, &call.account, user);
    });
    page.end(call, &mut xml, last, found.more)?;
    Ok(Some(xml))
}

pub(super) async fn update(call: &Call) -> Answer {
    let (user, tags) = call.user().await?;
    let new_name = call.form.optional("NewUserName", &names::USER)?;
    let new_path = names::new_path(&call.form)?;
    let changed = User {
        name: new_name.unwrap_or_else(|| user.name.clone()),
        path: new_path.unwrap_or_else(|| user.path.clone()),
        ..user.clone()
    };
    // Who renames must be allowed under both names: else a rule about one could be walked around.
    let resource = arn::user(&call.account, &changed.path, &changed.name);
    call.authorize(&call.ask(&resource).tagged(&tags))?;
    let account = call.account.clone();
    call.write(move |tx| {
        let Some(now) = users::by_id(tx, &account, &changed.id)? else {
            return Err(missing(HolderKind::User, &user.name));
        };
        let is_another = !changed.name.eq_ignore_ascii_case(&now.name);
        if is_another && users::is_taken(tx, &account, &changed.name)? {
            return Err(taken("User", &changed.name));
        }
        let changed = User {
            name: changed.name,
            path: changed.path,
            ..now
        };
        Ok(users::update(tx, &account, &changed)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn delete(call: &Call) -> Answer {
    let (user, _) = call.user().await?;
    let account = call.account.clone();
    call.write(move |tx| {
        let holder = Holder::user(&user.id);
        if !groups::of_user(tx, &account, &user.id)?.is_empty() {
            return Err(in_use("remove user from groups"));
        }
        if !attachments::of(tx, &account, &holder)?.is_empty() {
            return Err(in_use("detach all policies"));
        }
        if !inline_policies::of(tx, &account, &holder)?.is_empty() {
            return Err(in_use("delete policies"));
        }
        if !access_keys::of_user(tx, &account, &user.id)?.is_empty() {
            return Err(in_use("delete access keys"));
        }
        if !mfa_devices::of_user(tx, &account, &user.id)?.is_empty() {
            return Err(in_use("deactivate MFA devices"));
        }
        principal_tags::forget(tx, &account, Tagged::User, &user.id)?;
        Ok(users::delete(tx, &account, &user.id)?)
    })
    .await?;
    Ok(None)
}

//! `CreateGroup`, `GetGroup`, `ListGroups`, `UpdateGroup`, `DeleteGroup`.

use super::call::unique_id;
use super::paging::Page;
use super::subject::{in_use, taken};
use super::users::write_user;
use super::{Answer, Call, arn, names, quotas};
use crate::query::Xml;
use crate::store::groups::Group;
use crate::store::{Holder, Micros, Names, attachments, groups, inline_policies};

/// The members that every answer has.
pub(super) fn write_group(xml: &mut Xml, account: &str, group: &Group) {
    xml.text("Path", &group.path);
    xml.text("GroupName", &group.name);
    xml.text("GroupId", &group.id);
    xml.text("Arn", arn::group(account, &group.path, &group.name));
    xml.text("CreateDate", group.created.rfc3339());
}

pub(super) async fn create(call: &Call) -> Answer {
    let name = call.form.required("GroupName", &names::GROUP)?;
    let path = names::path(&call.form)?;
    call.authorize(&call.ask(&arn::group(&call.account, &path, &name)))?;
    let group = Group {
        id: unique_id("AGPA")?,
        name,
        path,
        created: Micros::now(),
    };
    let account = call.account.clone();
    let group = call
        .write(move |tx| {
            if groups::is_taken(tx, &account, &group.name)? {
                return Err(taken("Group", &group.name));
            }
            let have = groups::count(tx, &account)?;
            quotas::room("GroupsPerAccount", have, quotas::GROUPS)?;
            groups::insert(tx, &account, &group)?;
            Ok(group)
        })
        .await?;
    let mut xml = Xml::default();
    xml.element("Group", |xml| write_group(xml, &call.account, &group));
    Ok(Some(xml))
}

pub(super) async fn get(call: &Call) -> Answer {
    let group = call.group().await?;
    let page = Page::of(call, &[&group.id])?;
    let (account, id, wanted) = (
        call.account.clone(),
        group.id.clone(),
        page.names("/".to_owned()),
    );
    let found = call
        .read(move |connection| Ok(groups::members(connection, &account, &id, &wanted)?))
        .await?;
    let mut xml = Xml::default();
    xml.element("Group", |xml| write_group(xml, &call.account, &group));
    let last = found.rows.last().map(|user| user.name.clone());
    xml.list("Users", &found.rows, |xml, user| {
        write_user(xml, &call.account, user);
    });
    page.end(call, &mut xml, last, found.more)?;
    Ok(Some(xml))
}

pub(super) async fn list(call: &Call) -> Answer {
    let prefix = names::path_prefix(&call.form)?;
    let page = Page::of(call, &[&prefix])?;
    call.authorize(&call.ask(&arn::group(&call.account, &prefix, "")))?;
    let (account, wanted) = (call.account.clone(), page.names(prefix));
    let found = call
        .read(move |connection| Ok(groups::list(connection, &account, &wanted)?))
        .await?;
    let mut xml = Xml::default();
    let last = found.rows.last().map(|group| group.name.clone());
    xml.list("Groups", &found.rows, |xml, group| {
        write_group(xml, &call.account, group);
    });
    page.end(call, &mut xml, last, found.more)?;
    Ok(Some(xml))
}

pub(super) async fn update(call: &Call) -> Answer {
    let group = call.group().await?;
    let new_name = call.form.optional("NewGroupName", &names::GROUP)?;
    let new_path = names::new_path(&call.form)?;
    let changed = Group {
        name: new_name.unwrap_or_else(|| group.name.clone()),
        path: new_path.unwrap_or_else(|| group.path.clone()),
        ..group.clone()
    };
    // Who renames must be allowed under both names: else a rule about one could be walked around.
    call.authorize(&call.ask(&arn::group(&call.account, &changed.path, &changed.name)))?;
    let account = call.account.clone();
    call.write(move |tx| {
        let is_another = !changed.name.eq_ignore_ascii_case(&group.name);
        if is_another && groups::is_taken(tx, &account, &changed.name)? {
            return Err(taken("Group", &changed.name));
        }
        Ok(groups::update(tx, &account, &changed)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn delete(call: &Call) -> Answer {
    let group = call.group().await?;
    let account = call.account.clone();
    call.write(move |tx| {
        let holder = Holder::group(&group.id);
        let members = groups::members(tx, &account, &group.id, &Names::all())?;
        if !members.rows.is_empty() {
            return Err(in_use("remove users from group"));
        }
        if !attachments::of(tx, &account, &holder)?.is_empty() {
            return Err(in_use("detach all policies"));
        }
        if !inline_policies::of(tx, &account, &holder)?.is_empty() {
            return Err(in_use("delete policies"));
        }
        Ok(groups::delete(tx, &account, &group.id)?)
    })
    .await?;
    Ok(None)
}

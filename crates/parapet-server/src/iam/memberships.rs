//! `AddUserToGroup`, `RemoveUserFromGroup`, `ListGroupsForUser`.

use super::groups::write_group;
use super::paging::Page;
use super::subject::missing;
use super::{Answer, Call, names, quotas};
use crate::query::{Failure, Xml};
use crate::store::{HolderKind, groups, users};

pub(super) async fn add(call: &Call) -> Answer {
    let user = call.form.required("UserName", &names::USER)?;
    // AWS asks about the group alone: who may fill a group may give what the group may.
    let group = call.group().await?;
    let account = call.account.clone();
    call.write(move |tx| {
        let Some(user) = users::by_name(tx, &account, &user)? else {
            return Err(missing(HolderKind::User, &user));
        };
        if groups::by_name(tx, &account, &group.name)?.is_none_or(|it| it.id != group.id) {
            return Err(missing(HolderKind::Group, &group.name));
        }
        let have = groups::of_user(tx, &account, &user.id)?;
        if have.iter().all(|it| it.id != group.id) {
            let have = have.len() as u64;
            quotas::room("GroupsPerUser", have, quotas::GROUPS_PER_USER)?;
        }
        Ok(groups::add_member(tx, &account, &group.id, &user.id)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn remove(call: &Call) -> Answer {
    let user = call.form.required("UserName", &names::USER)?;
    let group = call.group().await?;
    let account = call.account.clone();
    call.write(move |tx| {
        let Some(user) = users::by_name(tx, &account, &user)? else {
            return Err(missing(HolderKind::User, &user));
        };
        if groups::remove_member(tx, &account, &group.id, &user.id)? {
            return Ok(());
        }
        Err(Failure::not_found(format!(
            "User {} is not in group {}.",
            user.name, group.name
        )))
    })
    .await?;
    Ok(None)
}

pub(super) async fn list(call: &Call) -> Answer {
    let (user, _) = call.user().await?;
    let page = Page::of(call, &[&user.id])?;
    let account = call.account.clone();
    let found = call
        .read(move |connection| Ok(groups::of_user(connection, &account, &user.id)?))
        .await?;
    let (found, more) = page.cut(found, |group| group.name.clone());
    let mut xml = Xml::default();
    xml.list("Groups", &found, |xml, group| {
        write_group(xml, &call.account, group);
    });
    let last = found.last().map(|group| group.name.clone());
    page.end(call, &mut xml, last, more)?;
    Ok(Some(xml))
}

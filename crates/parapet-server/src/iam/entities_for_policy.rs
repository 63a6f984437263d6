//! `ListEntitiesForPolicy`: whom a managed policy is attached to, or bounds.

use super::names;
use super::paging::Page;
use super::policies::Managed;
use super::{Answer, Call};
use crate::query::Xml;
use crate::store::attachments::{self, NamedHolder};
use crate::store::{Holder, HolderKind, roles, users};

pub(super) async fn list(call: &Call) -> Answer {
    let arn = match call.policy().await? {
        Managed::Local(policy, _) => policy.arn,
        Managed::Aws(owned) => owned.arn.clone(),
    };
    let form = &call.form;
    let filters = [
        "User",
        "Role",
        "Group",
        "LocalManagedPolicy",
        "AWSManagedPolicy",
    ];
    let filter = form.choice("EntityFilter", &filters)?.unwrap_or_default();
    let usage = form
        .choice(
            "PolicyUsageFilter",
            &["PermissionsPolicy", "PermissionsBoundary"],
        )?
        .unwrap_or_default();
    let prefix = names::path_prefix(form)?;
    let page = Page::of(call, &[&arn, filter, usage, &prefix])?;
    let account = call.account.clone();
    let mut found = call
        .read(move |connection| {
            let mut found = Vec::new();
            if usage != "PermissionsBoundary" {
                found.extend(attachments::holders(connection, &account, &arn)?);
            }
            if usage != "PermissionsPolicy" {
                for user in users::bounded_by(connection, &account, &arn)? {
                    found.push(NamedHolder {
                        holder: Holder::user(user.id),
                        name: user.name,
                        path: user.path,
                    });
                }
                for role in roles::bounded_by(connection, &account, &arn)? {
                    found.push(NamedHolder {
                        holder: Holder::role(role.id),
                        name: role.name,
                        path: role.path,
                    });
                }
            }
            Ok(found)
        })
        .await?;
    found.retain(|it| {
        let is_wanted = match it.holder.kind {
            HolderKind::User => matches!(filter, "" | "User"),
            HolderKind::Group => matches!(filter, "" | "Group"),
            HolderKind::Role => matches!(filter, "" | "Role"),
        };
        is_wanted && it.path.starts_with(&prefix)
    });
    let order = |it: &NamedHolder| format!("{} {}", it.holder.kind.as_str(), it.name);
    let (mut found, more) = page.cut(found, order);
    // Attached and bounding at once is one entity.
    found.dedup_by(|a, b| a.holder == b.holder);
    let mut xml = Xml::default();
    for (list, name, id, kind) in [
        ("PolicyGroups", "GroupName", "GroupId", HolderKind::Group),
        ("PolicyUsers", "UserName", "UserId", HolderKind::User),
        ("PolicyRoles", "RoleName", "RoleId", HolderKind::Role),
    ] {
        let of_kind = found.iter().filter(|it| it.holder.kind == kind);
        xml.list(list, of_kind, |xml, it| {
            xml.text(name, &it.name);
            xml.text(id, &it.holder.id);
        });
    }
    page.end(call, &mut xml, found.last().map(order), more)?;
    Ok(Some(xml))
}

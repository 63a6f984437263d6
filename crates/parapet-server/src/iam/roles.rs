//! `CreateRole`, `GetRole`, `ListRoles`, `UpdateRole`, `UpdateRoleDescription`,
//! `UpdateAssumeRolePolicy`, `DeleteRole`, and `ListInstanceProfilesForRole`, which is always empty.

use super::call::{Ask, Tags, unique_id};
use super::paging::Page;
use super::permissions_boundaries::{self as boundaries, write_boundary};
use super::subject::{in_use, missing, taken};
use super::tags::write_tags;
use super::{Answer, Call, arn, documents, names, quotas};
use crate::query::{Failure, Xml};
use crate::store::principal_tags::{self, Tagged};
use crate::store::roles::Role;
use crate::store::{Holder, HolderKind, Micros, attachments, inline_policies, roles};

/// Longest session of a role, in seconds, and the least that may be its most.
const SESSION_MAX: u32 = 43_200;
const SESSION_USUAL: u32 = 3_600;
/// Roles of services stand here and nowhere else.
pub(super) const SERVICE_PATH: &str = "/aws-service-role/";

/// The members that every answer has.
pub(super) fn write_role(xml: &mut Xml, account: &str, role: &Role) {
    xml.text("Path", &role.path);
    xml.text("RoleName", &role.name);
    xml.text("RoleId", &role.id);
    xml.text("Arn", arn::role(account, &role.path, &role.name));
    xml.text("CreateDate", role.created.rfc3339());
    xml.text(
        "AssumeRolePolicyDocument",
        documents::escaped(&role.trust_json),
    );
    xml.optional("Description", role.description.as_deref());
    xml.text("MaxSessionDuration", role.max_session_s);
}

pub(super) fn write_all(xml: &mut Xml, account: &str, role: &Role, tags: &Tags) {
    write_role(xml, account, role);
    write_boundary(xml, role.boundary.as_deref());
    write_tags(xml, tags);
}

pub(super) async fn create(call: &Call) -> Answer {
    let name = call.form.required("RoleName", &names::ROLE)?;
    let path = names::path(&call.form)?;
    let tags = call.form.tags("Tags")?;
    let boundary = boundaries::parameter(call, false)?;
    let resource = arn::role(&call.account, &path, &name);
    let mut ask = call.ask(&resource).tagging(&tags);
    if let Some(boundary) = &boundary {
        ask = ask.with("iam:PermissionsBoundary", boundary);
    }
    call.authorize(&ask)?;
    if !tags.is_empty() {
        call.authorize(&Ask::new("iam:TagRole", &resource).tagging(&tags))?;
    }
    if path.starts_with(SERVICE_PATH) {
        return Err(Failure::input(format!(
            "The path {SERVICE_PATH} is reserved for service-linked roles; call \
             CreateServiceLinkedRole, or choose another path."
        )));
    }
    let form = &call.form;
    let role = Role {
        id: unique_id("AROA")?,
        name,
        path,
        description: form.optional("Description", &names::DESCRIPTION)?,
        trust_json: documents::trust(form, "AssumeRolePolicyDocument", &call.account)?,
        max_session_s: form
            .number("MaxSessionDuration", SESSION_USUAL, SESSION_MAX)?
            .unwrap_or(SESSION_USUAL),
        boundary,
        not_before: None,
        linked_service: None,
        created: Micros::now(),
    };
    let account = call.account.clone();
    let (role, tags) = call
        .write(move |tx| {
            if roles::is_taken(tx, &account, &role.name)? {
                return Err(taken("Role", &role.name));
            }
            quotas::room(
                "RolesPerAccount",
                roles::count(tx, &account)?,
                quotas::ROLES,
            )?;
            boundaries::must_exist(tx, &account, role.boundary.as_deref())?;
            roles::insert(tx, &account, &role)?;
            principal_tags::put(tx, &account, Tagged::Role, &role.id, &tags)?;
            Ok((role, tags))
        })
        .await?;
    let mut xml = Xml::default();
    xml.element("Role", |xml| write_all(xml, &call.account, &role, &tags));
    Ok(Some(xml))
}

pub(super) async fn get(call: &Call) -> Answer {
    let (role, tags) = call.role().await?;
    let mut xml = Xml::default();
    xml.element("Role", |xml| {
        write_all(xml, &call.account, &role, &tags);
        xml.element("RoleLastUsed", |_| {});
    });
    Ok(Some(xml))
}

pub(super) async fn list(call: &Call) -> Answer {
    let prefix = names::path_prefix(&call.form)?;
    let page = Page::of(call, &[&prefix])?;
    call.authorize(&call.ask(&arn::role(&call.account, &prefix, "")))?;
    let (account, wanted) = (call.account.clone(), page.names(prefix));
    let found = call
        .read(move |connection| Ok(roles::list(connection, &account, &wanted)?))
        .await?;
    let mut xml = Xml::default();
    let last = found.rows.last().map(|role| role.name.clone());
    xml.list("Roles", &found.rows, |xml, role| {
        write_role(xml, &call.account, role);
    });
    page.end(call, &mut xml, last, found.more)?;
    Ok(Some(xml))
}

/// Changes a role that nobody else has taken away.
async fn change(
    call: &Call,
    role: Role,
    change: impl FnOnce(&mut Role) + Send + 'static,
) -> Result<Role, Failure> {
    let account = call.account.clone();
    call.write(move |tx| {
        let Some(mut now) = roles::by_id(tx, &account, &role.id)? else {
            return Err(missing(HolderKind::Role, &role.name));
        };
        change(&mut now);
        roles::update(tx, &account, &now)?;
        Ok(now)
    })
    .await
}

pub(super) async fn update(call: &Call) -> Answer {
    let (role, _) = call.own_role().await?;
    let description = call.form.optional("Description", &names::DESCRIPTION)?;
    let longest = call
        .form
        .number("MaxSessionDuration", SESSION_USUAL, SESSION_MAX)?;
    change(call, role, move |role| {
        if description.is_some() {
            role.description = description;
        }
        if let Some(longest) = longest {
            role.max_session_s = longest;
        }
    })
    .await?;
    Ok(Some(Xml::default()))
}

pub(super) async fn update_description(call: &Call) -> Answer {
    let (role, tags) = call.own_role().await?;
    let description = call.form.required("Description", &names::DESCRIPTION)?;
    let role = change(call, role, move |role| role.description = Some(description)).await?;
    let mut xml = Xml::default();
    xml.element("Role", |xml| write_all(xml, &call.account, &role, &tags));
    Ok(Some(xml))
}

pub(super) async fn update_trust(call: &Call) -> Answer {
    let (role, _) = call.own_role().await?;
    let document = documents::trust(&call.form, "PolicyDocument", &call.account)?;
    change(call, role, move |role| role.trust_json = document).await?;
    Ok(None)
}

pub(super) async fn delete(call: &Call) -> Answer {
    let (role, _) = call.own_role().await?;
    let account = call.account.clone();
    call.write(move |tx| {
        let holder = Holder::role(&role.id);
        if !attachments::of(tx, &account, &holder)?.is_empty() {
            return Err(in_use("detach all policies"));
        }
        if !inline_policies::of(tx, &account, &holder)?.is_empty() {
            return Err(in_use("delete policies"));
        }
        principal_tags::forget(tx, &account, Tagged::Role, &role.id)?;
        Ok(roles::delete(tx, &account, &role.id)?)
    })
    .await?;
    Ok(None)
}

pub(super) async fn list_instance_profiles(call: &Call) -> Answer {
    call.role().await?;
    let mut xml = Xml::default();
    xml.texts("InstanceProfiles", [""; 0]);
    xml.text("IsTruncated", false);
    Ok(Some(xml))
}

//! `CreateServiceLinkedRole`, `DeleteServiceLinkedRole`, `GetServiceLinkedRoleDeletionStatus`.
//!
//! One service has such a role here: Panorama. It is made with the first device, as the original
//! did, or by itself; it cannot be edited, and goes when devices and applications are gone.

use super::call::{Tags, unique_id};
use super::roles::{SERVICE_PATH, write_all};
use super::subject::missing;
use super::{Answer, Call, arn, names, quotas};
use crate::panorama::token::List;
use crate::query::{Failure, Text, Xml};
use crate::store::principal_tags::{self, Tagged};
use crate::store::roles::Role;
use crate::store::{
    Holder, HolderKind, Micros, Scope, StoreError, Tx, attachments, devices, inline_policies,
    instances, roles,
};

/// Name of the service.
const SERVICE: &str = "panorama.amazonaws.com";
/// Name of its role.
const NAME: &str = "AWSServiceRoleForAWSPanorama";
/// What the role may.
const POLICY: &str = "arn:aws:iam::aws:policy/aws-service-role/AWSPanoramaServiceLinkedRolePolicy";
/// Who may assume it.
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"panorama.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
/// Longest task ID.
const TASK: Text = Text::any(1, 1000);

fn path() -> String {
    format!("{SERVICE_PATH}{SERVICE}/")
}

fn made(id: String, description: Option<String>) -> Role {
    Role {
        id,
        name: NAME.to_owned(),
        path: path(),
        description,
        trust_json: TRUST.to_owned(),
        max_session_s: 3600,
        boundary: None,
        not_before: None,
        linked_service: Some(SERVICE.to_owned()),
        created: Micros::now(),
    }
}

fn insert(tx: &Tx<'_>, account: &str, role: &Role) -> Result<(), StoreError> {
    roles::insert(tx, account, role)?;
    attachments::attach(tx, account, &Holder::role(&role.id), POLICY)
}

/// Makes Panorama's role with a device, if it is not there. `id` is a new unique ID.
pub(crate) fn ensure(tx: &Tx<'_>, account: &str, id: &str) -> Result<(), StoreError> {
    if roles::is_taken(tx, account, NAME)? {
        return Ok(());
    }
    insert(tx, account, &made(id.to_owned(), None))
}

/// A unique ID for [`ensure`].
pub(crate) fn new_id() -> std::io::Result<String> {
    let random = crate::random::base32::<16>()?;
    Ok(format!("AROA{}", &random[..17]))
}

pub(super) async fn create(call: &Call) -> Answer {
    let service = call.form.required("AWSServiceName", &names::SERVICE)?;
    let description = call.form.optional("Description", &names::DESCRIPTION)?;
    let suffix = call.form.optional("CustomSuffix", &names::SUFFIX)?;
    let resource = arn::role(&call.account, &path(), NAME);
    call.authorize(&call.ask(&resource).with("iam:AWSServiceName", &service))?;
    if service != SERVICE {
        return Err(Failure::input(format!(
            "No service {service} has a service-linked role here; only {SERVICE} has."
        )));
    }
    if suffix.is_some() {
        return Err(Failure::input(format!(
            "Custom suffix is not allowed for {SERVICE}"
        )));
    }
    let role = made(unique_id("AROA")?, description);
    let account = call.account.clone();
    let role = call
        .write(move |tx| {
            if roles::is_taken(tx, &account, NAME)? {
                return Err(Failure::input(format!(
                    "Service role name {NAME} has been taken in this account, please try a \
                     different suffix."
                )));
            }
            quotas::room(
                "RolesPerAccount",
                roles::count(tx, &account)?,
                quotas::ROLES,
            )?;
            insert(tx, &account, &role)?;
            Ok(role)
        })
        .await?;
    let mut xml = Xml::default();
    xml.element("Role", |xml| {
        write_all(xml, &call.account, &role, &Tags::new());
    });
    Ok(Some(xml))
}

/// Deletes the role if nothing needs it. Whether it was deleted tells the task's status, as the
/// original's, whose deletions took their time.
pub(super) async fn delete(call: &Call) -> Answer {
    let (role, _) = call.role().await?;
    if role.linked_service.is_none() {
        return Err(missing(HolderKind::Role, &role.name));
    }
    let (scope, id) = (call.inner.scope.clone(), role.id.clone());
    call.write(move |tx| {
        if needed_by(tx, &scope)?.is_some() || roles::by_id(tx, &scope.account, &id)?.is_none() {
            return Ok(());
        }
        let holder = Holder::role(&id);
        for arn in attachments::of(tx, &scope.account, &holder)? {
            attachments::detach(tx, &scope.account, &holder, &arn)?;
        }
        for (name, _) in inline_policies::of(tx, &scope.account, &holder)? {
            inline_policies::delete(tx, &scope.account, &holder, &name)?;
        }
        principal_tags::forget(tx, &scope.account, Tagged::Role, &id)?;
        Ok(roles::delete(tx, &scope.account, &id)?)
    })
    .await?;
    let sealed = tasks(call)?
        .seal(&call.ctx().page_key, &role.id)
        .map_err(Failure::internal)?;
    let mut xml = Xml::default();
    xml.text(
        "DeletionTaskId",
        format_args!("task{}{NAME}/{sealed}", path()),
    );
    Ok(Some(xml))
}

pub(super) async fn deletion_status(call: &Call) -> Answer {
    let task = call.form.required("DeletionTaskId", &TASK)?;
    call.authorize(&call.ask(&arn::role(&call.account, &path(), NAME)))?;
    let sealed = task.strip_prefix(&format!("task{}{NAME}/", path()));
    let list = tasks(call)?;
    let id: String = sealed
        .and_then(|sealed| list.open(&call.ctx().page_key, sealed).ok())
        .ok_or_else(|| Failure::not_found(format!("The deletion task {task} cannot be found.")))?;
    let scope = call.inner.scope.clone();
    let (role, needed) = call
        .read(move |connection| {
            let role = roles::by_id(connection, &scope.account, &id)?;
            Ok((role, needed_by(connection, &scope)?))
        })
        .await?;
    let mut xml = Xml::default();
    if role.is_none() {
        xml.text("Status", "SUCCEEDED");
    } else {
        xml.text("Status", "FAILED");
        let why = needed.unwrap_or("Nothing needs the role any more: delete it again.");
        xml.element("Reason", |xml| xml.text("Reason", why));
    }
    Ok(Some(xml))
}

/// Tasks are sealed, so that one that never was is not found.
fn tasks(call: &Call) -> Result<List, Failure> {
    List::new(&call.inner.scope, "DeleteServiceLinkedRole", &()).map_err(Failure::internal)
}

/// What needs the role.
fn needed_by(
    connection: &rusqlite::Connection,
    scope: &Scope,
) -> Result<Option<&'static str>, StoreError> {
    if devices::count(connection, scope)? > 0 {
        return Ok(Some(
            "There are devices; delete them with panorama DeleteDevice first.",
        ));
    }
    if instances::count_held(connection, scope)? > 0 {
        return Ok(Some(
            "There are applications; remove them with panorama RemoveApplicationInstance first.",
        ));
    }
    Ok(None)
}

//! `Put…PermissionsBoundary` and `Delete…PermissionsBoundary` of users and roles: a managed policy
//! that bounds what their own policies can allow.

use rusqlite::Connection;

use super::policies::missing;
use super::subject::missing as nobody;
use super::{Answer, Call, managed, names};
use crate::query::{Failure, Xml};
use crate::store::{HolderKind, policies, roles, users};

/// The member of a user or role that has a boundary.
pub(super) fn write_boundary(xml: &mut Xml, boundary: Option<&str>) {
    if let Some(boundary) = boundary {
        xml.element("PermissionsBoundary", |xml| {
            xml.text("PermissionsBoundaryType", "Policy");
            xml.text("PermissionsBoundaryArn", boundary);
        });
    }
}

/// The parameter `PermissionsBoundary`.
pub(super) fn parameter(call: &Call, must: bool) -> Result<Option<String>, Failure> {
    if must {
        return call
            .form
            .required("PermissionsBoundary", &names::ARN)
            .map(Some);
    }
    call.form.optional("PermissionsBoundary", &names::ARN)
}

/// Refuses a boundary that is no managed policy.
pub(super) fn must_exist(
    connection: &Connection,
    account: &str,
    boundary: Option<&str>,
) -> Result<(), Failure> {
    let Some(arn) = boundary else { return Ok(()) };
    if managed::find(arn).is_some() || policies::by_arn(connection, account, arn)?.is_some() {
        return Ok(());
    }
    Err(missing(arn))
}

pub(super) async fn put(call: &Call, kind: HolderKind) -> Answer {
    let boundary = parameter(call, true)?;
    let asked = boundary.clone().unwrap_or_default();
    change(call, kind, Some(asked), boundary).await
}

pub(super) async fn delete(call: &Call, kind: HolderKind) -> Answer {
    change(call, kind, None, None).await
}

/// `asked` is what `iam:PermissionsBoundary` says: the new boundary, or the present one when it is
/// taken away.
async fn change(
    call: &Call,
    kind: HolderKind,
    asked: Option<String>,
    boundary: Option<String>,
) -> Answer {
    let subject = call
        .subject(kind, |ask| match asked {
            Some(asked) => ask.with("iam:PermissionsBoundary", asked),
            None => ask,
        })
        .await?;
    let account = call.account.clone();
    call.write(move |tx| {
        must_exist(tx, &account, boundary.as_deref())?;
        match kind {
            HolderKind::Role => {
                let Some(mut role) = roles::by_id(tx, &account, &subject.holder.id)? else {
                    return Err(nobody(kind, &subject.name));
                };
                role.boundary = boundary;
                Ok(roles::update(tx, &account, &role)?)
            }
            HolderKind::User | HolderKind::Group => {
                let Some(mut user) = users::by_id(tx, &account, &subject.holder.id)? else {
                    return Err(nobody(kind, &subject.name));
                };
                user.boundary = boundary;
                Ok(users::update(tx, &account, &user)?)
            }
        }
    })
    .await?;
    Ok(None)
}

//! From rows to entries: every policy that speaks for somebody, parsed.

use std::sync::Arc;

use parapet_auth::{Attached, Grants, Policy, PolicyKind, Principal, PrincipalKind};
use rusqlite::Connection;

use super::DirectoryError;
use super::entry::{RoleEntry, UserEntry};
use crate::iam::arn;
use crate::iam::managed;
use crate::store::groups::Group;
use crate::store::principal_tags::Tagged;
use crate::store::roles::Role;
use crate::store::users::User;
use crate::store::{Holder, attachments, groups, inline_policies, policies, principal_tags};

/// A user with its own policies and those of its groups.
pub(super) fn user(
    connection: &Connection,
    account: &str,
    user: User,
) -> Result<UserEntry, DirectoryError> {
    let mut identity = Vec::new();
    add(
        connection,
        account,
        &Holder::user(&user.id),
        &user.name,
        &mut identity,
    )?;
    for group in groups::of_user(connection, account, &user.id)? {
        add(
            connection,
            account,
            &Holder::group(&group.id),
            &group.name,
            &mut identity,
        )?;
    }
    let boundary = boundary(connection, account, user.boundary.as_deref(), &user.name)?;
    let tags = principal_tags::get(connection, account, Tagged::User, &user.id)?;
    Ok(UserEntry {
        principal: Arc::new(Principal {
            account: account.to_owned(),
            kind: PrincipalKind::User {
                id: user.id.clone(),
                path: user.path,
                name: user.name.clone(),
            },
        }),
        id: user.id,
        name: user.name,
        grants: Arc::new(Grants::Policies {
            identity,
            boundary,
            session: None,
        }),
        tags: Arc::new(tags),
        not_before: user.not_before,
    })
}

/// The policies of a group.
pub(crate) fn group_policies(
    connection: &Connection,
    account: &str,
    group: &Group,
) -> Result<Vec<Attached>, DirectoryError> {
    let mut policies = Vec::new();
    let holder = Holder::group(&group.id);
    add(connection, account, &holder, &group.name, &mut policies)?;
    Ok(policies)
}

/// A role with its policies.
pub(super) fn role(
    connection: &Connection,
    account: &str,
    role: Role,
) -> Result<RoleEntry, DirectoryError> {
    let mut identity = Vec::new();
    add(
        connection,
        account,
        &Holder::role(&role.id),
        &role.name,
        &mut identity,
    )?;
    let boundary = boundary(connection, account, role.boundary.as_deref(), &role.name)?;
    let trust = parse(
        &role.trust_json,
        PolicyKind::Trust,
        &role.name,
        "trust policy",
    )?;
    let tags = principal_tags::get(connection, account, Tagged::Role, &role.id)?;
    Ok(RoleEntry {
        arn: arn::role(account, &role.path, &role.name),
        id: role.id,
        name: role.name,
        path: role.path,
        grants: Arc::new(Grants::Policies {
            identity,
            boundary,
            session: None,
        }),
        trust: Arc::new(trust),
        tags: Arc::new(tags),
        max_session_s: role.max_session_s,
        not_before: role.not_before,
    })
}

/// The managed policy with this ARN, of the account or of AWS.
pub(super) fn managed(
    connection: &Connection,
    account: &str,
    arn: &str,
) -> Result<Option<Attached>, DirectoryError> {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    if let Some(policy) = managed::parsed(arn) {
        return Ok(Some(Attached::new(name, policy)));
    }
    let Some(document) = policies::document(connection, account, arn)? else {
        return Ok(None);
    };
    let policy = parse(&document, PolicyKind::Managed, account, arn)?;
    Ok(Some(Attached::new(name, policy)))
}

/// Adds all policies of one holder.
fn add(
    connection: &Connection,
    account: &str,
    holder: &Holder,
    name: &str,
    identity: &mut Vec<Attached>,
) -> Result<(), DirectoryError> {
    for arn in attachments::of(connection, account, holder)? {
        identity.push(attached(connection, account, &arn, name)?);
    }
    for (policy, document) in inline_policies::of(connection, account, holder)? {
        // Their quota was held when they were written; before there were managed policies a
        // user's one policy could be longer than a user's inline policies may be now.
        let parsed = parse(&document, PolicyKind::InlineRole, name, &policy)?;
        identity.push(Attached::new(policy, parsed));
    }
    Ok(())
}

fn boundary(
    connection: &Connection,
    account: &str,
    arn: Option<&str>,
    holder: &str,
) -> Result<Option<Attached>, DirectoryError> {
    arn.map(|arn| attached(connection, account, arn, holder))
        .transpose()
}

/// A policy that must be there: one left out could be one that denies.
fn attached(
    connection: &Connection,
    account: &str,
    arn: &str,
    holder: &str,
) -> Result<Attached, DirectoryError> {
    managed(connection, account, arn)?.ok_or_else(|| DirectoryError::PolicyMissing {
        holder: holder.to_owned(),
        arn: arn.to_owned(),
    })
}

fn parse(
    document: &str,
    kind: PolicyKind,
    holder: &str,
    name: &str,
) -> Result<Policy, DirectoryError> {
    Policy::parse(document, kind).map_err(|source| DirectoryError::Policy {
        holder: holder.to_owned(),
        name: name.to_owned(),
        source,
    })
}

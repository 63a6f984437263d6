//! `RevokeUserSessions` and `RevokeRoleSessions`: every session issued so far is void at once, here
//! and within a second in every other process of the server. Keys are not touched: who holds one
//! may open a new session.

use serde_json::{Value, json};

use crate::call::{Ask, Call};
use crate::iam::arn;
use crate::panorama::Failure;
use crate::store::principal_tags::{self, Tagged};
use crate::store::{Micros, roles, users};

use super::Operation;

pub(super) async fn of_user(call: &Call, name: &str) -> Result<Value, Failure> {
    let (account, wanted) = (call.scope.account.clone(), name.to_owned());
    let found = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            let Some(user) = users::by_name(connection, &account, &wanted)? else {
                return Ok(None);
            };
            let tags = principal_tags::get(connection, &account, Tagged::User, &user.id)?;
            Ok(Some((user, tags)))
        })
        .await?;
    let path = found.as_ref().map_or("/", |(user, _)| user.path.as_str());
    let tags = found.as_ref().map(|(_, tags)| tags.clone());
    let resource = arn::user(&call.scope.account, path, name);
    let ask = Ask::new(Operation::RevokeUserSessions.action(), &resource);
    call.authorize(&ask.tagged(&tags.unwrap_or_default()))?;
    let (user, _) = found.ok_or_else(|| Failure::not_found("User", name))?;
    let (account, now) = (call.scope.account.clone(), Micros::now());
    call.write::<_, Failure, _>(move |tx| {
        let Some(mut user) = users::by_id(tx, &account, &user.id)? else {
            return Err(Failure::not_found("User", user.name));
        };
        user.not_before = Some(now);
        Ok(users::update(tx, &account, &user)?)
    })
    .await?;
    call.ctx.directory.changed();
    Ok(json!({ "RevokedBefore": now.as_seconds() }))
}

pub(super) async fn of_role(call: &Call, name: &str) -> Result<Value, Failure> {
    let (account, wanted) = (call.scope.account.clone(), name.to_owned());
    let found = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            let Some(role) = roles::by_name(connection, &account, &wanted)? else {
                return Ok(None);
            };
            let tags = principal_tags::get(connection, &account, Tagged::Role, &role.id)?;
            Ok(Some((role, tags)))
        })
        .await?;
    let path = found.as_ref().map_or("/", |(role, _)| role.path.as_str());
    let tags = found.as_ref().map(|(_, tags)| tags.clone());
    let resource = arn::role(&call.scope.account, path, name);
    let ask = Ask::new(Operation::RevokeRoleSessions.action(), &resource);
    call.authorize(&ask.tagged(&tags.unwrap_or_default()))?;
    let (role, _) = found.ok_or_else(|| Failure::not_found("Role", name))?;
    let (account, now) = (call.scope.account.clone(), Micros::now());
    call.write::<_, Failure, _>(move |tx| {
        let Some(mut role) = roles::by_id(tx, &account, &role.id)? else {
            return Err(Failure::not_found("Role", role.name));
        };
        role.not_before = Some(now);
        Ok(roles::update(tx, &account, &role)?)
    })
    .await?;
    call.ctx.directory.changed();
    Ok(json!({ "RevokedBefore": now.as_seconds() }))
}

//! `TagResource`: adds or overwrites tags of a device, a package or an application instance.

use parapet_api::{Arn, EmptyResponse, Operation, ResourceType, TagResourceRequest};
use rusqlite::Connection;

use crate::call::{Ask, Call};
use crate::store::{Scope, devices, instances, packages, tags};

use super::failure::Failure;

/// Tags of one resource (`spec/api.md` section 10).
const TAGS: usize = 50;

pub(super) async fn call(
    call: &Call,
    request: TagResourceRequest,
) -> Result<EmptyResponse, Failure> {
    let arn = request.resource_arn;
    let given = request.tags;
    let tags = call.tags(arn.resource_type, &arn.id).await?;
    let resource = arn.to_string();
    let ask = Ask::new(Operation::TagResource.action(), &resource).tagged(&tags);
    check(call, &ask.tagging(&given), &arn)?;
    let scope = call.scope.clone();
    call.write(move |tx| {
        let resource = existing(tx, &scope, &arn)?;
        let mut all = tags::get(tx, &scope, &resource)?;
        all.extend(given.clone());
        if all.len() > TAGS {
            return Err(Failure::invalid(
                "Tags",
                format!(
                    "the resource would have {} tags, at most {TAGS} are allowed",
                    all.len()
                ),
            ));
        }
        Ok(tags::put(tx, &scope, &resource, &given)?)
    })
    .await?;
    Ok(EmptyResponse {})
}

/// Whether the caller may do what is asked, and the resource is of this account.
pub(super) fn check(call: &Call, ask: &Ask<'_>, arn: &Arn) -> Result<(), Failure> {
    call.authorize(ask)?;
    if arn.account != call.scope.account {
        return Err(Failure::not_found(
            arn.resource_type.in_error(),
            arn.id.as_str(),
        ));
    }
    Ok(())
}

/// The key of a resource's tags, if the resource is there. The region of the ARN is not compared:
/// all regions are aliases of the server's (`design.md` section 3).
pub(super) fn existing(
    connection: &Connection,
    scope: &Scope,
    arn: &Arn,
) -> Result<String, Failure> {
    let id = &arn.id;
    let there = match arn.resource_type {
        ResourceType::Device => devices::get(connection, scope, id)?.is_some(),
        ResourceType::Package => {
            packages::get(connection, scope, packages::PackageKey::Id(id))?.is_some()
        }
        ResourceType::ApplicationInstance => instances::get(connection, scope, id)?.is_some(),
    };
    if there {
        Ok(resource_key(arn.resource_type, id))
    } else {
        Err(Failure::not_found(arn.resource_type.in_error(), id))
    }
}

/// The key under which a resource's tags are stored: the tail of its ARN.
pub(super) fn resource_key(kind: ResourceType, id: &str) -> String {
    format!("{}/{id}", kind.in_arn())
}

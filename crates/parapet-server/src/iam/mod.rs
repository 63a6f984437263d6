//! The service `iam`: users, groups, roles, policies, keys, second factors and identity providers.
//!
//! Speaks IAM's Query API (`2010-05-08`, [`query`](crate::query)), a file a subject. One table,
//! [`OPERATIONS`], names every operation with its action, what it acts on and how it is reached, so
//! that nothing is served that a test cannot enumerate. An operation asks the caller's policies on
//! the right ARN before it does anything and before it tells whether something is there, writes
//! through [`Call::write`] alone, and changes nothing that belongs to a service (service-linked
//! roles, the policies of AWS). What differs from AWS is in `docs/iam.md`.

mod access_key_last_used;
mod access_keys;
mod account;
mod account_aliases;
pub mod arn;
mod attached_policies;
mod authorization_details;
pub mod call;
mod documents;
mod entities_for_policy;
mod groups;
mod inline_policies;
pub(crate) mod managed;
mod memberships;
mod mfa_devices;
mod names;
mod oidc_providers;
mod operations;
mod paging;
mod permissions_boundaries;
mod policies;
mod policy_versions;
mod quotas;
mod roles;
pub(crate) mod service_linked_roles;
mod simulate;
mod subject;
mod tags;
mod users;

use bytes::Bytes;
use http::Response;

pub use call::Call;
pub use operations::{Access, OPERATIONS, Operation, Shape};

use crate::audit;
use crate::call::{self as calls, Incoming};
use crate::query::{self, Failure, IAM, Xml};

/// What an operation answers: the content of its result element, if it has one.
type Answer = Result<Option<Xml>, Failure>;

/// Answers one verified request.
pub async fn handle(call: &calls::Call, incoming: Incoming<'_>) -> Response<Bytes> {
    let mut action = "";
    match answer(call, &incoming, &mut action).await {
        Ok(result) => IAM.answer(action, result.as_ref(), incoming.request_id),
        Err(failure) => IAM.refuse(&failure, action, incoming.request_id),
    }
}

async fn answer(call: &calls::Call, incoming: &Incoming<'_>, action: &mut &'static str) -> Answer {
    let form = query::form(incoming)?;
    let Some(operation) = OPERATIONS.iter().find(|it| it.name == form.action()) else {
        call.draft
            .operation("iam", form.action(), audit::Access::Read);
        return Err(IAM.unknown(form.action()));
    };
    *action = operation.name;
    let access = match operation.access {
        Access::List | Access::Read => audit::Access::Read,
        Access::Write | Access::Tagging | Access::Permissions => audit::Access::Write,
    };
    call.draft.operation("iam", operation.name, access);
    call.draft.form(form.iter());
    (operation.run)(&Call::new(call, operation, form)).await
}

#[cfg(test)]
mod tests;

//! The service `parapet`: what the original's API has no operation for, a file an operation.
//!
//! Signed as every other service, with actions of its own in policies (`parapet:…`), which
//! `panorama:*` does not contain. [`Operation`] is the table of what there is.

mod authorities;
mod create_console_session;
mod export_audit;
mod get_instance_confinement;
mod master_key;
mod operation;
mod put_instance_confinement;
mod revoke_sessions;
mod search_audit;
pub(crate) mod update_camera;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::call::{Call, Incoming};
use crate::panorama::{Failure, error_response, to_api};

pub use operation::Operation;

/// Answers one verified request.
pub async fn handle(call: &Call, incoming: Incoming<'_>) -> Response<Bytes> {
    let Some((operation, label)) = Operation::find(incoming.method, incoming.raw_path) else {
        let failure = Failure::not_found("operation", incoming.raw_path);
        return error_response(&to_api(failure, "", incoming.request_id));
    };
    call.draft
        .operation("parapet", operation.name(), operation.access());
    let labels = operation.label().map(|name| (name, label.as_str()));
    call.draft.parameters(&incoming.members(labels));
    let label = label.as_str();
    let outcome = match operation {
        Operation::CreateConsoleSession => create_console_session::call(call).await,
        Operation::SearchAudit => search_audit::call(call, incoming.query).await,
        Operation::ExportAudit => export_audit::call(call, incoming.query).await,
        Operation::RevokeUserSessions => revoke_sessions::of_user(call, label).await,
        Operation::RevokeRoleSessions => revoke_sessions::of_role(call, label).await,
        Operation::UpdateCamera => update_camera::call(call, label, incoming.body).await,
        Operation::PutInstanceConfinement => {
            put_instance_confinement::call(call, label, incoming.body).await
        }
        Operation::GetInstanceConfinement => get_instance_confinement::call(call, label).await,
        Operation::RotateMasterKey => master_key::rotate(call).await,
        Operation::DescribeMasterKey => master_key::describe(call),
        Operation::RollAuthority => authorities::roll(call, label, incoming.body).await,
        Operation::DescribeAuthorities => authorities::describe(call).await,
    };
    match outcome {
        Ok(value) => answer(&value),
        Err(failure) => error_response(&to_api(failure, operation.name(), incoming.request_id)),
    }
}

fn answer(value: &Value) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(value.to_string()));
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

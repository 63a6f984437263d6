//! The service `parapet`: what the original's API has no operation for, a file an operation.
//!
//! Signed as every other service, with actions of its own in policies (`parapet:…`), which
//! `panorama:*` does not contain. [`Operation`] is the table of what there is.

mod authorities;
mod create_console_session;
mod export_audit;
mod master_key;
mod operation;
mod revoke_sessions;
mod search_audit;
pub(crate) mod update_camera;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value};

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
    call.draft
        .parameters(&parameters(operation, label.as_deref(), incoming));
    let label = label.as_deref().unwrap_or_default();
    let outcome = match operation {
        Operation::CreateConsoleSession => create_console_session::call(call).await,
        Operation::SearchAudit => search_audit::call(call, incoming.query).await,
        Operation::ExportAudit => export_audit::call(call, incoming.query).await,
        Operation::RevokeUserSessions => revoke_sessions::of_user(call, label).await,
        Operation::RevokeRoleSessions => revoke_sessions::of_role(call, label).await,
        Operation::UpdateCamera => update_camera::call(call, label, incoming.body).await,
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

/// The members of a request as they came, for the audit trail, which masks them.
fn parameters(operation: Operation, label: Option<&str>, incoming: Incoming<'_>) -> Value {
    let mut members = match serde_json::from_slice(incoming.body) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    for (name, value) in url::form_urlencoded::parse(incoming.query.as_bytes()) {
        members.insert(name.into_owned(), Value::from(value));
    }
    if let (Some(name), Some(value)) = (operation.label(), label) {
        members.insert(name.to_owned(), Value::from(value));
    }
    Value::Object(members)
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

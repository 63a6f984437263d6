//! The service `parapet`: what the original's API has no operation for.
//!
//! Signed as every other service, with actions of its own in policies (`parapet:…`), which
//! `panorama:*` does not contain.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use parapet_api::ApiError;
use parapet_auth::Caller;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::console::LINK_LIFE;
use crate::context::Context;
use crate::panorama::update_camera::{self, CameraChange};
use crate::panorama::{Call, Failure, Incoming, error_response, to_api};

/// Answers one verified request.
pub async fn handle(
    context: &Arc<Context>,
    caller: &Caller,
    incoming: Incoming<'_>,
) -> Response<Bytes> {
    let call = Call {
        ctx: Arc::clone(context),
        caller: caller.clone(),
        scope: context.scope.clone(),
    };
    let camera = incoming.raw_path.strip_prefix("/parapet/cameras/");
    let (operation, outcome) = match (incoming.method, incoming.raw_path, camera) {
        ("POST", "/parapet/console-sessions", _) => {
            ("CreateConsoleSession", create_console_session(&call))
        }
        ("PUT", _, Some(name)) => (
            "UpdateCamera",
            change_camera(&call, name, incoming.body).await,
        ),
        _ => ("", Err(Failure::not_found("operation", incoming.raw_path))),
    };
    match outcome {
        Ok(value) => answer(&value),
        Err(failure) => {
            let error: ApiError = to_api(failure, operation, incoming.request_id);
            error_response(&error)
        }
    }
}

/// `CreateConsoleSession`: a link that signs a browser in as the caller, once, within a minute.
fn create_console_session(call: &Call) -> Result<Value, Failure> {
    call.authorize("parapet:CreateConsoleSession", "*")?;
    let token = call
        .ctx
        .sessions
        .link(call.caller.clone())
        .map_err(Failure::internal)?;
    Ok(json!({
        "Url": format!("{}/console/login?token={token}", call.ctx.api_url),
        "ExpiresInSeconds": LINK_LIFE.as_secs(),
    }))
}

async fn change_camera(call: &Call, raw_name: &str, body: &[u8]) -> Result<Value, Failure> {
    let name = percent_decode_str(raw_name)
        .decode_utf8()
        .map_err(|_| Failure::invalid("name", "is not UTF-8"))?;
    update_camera::call(call, &name, CameraChange::parse(body)?).await?;
    Ok(json!({}))
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

//! The service `sts`: who am I. Temporary credentials come with "Infrastructure security".

mod tokens;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use parapet_auth::Caller;

pub use tokens::{Tokens, TokensError};

use crate::audit::Access;
use crate::call::{Call, Incoming};
use crate::front::error::escape;

/// Version of the API, as clients send it.
const VERSION: &str = "2011-06-15";

/// Answers one request of the query protocol.
pub async fn handle(call: &Call, incoming: Incoming<'_>) -> Response<Bytes> {
    let form = if incoming.method == "POST" {
        incoming.body
    } else {
        incoming.query.as_bytes()
    };
    let mut parameters = url::form_urlencoded::parse(form);
    let action = parameters
        .find(|(name, _)| name == "Action")
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default();
    let id = incoming.request_id;
    call.draft.operation("sts", &action, Access::Read);
    if action == "GetCallerIdentity" {
        // Always allowed, as in the original: it says nothing but what the key's holder may know.
        return identity(&call.caller, id);
    }
    let (status, code, message) = (
        StatusCode::BAD_REQUEST,
        "InvalidAction",
        format!("Could not find operation {action} for version {VERSION}"),
    );
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/{VERSION}/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>",
        escape(&message)
    );
    xml(status, body)
}

fn identity(caller: &Caller, id: &str) -> Response<Bytes> {
    let body = format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/{VERSION}/\">\
         <GetCallerIdentityResult><Arn>{}</Arn><UserId>{}</UserId><Account>{}</Account>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>",
        escape(&caller.principal.arn()),
        escape(&caller.principal.unique_id()),
        escape(&caller.principal.account),
    );
    xml(StatusCode::OK, body)
}

fn xml(status: StatusCode, body: String) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    answer
}

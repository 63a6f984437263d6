//! The service `sts`: who somebody is, and temporary credentials.
//!
//! A session is a token that holds its own claims ([`Tokens`] seals them); nothing about it is
//! stored, and whether its user or role still counts is asked of `directory` when it is used. An
//! operation is a file. All of them need a signature but [`assume_role_with_web_identity`], which
//! an identity provider's token speaks for; that one is reached by [`handle_unsigned`] and nothing
//! else is. The protocol is in `query`; what is compatible and what is not, in `docs/sts.md`.

mod assume_role;
mod assume_role_with_web_identity;
mod credentials;
mod get_access_key_info;
mod get_caller_identity;
mod get_session_token;
mod issuer_keys;
mod parameters;
mod role;
mod second_factor;
mod tokens;

use bytes::Bytes;
use http::Response;
use parapet_auth::SessionClaims;
use serde_json::json;

pub use assume_role_with_web_identity::Stranger;
pub use issuer_keys::{IssuerKeys, OidcSettings};
pub use second_factor::Attempts;
pub use tokens::{Tokens, TokensError};

use crate::audit::Access;
use crate::call::{Call, Incoming};
use crate::query::{self, Failure, Form, STS, Xml};
use crate::store::Micros;

/// Everything that is served.
pub const OPERATIONS: &[&str] = &[
    "AssumeRole",
    WEB_IDENTITY,
    "GetAccessKeyInfo",
    "GetCallerIdentity",
    "GetSessionToken",
];

/// The one action that needs no signature.
const WEB_IDENTITY: &str = "AssumeRoleWithWebIdentity";

/// Answers one signed request.
pub async fn handle(call: &Call, incoming: Incoming<'_>) -> Response<Bytes> {
    let id = incoming.request_id;
    let form = match query::form(&incoming) {
        Ok(form) => form,
        Err(failure) => return STS.refuse(&failure, "", id),
    };
    let action = form.action();
    call.draft.operation("sts", action, access(action));
    parameters_told(&form, |value| call.draft.parameters(value));
    let of_user = call.caller.session.as_ref().filter(|it| !it.is_role());
    let outcome = match action {
        "GetAccessKeyInfo" if of_user.is_some() => Err(Failure::denied(
            "A session of GetSessionToken can call AssumeRole and GetCallerIdentity only.",
        )),
        "AssumeRole" => assume_role::call(call, &form).await,
        // With a signature or without: it is the identity token that counts.
        WEB_IDENTITY => {
            let stranger = Stranger {
                ctx: &call.ctx,
                circumstances: &call.circumstances,
                draft: &call.draft,
            };
            assume_role_with_web_identity::call(&stranger, &form).await
        }
        "GetAccessKeyInfo" => get_access_key_info::call(call, &form).await,
        "GetCallerIdentity" => Ok(get_caller_identity::call(call)),
        "GetSessionToken" => get_session_token::call(call, &form).await,
        other => Err(STS.unknown(other)),
    };
    answer(&outcome, action, id)
}

/// Answers a request without a signature.
pub async fn handle_unsigned(stranger: &Stranger<'_>, incoming: Incoming<'_>) -> Response<Bytes> {
    let id = incoming.request_id;
    let form = match query::form(&incoming) {
        Ok(form) => form,
        Err(failure) => return STS.refuse(&failure, "", id),
    };
    stranger
        .draft
        .operation("sts", WEB_IDENTITY, access(WEB_IDENTITY));
    parameters_told(&form, |value| stranger.draft.parameters(value));
    let outcome = assume_role_with_web_identity::call(stranger, &form).await;
    answer(&outcome, WEB_IDENTITY, id)
}

/// Whether a request without a signature may be for [`handle_unsigned`].
#[must_use]
pub fn is_unsigned_action(body: &[u8]) -> bool {
    Form::parse(body).is_ok_and(|form| form.action() == WEB_IDENTITY)
}

fn access(action: &str) -> Access {
    match action {
        "GetCallerIdentity" | "GetAccessKeyInfo" => Access::Read,
        _ => Access::Write,
    }
}

fn answer(outcome: &Result<Xml, Failure>, action: &str, id: &str) -> Response<Bytes> {
    match outcome {
        Ok(xml) => STS.answer(action, Some(xml), id),
        Err(failure) => STS.refuse(failure, action, id),
    }
}

/// The parameters that the audit trail keeps: no code, no token.
fn parameters_told(form: &Form, tell: impl FnOnce(&serde_json::Value)) {
    let kept = [
        "RoleArn",
        "RoleSessionName",
        "DurationSeconds",
        "ExternalId",
        "SourceIdentity",
        "SerialNumber",
        "AccessKeyId",
    ];
    let told = kept
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), json!(form.raw(name)?))))
        .collect::<serde_json::Map<_, _>>();
    tell(&told.into());
}

/// What the audit trail says of a new session: its key, so that what the session does is found.
fn session_told(claims: &SessionClaims) -> serde_json::Value {
    json!({
        "credentials": {
            "accessKeyId": claims.access_key,
            "expiration": Micros(claims.expires * 1_000_000).rfc3339(),
        },
    })
}

fn told(call: &Call, claims: &SessionClaims) {
    call.draft.response(&session_told(claims));
}

#[cfg(test)]
mod tests;

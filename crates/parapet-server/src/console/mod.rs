//! The console: an embedded page, its session, and the live pictures.
//!
//! The secret key never enters the browser: a one-time link, made through the signed API, is
//! exchanged for a cookie that scripts cannot read. Everything but the page itself and the
//! exchange needs that cookie. The page changes nothing: what it shows can be done with `aws`, and
//! it says how.

mod assets;
mod overview;
mod sessions;
mod stream;
mod visitor;

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::audit::{Event, Refused, UserIdentity};
use crate::context::Context;
use crate::front::source::Source;
use crate::front::{ResponseBody, empty, full, set};

pub use sessions::{LINK_LIFE, Sessions};
use visitor::Visitor;

/// `__Host-`: set by this very host over TLS, for all its paths, or not at all.
const COOKIE: &str = "__Host-parapet";
/// Nothing from elsewhere, no inline script, no frame.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// Answers a request that carries no signature.
pub async fn handle(
    context: &Arc<Context>,
    source: &Source,
    parts: Parts,
    _body: Incoming,
) -> Response<ResponseBody> {
    let mut answer = route(context, source, &parts).await;
    set(&mut answer, header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    set(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(&mut answer, header::REFERRER_POLICY, "no-referrer");
    set(&mut answer, header::X_FRAME_OPTIONS, "DENY");
    answer
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if parts.method == Method::HEAD {
        *answer.body_mut() = empty();
    }
    answer
}

async fn route(context: &Arc<Context>, source: &Source, parts: &Parts) -> Response<ResponseBody> {
    let path = parts.uri.path();
    match path {
        "/healthz" => return text(StatusCode::OK, "ok\n"),
        "/readyz" => return ready(context).await,
        "/" | "/console" => return redirect("/console/"),
        "/console/login" => return login(context, source.address, parts).await,
        _ => {}
    }
    if let Some(asset) = assets::find(path) {
        return asset.answer();
    }
    if !is_same_origin(parts) {
        return text(
            StatusCode::FORBIDDEN,
            "this address is for the console's own page\n",
        );
    }
    let Some(visitor) = visitor(context, source, parts).await else {
        return text(
            StatusCode::UNAUTHORIZED,
            "sign in with the link that `parapet console` prints\n",
        );
    };
    if path == "/console/api/overview" {
        return overview::answer(context, &visitor).await;
    }
    match stream::View::of_path(path) {
        Some(view) => stream::answer(context, visitor, view).await,
        None => text(StatusCode::NOT_FOUND, "there is nothing here\n"),
    }
}

/// Whether the store answers.
async fn ready(context: &Context) -> Response<ResponseBody> {
    let alive = context
        .store
        .read(|connection| {
            Ok::<_, crate::store::StoreError>(connection.query_row("SELECT 1", [], |_| Ok(()))?)
        })
        .await;
    match alive {
        Ok(()) => text(StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the store does not answer"
            );
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the store does not answer\n",
            )
        }
    }
}

/// Exchanges the one-time token for a cookie.
async fn login(context: &Context, address: IpAddr, parts: &Parts) -> Response<ResponseBody> {
    let token = parts
        .uri
        .query()
        .and_then(|query| query.strip_prefix("token="));
    let cookie = match context.sessions.redeem(token.unwrap_or_default()) {
        Ok(Some(cookie)) => cookie,
        Ok(None) => {
            let event = Event::ConsoleSignInRefused { address };
            context.audit.refused(Refused::Console, address, "", &event);
            return text(
                StatusCode::FORBIDDEN,
                "this link was used or is older than a minute: run `parapet console` for another\n",
            );
        }
        Err(error) => {
            tracing::error!(%error, "could not make a session");
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the server failed; see its log\n",
            );
        }
    };
    // Just made, so it is there.
    if let Some(caller) = context.sessions.find(&cookie) {
        let event = Event::ConsoleSignIn {
            address: Some(address),
            identity: UserIdentity::from(&caller),
        };
        if context.audit.event(&event).await.is_err() {
            return unrecorded();
        }
    }
    // A page instead of a redirect: a browser that came from another site would not send a
    // SameSite=Strict cookie along with the redirected request.
    let page = "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=\"0;url=/console/\">\
                <title>Parapet</title><p>Signed in. <a href=/console/>Open the console</a>";
    let mut answer = Response::new(full(page));
    set(
        &mut answer,
        header::CONTENT_TYPE,
        "text/html; charset=utf-8",
    );
    let cookie = format!("{COOKIE}={cookie}; Path=/; Secure; HttpOnly; SameSite=Strict");
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, value);
    }
    answer
}

/// Who is signed in.
async fn visitor(context: &Context, source: &Source, parts: &Parts) -> Option<Visitor> {
    let cookies = parts.headers.get_all(header::COOKIE);
    let mut values = cookies
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='));
    let signed_in = context.sessions.find(values.next()?)?;
    Visitor::of(context, &signed_in, source, Arc::new(parts.headers.clone())).await
}

/// Whether a request comes from our own page: what the browser says of its origin, where it does.
fn is_same_origin(parts: &Parts) -> bool {
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap_or(""))
    };
    let host = parts
        .uri
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| text("host"))
        .unwrap_or_default();
    let origin = text("origin").is_none_or(|origin| origin.strip_prefix("https://") == Some(host));
    let site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    origin && site
}

/// The audit trail does not keep up: nothing is done that it would not tell.
fn unrecorded() -> Response<ResponseBody> {
    let mut answer = text(
        StatusCode::SERVICE_UNAVAILABLE,
        "the audit trail does not keep up: try again later\n",
    );
    set(&mut answer, header::RETRY_AFTER, "5");
    answer
}

fn redirect(to: &'static str) -> Response<ResponseBody> {
    let mut answer = Response::new(empty());
    *answer.status_mut() = StatusCode::SEE_OTHER;
    set(&mut answer, header::LOCATION, to);
    answer
}

fn text(status: StatusCode, text: &'static str) -> Response<ResponseBody> {
    let mut answer = Response::new(full(text));
    *answer.status_mut() = status;
    set(
        &mut answer,
        header::CONTENT_TYPE,
        "text/plain; charset=utf-8",
    );
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/console/api/overview");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn another_origin_is_refused() {
        let host = ("host", "127.0.0.1:8443");
        assert!(is_same_origin(&parts(&[host])));
        assert!(is_same_origin(&parts(&[
            host,
            ("origin", "https://127.0.0.1:8443")
        ])));
        for other in ["https://evil.example", "http://127.0.0.1:8443", "null", ""] {
            assert!(
                !is_same_origin(&parts(&[host, ("origin", other)])),
                "{other}"
            );
        }
        assert!(!is_same_origin(&parts(&[
            host,
            ("sec-fetch-site", "cross-site")
        ])));
        assert!(!is_same_origin(&parts(&[
            host,
            ("sec-fetch-site", "same-site")
        ])));
    }
}

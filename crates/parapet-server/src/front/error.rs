//! Errors of the front door in the shape of each protocol.

use http::{HeaderValue, Response, StatusCode, header};
use parapet_auth::{AuthError, Protocol};

use super::limits::Throttled;
use super::{ResponseBody, full};
use crate::audit::Outcome;

/// A signature that was not accepted.
#[must_use]
pub fn auth(error: &AuthError, protocol: Protocol, request_id: &str) -> Response<ResponseBody> {
    let status = StatusCode::from_u16(error.status(protocol)).unwrap_or(StatusCode::FORBIDDEN);
    plain(
        status,
        protocol,
        error.code(protocol),
        &error.to_string(),
        request_id,
    )
}

/// Too many requests: the name and status that the SDKs of each protocol answer by waiting, and
/// when to come back.
#[must_use]
pub fn throttled(
    throttled: &Throttled,
    protocol: Protocol,
    request_id: &str,
) -> Response<ResponseBody> {
    let (status, code) = match protocol {
        Protocol::RestJson => (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"),
        Protocol::Query => (StatusCode::BAD_REQUEST, "Throttling"),
        Protocol::S3 => (StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
    };
    let mut answer = plain(status, protocol, code, &throttled.to_string(), request_id);
    answer
        .headers_mut()
        .insert(header::RETRY_AFTER, throttled.retry_after_s().into());
    answer
}

/// Any error of this status, name and text.
#[must_use]
pub fn plain(
    status: StatusCode,
    protocol: Protocol,
    code: &str,
    message: &str,
    request_id: &str,
) -> Response<ResponseBody> {
    match protocol {
        Protocol::RestJson => rest_json(status, code, message),
        Protocol::Query => query(status, code, message, request_id),
        Protocol::S3 => return s3(status.as_u16(), code, message, request_id),
    }
    .told(code, message)
}

fn rest_json(status: StatusCode, code: &str, message: &str) -> Response<ResponseBody> {
    let body = serde_json::json!({ "Message": message, "message": message }).to_string();
    let mut answer = answer(status, "application/json", body);
    if let Ok(value) = HeaderValue::from_str(code) {
        answer.headers_mut().insert("x-amzn-errortype", value);
    }
    answer
}

fn query(status: StatusCode, code: &str, message: &str, id: &str) -> Response<ResponseBody> {
    let kind = if status.is_server_error() {
        "Receiver"
    } else {
        "Sender"
    };
    let body = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>{kind}</Type>\
         <Code>{}</Code><Message>{}</Message></Error><RequestId>{}</RequestId></ErrorResponse>",
        escape(code),
        escape(message),
        escape(id)
    );
    answer(status, "text/xml", body)
}

/// S3's shape.
#[must_use]
pub fn s3(status: u16, code: &str, message: &str, id: &str) -> Response<ResponseBody> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>\
         <RequestId>{}</RequestId></Error>",
        escape(code),
        escape(message),
        escape(id)
    );
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    answer(status, "application/xml", body).told(code, message)
}

/// An answer that carries what the audit trail shall say of it.
trait Told {
    fn told(self, code: &str, message: &str) -> Self;
}

impl Told for Response<ResponseBody> {
    fn told(mut self, code: &str, message: &str) -> Self {
        self.extensions_mut()
            .insert(Outcome::failure(code, message));
        self
    }
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<ResponseBody> {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Text inside XML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            // Not allowed in XML 1.0, escaped or not.
            c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::front::limits::{LimitSettings, Limits};

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(escape("a<b>&\"\u{1}"), "a&lt;b&gt;&amp;&quot;\u{fffd}");
    }

    #[test]
    fn each_protocol_is_throttled_in_its_own_words() {
        let limits = Limits::new(LimitSettings::default(), Instant::now());
        let refused = loop {
            if let Err(refused) = limits.admit_principal("AIDA", Instant::now()) {
                break refused;
            }
        };
        for (protocol, status) in [
            (Protocol::RestJson, 429),
            (Protocol::Query, 400),
            (Protocol::S3, 503),
        ] {
            let answer = throttled(&refused, protocol, "id");
            assert_eq!(answer.status(), status);
            assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        }
    }

    #[test]
    fn each_protocol_gets_its_shape() {
        for (protocol, kind) in [
            (Protocol::RestJson, "application/json"),
            (Protocol::Query, "text/xml"),
            (Protocol::S3, "application/xml"),
        ] {
            let answer = auth(&AuthError::Mismatch, protocol, "id");
            assert_eq!(answer.status(), StatusCode::FORBIDDEN);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], kind);
        }
    }
}

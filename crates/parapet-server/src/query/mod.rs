//! AWS's Query protocol, as IAM and STS speak it: a form comes in, XML goes out.
//!
//! [`Form`] reads parameters, lists (`X.member.N`) and tags, each held to its constraint and
//! bounded; [`Xml`] writes elements whose text cannot leave them; [`Failure`] is how an operation
//! ends badly, with AWS's codes. Nothing here knows an operation. The protocol as botocore reads
//! it: <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>.

mod failure;
mod form;
mod text;
mod xml;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

pub use failure::{Code, Failure};
pub use form::Form;
pub use text::Text;
pub use xml::Xml;

use crate::audit::Outcome;
use crate::call::Incoming;

/// A service of the protocol.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// As clients send it in `Version`, and part of the namespace.
    pub version: &'static str,
    /// Namespace of its answers.
    pub namespace: &'static str,
}

/// IAM.
pub const IAM: Service = Service {
    version: "2010-05-08",
    namespace: "https://iam.amazonaws.com/doc/2010-05-08/",
};

/// STS.
pub const STS: Service = Service {
    version: "2011-06-15",
    namespace: "https://sts.amazonaws.com/doc/2011-06-15/",
};

/// The parameters of a request: its body, or what follows the `?` of a GET.
pub fn form(incoming: &Incoming<'_>) -> Result<Form, Failure> {
    match incoming.method {
        "POST" => Form::parse(incoming.body),
        "GET" => Form::parse(incoming.query.as_bytes()),
        other => Err(Failure::refused(
            Code::InvalidAction,
            format!("The method {other} is not supported; send a POST."),
        )),
    }
}

impl Service {
    /// The refusal of an action that the service does not have.
    #[must_use]
    pub fn unknown(&self, action: &str) -> Failure {
        let action: String = action.chars().take(128).collect();
        Failure::refused(
            Code::InvalidAction,
            format!(
                "Could not find operation {action} for version {}",
                self.version
            ),
        )
    }

    /// The answer of an operation; `result` is what its result element holds, `None` if it has
    /// none.
    #[must_use]
    pub fn answer(&self, action: &str, result: Option<&Xml>, request_id: &str) -> Response<Bytes> {
        let mut xml = Xml::default();
        xml.raw(&format!("<{action}Response xmlns=\"{}\">", self.namespace));
        if let Some(result) = result {
            xml.raw(&format!("<{action}Result>"));
            xml.raw(result.as_str());
            xml.raw(&format!("</{action}Result>"));
        }
        xml.element("ResponseMetadata", |xml| xml.text("RequestId", request_id));
        xml.raw(&format!("</{action}Response>"));
        respond(StatusCode::OK, xml)
    }

    /// The answer to a request that was not carried out. The cause of an internal failure is left
    /// out and logged here; the outcome goes along for the audit trail.
    #[must_use]
    pub fn refuse(&self, failure: &Failure, action: &str, request_id: &str) -> Response<Bytes> {
        if let Failure::Internal(source) = failure {
            let error = source.as_ref() as &dyn std::error::Error;
            tracing::error!(action, request_id, error, "operation failed");
        } else {
            tracing::info!(action, request_id, error = %failure, "request refused");
        }
        let code = failure.code();
        let kind = if code.status() < 500 {
            "Sender"
        } else {
            "Receiver"
        };
        let mut xml = Xml::default();
        xml.raw(&format!("<ErrorResponse xmlns=\"{}\">", self.namespace));
        xml.element("Error", |xml| {
            xml.text("Type", kind);
            xml.text("Code", code.name());
            xml.text("Message", failure);
        });
        xml.text("RequestId", request_id);
        xml.raw("</ErrorResponse>");
        let status = StatusCode::from_u16(code.status());
        let mut answer = respond(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), xml);
        // For the audit trail.
        let outcome = Outcome::failure(code.name(), &failure.to_string());
        answer.extensions_mut().insert(outcome);
        answer
    }
}

fn respond(status: StatusCode, xml: Xml) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(xml.into_string()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    // Some answers carry a secret once.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_shape_that_botocore_unwraps() {
        let mut xml = Xml::default();
        xml.text("UserName", "a<b");
        let answer = IAM.answer("GetUser", Some(&xml), "id");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            std::str::from_utf8(answer.body()).expect("text"),
            "<GetUserResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetUserResult>\
             <UserName>a&lt;b</UserName></GetUserResult><ResponseMetadata><RequestId>id</RequestId>\
             </ResponseMetadata></GetUserResponse>"
        );
    }

    #[test]
    fn an_internal_failure_tells_the_caller_nothing_of_its_cause() {
        let failure = Failure::internal(std::io::Error::other("a path of this machine"));
        let answer = STS.refuse(&failure, "GetSessionToken", "id");
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = std::str::from_utf8(answer.body()).expect("text");
        assert!(body.contains("<Code>ServiceFailure</Code>"), "{body}");
        assert!(!body.contains("machine"), "{body}");
    }
}

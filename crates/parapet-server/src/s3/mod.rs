//! The S3 front: what `aws s3`, `aws s3api` and `panorama-cli` need to upload packages.
//!
//! One bucket, `panorama-<account>-nodepackages`. Requests come here verified; the signature's
//! fields are taken out and the body is decoded and proven on its way ([`body`]), so that the S3
//! library sees a plain request and has no say in who is trusted. An object is a row that names a
//! content; a content is written once and never changed. What is not here answers
//! `NotImplemented`.

mod body;
mod checksum;
#[cfg(test)]
mod fuzz;
mod multipart;
mod objects;
mod operation;
mod sink;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt as _;
use parapet_auth::Authenticated;
use parapet_auth::sigv4::BodyProof;
use s3s::service::{S3Service, S3ServiceBuilder};

use crate::audit::{Access, Outcome};
use crate::call::Call;
use crate::context::Context;
use crate::front::{self, ResponseBody};

use body::{FaultSlot, ProvenBody};
use objects::Bucket;

pub use multipart::clear_uploads;
pub use operation::Operation;

/// Largest object (`spec/api.md` section 10), and the largest single body.
const OBJECT_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// Largest error that the S3 library writes, with room to spare.
const ERROR_BYTES: usize = 64 * 1024;

/// Fields of a signature, which mean nothing behind the verifier.
const SIGNATURE_HEADERS: [&str; 5] = [
    "authorization",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-decoded-content-length",
    "x-amz-trailer",
];

/// The S3 side of the server.
pub struct S3Front {
    service: S3Service,
}

impl S3Front {
    /// Over the server's parts.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            service: S3ServiceBuilder::new(Bucket::new(context)).build(),
        }
    }

    /// Answers a verified request.
    pub async fn handle<B>(
        &self,
        call: Call,
        proof: Authenticated,
        request: Request<B>,
        request_id: &str,
    ) -> Response<ResponseBody>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display,
    {
        call.draft
            .operation("s3", request.method().as_str(), Access::Read);
        call.draft.is_about_data();
        let (_caller, proof) = proof.into_parts();
        let fault = FaultSlot::default();
        let plain = match plain(call, proof, request, &fault) {
            Ok(plain) => plain,
            Err(refusal) => return refusal.response(request_id),
        };
        let head = plain.method() == Method::HEAD;
        let answer = self.service.call(plain).await;
        if let Some(fault) = fault.take() {
            let status = if fault.code == "SignatureDoesNotMatch" {
                403
            } else {
                400
            };
            return Refusal {
                status,
                code: fault.code,
                message: fault.message,
            }
            .response(request_id);
        }
        let mut answer = match answer {
            Ok(answer) => told(answer.map(s3s::Body::boxed_unsync)).await,
            Err(error) => {
                tracing::error!(request_id, ?error, "an S3 request failed");
                Refusal {
                    status: 500,
                    code: "InternalError",
                    message: "We encountered an internal error. Please try again.".to_owned(),
                }
                .response(request_id)
            }
        };
        if head {
            // The library's error bodies are no answer to HEAD.
            let status = answer.status();
            if !status.is_success() {
                *answer.body_mut() = front::empty();
                answer.headers_mut().remove(header::CONTENT_LENGTH);
            }
        }
        protect(answer.headers_mut(), request_id);
        answer
    }
}

/// An answer that carries what the audit trail shall say of it, where it is an error: the S3
/// library writes those itself, in memory.
async fn told(answer: Response<ResponseBody>) -> Response<ResponseBody> {
    let status = answer.status();
    if !status.is_client_error() && !status.is_server_error() {
        return answer;
    }
    let (mut parts, mut body) = answer.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) if bytes.len() + data.len() <= ERROR_BYTES => {
                bytes.extend_from_slice(&data);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "could not read an error of the S3 library");
                break;
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let element = |name: &str| {
        let rest = text.split_once(&format!("<{name}>"))?.1;
        Some(rest.split_once("</")?.0)
    };
    let code = element("Code").unwrap_or(status.as_str());
    let outcome = Outcome::failure(code, element("Message").unwrap_or_default());
    parts.extensions.insert(outcome);
    Response::from_parts(parts, front::full(bytes.freeze()))
}

/// A request that is refused before the S3 library sees it.
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn response(&self, request_id: &str) -> Response<ResponseBody> {
        let mut answer = front::error::s3(self.status, self.code, &self.message, request_id);
        protect(answer.headers_mut(), request_id);
        answer
    }
}

/// What a stored file may do in a browser: nothing.
fn protect(headers: &mut HeaderMap, request_id: &str) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("content-disposition", "attachment"),
    ] {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert("x-amz-request-id", value);
    }
}

/// The request without its signature, its body proven as it is read.
fn plain<B>(
    call: Call,
    proof: BodyProof,
    request: Request<B>,
    fault: &FaultSlot,
) -> Result<Request<s3s::Body>, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    let (mut parts, body) = request.into_parts();
    let checksums = expected_checksums(&parts.method, &parts.headers);
    let length = match &proof {
        BodyProof::Chunked(decoder) => Some(decoder.declared_length()),
        _ => parts
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok()),
    };
    if length.is_some_and(|length| length > OBJECT_BYTES) {
        return Err(Refusal {
            status: 400,
            code: "EntityTooLarge",
            message: format!("Your proposed upload exceeds the maximum of {OBJECT_BYTES} bytes"),
        });
    }
    for name in SIGNATURE_HEADERS {
        parts.headers.remove(name);
    }
    if matches!(proof, BodyProof::Chunked(_)) {
        strip_chunked(&mut parts.headers);
        parts.headers.remove(header::TRANSFER_ENCODING);
    }
    if let Some(length) = length {
        parts
            .headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    parts.uri = without_signature(&parts.uri).ok_or_else(|| Refusal {
        status: 400,
        code: "InvalidURI",
        message: "Couldn't parse the specified URI.".to_owned(),
    })?;
    parts.extensions.insert(call);
    let body = ProvenBody::new(body, proof, checksums, fault.clone());
    Ok(Request::from_parts(
        parts,
        s3s::Body::http_body_unsync(body),
    ))
}

/// Checksums of this body: from headers (of an upload; elsewhere they speak of the object), and
/// those that a trailer will bring.
fn expected_checksums(method: &Method, headers: &HeaderMap) -> Vec<(String, Option<String>)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let given = checksum::NAMES
        .iter()
        .filter(|_| method == Method::PUT)
        .filter_map(|name| text(name).map(|value| ((*name).to_owned(), Some(value.to_owned()))));
    let announced = text("x-amz-trailer").unwrap_or_default().split(',');
    let announced = announced.map(|name| (name.trim().to_ascii_lowercase(), None));
    given
        .chain(announced.filter(|(name, _)| !name.is_empty()))
        .collect()
}

/// `aws-chunked` describes the transfer, not the object.
fn strip_chunked(headers: &mut HeaderMap) {
    let Some(value) = headers.remove(header::CONTENT_ENCODING) else {
        return;
    };
    let rest = value
        .to_str()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect::<Vec<_>>()
        .join(",");
    if !rest.is_empty()
        && let Ok(value) = HeaderValue::from_str(&rest)
    {
        headers.insert(header::CONTENT_ENCODING, value);
    }
}

/// The target without the parameters of a presigned URL.
fn without_signature(uri: &Uri) -> Option<Uri> {
    let query = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|part| !part.starts_with("X-Amz-"))
        .collect::<Vec<_>>()
        .join("&");
    let target = if query.is_empty() {
        uri.path().to_owned()
    } else {
        format!("{}?{query}", uri.path())
    };
    target.parse().ok()
}

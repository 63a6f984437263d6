//! Panorama's wire types: operations, shapes, constraints, errors, identifiers and ARNs, as
//! `spec/api.md` fixes them.
//!
//! The way of a call through here: [`Request::parse`] routes the raw path ([`route`]), decodes its
//! labels, and reads labels, query and body into the operation's request with every constraint
//! checked at once; the answer is a response type, written by [`to_body`]; what went wrong is an
//! [`ApiError`], which knows its status, type and body. Names are the API's own.
//!
//! Pure: no clock, no randomness, no file, no socket. What exists and who may see it is decided
//! elsewhere.

#![forbid(unsafe_code)]

pub mod arn;
pub mod devices;
pub mod enums;
pub mod error;
pub mod id;
pub mod instances;
pub mod nodes;
pub mod operation;
pub mod packages;
mod path;
mod read;
mod request;
mod rule;
pub mod tags;
pub mod template_jobs;
mod time;
pub mod versions;

pub use arn::{Arn, BadArn};
pub use devices::*;
pub use enums::*;
pub use error::{ApiError, ErrorArgument, FieldFault, ValidationException};
pub use id::{
    ApplicationInstanceId, BadId, DeviceId, PackageId, PackageIdentifier, SecretId, job_id,
    node_id, suffix,
};
pub use instances::*;
pub use nodes::*;
pub use operation::{Operation, ResourceType};
pub use packages::*;
pub use path::{Route, route};
pub use request::Request;
pub use tags::*;
pub use template_jobs::*;
pub use time::Timestamp;
pub use versions::*;

/// Longest request body that is read: two payloads of 51,200 characters, each escaped as badly as
/// JSON allows, and the rest.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// Items of a list when the caller does not say, and at most.
pub const PAGE_SIZE: usize = 25;

/// Tags of a resource, in the order of their keys.
pub type Tags = std::collections::BTreeMap<String, String>;

/// Items on a page: 0 or nothing means the default.
#[must_use]
pub fn page_size(max_results: Option<u32>) -> usize {
    match max_results {
        None | Some(0) => PAGE_SIZE,
        Some(wanted) => (wanted as usize).min(PAGE_SIZE),
    }
}

/// A response as its body.
///
/// # Errors
/// None of this crate's responses fails; the caller's own types may.
pub fn to_body<T: serde::Serialize>(response: &T) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(response)
}

/// The answer of an operation without members: `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct EmptyResponse {}

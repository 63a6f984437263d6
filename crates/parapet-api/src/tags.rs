//! Tags of devices, packages and instances: requests and responses (`spec/api.md` section 6).
#![expect(
    missing_docs,
    reason = "members carry the names and meanings of the API: spec/api.md sections 6 and 7"
)]

use serde::Serialize;

use crate::Tags;
use crate::arn::Arn;
use crate::error::ValidationException;
use crate::read::{Parts, Reader};
use crate::rule;

/// `TagKeys` of one call.
const MAX_TAG_KEYS: usize = 50;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagResourceRequest {
    pub resource_arn: Arn,
    pub tags: Tags,
}

impl TagResourceRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let body = reader.body();
        let resource_arn = arn(&mut reader);
        reader.need(&body, "Tags");
        let tags = reader.tags(&body, "Tags").unwrap_or_default();
        let reserved = tags.keys().find(|key| key.starts_with("aws:"));
        if let Some(key) = reserved {
            reader.fault(format!("Tags.{key}"), "starts with aws:, which is reserved");
        }
        with_arn(reader, resource_arn, |resource_arn| Self {
            resource_arn,
            tags,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntagResourceRequest {
    pub resource_arn: Arn,
    pub tag_keys: Vec<String>,
}

impl UntagResourceRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let resource_arn = arn(&mut reader);
        let tag_keys = reader.query_list("tagKeys", rule::TAG_KEY, MAX_TAG_KEYS);
        with_arn(reader, resource_arn, |resource_arn| Self {
            resource_arn,
            tag_keys,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListTagsForResourceRequest {
    pub resource_arn: Arn,
}

impl ListTagsForResourceRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let resource_arn = arn(&mut reader);
        with_arn(reader, resource_arn, |resource_arn| Self { resource_arn })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForResourceResponse {
    pub tags: Tags,
}

fn arn(reader: &mut Reader<'_>) -> Option<Arn> {
    let label = reader.label("ResourceArn", rule::RESOURCE_ARN);
    match label.parse::<Arn>() {
        Ok(arn) => Some(arn),
        Err(error) => {
            reader.fault("ResourceArn", error.to_string());
            None
        }
    }
}

/// An ARN has no placeholder: without one there is a fault, and with a fault no value.
fn with_arn<T>(
    reader: Reader<'_>,
    arn: Option<Arn>,
    make: impl FnOnce(Arn) -> T,
) -> Result<T, ValidationException> {
    let arn = reader.finish(arn)?;
    arn.map(make)
        .ok_or_else(|| ValidationException::field("ResourceArn", "is missing"))
}

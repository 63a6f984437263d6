//! Packages: requests, responses and shapes (`spec/api.md` section 6, "Packages and versions").
#![expect(
    missing_docs,
    reason = "members carry the names and meanings of the API: spec/api.md sections 6 and 7"
)]

use serde::Serialize;

use crate::Tags;
use crate::error::ValidationException;
use crate::id::PackageIdentifier;
use crate::read::{Parts, Reader};
use crate::rule;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatePackageRequest {
    pub package_name: String,
    pub tags: Tags,
}

impl CreatePackageRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let body = reader.body();
        let request = Self {
            package_name: reader.needed_text(&body, "PackageName", rule::PACKAGE_NAME),
            tags: reader.tags(&body, "Tags").unwrap_or_default(),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatePackageResponse {
    pub arn: String,
    pub package_id: String,
    pub storage_location: StorageLocation,
}

/// Where a package's artifacts belong (`spec/api.md` section 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StorageLocation {
    pub binary_prefix_location: String,
    pub bucket: String,
    pub generated_prefix_location: String,
    pub manifest_prefix_location: String,
    pub repo_prefix_location: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribePackageRequest {
    pub package_id: PackageIdentifier,
}

impl DescribePackageRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let label = reader.label("PackageId", rule::PACKAGE_ID);
        reader.finish(Self {
            package_id: PackageIdentifier::from_label(&label),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribePackageResponse {
    pub arn: String,
    pub created_time: Timestamp,
    pub package_id: String,
    pub package_name: String,
    pub read_access_principal_arns: Vec<String>,
    pub storage_location: StorageLocation,
    pub tags: Tags,
    pub write_access_principal_arns: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPackagesRequest {
    pub max_results: Option<u32>,
    pub next_token: Option<String>,
}

impl ListPackagesRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let request = Self {
            max_results: reader.max_results("maxResults"),
            next_token: reader.next_token("nextToken"),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListPackagesResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub packages: Vec<PackageListItem>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PackageListItem {
    pub arn: String,
    pub created_time: Timestamp,
    pub package_id: String,
    pub package_name: String,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletePackageRequest {
    pub package_id: PackageIdentifier,
    pub force_delete: bool,
}

impl DeletePackageRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let label = reader.label("PackageId", rule::PACKAGE_ID);
        let request = Self {
            package_id: PackageIdentifier::from_label(&label),
            force_delete: reader.query_boolean("ForceDelete").unwrap_or(false),
        };
        reader.finish(request)
    }
}

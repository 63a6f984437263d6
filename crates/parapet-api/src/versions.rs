//! Package versions: requests and responses (`spec/api.md` section 6, "Packages and versions").
#![expect(
    missing_docs,
    reason = "members carry the names and meanings of the API: spec/api.md sections 6 and 7"
)]

use serde::Serialize;

use crate::enums::PackageVersionStatus;
use crate::error::ValidationException;
use crate::id::PackageIdentifier;
use crate::read::{Parts, Reader};
use crate::rule;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterPackageVersionRequest {
    pub package_id: PackageIdentifier,
    pub package_version: String,
    pub patch_version: String,
    pub mark_latest: bool,
    pub owner_account: Option<String>,
}

impl RegisterPackageVersionRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let body = reader.body();
        let label = reader.label("PackageId", rule::PACKAGE_ID);
        let request = Self {
            package_id: PackageIdentifier::from_label(&label),
            package_version: reader.label("PackageVersion", rule::PACKAGE_VERSION),
            patch_version: reader.label("PatchVersion", rule::PATCH_VERSION),
            mark_latest: reader.boolean(&body, "MarkLatest").unwrap_or(false),
            owner_account: reader.text(&body, "OwnerAccount", rule::OWNER),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribePackageVersionRequest {
    pub package_id: PackageIdentifier,
    pub package_version: String,
    pub owner_account: Option<String>,
    /// Absent: the patch marked latest.
    pub patch_version: Option<String>,
}

impl DescribePackageVersionRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let label = reader.label("PackageId", rule::PACKAGE_ID);
        let request = Self {
            package_id: PackageIdentifier::from_label(&label),
            package_version: reader.label("PackageVersion", rule::PACKAGE_VERSION),
            owner_account: reader.query_text("OwnerAccount", rule::OWNER),
            patch_version: reader.query_text("PatchVersion", rule::PATCH_VERSION),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribePackageVersionResponse {
    pub is_latest_patch: bool,
    pub owner_account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_arn: Option<String>,
    pub package_id: String,
    pub package_name: String,
    pub package_version: String,
    pub patch_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered_time: Option<Timestamp>,
    pub status: PackageVersionStatus,
    /// Always there: samples read it without asking.
    pub status_description: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeregisterPackageVersionRequest {
    pub package_id: PackageIdentifier,
    pub package_version: String,
    pub patch_version: String,
    pub owner_account: Option<String>,
    pub updated_latest_patch_version: Option<String>,
}

impl DeregisterPackageVersionRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let label = reader.label("PackageId", rule::PACKAGE_ID);
        let request = Self {
            package_id: PackageIdentifier::from_label(&label),
            package_version: reader.label("PackageVersion", rule::PACKAGE_VERSION),
            patch_version: reader.label("PatchVersion", rule::PATCH_VERSION),
            owner_account: reader.query_text("OwnerAccount", rule::OWNER),
            updated_latest_patch_version: reader
                .query_text("UpdatedLatestPatchVersion", rule::PATCH_VERSION),
        };
        reader.finish(request)
    }
}

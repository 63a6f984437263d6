//! Application instances: requests, responses and shapes (`spec/api.md` section 6).
#![expect(
    missing_docs,
    reason = "members carry the names and meanings of the API: spec/api.md sections 6 and 7"
)]

use serde::Serialize;

use crate::Tags;
use crate::enums::{
    ApplicationInstanceHealthStatus, ApplicationInstanceStatus, DesiredState, DeviceReportedStatus,
    NodeInstanceStatus, NodeSignalValue, StatusFilter,
};
use crate::error::ValidationException;
use crate::read::{Parts, Reader};
use crate::rule;
use crate::time::Timestamp;

/// Signals in one call; the model names no bound, and more nodes than that are in no graph.
const MAX_SIGNALS: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateApplicationInstanceRequest {
    pub application_instance_id_to_replace: Option<String>,
    pub default_runtime_context_device: String,
    pub description: Option<String>,
    /// `PayloadData`, as given; absent and empty both mean no overrides, but come back as given.
    pub manifest_overrides_payload: Option<String>,
    /// `PayloadData`, as given.
    pub manifest_payload: String,
    pub name: Option<String>,
    pub runtime_role_arn: Option<String>,
    pub tags: Tags,
}

impl CreateApplicationInstanceRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let body = reader.body();
        let overrides = reader.object(&body, "ManifestOverridesPayload");
        let manifest = reader.needed_object(&body, "ManifestPayload");
        let request = Self {
            application_instance_id_to_replace: reader.text(
                &body,
                "ApplicationInstanceIdToReplace",
                rule::INSTANCE_ID,
            ),
            default_runtime_context_device: reader.needed_text(
                &body,
                "DefaultRuntimeContextDevice",
                rule::DEVICE_ID,
            ),
            description: reader.text(&body, "Description", rule::DESCRIPTION),
            manifest_overrides_payload: overrides
                .and_then(|members| reader.text(&members, "PayloadData", rule::OVERRIDES_PAYLOAD)),
            manifest_payload: manifest
                .map(|members| reader.needed_text(&members, "PayloadData", rule::MANIFEST_PAYLOAD))
                .unwrap_or_default(),
            name: reader.text(&body, "Name", rule::INSTANCE_NAME),
            runtime_role_arn: reader.text(&body, "RuntimeRoleArn", rule::ROLE_ARN),
            tags: reader.tags(&body, "Tags").unwrap_or_default(),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateApplicationInstanceResponse {
    pub application_instance_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListApplicationInstancesRequest {
    pub device_id: Option<String>,
    pub max_results: Option<u32>,
    pub next_token: Option<String>,
    pub status_filter: Option<StatusFilter>,
}

impl ListApplicationInstancesRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let request = Self {
            device_id: reader.query_text("deviceId", rule::DEVICE_ID),
            max_results: reader.max_results("maxResults"),
            next_token: reader.next_token("nextToken"),
            status_filter: reader.query_choice("statusFilter"),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListApplicationInstancesResponse {
    pub application_instances: Vec<ApplicationInstance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// An item of `ListApplicationInstances`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ApplicationInstance {
    pub application_instance_id: String,
    pub arn: String,
    pub created_time: Timestamp,
    pub default_runtime_context_device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_runtime_context_device_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub health_status: ApplicationInstanceHealthStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub runtime_context_states: Vec<ReportedRuntimeContextState>,
    pub status: ApplicationInstanceStatus,
    pub status_description: String,
    pub tags: Tags,
}

/// What is desired of an instance and what its device last said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReportedRuntimeContextState {
    pub desired_state: DesiredState,
    pub device_reported_status: DeviceReportedStatus,
    pub device_reported_time: Timestamp,
    pub runtime_context_name: String,
}

macro_rules! by_instance {
    ($($name:ident),+) => {$(
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            pub application_instance_id: String,
        }

        impl $name {
            pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
                let mut reader = Reader::new(parts);
                let id = reader.label("ApplicationInstanceId", rule::INSTANCE_ID);
                reader.finish(Self { application_instance_id: id })
            }
        }
    )+};
}

by_instance!(
    DescribeApplicationInstanceRequest,
    DescribeApplicationInstanceDetailsRequest,
    RemoveApplicationInstanceRequest
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeApplicationInstanceResponse {
    pub application_instance_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_instance_id_to_replace: Option<String>,
    pub arn: String,
    pub created_time: Timestamp,
    pub default_runtime_context_device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_runtime_context_device_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub health_status: ApplicationInstanceHealthStatus,
    pub last_updated_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub runtime_context_states: Vec<ReportedRuntimeContextState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_role_arn: Option<String>,
    pub status: ApplicationInstanceStatus,
    pub status_description: String,
    pub tags: Tags,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeApplicationInstanceDetailsResponse {
    pub application_instance_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application_instance_id_to_replace: Option<String>,
    pub created_time: Timestamp,
    pub default_runtime_context_device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_overrides_payload: Option<ManifestPayload>,
    pub manifest_payload: ManifestPayload,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `ManifestPayload` and `ManifestOverridesPayload`: exactly what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ManifestPayload {
    pub payload_data: String,
}

macro_rules! pages_by_instance {
    ($($name:ident),+) => {$(
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            pub application_instance_id: String,
            pub max_results: Option<u32>,
            pub next_token: Option<String>,
        }

        impl $name {
            pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
                let mut reader = Reader::new(parts);
                let request = Self {
                    application_instance_id: reader
                        .label("ApplicationInstanceId", rule::INSTANCE_ID),
                    max_results: reader.max_results("maxResults"),
                    next_token: reader.next_token("nextToken"),
                };
                reader.finish(request)
            }
        }
    )+};
}

pages_by_instance!(
    ListApplicationInstanceDependenciesRequest,
    ListApplicationInstanceNodeInstancesRequest
);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListApplicationInstanceDependenciesResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub package_objects: Vec<PackageObject>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PackageObject {
    pub name: String,
    pub package_version: String,
    pub patch_version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListApplicationInstanceNodeInstancesResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub node_instances: Vec<NodeInstance>,
}

/// State of one packaged node of the effective graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeInstance {
    pub current_status: NodeInstanceStatus,
    pub node_id: String,
    pub node_instance_id: String,
    pub node_name: String,
    pub package_name: String,
    pub package_patch_version: String,
    pub package_version: String,
    /// Ours, beside the model: why the node is `ERROR`. Clients pass it over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalApplicationInstanceNodeInstancesRequest {
    pub application_instance_id: String,
    pub node_signals: Vec<NodeSignal>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSignal {
    pub node_instance_id: String,
    pub signal: NodeSignalValue,
}

impl SignalApplicationInstanceNodeInstancesRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let body = reader.body();
        reader.need(&body, "NodeSignals");
        let entries = reader.objects(&body, "NodeSignals", MAX_SIGNALS);
        if entries.as_ref().is_some_and(Vec::is_empty) {
            reader.fault("NodeSignals", "needs at least one signal");
        }
        let node_signals = entries
            .unwrap_or_default()
            .iter()
            .filter_map(|entry| {
                let node_instance_id =
                    reader.needed_text(entry, "NodeInstanceId", rule::NODE_INSTANCE_ID);
                let signal = reader.needed_choice(entry, "Signal")?;
                Some(NodeSignal {
                    node_instance_id,
                    signal,
                })
            })
            .collect();
        let request = Self {
            application_instance_id: reader.label("ApplicationInstanceId", rule::INSTANCE_ID),
            node_signals,
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SignalApplicationInstanceNodeInstancesResponse {
    pub application_instance_id: String,
}

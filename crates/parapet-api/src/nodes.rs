//! Nodes: requests, responses and shapes (`spec/api.md` section 6, "Nodes and camera templates").
#![expect(
    missing_docs,
    reason = "members carry the names and meanings of the API: spec/api.md sections 6 and 7"
)]

use serde::Serialize;

use crate::enums::{NodeCategory, PortType};
use crate::error::ValidationException;
use crate::read::{Parts, Reader};
use crate::rule;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListNodesRequest {
    pub category: Option<NodeCategory>,
    pub max_results: Option<u32>,
    pub next_token: Option<String>,
    pub owner_account: Option<String>,
    pub package_name: Option<String>,
    pub package_version: Option<String>,
    pub patch_version: Option<String>,
}

impl ListNodesRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let request = Self {
            category: reader.query_choice("category"),
            max_results: reader.max_results("maxResults"),
            next_token: reader.next_token("nextToken"),
            owner_account: reader.query_text("ownerAccount", rule::OWNER),
            package_name: reader.query_text("packageName", rule::PACKAGE_NAME),
            package_version: reader.query_text("packageVersion", rule::PACKAGE_VERSION),
            patch_version: reader.query_text("patchVersion", rule::PATCH_VERSION),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListNodesResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    pub nodes: Vec<Node>,
}

/// An item of `ListNodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    pub category: NodeCategory,
    pub created_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name of the interface.
    pub name: String,
    pub node_id: String,
    pub owner_account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_arn: Option<String>,
    pub package_id: String,
    pub package_name: String,
    pub package_version: String,
    pub patch_version: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeNodeRequest {
    pub node_id: String,
    pub owner_account: Option<String>,
}

impl DescribeNodeRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let request = Self {
            node_id: reader.label("NodeId", rule::NODE_ID),
            owner_account: reader.query_text("OwnerAccount", rule::OWNER),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeNodeResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset_name: Option<String>,
    pub category: NodeCategory,
    pub created_time: Timestamp,
    pub description: String,
    pub last_updated_time: Timestamp,
    pub name: String,
    pub node_id: String,
    pub node_interface: NodeInterface,
    pub owner_account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package_arn: Option<String>,
    pub package_id: String,
    pub package_name: String,
    pub package_version: String,
    pub patch_version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeInterface {
    pub inputs: Vec<NodeInputPort>,
    pub outputs: Vec<NodeOutputPort>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeInputPort {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub max_connections: u32,
    pub name: String,
    #[serde(rename = "Type")]
    pub port_type: PortType,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeOutputPort {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub name: String,
    #[serde(rename = "Type")]
    pub port_type: PortType,
}

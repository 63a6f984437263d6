//! `ListNodes`: a page of the nodes, newest first; of each version only the latest patch unless a
//! patch is asked for.

use parapet_api::{
    ListNodesRequest, ListNodesResponse, Node as NodeItem, NodeCategory, Operation, ResourceType,
    WireEnum as _,
};

use crate::call::Call;
use crate::registry::system;
use crate::store::StoreError;
use crate::store::nodes::{self, Node, NodeFilter};

use super::call::wire_time;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: ListNodesRequest,
) -> Result<ListNodesResponse, Failure> {
    let operation = Operation::ListNodes;
    call.authorize_any(operation)?;
    let filter = NodeFilter {
        category: request
            .category
            .map(|category| category.as_str().to_owned()),
        package_name: request.package_name,
        version: request.package_version,
        patch: request.patch_version,
    };
    let owner = request
        .owner_account
        .unwrap_or_else(|| call.scope.account.clone());
    if owner == system::OWNER {
        let nodes = system::nodes()
            .into_iter()
            .filter(|node| {
                let NodeItem {
                    category,
                    package_name,
                    package_version,
                    patch_version,
                    ..
                } = node;
                filter.admits(
                    category.as_str(),
                    package_name,
                    package_version,
                    patch_version,
                )
            })
            .collect();
        return Ok(ListNodesResponse {
            next_token: None,
            nodes,
        });
    }
    let bound = (
        &owner,
        &filter.category,
        &filter.package_name,
        &filter.version,
        &filter.patch,
    );
    let token = request.next_token.as_deref();
    let paging = call.paging(operation, &bound, request.max_results, token)?;
    if owner != call.scope.account {
        // Nothing is shared between accounts: nothing of theirs is seen.
        return Ok(ListNodesResponse {
            next_token: None,
            nodes: Vec::new(),
        });
    }
    let (scope, after, limit) = (call.scope.clone(), paging.after.clone(), paging.limit);
    let page = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            Ok(nodes::list(connection, &scope, &filter, &after, limit)?)
        })
        .await?;
    let next_token = call.next_token(&paging, page.next.as_ref())?;
    let nodes = page
        .rows
        .into_iter()
        .map(|node| item(call, node))
        .collect::<Result<_, _>>()?;
    Ok(ListNodesResponse { next_token, nodes })
}

fn item(call: &Call, node: Node) -> Result<NodeItem, Failure> {
    Ok(NodeItem {
        category: wire_category(&node.category)?,
        created_time: wire_time(node.created),
        description: Some(node.description),
        name: node.name,
        node_id: node.id,
        owner_account: call.scope.account.clone(),
        package_arn: Some(call.arn(ResourceType::Package, &node.key.package)),
        package_id: node.key.package,
        package_name: node.package_name,
        package_version: node.key.version,
        patch_version: node.key.patch,
    })
}

pub(super) fn wire_category(stored: &str) -> Result<NodeCategory, StoreError> {
    NodeCategory::from_wire(stored).ok_or_else(|| StoreError::Value {
        what: "node category",
        value: stored.to_owned(),
    })
}

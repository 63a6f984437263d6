//! `DescribeNode`: the interface of one node.

use parapet_api::{DescribeNodeRequest, DescribeNodeResponse, Operation, ResourceType};
use parapet_manifest::PackageManifest;

use crate::call::Call;
use crate::registry::node::wire_interface;
use crate::registry::system;
use crate::store::{StoreError, nodes, versions};

use super::call::wire_time;
use super::failure::Failure;
use super::list_nodes::wire_category;

/// A system node is found without its owner too: node instances name it by its ID alone.
pub(super) async fn call(
    call: &Call,
    request: DescribeNodeRequest,
) -> Result<DescribeNodeResponse, Failure> {
    call.authorize_any(Operation::DescribeNode)?;
    let id = request.node_id;
    let own = match request.owner_account.as_deref() {
        None => true,
        Some(owner) => owner == call.scope.account,
    };
    let found = if own {
        let (scope, wanted) = (call.scope.clone(), id.clone());
        call.ctx
            .store
            .read::<_, Failure, _>(move |connection| {
                let Some(node) = nodes::get(connection, &scope, &wanted)? else {
                    return Ok(None);
                };
                let version = versions::get(connection, &scope, &node.key)?;
                Ok(version.map(|version| (node, version)))
            })
            .await?
    } else {
        None
    };
    let Some((node, version)) = found else {
        let of_system = request
            .owner_account
            .as_deref()
            .is_none_or(|owner| owner == system::OWNER);
        return of_system
            .then(|| system::node(&id))
            .flatten()
            .ok_or_else(|| Failure::not_found("Node", id));
    };
    let manifest = PackageManifest::parse(&version.manifest).map_err(Failure::internal)?;
    let interface = manifest
        .interface(&node.name)
        .ok_or_else(|| StoreError::Value {
            what: "interface of a node",
            value: node.name.clone(),
        })?;
    Ok(DescribeNodeResponse {
        asset_name: node.asset,
        category: wire_category(&node.category)?,
        created_time: wire_time(node.created),
        description: node.description,
        last_updated_time: wire_time(node.created),
        node_interface: wire_interface(interface),
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

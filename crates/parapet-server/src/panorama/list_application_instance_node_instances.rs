//! `ListApplicationInstanceNodeInstances`: the packaged nodes of an instance and how they are.

use parapet_api::{
    ListApplicationInstanceNodeInstancesRequest, ListApplicationInstanceNodeInstancesResponse,
    NodeInstance, Operation, ResourceType,
};

use crate::call::Call;
use crate::fleet::instance::InstanceStanding;
use crate::store::{Micros, instances};

use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: ListApplicationInstanceNodeInstancesRequest,
) -> Result<ListApplicationInstanceNodeInstancesResponse, Failure> {
    let operation = Operation::ListApplicationInstanceNodeInstances;
    let id = request.application_instance_id;
    call.authorize_on(operation, ResourceType::ApplicationInstance, &id)
        .await?;
    let token = request.next_token.as_deref();
    let paging = call.paging_by::<usize, _>(operation, &id, request.max_results, token)?;
    let (ctx, scope, wanted) = (call.ctx.clone(), call.scope.clone(), id.clone());
    let (nodes, standing) = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            let Some(instance) = instances::get(connection, &scope, &wanted)? else {
                return Err(Failure::not_found("ApplicationInstance", wanted));
            };
            let nodes = instances::nodes(connection, &scope, &wanted)?;
            let now = Micros::now();
            let standing = InstanceStanding::of(connection, &ctx.presence, &scope, &instance, now)?;
            Ok((nodes, standing))
        })
        .await?;
    // The nodes never change after the instance was made: the token counts.
    let start = paging.after.unwrap_or(0);
    let end = start.saturating_add(paging.limit);
    let more = (end < nodes.len()).then_some(end);
    let node_instances = nodes
        .into_iter()
        .skip(start)
        .take(paging.limit)
        .map(|node| {
            let (current_status, status_reason) = standing.node(&node);
            NodeInstance {
                current_status,
                node_id: node.node_id,
                node_instance_id: node.node,
                node_name: node.interface,
                package_name: node.package_name,
                package_patch_version: node.patch,
                package_version: node.version,
                status_reason,
            }
        })
        .collect();
    let next_token = call.next_token(&paging, more.as_ref())?;
    Ok(ListApplicationInstanceNodeInstancesResponse {
        next_token,
        node_instances,
    })
}

//! `ListApplicationInstances`: a page of the instances, newest first, removed and failed ones too.

use parapet_api::{
    ApplicationInstance, ListApplicationInstancesRequest, ListApplicationInstancesResponse,
    Operation, ResourceType, Tags, WireEnum,
};

use crate::call::Call;
use crate::fleet::instance::InstanceStanding;
use crate::store::instances::{self, Instance};
use crate::store::{Micros, Page, Position, tags};

use super::call::wire_time;
use super::failure::Failure;

/// Rows that one call looks at before it answers with what it has found and a token: a filter that
/// admits few of very many instances must not hold a reader for long.
const LOOK_AT: usize = 1000;

pub(super) async fn call(
    call: &Call,
    request: ListApplicationInstancesRequest,
) -> Result<ListApplicationInstancesResponse, Failure> {
    let operation = Operation::ListApplicationInstances;
    call.authorize_any(operation)?;
    let filter = (
        &request.device_id,
        request.status_filter.map(WireEnum::as_str),
    );
    let token = request.next_token.as_deref();
    let paging = call.paging(operation, &filter, request.max_results, token)?;
    let (ctx, scope) = (call.ctx.clone(), call.scope.clone());
    let (mut after, limit) = (paging.after.clone(), paging.limit);
    let (device, wanted) = (request.device_id.clone(), request.status_filter);
    let page = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            let now = Micros::now();
            let mut rows: Vec<(Instance, InstanceStanding, Tags)> = Vec::new();
            let mut looked_at = 0;
            loop {
                let page = instances::list(connection, &scope, device.as_deref(), &after, limit)?;
                for instance in page.rows {
                    looked_at += 1;
                    after = Position::of(instance.created, &instance.id);
                    let standing =
                        InstanceStanding::of(connection, &ctx.presence, &scope, &instance, now)?;
                    if wanted.is_some_and(|wanted| !wanted.admits(standing.status)) {
                        continue;
                    }
                    let kind = ResourceType::ApplicationInstance.in_arn();
                    let tags = tags::get(connection, &scope, &format!("{kind}/{}", instance.id))?;
                    rows.push((instance, standing, tags));
                    if rows.len() > limit {
                        break;
                    }
                }
                let full = rows.len() > limit;
                if full || page.next.is_none() {
                    let at = |(instance, ..): &(Instance, _, _)| {
                        Position::of(instance.created, &instance.id)
                    };
                    return Ok(Page::cut(rows, limit, at));
                }
                if looked_at >= LOOK_AT {
                    return Ok(Page {
                        rows,
                        next: Some(after),
                    });
                }
            }
        })
        .await?;
    let application_instances = page
        .rows
        .into_iter()
        .map(|(instance, standing, tags)| item(call, instance, standing, tags));
    Ok(ListApplicationInstancesResponse {
        application_instances: application_instances.collect(),
        next_token: call.next_token(&paging, page.next.as_ref())?,
    })
}

fn item(
    call: &Call,
    instance: Instance,
    standing: InstanceStanding,
    tags: Tags,
) -> ApplicationInstance {
    ApplicationInstance {
        runtime_context_states: standing.runtime_context_states(&instance),
        arn: call.arn(ResourceType::ApplicationInstance, &instance.id),
        application_instance_id: instance.id,
        created_time: wire_time(instance.created),
        default_runtime_context_device: instance.device,
        default_runtime_context_device_name: Some(instance.device_name),
        description: Some(instance.description.unwrap_or_default()),
        health_status: standing.health,
        name: instance.name,
        status: standing.status,
        status_description: standing.description,
        tags,
    }
}

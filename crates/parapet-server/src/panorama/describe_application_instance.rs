//! `DescribeApplicationInstance`: the state of one instance, removed ones too.

use parapet_api::{
    DescribeApplicationInstanceRequest, DescribeApplicationInstanceResponse, Operation,
    ResourceType,
};

use crate::call::Call;
use crate::fleet::instance::InstanceStanding;
use crate::store::{Micros, instances, tags};

use super::call::wire_time;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: DescribeApplicationInstanceRequest,
) -> Result<DescribeApplicationInstanceResponse, Failure> {
    let id = request.application_instance_id;
    let arn = call.arn(ResourceType::ApplicationInstance, &id);
    call.authorize_on(
        Operation::DescribeApplicationInstance,
        ResourceType::ApplicationInstance,
        &id,
    )
    .await?;
    let (ctx, scope, wanted) = (call.ctx.clone(), call.scope.clone(), id.clone());
    let found = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            let Some(instance) = instances::get(connection, &scope, &wanted)? else {
                return Ok(None);
            };
            let now = Micros::now();
            let standing = InstanceStanding::of(connection, &ctx.presence, &scope, &instance, now)?;
            let resource = format!("{}/{wanted}", ResourceType::ApplicationInstance.in_arn());
            let tags = tags::get(connection, &scope, &resource)?;
            Ok(Some((instance, standing, tags)))
        })
        .await?;
    let (instance, standing, tags) =
        found.ok_or_else(|| Failure::not_found("ApplicationInstance", id))?;
    Ok(DescribeApplicationInstanceResponse {
        runtime_context_states: standing.runtime_context_states(&instance),
        application_instance_id: instance.id,
        application_instance_id_to_replace: instance.replaces,
        arn,
        created_time: wire_time(instance.created),
        default_runtime_context_device: instance.device,
        default_runtime_context_device_name: Some(instance.device_name),
        description: Some(instance.description.unwrap_or_default()),
        health_status: standing.health,
        last_updated_time: wire_time(instance.updated),
        name: instance.name,
        runtime_role_arn: instance.role_arn,
        status: standing.status,
        status_description: standing.description,
        tags,
    })
}

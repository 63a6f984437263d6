//! `DescribeApplicationInstanceDetails`: the documents, exactly as they were sent.

use parapet_api::{
    DescribeApplicationInstanceDetailsRequest, DescribeApplicationInstanceDetailsResponse,
    ManifestPayload, Operation, ResourceType,
};

use crate::call::Call;
use crate::store::instances;

use super::call::wire_time;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: DescribeApplicationInstanceDetailsRequest,
) -> Result<DescribeApplicationInstanceDetailsResponse, Failure> {
    let id = request.application_instance_id;
    call.authorize_on(
        Operation::DescribeApplicationInstanceDetails,
        ResourceType::ApplicationInstance,
        &id,
    )
    .await?;
    let (scope, wanted) = (call.scope.clone(), id.clone());
    let found = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| Ok(instances::get(connection, &scope, &wanted)?))
        .await?;
    let instance = found.ok_or_else(|| Failure::not_found("ApplicationInstance", id))?;
    let payload = |payload_data| ManifestPayload { payload_data };
    Ok(DescribeApplicationInstanceDetailsResponse {
        application_instance_id: instance.id,
        application_instance_id_to_replace: instance.replaces,
        created_time: wire_time(instance.created),
        default_runtime_context_device: instance.device,
        description: instance.description,
        manifest_overrides_payload: instance.overrides.map(payload),
        manifest_payload: payload(instance.manifest),
        name: instance.name,
    })
}

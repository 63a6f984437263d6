//! `RemoveApplicationInstance`: takes an application off its device.

use std::time::Duration;

use parapet_api::{
    ApplicationInstanceStatus, EmptyResponse, Operation, RemoveApplicationInstanceRequest,
    ResourceType,
};

use crate::call::Call;
use crate::fleet::instance::InstanceStanding;
use crate::fleet::{DeviceKey, plan};
use crate::store::instances;
use crate::store::{Micros, Scope};

use super::failure::Failure;

/// How long a deployment in progress stands in the way of its removal. One that takes longer is
/// stuck, and removal is the way out.
const IN_PROGRESS: Duration = Duration::from_mins(15);

/// Removing what is removed already is no error.
pub(super) async fn call(
    call: &Call,
    request: RemoveApplicationInstanceRequest,
) -> Result<EmptyResponse, Failure> {
    let id = request.application_instance_id;
    call.authorize_on(
        Operation::RemoveApplicationInstance,
        ResourceType::ApplicationInstance,
        &id,
    )
    .await?;
    let (ctx, scope) = (call.ctx.clone(), call.scope.clone());
    let changed = call
        .write(move |tx| {
            let now = Micros::now();
            let Some(instance) = instances::get(tx, &scope, &id)? else {
                return Err(Failure::not_found("ApplicationInstance", id));
            };
            let standing = InstanceStanding::of(tx, &ctx.presence, &scope, &instance, now)?;
            let key = device_key(&scope, &instance.device);
            if standing.status == ApplicationInstanceStatus::DeploymentInProgress
                && ctx.presence.is_online(&key)
                && now < instance.created.after(IN_PROGRESS)
            {
                return Err(Failure::conflict(
                    "ApplicationInstance",
                    id,
                    "The device is deploying the instance; remove it when that has ended.",
                ));
            }
            if !instances::want_removed(tx, &scope, &id, now)? {
                return Ok(None);
            }
            let generation = plan::replan(tx, &scope, &instance.device, now)?;
            instances::set_generation(tx, &scope, &id, generation)?;
            Ok(Some((key, generation)))
        })
        .await?;
    if let Some((key, generation)) = changed {
        call.ctx.wake.announce(&key, generation);
    }
    Ok(EmptyResponse {})
}

pub(super) fn device_key(scope: &Scope, device: &str) -> DeviceKey {
    DeviceKey {
        scope: scope.clone(),
        device: device.to_owned(),
    }
}

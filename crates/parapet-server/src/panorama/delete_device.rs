//! `DeleteDevice`: the record goes, and with it the device's right to connect.

use parapet_api::{DeleteDeviceRequest, DeleteDeviceResponse, Operation, ResourceType};

use crate::call::Call;
use crate::fleet::DeviceKey;
use crate::store::instances::{self, DesiredState};
use crate::store::{Micros, cameras, devices, tags};

use super::failure::Failure;

/// A device may go while the removal of its instances is under way (it may never answer again);
/// instances that shall run stand in the way.
pub(super) async fn call(
    call: &Call,
    request: DeleteDeviceRequest,
) -> Result<DeleteDeviceResponse, Failure> {
    let id = request.device_id;
    call.authorize_on(Operation::DeleteDevice, ResourceType::Device, &id)
        .await?;
    let (scope, device) = (call.scope.clone(), id.clone());
    call.write(move |tx| {
        if devices::get(tx, &scope, &device)?.is_none() {
            return Err(Failure::not_found("Device", device));
        }
        let held = instances::held_by(tx, &scope, &device)?;
        if let Some(running) = held
            .iter()
            .find(|i| i.desired_state == DesiredState::Running)
        {
            let message = format!(
                "The application instance {} is deployed to the device; remove it first.",
                running.id
            );
            return Err(Failure::conflict("Device", device, message));
        }
        for instance in held {
            instances::set_removed(tx, &scope, &instance.id, Micros::now())?;
        }
        devices::delete(tx, &scope, &device)?;
        tags::forget(tx, &scope, &format!("device/{device}"))?;
        cameras::forget_unused(tx, &scope)?;
        Ok(())
    })
    .await?;
    let key = DeviceKey {
        scope: call.scope.clone(),
        device: id.clone(),
    };
    call.ctx.presence.forget(&key);
    call.ctx.wake.announce_deleted(&key);
    Ok(DeleteDeviceResponse { device_id: id })
}

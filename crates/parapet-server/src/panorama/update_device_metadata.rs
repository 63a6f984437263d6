//! `UpdateDeviceMetadata`: a device's description, the only thing that can be edited.

use parapet_api::{
    Operation, ResourceType, UpdateDeviceMetadataRequest, UpdateDeviceMetadataResponse,
};

use crate::call::Call;
use crate::store::{Micros, devices};

use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: UpdateDeviceMetadataRequest,
) -> Result<UpdateDeviceMetadataResponse, Failure> {
    let id = request.device_id;
    call.authorize_on(Operation::UpdateDeviceMetadata, ResourceType::Device, &id)
        .await?;
    let (scope, device, description) = (call.scope.clone(), id.clone(), request.description);
    call.write(move |tx| {
        let there = match description {
            Some(text) => devices::describe(tx, &scope, &device, Some(&text), Micros::now())?,
            // Nothing to change; the device must be there all the same.
            None => devices::get(tx, &scope, &device)?.is_some(),
        };
        if there {
            Ok(())
        } else {
            Err(Failure::not_found("Device", device))
        }
    })
    .await?;
    Ok(UpdateDeviceMetadataResponse { device_id: id })
}

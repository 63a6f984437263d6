//! `ProvisionDevice`: a new device record, and the archive that turns an appliance into it.

use parapet_api::{
    DeviceId, DeviceStatus, Operation, ProvisionDeviceRequest, ProvisionDeviceResponse,
    ResourceType,
};

use crate::call::{Ask, Call};
use crate::iam::service_linked_roles;
use crate::store::devices::{self, Device, Provisioning};
use crate::store::{Micros, certificates, tags};

use super::call::random_bits;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: ProvisionDeviceRequest,
) -> Result<ProvisionDeviceResponse, Failure> {
    let id = DeviceId::from_random(random_bits()?).to_string();
    let arn = call.arn(ResourceType::Device, &id);
    call.authorize(&Ask::new(Operation::ProvisionDevice.action(), "*").tagging(&request.tags))?;

    let networking = request.networking_configuration.as_ref();
    let networking_json = networking
        .map(serde_json::to_string)
        .transpose()
        .map_err(Failure::internal)?;
    let now = Micros::now();
    let device = Device {
        iot_thing: format!(
            "panorama_{}_Thing_{:08x}",
            request.name,
            random_bits()? as u32
        ),
        id: id.clone(),
        name: request.name,
        description: request.description,
        networking_json,
        provisioning: Provisioning::AwaitingProvisioning,
        created: now,
        updated: now,
        reported_json: None,
        reported: None,
    };
    let claim = call
        .ctx
        .enrollment
        .claim(&device, now)
        .map_err(Failure::internal)?;

    let (scope, quotas) = (call.scope.clone(), call.ctx.quotas);
    let iot_thing = device.iot_thing.clone();
    let resource = format!("device/{id}");
    let given_tags = request.tags;
    let role = service_linked_roles::new_id().map_err(Failure::internal)?;
    let record = claim.record;
    call.write(move |tx| {
        if let Some(other) = devices::id_of_name(tx, &scope, &device.name)? {
            return Err(Failure::conflict(
                "Device",
                other,
                format!(
                    "A device with the name {} exists; choose another name, or delete that \
                         device first.",
                    device.name
                ),
            ));
        }
        if devices::count(tx, &scope)? >= quotas.devices {
            return Err(Failure::Quota {
                code: "devices",
                message: format!(
                    "There are {} devices, which is the quota; delete one, or raise the quota \
                         in the server's configuration.",
                    quotas.devices
                ),
            });
        }
        devices::insert(tx, &scope, &device)?;
        service_linked_roles::ensure(tx, &scope.account, &role)?;
        certificates::insert_claim(tx, &scope, &record)?;
        tags::put(tx, &scope, &resource, &given_tags)?;
        Ok(())
    })
    .await?;
    Ok(ProvisionDeviceResponse {
        arn,
        status: DeviceStatus::AwaitingProvisioning,
        certificates: claim.archive,
        device_id: id,
        iot_thing_name: iot_thing,
    })
}

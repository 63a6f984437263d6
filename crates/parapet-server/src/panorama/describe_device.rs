//! `DescribeDevice`: everything known of one device.

use parapet_api::{
    DescribeDeviceRequest, DescribeDeviceResponse, DeviceBrand, DeviceType, NetworkSeparation,
    Operation, ResourceType,
};
use parapet_device::reported::Separation;

use crate::call::Call;
use crate::fleet::Standing;
use crate::registry::device_status::LATEST_SOFTWARE;
use crate::store::{Micros, StoreError, devices, tags};

use super::call::wire_time;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: DescribeDeviceRequest,
) -> Result<DescribeDeviceResponse, Failure> {
    let id = request.device_id;
    let arn = call.arn(ResourceType::Device, &id);
    call.authorize_on(Operation::DescribeDevice, ResourceType::Device, &id)
        .await?;
    let (ctx, scope) = (call.ctx.clone(), call.scope.clone());
    let device_id = id.clone();
    let found = call
        .ctx
        .store
        .read(move |connection| {
            let Some(device) = devices::get(connection, &scope, &device_id)? else {
                return Ok(None);
            };
            let standing = Standing::of(&ctx.presence, &scope, &device, Micros::now())?;
            let tags = tags::get(connection, &scope, &format!("device/{device_id}"))?;
            Ok::<_, StoreError>(Some((device, standing, tags)))
        })
        .await?;
    let (device, standing, tags) = found.ok_or_else(|| Failure::not_found("Device", &id))?;
    let networking_configuration = device
        .networking_json
        .as_deref()
        .map(serde_json::from_str)
        .transpose()
        .map_err(|source| StoreError::Document {
            what: "networking configuration",
            source,
        })?;
    let network = standing
        .report
        .as_ref()
        .and_then(|last| last.report.network.as_ref());
    Ok(DescribeDeviceResponse {
        alternate_softwares: Vec::new(),
        arn,
        brand: DeviceBrand::AwsPanorama,
        created_time: wire_time(device.created),
        current_networking_status: None,
        current_software: standing.software(),
        description: Some(device.description.unwrap_or_default()),
        device_aggregated_status: standing.known.aggregated(),
        device_connection_status: standing.known.connection(),
        device_id: device.id,
        latest_alternate_software: None,
        latest_device_job: None,
        latest_software: Some(LATEST_SOFTWARE.to_owned()),
        lease_expiration_time: standing.known.lease_end().map(wire_time),
        name: device.name,
        network_separation: network.map(|network| match network.separation {
            Separation::Separated => NetworkSeparation::Separated,
            Separation::Filtered => NetworkSeparation::Filtered,
            Separation::Flat => NetworkSeparation::Flat,
        }),
        network_separation_missing: network
            .map(|network| network.missing.clone())
            .unwrap_or_default(),
        networking_configuration,
        provisioning_status: standing.known.provisioning(),
        serial_number: None,
        tags,
        device_type: DeviceType::PanoramaAppliance,
    })
}

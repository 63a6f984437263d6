//! `ListDevices`: a page of the devices, newest first unless asked otherwise.

use std::cmp::Ordering;

use parapet_api::{
    Device as DeviceItem, DeviceAggregatedStatus, DeviceBrand, DeviceType, ListDevicesRequest,
    ListDevicesResponse, ListDevicesSortBy, Operation, SortOrder, Tags, WireEnum,
};
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::fleet::Standing;
use crate::store::{Micros, StoreError, devices, tags};

use super::call::wire_time;
use super::failure::Failure;

/// What a token of this list is bound to.
#[derive(Serialize)]
struct Filter<'a> {
    name: Option<&'a str>,
    status: Option<&'a str>,
    sort_by: &'a str,
    order: &'a str,
}

/// Where a page ended: sort key and ID of its last device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct SortKey {
    text: String,
    number: i64,
    id: String,
}

/// Status and order come from memory as well as from the store, so all devices are looked at;
/// their number is bounded by the quota.
pub(super) async fn call(
    call: &Call,
    request: ListDevicesRequest,
) -> Result<ListDevicesResponse, Failure> {
    call.authorize_any(Operation::ListDevices)?;
    let sort_by = request.sort_by.unwrap_or(ListDevicesSortBy::CreatedTime);
    let order = request.sort_order.unwrap_or(match sort_by {
        ListDevicesSortBy::CreatedTime => SortOrder::Descending,
        _ => SortOrder::Ascending,
    });
    let filter = Filter {
        name: request.name_filter.as_deref(),
        status: request
            .device_aggregated_status_filter
            .map(WireEnum::as_str),
        sort_by: sort_by.as_str(),
        order: order.as_str(),
    };
    let token = request.next_token.as_deref();
    let paging =
        call.paging_by::<SortKey, _>(Operation::ListDevices, &filter, request.max_results, token)?;

    let prefix = request.name_filter.clone().unwrap_or_default();
    let (ctx, scope) = (call.ctx.clone(), call.scope.clone());
    let wanted = request.device_aggregated_status_filter;
    let mut rows: Vec<(SortKey, DeviceItem)> = call
        .ctx
        .store
        .read(move |connection| {
            let now = Micros::now();
            let mut rows = Vec::new();
            for device in devices::all(connection, &scope, &prefix)? {
                let standing = Standing::of(&ctx.presence, &scope, &device, now)?;
                let status = standing.known.aggregated();
                if wanted.is_some_and(|wanted| wanted != status) {
                    continue;
                }
                let tags = tags::get(connection, &scope, &format!("device/{}", device.id))?;
                let key = sort_key(sort_by, &device, status);
                rows.push((key, item(device, &standing, status, tags)));
            }
            Ok::<_, StoreError>(rows)
        })
        .await?;
    let compare = |a: &SortKey, b: &SortKey| match order {
        SortOrder::Ascending => a.cmp(b),
        SortOrder::Descending => b.cmp(a),
    };
    rows.sort_by(|(a, _), (b, _)| compare(a, b));
    if let Some(after) = &paging.after {
        rows.retain(|(key, _)| compare(key, after) == Ordering::Greater);
    }
    let more = rows.len() > paging.limit;
    rows.truncate(paging.limit);
    let last = rows.last().filter(|_| more).map(|(key, _)| key);
    let next_token = call.next_token(&paging, last)?;
    Ok(ListDevicesResponse {
        devices: rows.into_iter().map(|(_, item)| item).collect(),
        next_token,
    })
}

fn sort_key(
    by: ListDevicesSortBy,
    device: &devices::Device,
    status: DeviceAggregatedStatus,
) -> SortKey {
    let (text, number) = match by {
        ListDevicesSortBy::DeviceId => (String::new(), 0),
        ListDevicesSortBy::CreatedTime => (String::new(), device.created.0),
        ListDevicesSortBy::Name => (device.name.clone(), 0),
        ListDevicesSortBy::DeviceAggregatedStatus => (status.as_str().to_owned(), 0),
    };
    SortKey {
        text,
        number,
        id: device.id.clone(),
    }
}

fn item(
    device: devices::Device,
    standing: &Standing,
    status: DeviceAggregatedStatus,
    tags: Tags,
) -> DeviceItem {
    DeviceItem {
        brand: DeviceBrand::AwsPanorama,
        created_time: wire_time(device.created),
        current_software: standing.software(),
        description: Some(device.description.unwrap_or_default()),
        device_aggregated_status: status,
        device_id: device.id,
        last_updated_time: wire_time(device.updated),
        latest_device_job: None,
        lease_expiration_time: standing.known.lease_end().map(wire_time),
        name: device.name,
        provisioning_status: standing.known.provisioning(),
        tags,
        device_type: DeviceType::PanoramaAppliance,
    }
}

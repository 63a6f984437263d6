//! Devices: requests, responses and shapes (`spec/api.md` section 6, "Devices").
#![expect(
    missing_docs,
    reason = "members carry the names and meanings of the API: spec/api.md sections 6 and 7"
)]

use serde::{Deserialize, Serialize};

use crate::Tags;
use crate::enums::{
    ConnectionType, DeviceAggregatedStatus, DeviceBrand, DeviceConnectionStatus, DeviceStatus,
    DeviceType, JobType, ListDevicesSortBy, NetworkConnectionStatus, SortOrder, UpdateProgress,
};
use crate::error::ValidationException;
use crate::read::{Members, Parts, Reader};
use crate::rule;
use crate::time::Timestamp;

/// Servers of `NtpPayload`.
const MAX_NTP_SERVERS: usize = 5;
/// Name servers of a static address; the model names no bound.
const MAX_DNS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisionDeviceRequest {
    pub name: String,
    pub description: Option<String>,
    pub networking_configuration: Option<NetworkPayload>,
    pub tags: Tags,
}

impl ProvisionDeviceRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let body = reader.body();
        let request = Self {
            name: reader.needed_text(&body, "Name", rule::DEVICE_NAME),
            description: reader.text(&body, "Description", rule::DESCRIPTION),
            networking_configuration: reader
                .object(&body, "NetworkingConfiguration")
                .map(|members| NetworkPayload::read(&mut reader, &members)),
            tags: reader.tags(&body, "Tags").unwrap_or_default(),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProvisionDeviceResponse {
    pub arn: String,
    pub status: DeviceStatus,
    /// The archive, written as base64.
    #[serde(serialize_with = "base64")]
    pub certificates: Vec<u8>,
    pub device_id: String,
    pub iot_thing_name: String,
}

fn base64<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&data_encoding::BASE64.encode(bytes))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListDevicesRequest {
    pub device_aggregated_status_filter: Option<DeviceAggregatedStatus>,
    pub max_results: Option<u32>,
    /// A prefix of the name.
    pub name_filter: Option<String>,
    pub next_token: Option<String>,
    pub sort_by: Option<ListDevicesSortBy>,
    pub sort_order: Option<SortOrder>,
}

impl ListDevicesRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let request = Self {
            device_aggregated_status_filter: reader.query_choice("DeviceAggregatedStatusFilter"),
            max_results: reader.max_results("MaxResults"),
            name_filter: reader.query_text("NameFilter", rule::FREE_TEXT),
            next_token: reader.next_token("NextToken"),
            sort_by: reader.query_choice("SortBy"),
            sort_order: reader.query_choice("SortOrder"),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListDevicesResponse {
    pub devices: Vec<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// An item of `ListDevices`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Device {
    pub brand: DeviceBrand,
    pub created_time: Timestamp,
    pub current_software: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub device_aggregated_status: DeviceAggregatedStatus,
    pub device_id: String,
    pub last_updated_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_device_job: Option<LatestDeviceJob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expiration_time: Option<Timestamp>,
    pub name: String,
    pub provisioning_status: DeviceStatus,
    pub tags: Tags,
    #[serde(rename = "Type")]
    pub device_type: DeviceType,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeDeviceRequest {
    pub device_id: String,
}

impl DescribeDeviceRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let request = Self {
            device_id: reader.label("DeviceId", rule::DEVICE_ID),
        };
        reader.finish(request)
    }
}

/// How a device keeps the networks of cameras, uplink and applications apart. Not of the original.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkSeparation {
    /// Cameras have ports and a namespace of their own.
    Separated,
    /// One network, and rules that let each process reach its own addresses only.
    Filtered,
    /// The host allows neither.
    Flat,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeDeviceResponse {
    pub alternate_softwares: Vec<AlternateSoftwareMetadata>,
    pub arn: String,
    pub brand: DeviceBrand,
    pub created_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_networking_status: Option<NetworkStatus>,
    /// `NOT_AVAILABLE` before the first report.
    pub current_software: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub device_aggregated_status: DeviceAggregatedStatus,
    pub device_connection_status: DeviceConnectionStatus,
    pub device_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_alternate_software: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_device_job: Option<LatestDeviceJob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latest_software: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expiration_time: Option<Timestamp>,
    pub name: String,
    /// An extension: how the cameras' network is kept apart. Absent before the device said it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_separation: Option<NetworkSeparation>,
    /// An extension: what the device's host lacks for more, a sentence with the remedy each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub network_separation_missing: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networking_configuration: Option<NetworkPayload>,
    pub provisioning_status: DeviceStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    pub tags: Tags,
    #[serde(rename = "Type")]
    pub device_type: DeviceType,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateDeviceMetadataRequest {
    pub device_id: String,
    pub description: Option<String>,
}

impl UpdateDeviceMetadataRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let body = reader.body();
        let request = Self {
            device_id: reader.label("DeviceId", rule::DEVICE_ID),
            description: reader.text(&body, "Description", rule::DESCRIPTION),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateDeviceMetadataResponse {
    pub device_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteDeviceRequest {
    pub device_id: String,
}

impl DeleteDeviceRequest {
    pub(crate) fn read(parts: &Parts) -> Result<Self, ValidationException> {
        let mut reader = Reader::new(parts);
        let request = Self {
            device_id: reader.label("DeviceId", rule::DEVICE_ID),
        };
        reader.finish(request)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteDeviceResponse {
    pub device_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AlternateSoftwareMetadata {
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LatestDeviceJob {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_version: Option<String>,
    pub job_type: JobType,
    pub status: UpdateProgress,
}

/// `NetworkingConfiguration`; also stored and put into the archive, hence readable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkPayload {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethernet0: Option<EthernetPayload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethernet1: Option<EthernetPayload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntp: Option<NtpPayload>,
}

impl NetworkPayload {
    fn read<'a>(reader: &mut Reader<'a>, from: &Members<'a>) -> Self {
        let port = |reader: &mut Reader<'a>, name| {
            let members = reader.object(from, name)?;
            EthernetPayload::read(reader, &members)
        };
        Self {
            ethernet0: port(reader, "Ethernet0"),
            ethernet1: port(reader, "Ethernet1"),
            ntp: reader.object(from, "Ntp").map(|members| {
                reader.need(&members, "NtpServers");
                let servers =
                    reader.texts(&members, "NtpServers", rule::NTP_SERVER, MAX_NTP_SERVERS);
                NtpPayload {
                    ntp_servers: servers.unwrap_or_default(),
                }
            }),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EthernetPayload {
    pub connection_type: ConnectionType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_ip_connection_info: Option<StaticIpConnectionInfo>,
}

impl EthernetPayload {
    fn read<'a>(reader: &mut Reader<'a>, from: &Members<'a>) -> Option<Self> {
        let connection_type = reader.needed_choice(from, "ConnectionType")?;
        if connection_type == ConnectionType::StaticIp {
            reader.need(from, "StaticIpConnectionInfo");
        }
        let info = reader
            .object(from, "StaticIpConnectionInfo")
            .map(|members| {
                reader.need(&members, "Dns");
                StaticIpConnectionInfo {
                    default_gateway: reader.needed_text(&members, "DefaultGateway", rule::LINE_255),
                    dns: reader
                        .texts(&members, "Dns", rule::LINE_255, MAX_DNS)
                        .unwrap_or_default(),
                    ip_address: reader.needed_text(&members, "IpAddress", rule::IP_ADDRESS),
                    mask: reader.needed_text(&members, "Mask", rule::LINE_255),
                }
            });
        Some(Self {
            connection_type,
            static_ip_connection_info: info,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StaticIpConnectionInfo {
    pub default_gateway: String,
    pub dns: Vec<String>,
    pub ip_address: String,
    pub mask: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NtpPayload {
    pub ntp_servers: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethernet0_status: Option<EthernetStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethernet1_status: Option<EthernetStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_updated_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntp_status: Option<NtpStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EthernetStatus {
    pub connection_status: NetworkConnectionStatus,
    pub hw_address: String,
    pub ip_address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NtpStatus {
    pub connection_status: NetworkConnectionStatus,
    pub ip_address: String,
    pub ntp_server_name: String,
}

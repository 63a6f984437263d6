//! The API's enumerations (`spec/api.md` section 8), as far as the operations here use them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What every enumeration of the API has.
pub trait WireEnum: Copy + Eq + 'static {
    /// The API's name of the enumeration.
    const NAME: &'static str;
    /// Its values, in the order of the model.
    const ALL: &'static [Self];

    /// The value on the wire.
    fn as_str(self) -> &'static str;

    /// The value that is written so.
    #[must_use]
    fn from_wire(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|value| value.as_str() == text)
    }
}

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $wire:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = concat!("`", $wire, "`.")] $(#[$variant_doc])* $variant),+
        }

        impl WireEnum for $name {
            const NAME: &'static str = stringify!($name);
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $wire),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::from_wire(&text)
                    .ok_or_else(|| de::Error::unknown_variant(&text, &[$($wire),+]))
            }
        }
    };
}

wire_enum! {
    /// How an instance's nodes are.
    ApplicationInstanceHealthStatus {
        Running = "RUNNING", Error = "ERROR", NotAvailable = "NOT_AVAILABLE",
    }
}
wire_enum! {
    /// How far an instance is (`spec/api.md` 4.5).
    ApplicationInstanceStatus {
        DeploymentPending = "DEPLOYMENT_PENDING",
        DeploymentRequested = "DEPLOYMENT_REQUESTED",
        DeploymentInProgress = "DEPLOYMENT_IN_PROGRESS",
        DeploymentError = "DEPLOYMENT_ERROR",
        DeploymentSucceeded = "DEPLOYMENT_SUCCEEDED",
        RemovalPending = "REMOVAL_PENDING",
        RemovalRequested = "REMOVAL_REQUESTED",
        RemovalInProgress = "REMOVAL_IN_PROGRESS",
        RemovalFailed = "REMOVAL_FAILED",
        RemovalSucceeded = "REMOVAL_SUCCEEDED",
        DeploymentFailed = "DEPLOYMENT_FAILED",
    }
}
wire_enum! {
    /// How a network port gets its address.
    ConnectionType { StaticIp = "STATIC_IP", Dhcp = "DHCP" }
}
wire_enum! {
    /// What an instance shall be on its device.
    DesiredState { Running = "RUNNING", Stopped = "STOPPED", Removed = "REMOVED" }
}
wire_enum! {
    /// A device's state, everything taken together (`spec/api.md` 4.1).
    DeviceAggregatedStatus {
        Error = "ERROR",
        AwaitingProvisioning = "AWAITING_PROVISIONING",
        Pending = "PENDING",
        Failed = "FAILED",
        Deleting = "DELETING",
        Online = "ONLINE",
        Offline = "OFFLINE",
        LeaseExpired = "LEASE_EXPIRED",
        UpdateNeeded = "UPDATE_NEEDED",
        Rebooting = "REBOOTING",
    }
}
wire_enum! {
    /// Whose hardware a device is.
    DeviceBrand { AwsPanorama = "AWS_PANORAMA", Lenovo = "LENOVO" }
}
wire_enum! {
    /// Whether a device talks to the service.
    DeviceConnectionStatus {
        Online = "ONLINE",
        Offline = "OFFLINE",
        AwaitingCredentials = "AWAITING_CREDENTIALS",
        NotAvailable = "NOT_AVAILABLE",
        Error = "ERROR",
    }
}
wire_enum! {
    /// What a device last said of an instance.
    DeviceReportedStatus {
        Stopping = "STOPPING",
        Stopped = "STOPPED",
        StopError = "STOP_ERROR",
        RemovalFailed = "REMOVAL_FAILED",
        RemovalInProgress = "REMOVAL_IN_PROGRESS",
        Starting = "STARTING",
        Running = "RUNNING",
        InstallError = "INSTALL_ERROR",
        Launched = "LAUNCHED",
        LaunchError = "LAUNCH_ERROR",
        InstallInProgress = "INSTALL_IN_PROGRESS",
    }
}
wire_enum! {
    /// How far a device's provisioning is.
    DeviceStatus {
        AwaitingProvisioning = "AWAITING_PROVISIONING",
        Pending = "PENDING",
        Succeeded = "SUCCEEDED",
        Failed = "FAILED",
        Error = "ERROR",
        Deleting = "DELETING",
    }
}
wire_enum! {
    /// The kind of appliance.
    DeviceType {
        PanoramaApplianceDeveloperKit = "PANORAMA_APPLIANCE_DEVELOPER_KIT",
        PanoramaAppliance = "PANORAMA_APPLIANCE",
    }
}
wire_enum! {
    /// What a job's tags are put on.
    JobResourceType { Package = "PACKAGE" }
}
wire_enum! {
    /// The kind of device job.
    JobType { Ota = "OTA", Reboot = "REBOOT" }
}
wire_enum! {
    /// What `ListDevices` sorts by.
    ListDevicesSortBy {
        DeviceId = "DEVICE_ID",
        CreatedTime = "CREATED_TIME",
        Name = "NAME",
        DeviceAggregatedStatus = "DEVICE_AGGREGATED_STATUS",
    }
}
wire_enum! {
    /// State of a network connection.
    NetworkConnectionStatus {
        Connected = "CONNECTED", NotConnected = "NOT_CONNECTED", Connecting = "CONNECTING",
    }
}
wire_enum! {
    /// What a node is for.
    NodeCategory {
        BusinessLogic = "BUSINESS_LOGIC",
        MlModel = "ML_MODEL",
        MediaSource = "MEDIA_SOURCE",
        MediaSink = "MEDIA_SINK",
    }
}
wire_enum! {
    /// How far the creation of a camera is.
    NodeFromTemplateJobStatus { Pending = "PENDING", Succeeded = "SUCCEEDED", Failed = "FAILED" }
}
wire_enum! {
    /// State of one node of an instance.
    NodeInstanceStatus {
        Running = "RUNNING", Error = "ERROR", NotAvailable = "NOT_AVAILABLE", Paused = "PAUSED",
    }
}
wire_enum! {
    /// What a camera node is told.
    NodeSignalValue { Pause = "PAUSE", Resume = "RESUME" }
}
wire_enum! {
    /// How far the registration of a version is.
    PackageVersionStatus {
        RegisterPending = "REGISTER_PENDING",
        RegisterCompleted = "REGISTER_COMPLETED",
        Failed = "FAILED",
        Deleting = "DELETING",
    }
}
wire_enum! {
    /// What a port carries.
    PortType {
        Boolean = "BOOLEAN",
        String = "STRING",
        Int32 = "INT32",
        Float32 = "FLOAT32",
        Media = "MEDIA",
    }
}
wire_enum! {
    /// Direction of a sorted list.
    SortOrder { Ascending = "ASCENDING", Descending = "DESCENDING" }
}
wire_enum! {
    /// Coarse groups of [`ApplicationInstanceStatus`].
    StatusFilter {
        DeploymentSucceeded = "DEPLOYMENT_SUCCEEDED",
        DeploymentError = "DEPLOYMENT_ERROR",
        RemovalSucceeded = "REMOVAL_SUCCEEDED",
        RemovalFailed = "REMOVAL_FAILED",
        ProcessingDeployment = "PROCESSING_DEPLOYMENT",
        ProcessingRemoval = "PROCESSING_REMOVAL",
        DeploymentFailed = "DEPLOYMENT_FAILED",
    }
}
wire_enum! {
    /// What a node can be made from.
    TemplateType { RtspCameraStream = "RTSP_CAMERA_STREAM" }
}
wire_enum! {
    /// How far a device job is.
    UpdateProgress {
        Pending = "PENDING",
        InProgress = "IN_PROGRESS",
        Verifying = "VERIFYING",
        Rebooting = "REBOOTING",
        Downloading = "DOWNLOADING",
        Completed = "COMPLETED",
        Failed = "FAILED",
    }
}
wire_enum! {
    /// Why a request is no good.
    ValidationExceptionReason {
        UnknownOperation = "UNKNOWN_OPERATION",
        CannotParse = "CANNOT_PARSE",
        FieldValidationFailed = "FIELD_VALIDATION_FAILED",
        Other = "OTHER",
    }
}

impl StatusFilter {
    /// Whether an instance in that state belongs to the group (`spec/api.md` 4.5).
    #[must_use]
    pub fn admits(self, status: ApplicationInstanceStatus) -> bool {
        use ApplicationInstanceStatus as Status;
        match self {
            Self::DeploymentSucceeded => status == Status::DeploymentSucceeded,
            Self::DeploymentError => status == Status::DeploymentError,
            Self::DeploymentFailed => status == Status::DeploymentFailed,
            Self::RemovalSucceeded => status == Status::RemovalSucceeded,
            Self::RemovalFailed => status == Status::RemovalFailed,
            Self::ProcessingDeployment => matches!(
                status,
                Status::DeploymentPending
                    | Status::DeploymentRequested
                    | Status::DeploymentInProgress
            ),
            Self::ProcessingRemoval => matches!(
                status,
                Status::RemovalPending | Status::RemovalRequested | Status::RemovalInProgress
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_an_instance_belongs_to_exactly_one_group() {
        for status in ApplicationInstanceStatus::ALL {
            let groups = StatusFilter::ALL
                .iter()
                .filter(|filter| filter.admits(*status))
                .count();
            assert_eq!(groups, 1, "{status}");
        }
    }

    #[test]
    fn a_value_is_read_as_it_is_written() {
        for value in PortType::ALL {
            assert_eq!(PortType::from_wire(value.as_str()), Some(*value));
        }
        assert_eq!(PortType::from_wire("media"), None);
    }
}

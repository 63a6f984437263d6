//! The operations: name, method, path and what an action on it is called.
//!
//! The table's order is the order of matching: fixed words before labels (`spec/api.md` 1.1).

use std::fmt;

/// What an operation works on, for ARNs and policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// An appliance.
    Device,
    /// A package.
    Package,
    /// An application instance.
    ApplicationInstance,
}

impl ResourceType {
    /// The word before the slash in an ARN.
    #[must_use]
    pub fn in_arn(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Package => "package",
            Self::ApplicationInstance => "applicationInstance",
        }
    }

    /// The word in `ResourceType` of an error.
    #[must_use]
    pub fn in_error(self) -> &'static str {
        match self {
            Self::Device => "Device",
            Self::Package => "Package",
            Self::ApplicationInstance => "ApplicationInstance",
        }
    }
}

macro_rules! operations {
    ($($name:ident $method:literal $path:literal $resource:expr;)+) => {
        /// An operation of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $(#[doc = concat!("`", $method, " ", $path, "`.")] $name),+
        }

        impl Operation {
            /// All of them, in the order of matching.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The API's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }

            /// The name in policies.
            #[must_use]
            pub fn action(self) -> &'static str {
                match self { $(Self::$name => concat!("panorama:", stringify!($name))),+ }
            }

            /// HTTP method.
            #[must_use]
            pub fn method(self) -> &'static str {
                match self { $(Self::$name => $method),+ }
            }

            /// Path with labels in braces.
            #[must_use]
            pub fn template(self) -> &'static str {
                match self { $(Self::$name => $path),+ }
            }

            /// The kind of resource that policies name for it; `None` is `*` or, for tags, the
            /// kind in the ARN.
            #[must_use]
            pub fn resource_type(self) -> Option<ResourceType> {
                use ResourceType::{ApplicationInstance, Device, Package};
                match self { $(Self::$name => $resource),+ }
            }
        }
    };
}

operations! {
    ProvisionDevice "POST" "/devices" None;
    ListDevices "GET" "/devices" None;
    DescribeDevice "GET" "/devices/{DeviceId}" Some(Device);
    UpdateDeviceMetadata "PUT" "/devices/{DeviceId}" Some(Device);
    DeleteDevice "DELETE" "/devices/{DeviceId}" Some(Device);
    CreateNodeFromTemplateJob "POST" "/packages/template-job" None;
    ListNodeFromTemplateJobs "GET" "/packages/template-job" None;
    DescribeNodeFromTemplateJob "GET" "/packages/template-job/{JobId}" None;
    DescribePackage "GET" "/packages/metadata/{PackageId}" Some(Package);
    DescribePackageVersion "GET" "/packages/metadata/{PackageId}/versions/{PackageVersion}" Some(Package);
    RegisterPackageVersion "PUT" "/packages/{PackageId}/versions/{PackageVersion}/patch/{PatchVersion}" Some(Package);
    DeregisterPackageVersion "DELETE" "/packages/{PackageId}/versions/{PackageVersion}/patch/{PatchVersion}" Some(Package);
    DeletePackage "DELETE" "/packages/{PackageId}" Some(Package);
    CreatePackage "POST" "/packages" None;
    ListPackages "GET" "/packages" None;
    ListNodes "GET" "/nodes" None;
    DescribeNode "GET" "/nodes/{NodeId}" None;
    CreateApplicationInstance "POST" "/application-instances" None;
    ListApplicationInstances "GET" "/application-instances" None;
    DescribeApplicationInstance "GET" "/application-instances/{ApplicationInstanceId}" Some(ApplicationInstance);
    DescribeApplicationInstanceDetails "GET" "/application-instances/{ApplicationInstanceId}/details" Some(ApplicationInstance);
    ListApplicationInstanceDependencies "GET" "/application-instances/{ApplicationInstanceId}/package-dependencies" Some(ApplicationInstance);
    ListApplicationInstanceNodeInstances "GET" "/application-instances/{ApplicationInstanceId}/node-instances" Some(ApplicationInstance);
    SignalApplicationInstanceNodeInstances "PUT" "/application-instances/{ApplicationInstanceId}/node-signals" Some(ApplicationInstance);
    RemoveApplicationInstance "DELETE" "/application-instances/{ApplicationInstanceId}" Some(ApplicationInstance);
    TagResource "POST" "/tags/{ResourceArn}" None;
    UntagResource "DELETE" "/tags/{ResourceArn}" None;
    ListTagsForResource "GET" "/tags/{ResourceArn}" None;
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! A call, read: one variant an operation.

use crate::devices::{
    DeleteDeviceRequest, DescribeDeviceRequest, ListDevicesRequest, ProvisionDeviceRequest,
    UpdateDeviceMetadataRequest,
};
use crate::error::ValidationException;
use crate::instances::{
    CreateApplicationInstanceRequest, DescribeApplicationInstanceDetailsRequest,
    DescribeApplicationInstanceRequest, ListApplicationInstanceDependenciesRequest,
    ListApplicationInstanceNodeInstancesRequest, ListApplicationInstancesRequest,
    RemoveApplicationInstanceRequest, SignalApplicationInstanceNodeInstancesRequest,
};
use crate::nodes::{DescribeNodeRequest, ListNodesRequest};
use crate::operation::Operation;
use crate::packages::{
    CreatePackageRequest, DeletePackageRequest, DescribePackageRequest, ListPackagesRequest,
};
use crate::path::{Route, route};
use crate::read::Parts;
use crate::tags::{ListTagsForResourceRequest, TagResourceRequest, UntagResourceRequest};
use crate::template_jobs::{
    CreateNodeFromTemplateJobRequest, DescribeNodeFromTemplateJobRequest,
    ListNodeFromTemplateJobsRequest,
};
use crate::versions::{
    DeregisterPackageVersionRequest, DescribePackageVersionRequest, RegisterPackageVersionRequest,
};

macro_rules! requests {
    ($($name:ident($request:ident)),+ $(,)?) => {
        /// The request of an operation, all constraints checked.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Request {
            $(#[doc = concat!("`", stringify!($name), "`.")] $name($request)),+
        }

        impl Request {
            /// Reads the members of a routed call. `query` is what follows the `?`, still encoded.
            ///
            /// # Errors
            /// `FIELD_VALIDATION_FAILED` with every member at fault, or `CANNOT_PARSE`.
            pub fn read(
                route: Route,
                query: &str,
                body: &[u8],
            ) -> Result<Self, ValidationException> {
                let parts = Parts::new(route.labels, query, body)?;
                match route.operation {
                    $(Operation::$name => $request::read(&parts).map(Self::$name)),+
                }
            }

            /// Which operation it is for.
            #[must_use]
            pub fn operation(&self) -> Operation {
                match self { $(Self::$name(_) => Operation::$name),+ }
            }
        }
    };
}

requests! {
    ProvisionDevice(ProvisionDeviceRequest),
    ListDevices(ListDevicesRequest),
    DescribeDevice(DescribeDeviceRequest),
    UpdateDeviceMetadata(UpdateDeviceMetadataRequest),
    DeleteDevice(DeleteDeviceRequest),
    CreateNodeFromTemplateJob(CreateNodeFromTemplateJobRequest),
    ListNodeFromTemplateJobs(ListNodeFromTemplateJobsRequest),
    DescribeNodeFromTemplateJob(DescribeNodeFromTemplateJobRequest),
    DescribePackage(DescribePackageRequest),
    DescribePackageVersion(DescribePackageVersionRequest),
    RegisterPackageVersion(RegisterPackageVersionRequest),
    DeregisterPackageVersion(DeregisterPackageVersionRequest),
    DeletePackage(DeletePackageRequest),
    CreatePackage(CreatePackageRequest),
    ListPackages(ListPackagesRequest),
    ListNodes(ListNodesRequest),
    DescribeNode(DescribeNodeRequest),
    CreateApplicationInstance(CreateApplicationInstanceRequest),
    ListApplicationInstances(ListApplicationInstancesRequest),
    DescribeApplicationInstance(DescribeApplicationInstanceRequest),
    DescribeApplicationInstanceDetails(DescribeApplicationInstanceDetailsRequest),
    ListApplicationInstanceDependencies(ListApplicationInstanceDependenciesRequest),
    ListApplicationInstanceNodeInstances(ListApplicationInstanceNodeInstancesRequest),
    SignalApplicationInstanceNodeInstances(SignalApplicationInstanceNodeInstancesRequest),
    RemoveApplicationInstance(RemoveApplicationInstanceRequest),
    TagResource(TagResourceRequest),
    UntagResource(UntagResourceRequest),
    ListTagsForResource(ListTagsForResourceRequest),
}

impl Request {
    /// Routes and reads a call in one.
    ///
    /// # Errors
    /// As [`route`] and [`Request::read`].
    pub fn parse(
        method: &str,
        raw_path: &str,
        query: &str,
        body: &[u8],
    ) -> Result<Self, ValidationException> {
        Self::read(route(method, raw_path)?, query, body)
    }
}

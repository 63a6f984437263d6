//! How much of everything an account may have (`spec/api.md` section 10).

use std::time::Duration;

/// The limits that an operator may widen. The structural ones (tags, payloads, page size, nodes of
/// a graph) are constants of the API and the manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Registered devices.
    pub devices: u64,
    /// Patches of one package, over all its versions.
    pub versions_per_package: u64,
    /// Assets of one package.
    pub assets_per_package: u64,
    /// Bytes of one asset.
    pub artifact_bytes: u64,
    /// Instances that a device holds at a time.
    pub instances_per_device: u64,
    /// Deployments to one device within [`DEPLOYMENT_WINDOW`].
    pub deployments_per_device: u64,
}

/// The window of the deployment quota.
pub const DEPLOYMENT_WINDOW: Duration = Duration::from_hours(24);

impl Default for Quotas {
    fn default() -> Self {
        Self {
            devices: 50,
            versions_per_package: 20,
            assets_per_package: 50,
            artifact_bytes: 8 * 1024 * 1024 * 1024,
            instances_per_device: 10,
            deployments_per_device: 200,
        }
    }
}

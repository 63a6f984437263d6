//! `DescribePackageVersion`: the state of one patch, by default of the latest.

use parapet_api::{
    DescribePackageVersionRequest, DescribePackageVersionResponse, Operation, PackageVersionStatus,
    ResourceType,
};

use crate::call::Call;
use crate::registry::system;
use crate::store::versions::{self, PatchKey, VersionStatus};

use super::call::wire_time;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: DescribePackageVersionRequest,
) -> Result<DescribePackageVersionResponse, Failure> {
    let action = Operation::DescribePackageVersion.action();
    let missing = || Failure::not_found("PackageVersion", request.package_version.clone());
    match request.owner_account.as_deref() {
        Some(system::OWNER) => {
            call.authorize_any(Operation::DescribePackageVersion)?;
            let patch = request.patch_version.as_deref();
            return system::version(&request.package_id, &request.package_version, patch)
                .ok_or_else(missing);
        }
        Some(owner) if owner != call.scope.account => {
            call.authorize_any(Operation::DescribePackageVersion)?;
            return Err(missing());
        }
        _ => {}
    }
    let package = call.package(action, &request.package_id).await?;
    let (scope, id) = (call.scope.clone(), package.id.clone());
    let (wanted, patch) = (
        request.package_version.clone(),
        request.patch_version.clone(),
    );
    let found = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| match patch {
            None => Ok(versions::latest(connection, &scope, &id, &wanted)?),
            Some(patch) => {
                let key = PatchKey {
                    package: id,
                    version: wanted,
                    patch,
                };
                Ok(versions::get(connection, &scope, &key)?)
            }
        })
        .await?;
    let version = found.ok_or_else(missing)?;
    Ok(DescribePackageVersionResponse {
        is_latest_patch: version.is_latest,
        owner_account: call.scope.account.clone(),
        package_arn: Some(call.arn(ResourceType::Package, &package.id)),
        package_id: package.id,
        package_name: package.name,
        package_version: version.key.version,
        patch_version: version.key.patch,
        registered_time: Some(wire_time(version.registered)),
        status: match version.status {
            VersionStatus::Pending => PackageVersionStatus::RegisterPending,
            VersionStatus::Completed => PackageVersionStatus::RegisterCompleted,
            VersionStatus::Failed => PackageVersionStatus::Failed,
        },
        status_description: version.status_description,
    })
}

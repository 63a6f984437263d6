//! `DeregisterPackageVersion`: removes one patch; instances that run it keep their own copy.

use parapet_api::{DeregisterPackageVersionRequest, EmptyResponse, Operation};

use crate::call::Call;
use crate::store::cameras;
use crate::store::versions::{self, PatchKey, VersionStatus};

use super::failure::Failure;
use super::register_package_version::check_owner;

pub(super) async fn call(
    call: &Call,
    request: DeregisterPackageVersionRequest,
) -> Result<EmptyResponse, Failure> {
    let action = Operation::DeregisterPackageVersion.action();
    let package = call.package(action, &request.package_id).await?;
    check_owner(call, request.owner_account.as_deref())?;
    let scope = call.scope.clone();
    let key = PatchKey {
        package: package.id,
        version: request.package_version,
        patch: request.patch_version,
    };
    let successor = request.updated_latest_patch_version;
    call.write(move |tx| {
        let Some(removed) = versions::get(tx, &scope, &key)? else {
            return Err(Failure::not_found("PackageVersion", key.patch));
        };
        versions::delete(tx, &scope, &key)?;
        if removed.is_latest {
            // Newest first, so the first usable one is the most recently registered.
            let left = versions::of_package(tx, &scope, &key.package)?
                .into_iter()
                .filter(|v| v.key.version == key.version)
                .filter(|v| v.status == VersionStatus::Completed);
            let next = match &successor {
                None => left.map(|v| v.key).next(),
                Some(patch) => Some(
                    left.map(|v| v.key)
                        .find(|key| key.patch == *patch)
                        .ok_or_else(|| {
                            Failure::invalid(
                                "UpdatedLatestPatchVersion",
                                format!("no other registered patch of this version is {patch}"),
                            )
                        })?,
                ),
            };
            if let Some(next) = next {
                versions::mark_latest(tx, &scope, &next)?;
            }
        }
        cameras::forget_unused(tx, &scope)?;
        Ok(EmptyResponse {})
    })
    .await
}

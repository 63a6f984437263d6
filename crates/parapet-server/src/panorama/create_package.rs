//! `CreatePackage`: an empty package and its storage area.

use parapet_api::{
    CreatePackageRequest, CreatePackageResponse, Operation, PackageId, ResourceType,
    StorageLocation,
};

use crate::call::{Ask, Call};
use crate::registry::storage;
use crate::store::packages::{self, Package, PackageKey};
use crate::store::{Micros, Scope, tags};

use super::call::random_bits;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: CreatePackageRequest,
) -> Result<CreatePackageResponse, Failure> {
    let id = PackageId::from_random(random_bits()?).to_string();
    let arn = call.arn(ResourceType::Package, &id);
    call.authorize(&Ask::new(Operation::CreatePackage.action(), "*").tagging(&request.tags))?;
    let scope = call.scope.clone();
    let package = Package {
        id: id.clone(),
        name: request.package_name.clone(),
        created: Micros::now(),
    };
    let given_tags = request.tags;
    call.write(move |tx| {
        if let Some(other) = packages::get(tx, &scope, PackageKey::Name(&package.name))? {
            // The text is JSON, as clients know it from the original (`spec/api.md` 1.3).
            let message = serde_json::json!({
                "resourceId": other.id,
                "message": "Package with same name exists.",
                "resourceType": "Package",
            });
            return Err(Failure::conflict("Package", other.id, message.to_string()));
        }
        packages::insert(tx, &scope, &package)?;
        tags::put(tx, &scope, &format!("package/{}", package.id), &given_tags)?;
        Ok(())
    })
    .await?;
    Ok(CreatePackageResponse {
        storage_location: storage_location(&call.scope, &request.package_name),
        arn,
        package_id: id,
    })
}

/// `StorageLocation` of a package.
pub(super) fn storage_location(scope: &Scope, package: &str) -> StorageLocation {
    let account = &scope.account;
    StorageLocation {
        binary_prefix_location: storage::binary_prefix(account, package),
        bucket: storage::bucket(account),
        generated_prefix_location: storage::generated_prefix(account, package),
        manifest_prefix_location: storage::manifest_prefix(account, package),
        repo_prefix_location: storage::repo_prefix(account, package),
    }
}

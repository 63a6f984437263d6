//! `DeletePackage`: a package, and with `ForceDelete` all that is in it.

use parapet_api::{DeletePackageRequest, EmptyResponse, Operation};

use crate::call::Call;
use crate::registry::storage;
use crate::store::{cameras, objects, packages, tags, versions};

use super::failure::Failure;

/// Objects removed with one statement each, so that a large package does not hold the writer long.
const OBJECTS_AT_ONCE: usize = 500;

/// Instances keep what they run: their patches are pinned by content, and a camera's settings stay
/// until no instance needs them.
pub(super) async fn call(
    call: &Call,
    request: DeletePackageRequest,
) -> Result<EmptyResponse, Failure> {
    let package = call
        .package(Operation::DeletePackage.action(), &request.package_id)
        .await?;
    let force = request.force_delete;
    let bucket = storage::bucket(&call.scope.account);
    let prefix = storage::package_prefix(&call.scope.account, &package.name);
    loop {
        let (scope, id) = (call.scope.clone(), package.id.clone());
        let (bucket, prefix) = (bucket.clone(), prefix.clone());
        let done = call
            .write(move |tx| {
                let stored =
                    objects::list(tx, &scope, &bucket, &prefix, &prefix, OBJECTS_AT_ONCE + 1)?;
                if !force {
                    if !versions::of_package(tx, &scope, &id)?.is_empty() {
                        return Err(in_the_way(id, "has registered versions"));
                    }
                    if !stored.is_empty() {
                        return Err(in_the_way(id, "has stored artifacts"));
                    }
                }
                for object in stored.iter().take(OBJECTS_AT_ONCE) {
                    objects::delete(tx, &scope, &bucket, &object.key)?;
                }
                if stored.len() > OBJECTS_AT_ONCE {
                    return Ok(false);
                }
                packages::delete(tx, &scope, &id)?;
                tags::forget(tx, &scope, &format!("package/{id}"))?;
                cameras::forget_unused(tx, &scope)?;
                Ok(true)
            })
            .await?;
        if done {
            return Ok(EmptyResponse {});
        }
    }
}

fn in_the_way(id: String, what: &str) -> Failure {
    let message = format!("The package {what}; delete them first, or call with ForceDelete.");
    Failure::conflict("Package", id, message)
}

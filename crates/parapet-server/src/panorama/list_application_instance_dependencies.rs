//! `ListApplicationInstanceDependencies`: the package versions of an instance, with their patches.

use parapet_api::{
    ListApplicationInstanceDependenciesRequest, ListApplicationInstanceDependenciesResponse,
    Operation, PackageObject, ResourceType,
};

use crate::call::Call;
use crate::store::instances;

use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: ListApplicationInstanceDependenciesRequest,
) -> Result<ListApplicationInstanceDependenciesResponse, Failure> {
    let operation = Operation::ListApplicationInstanceDependencies;
    let id = request.application_instance_id;
    call.authorize_on(operation, ResourceType::ApplicationInstance, &id)
        .await?;
    let token = request.next_token.as_deref();
    let paging = call.paging_by::<usize, _>(operation, &id, request.max_results, token)?;
    let (scope, wanted) = (call.scope.clone(), id.clone());
    let packages = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            if instances::get(connection, &scope, &wanted)?.is_none() {
                return Err(Failure::not_found("ApplicationInstance", wanted));
            }
            Ok(instances::packages(connection, &scope, &wanted)?)
        })
        .await?;
    // The list never changes after the instance was made: its token counts.
    let start = paging.after.unwrap_or(0);
    let end = start.saturating_add(paging.limit);
    let more = (end < packages.len()).then_some(end);
    let package_objects = packages
        .into_iter()
        .skip(start)
        .take(paging.limit)
        .map(|package| PackageObject {
            name: package.name,
            package_version: package.version,
            patch_version: package.patch,
        })
        .collect();
    let next_token = call.next_token(&paging, more.as_ref())?;
    Ok(ListApplicationInstanceDependenciesResponse {
        next_token,
        package_objects,
    })
}

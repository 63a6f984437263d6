//! `ListPackages`: a page of the caller's packages, newest first.

use parapet_api::{
    ListPackagesRequest, ListPackagesResponse, Operation, PackageListItem, ResourceType,
};

use crate::call::Call;
use crate::store::{packages, tags};

use super::call::wire_time;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: ListPackagesRequest,
) -> Result<ListPackagesResponse, Failure> {
    call.authorize_any(Operation::ListPackages)?;
    let token = request.next_token.as_deref();
    let paging = call.paging(Operation::ListPackages, &(), request.max_results, token)?;
    let (scope, after, limit) = (call.scope.clone(), paging.after.clone(), paging.limit);
    let (rows, next) = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            let page = packages::list(connection, &scope, &after, limit)?;
            let mut rows = Vec::with_capacity(page.rows.len());
            for package in page.rows {
                let tags = tags::get(connection, &scope, &format!("package/{}", package.id))?;
                rows.push((package, tags));
            }
            Ok((rows, page.next))
        })
        .await?;
    let packages = rows
        .into_iter()
        .map(|(package, tags)| PackageListItem {
            arn: call.arn(ResourceType::Package, &package.id),
            created_time: wire_time(package.created),
            package_id: package.id,
            package_name: package.name,
            tags,
        })
        .collect();
    Ok(ListPackagesResponse {
        next_token: call.next_token(&paging, next.as_ref())?,
        packages,
    })
}

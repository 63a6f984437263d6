//! `DescribePackage`: where a package lies and what it is called.

use parapet_api::{DescribePackageRequest, DescribePackageResponse, Operation, ResourceType};

use crate::call::Call;
use crate::store::tags;

use super::call::wire_time;
use super::create_package::storage_location;
use super::failure::Failure;

pub(super) async fn call(
    call: &Call,
    request: DescribePackageRequest,
) -> Result<DescribePackageResponse, Failure> {
    let package = call
        .package(Operation::DescribePackage.action(), &request.package_id)
        .await?;
    let (scope, resource) = (call.scope.clone(), format!("package/{}", package.id));
    let tags = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| Ok(tags::get(connection, &scope, &resource)?))
        .await?;
    Ok(DescribePackageResponse {
        arn: call.arn(ResourceType::Package, &package.id),
        created_time: wire_time(package.created),
        storage_location: storage_location(&call.scope, &package.name),
        package_id: package.id,
        package_name: package.name,
        tags,
        read_access_principal_arns: Vec::new(),
        write_access_principal_arns: Vec::new(),
    })
}

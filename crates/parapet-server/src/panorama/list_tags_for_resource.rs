//! `ListTagsForResource`.

use parapet_api::{ListTagsForResourceRequest, ListTagsForResourceResponse, Operation};

use crate::store::tags;

use super::call::Call;
use super::failure::Failure;
use super::tag_resource::{check_arn, existing};

pub(super) async fn call(
    call: &Call,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Failure> {
    let arn = request.resource_arn;
    check_arn(call, Operation::ListTagsForResource.action(), &arn)?;
    let scope = call.scope.clone();
    let tags = call
        .ctx
        .store
        .read::<_, Failure, _>(move |connection| {
            let resource = existing(connection, &scope, &arn)?;
            Ok(tags::get(connection, &scope, &resource)?)
        })
        .await?;
    Ok(ListTagsForResourceResponse { tags })
}

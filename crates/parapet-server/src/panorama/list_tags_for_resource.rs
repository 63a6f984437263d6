//! `ListTagsForResource`.

use parapet_api::{ListTagsForResourceRequest, ListTagsForResourceResponse, Operation};

use crate::call::{Ask, Call};
use crate::store::tags;

use super::failure::Failure;
use super::tag_resource::{check, existing};

pub(super) async fn call(
    call: &Call,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, Failure> {
    let arn = request.resource_arn;
    let tags = call.tags(arn.resource_type, &arn.id).await?;
    let resource = arn.to_string();
    let ask = Ask::new(Operation::ListTagsForResource.action(), &resource);
    check(call, &ask.tagged(&tags), &arn)?;
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

//! `UntagResource`: removes tags; keys that are not there are ignored.

use parapet_api::{EmptyResponse, Operation, UntagResourceRequest};

use crate::call::{Ask, Call};
use crate::store::tags;

use super::failure::Failure;
use super::tag_resource::{check, existing};

pub(super) async fn call(
    call: &Call,
    request: UntagResourceRequest,
) -> Result<EmptyResponse, Failure> {
    let arn = request.resource_arn;
    let keys = request.tag_keys;
    let tags = call.tags(arn.resource_type, &arn.id).await?;
    let resource = arn.to_string();
    let ask = Ask::new(Operation::UntagResource.action(), &resource).tagged(&tags);
    check(call, &ask.untagging(&keys), &arn)?;
    let scope = call.scope.clone();
    call.write::<_, Failure, _>(move |tx| {
        let resource = existing(tx, &scope, &arn)?;
        Ok(tags::remove(tx, &scope, &resource, &keys)?)
    })
    .await?;
    Ok(EmptyResponse {})
}

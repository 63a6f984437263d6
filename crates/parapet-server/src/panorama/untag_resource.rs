//! `UntagResource`: removes tags; keys that are not there are ignored.

use parapet_api::{EmptyResponse, Operation, UntagResourceRequest};

use crate::store::tags;

use super::call::Call;
use super::failure::Failure;
use super::tag_resource::{check_arn, existing};

pub(super) async fn call(
    call: &Call,
    request: UntagResourceRequest,
) -> Result<EmptyResponse, Failure> {
    let arn = request.resource_arn;
    check_arn(call, Operation::UntagResource.action(), &arn)?;
    let scope = call.scope.clone();
    let keys = request.tag_keys;
    call.ctx
        .store
        .write::<_, Failure, _>(move |tx| {
            let resource = existing(tx, &scope, &arn)?;
            Ok(tags::remove(tx, &scope, &resource, &keys)?)
        })
        .await?;
    Ok(EmptyResponse {})
}

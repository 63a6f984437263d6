//! `RotateMasterKey`, `DescribeMasterKey`: the key that wraps all stored secrets.

use serde_json::{Value, json};

use crate::call::{Ask, Call};
use crate::identity::rotation::{Progress, RotationError, State};
use crate::panorama::Failure;

use super::Operation;

/// `POST /parapet/master-key/rotate`: begins to go over to a new key; answers how far it is.
pub(super) async fn rotate(call: &Call) -> Result<Value, Failure> {
    call.authorize(&Ask::new(Operation::RotateMasterKey.action(), "*"))?;
    let parts = call.ctx.rotation_parts();
    match call.ctx.rotation.begin(&parts).await {
        Ok(progress) => Ok(answer(call, &progress)),
        // What the operator has to do stands in the message; the source is the operator's own.
        Err(RotationError::Source(error)) => Err(Failure::conflict(
            "master-key",
            parts.ring.keys().current().id().to_string(),
            error.to_string(),
        )),
        Err(error) => Err(Failure::internal(error)),
    }
}

/// `GET /parapet/master-key`: which keys there are, and how far a rotation is.
pub(super) fn describe(call: &Call) -> Result<Value, Failure> {
    call.authorize(&Ask::new(Operation::DescribeMasterKey.action(), "*"))?;
    Ok(answer(call, &call.ctx.rotation.progress()))
}

fn answer(call: &Call, progress: &Progress) -> Value {
    let ring = call.ctx.master_key.keys();
    let texts = |ids: &mut dyn Iterator<Item = parapet_auth::KeyId>| -> Vec<String> {
        ids.map(|id| id.to_string()).collect()
    };
    let (state, failure) = match &progress.state {
        State::Idle => ("IDLE", None),
        State::Rewrapping => ("REWRAPPING", None),
        State::Verifying => ("VERIFYING", None),
        State::Done => ("DONE", None),
        State::Failed(reason) => ("FAILED", Some(reason)),
    };
    json!({
        "Source": call.ctx.key_source.to_string(),
        "KeyId": ring.current().id().to_string(),
        "OlderKeyIds": texts(&mut ring.older_ids()),
        "State": state,
        "Failure": failure,
        "Done": progress.done,
        "Total": progress.total,
        "RetiredKeyIds": texts(&mut progress.retired.iter().copied()),
        "RetiredFromSource": progress.out_of_source,
    })
}

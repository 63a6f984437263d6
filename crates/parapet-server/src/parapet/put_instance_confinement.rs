//! `PutInstanceConfinement`: decides what an application instance may use and reach.
//!
//! `PUT /parapet/confinements/<instance>` with the whole decision, in place of the one before. The
//! device gets a new document at once; limits restart the application, hosts and ports do not
//! (`docs/device-protocol.md`). With `Revision` nothing is changed if somebody else changed it
//! meanwhile.

use std::collections::BTreeSet;

use parapet_api::ResourceType;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Ask, Call};
use crate::fleet::plan::StoredDeployment;
use crate::fleet::{DeviceKey, plan};
use crate::panorama::Failure;
use crate::registry::confinement::{Policy, Wish};
use crate::store::confinements::{self, Stored};
use crate::store::instances::{self, DesiredState};
use crate::store::{Micros, Scope, Tx};

use super::Operation;

/// What the error of the original's model calls an instance.
const KIND: &str = "ApplicationInstance";

/// Body of the request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Put {
    /// The whole decision.
    confinement: Wish,
    /// The revision that this one is made from; 0 for the first.
    #[serde(default)]
    revision: Option<u64>,
}

/// Writes what was decided about the instance `id`.
pub(super) async fn call(call: &Call, id: &str, body: &[u8]) -> Result<Value, Failure> {
    let tags = call.tags(ResourceType::ApplicationInstance, id).await?;
    let arn = call.arn(ResourceType::ApplicationInstance, id);
    call.authorize(&Ask::new(Operation::PutInstanceConfinement.action(), &arn).tagged(&tags))?;
    let put: Put = serde_json::from_slice(body).map_err(|error| {
        Failure::invalid(
            "body",
            format!(
                "is not {{\"Confinement\": {{\"Limits\", \"Egress\", \"Ports\", \"Emulate\"}}, \
                 \"Revision\"}}: {error}"
            ),
        )
    })?;
    let (scope, id) = (call.scope.clone(), id.to_owned());
    let (key, generation, revision) = call
        .write::<_, Failure, _>(move |tx| apply(tx, &scope, &id, &put))
        .await?;
    call.ctx.wake.announce(&key, generation);
    Ok(json!({ "Revision": revision }))
}

fn apply(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &str,
    put: &Put,
) -> Result<(DeviceKey, u64, u64), Failure> {
    let now = Micros::now();
    let Some(instance) = instances::get(tx, scope, id)? else {
        return Err(Failure::not_found(KIND, id));
    };
    if instance.desired_state == DesiredState::Removed {
        return Err(Failure::conflict(
            KIND,
            id,
            "The instance is removed or being removed; deploy it anew and decide about that one.",
        ));
    }
    let before = confinements::get(tx, scope, id)?;
    let known = before.as_ref().map_or(0, |stored| stored.revision);
    if put.revision.is_some_and(|seen| seen != known) {
        return Err(Failure::conflict(
            KIND,
            id,
            format!(
                "The confinement is at revision {known} by now, somebody else changed it; look at \
                 it with GetInstanceConfinement and decide again."
            ),
        ));
    }
    let deployment = StoredDeployment::read(&instance)?;
    let mut ports: BTreeSet<u16> = deployment
        .open_ports()
        .map(|route| route.host_port)
        .collect();
    if let Some(before) = &before {
        ports.extend(Policy::from_json(&before.policy_json)?.ports());
    }
    let policy = put.confinement.check(&ports)?;
    let stored = Stored {
        revision: known + 1,
        policy_json: policy.to_json().map_err(Failure::internal)?,
        updated: now,
    };
    confinements::put(tx, scope, id, &stored)?;
    let generation = plan::replan(tx, scope, &instance.device, now)?;
    let key = DeviceKey {
        scope: scope.clone(),
        device: instance.device,
    };
    Ok((key, generation, stored.revision))
}

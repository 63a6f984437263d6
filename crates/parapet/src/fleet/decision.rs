//! What was decided about an application: read, changed in one place, written back.
//!
//! The service takes the whole decision with the revision it is made from, and refuses one that is
//! made from an older revision. A change of one place is then made anew from what it is by now, so
//! that two people who allow a host each allow two.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::identify;
use crate::api::{Client, Refused, text};

/// How often a change is made anew when others change the same.
const TRIES: usize = 5;

/// The ID of an application that is there: by its ID, or by a name that no other has.
pub(super) fn find(client: &Client, named: &str) -> Result<String> {
    // An ID needs no list, which its holder may not be allowed to see.
    if named.starts_with("applicationInstance-") {
        return Ok(named.to_owned());
    }
    identify(
        &present(client, None)?,
        named,
        "application",
        "ApplicationInstanceId",
        "parapet app list",
    )
}

/// The applications that are not removed, of one device or of all.
pub(super) fn present(client: &Client, device: Option<&str>) -> Result<Vec<Value>> {
    let filter: Vec<(&str, &str)> = device.iter().map(|id| ("deviceId", *id)).collect();
    let mut all =
        client.panorama_list("/application-instances", &filter, "ApplicationInstances")?;
    all.retain(|instance| instance["Status"] != "REMOVAL_SUCCEEDED");
    Ok(all)
}

/// What is known of an application: what was decided, and whom it asked for.
pub(super) fn read(client: &Client, id: &str) -> Result<Value> {
    client.get(&path(id)?)
}

/// Changes what was decided; what it is then.
pub(super) fn change(
    client: &Client,
    id: &str,
    change: impl Fn(&mut Value) -> Result<()>,
) -> Result<Value> {
    for _ in 0..TRIES {
        let mut known = read(client, id)?;
        let mut decision = known
            .get_mut("Confinement")
            .map(Value::take)
            .context("read the answer: it has no Confinement")?;
        change(&mut decision)?;
        let body = json!({ "Confinement": decision, "Revision": known["Revision"] });
        match client.call("PUT", &path(id)?, &body) {
            Ok(_) => return read(client, id),
            Err(error)
                if error
                    .downcast_ref::<Refused>()
                    .is_some_and(Refused::is_conflict) =>
            {
                // An instance that is removed is a conflict, too, and stays one.
                let now = read(client, id)?;
                if now["Revision"] == body["Revision"] {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    bail!("change {id}: others change it all the time; try again")
}

/// The members below `member`, made where there are none.
pub(super) fn members<'v>(
    decision: &'v mut Value,
    member: &str,
) -> Result<&'v mut Map<String, Value>> {
    let decision = decision
        .as_object_mut()
        .context("read the answer: Confinement is no object")?;
    decision
        .entry(member)
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .with_context(|| format!("read the answer: {member} is no object"))
}

/// The list `member` of `object`, made where there is none.
pub(super) fn list<'v>(
    object: &'v mut Map<String, Value>,
    member: &str,
) -> Result<&'v mut Vec<Value>> {
    object
        .entry(member)
        .or_insert_with(|| json!([]))
        .as_array_mut()
        .with_context(|| format!("read the answer: {member} is no list"))
}

/// Name or ID of the application an answer is about.
pub(super) fn id(known: &Value) -> Result<&str> {
    text(known, "ApplicationInstanceId")
}

fn path(id: &str) -> Result<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if id.is_empty() || !id.bytes().all(plain) {
        bail!("application {id:?}: an ID has letters, digits and '-'");
    }
    Ok(format!("/parapet/confinements/{id}"))
}

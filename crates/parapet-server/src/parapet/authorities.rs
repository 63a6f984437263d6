//! `RollAuthority`, `DescribeAuthorities`: from one certificate authority to the next.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Ask, Call};
use crate::identity::Kind;
use crate::identity::rollover::{Care, RollError, Standing, Step};
use crate::panorama::Failure;

use super::Operation;

/// Devices that an answer names; of the others it tells the number.
const NAMED: usize = 100;

/// Body of `RollAuthority`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Roll {
    /// `begin`, `switch`, `finish` or `cancel`; the step that is due when it is missing.
    step: Option<String>,
    /// Whether to take the step although it locks somebody out.
    #[serde(default)]
    force: bool,
}

/// `POST /parapet/authorities/<kind>`: takes a step.
pub(super) async fn roll(call: &Call, kind: &str, body: &[u8]) -> Result<Value, Failure> {
    let kind = Kind::parse(kind).ok_or_else(|| {
        Failure::not_found("authority (there are server, claim and device)", kind)
    })?;
    call.authorize(&Ask::new(Operation::RollAuthority.action(), "*"))?;
    let roll: Roll = if body.is_empty() {
        Roll::default()
    } else {
        serde_json::from_slice(body).map_err(|error| {
            Failure::invalid("body", format!("is not {{\"Step\", \"Force\"}}: {error}"))
        })?
    };
    let parts = call.ctx.rollover_parts();
    let step = match roll.step.as_deref() {
        Some(text) => Step::parse(text).ok_or_else(|| {
            Failure::invalid("Step", "is none of begin, switch, finish and cancel")
        })?,
        None => parts.standing(kind).await?.step,
    };
    let care = if roll.force {
        Care::LockOut
    } else {
        Care::Wait
    };
    match parts.roll(kind, step, care).await {
        Ok(standing) => Ok(answer(&standing)),
        Err(error @ (RollError::NotDue { .. } | RollError::Awaited { .. })) => Err(
            Failure::conflict("authority", kind.text(), error.to_string()),
        ),
        Err(error) => Err(Failure::internal(error)),
    }
}

/// `GET /parapet/authorities`: where all of them stand.
pub(super) async fn describe(call: &Call) -> Result<Value, Failure> {
    call.authorize(&Ask::new(Operation::DescribeAuthorities.action(), "*"))?;
    let parts = call.ctx.rollover_parts();
    let mut all = Vec::new();
    for kind in [Kind::Server, Kind::Claim, Kind::Device] {
        all.push(answer(&parts.standing(kind).await?));
    }
    Ok(json!({ "Authorities": all }))
}

fn answer(standing: &Standing) -> Value {
    let named = standing.awaited.get(..NAMED).unwrap_or(&standing.awaited);
    json!({
        "Kind": standing.kind.text(),
        "Signing": standing.signing,
        "Next": standing.next,
        "Previous": standing.previous,
        "DueStep": standing.step.text(),
        "AwaitedDevices": named,
        "AwaitedDeviceCount": standing.awaited.len(),
        "AwaitedClaimCount": standing.open_claims,
    })
}

//! `CreateConsoleSession`: a link that signs a browser in as the caller, once, within a minute.

use serde_json::{Value, json};

use crate::call::{Ask, Call};
use crate::console::LINK_LIFE;
use crate::panorama::Failure;

use super::Operation;

pub(super) async fn call(call: &Call) -> Result<Value, Failure> {
    call.authorize(&Ask::new(Operation::CreateConsoleSession.action(), "*"))?;
    // A link is worth a session: the same request makes one link, not two.
    call.once::<Failure>().await?;
    let token = call
        .ctx
        .sessions
        .link(call.caller.clone())
        .map_err(Failure::internal)?;
    Ok(json!({
        "Url": format!("{}/console/login?token={token}", call.ctx.api_url),
        "ExpiresInSeconds": LINK_LIFE.as_secs(),
    }))
}

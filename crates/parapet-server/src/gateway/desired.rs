//! `GET /v1/device/desired`: the held request that a change answers.

use std::time::Duration;

use http::{Response, StatusCode, header};
use tokio::time::{Instant, timeout_at};

use super::{Answer, Refusal, json_answer};
use crate::context::Context;
use crate::fleet::{Announcement, DeviceKey};
use crate::front;
use crate::store;

/// Longest hold.
const HOLD: u64 = 240;

pub(super) async fn get(context: &Context, key: &DeviceKey, query: &str) -> Answer {
    let number = |name: &str| -> Result<u64, Refusal> {
        let mut values = url::form_urlencoded::parse(query.as_bytes())
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Ok(0),
            (Some(text), None) => text
                .parse()
                .map_err(|_| Refusal::Bad(format!("{name}={text:.20} is not a whole number"))),
            (Some(_), Some(_)) => Err(Refusal::Bad(format!("{name} is there more than once"))),
        }
    };
    let after = number("after")?;
    let until = Instant::now() + Duration::from_secs(number("wait")?.min(HOLD));
    // Subscribed before the store is read: no change falls in between.
    let mut announced = context.wake.subscribe(key);
    loop {
        announced.mark_unchanged();
        let wanted = key.clone();
        let (stored, exists) = context
            .store
            .read(move |connection| {
                let DeviceKey { scope, device } = &wanted;
                Ok((
                    store::desired::get(connection, scope, device)?,
                    store::devices::get(connection, scope, device)?.is_some(),
                ))
            })
            .await
            .map_err(Refusal::Store)?;
        if !exists {
            return Err(Refusal::Deleted);
        }
        let newest = stored.as_ref().map_or(0, |stored| stored.generation);
        if after > newest {
            return Err(Refusal::Conflict(format!(
                "generation {after} is above the newest, which is {newest}"
            )));
        }
        if let Some(stored) = stored.filter(|stored| stored.generation > after) {
            let mut answer = json_answer(StatusCode::OK, stored.document_json);
            front::set(&mut answer, header::CACHE_CONTROL, "no-store");
            return Ok(answer);
        }
        match timeout_at(until, announced.changed()).await {
            // A deleted device has no row; a channel that is gone was replaced: look again.
            Ok(Ok(())) => {}
            Ok(Err(_)) if *announced.borrow() == Announcement::Deleted => {
                return Err(Refusal::Deleted);
            }
            Ok(Err(_)) => announced = context.wake.subscribe(key),
            Err(_) => {
                let mut answer = Response::new(front::empty());
                *answer.status_mut() = StatusCode::NOT_MODIFIED;
                return Ok(answer);
            }
        }
    }
}

//! `SearchAudit`: records of the audit trail, the newest first.
//!
//! A page looks at a bounded part of the trail, so it may hold fewer records than were asked for,
//! or none, and still lead on: the end is reached when there is no `NextToken`.

use serde_json::{Value, json};

use crate::audit::search::{self, Filter};
use crate::call::{Ask, Call};
use crate::panorama::Failure;
use crate::store::{Micros, StoreError};

use super::Operation;

/// Records in a page, unless asked otherwise, and at most.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;

pub(super) async fn call(call: &Call, query: &str) -> Result<Value, Failure> {
    call.authorize(&Ask::new(Operation::SearchAudit.action(), "*"))?;
    let mut filter = Filter::default();
    let mut limit = PAGE;
    let mut before = i64::MAX;
    let now = Micros::now();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match name.as_ref() {
            "max-results" => limit = page(&value)?,
            // The number of the record that the page before ended with: no secret, since whoever
            // may search may see every record.
            "next-token" => {
                before = value
                    .parse()
                    .map_err(|_| Failure::invalid("next-token", "is none of this operation"))?;
            }
            name => filter
                .set(name, &value, now)
                .map_err(|error| Failure::invalid(&error.name, error.rule))?,
        }
    }
    let step = call
        .ctx
        .store
        .read::<_, StoreError, _>(move |connection| {
            search::step(connection, &filter, before, limit)
        })
        .await?;
    let found: Vec<Value> = step
        .found
        .iter()
        .map(|(row, record)| {
            json!({ "Sequence": row.sequence, "Hash": row.hash.to_string(), "Record": record })
        })
        .collect();
    let mut answer = json!({ "Records": found });
    if let Some(next) = step.next {
        answer["NextToken"] = Value::from(next.to_string());
    }
    Ok(answer)
}

fn page(value: &str) -> Result<usize, Failure> {
    value
        .parse()
        .ok()
        .filter(|size| (1..=LARGEST_PAGE).contains(size))
        .ok_or_else(|| Failure::invalid("max-results", "write a number from 1 to 500"))
}

//! `ExportAudit`: the audit trail as it is stored, in order, for safekeeping and verification.

use serde_json::{Value, json};

use crate::audit::offline;
use crate::call::{Ask, Call};
use crate::panorama::Failure;
use crate::store::{StoreError, audit};

use super::Operation;

/// Records in an answer.
const PAGE: usize = 500;

pub(super) async fn call(call: &Call, query: &str) -> Result<Value, Failure> {
    call.authorize(&Ask::new(Operation::ExportAudit.action(), "*"))?;
    let mut from = 1_i64;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        from = match name.as_ref() {
            "from" => value.parse().ok().filter(|from| *from >= 1),
            _ => None,
        }
        .ok_or_else(|| {
            Failure::invalid(name.as_ref(), "write from=, a record's number of 1 or more")
        })?;
    }
    let (beginning, lines, next) = call
        .ctx
        .store
        .read::<_, StoreError, _>(move |connection| {
            let beginning = offline::beginning_at(connection, from)?;
            let rows = audit::from(connection, from, PAGE)?;
            let lines = rows
                .iter()
                .map(offline::line)
                .collect::<Result<Vec<_>, _>>()?;
            let next = rows.last().map(|row| row.sequence + 1);
            Ok((beginning, lines, next.filter(|_| rows.len() == PAGE)))
        })
        .await?;
    // Lines travel as texts: what was hashed is not touched by anybody's JSON.
    let mut answer = json!({ "Beginning": beginning, "Lines": lines });
    if let Some(next) = next {
        answer["Next"] = Value::from(next);
    }
    Ok(answer)
}

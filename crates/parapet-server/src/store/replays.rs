//! Signatures of requests that changed something, for as long as they would be accepted again.
//!
//! A captured request can be sent a second time within the clock difference that its service
//! allows. Its signature is used up in the transaction of the change, so that the second time
//! changes nothing, across restarts too (`research/security.md` 1.4, row 16).

use std::time::Duration;

use rusqlite::params;

use super::{Micros, StoreError, Tx};

/// How long a signature is remembered: it may be dated by the largest clock difference (15 minutes,
/// S3's) ahead, and is accepted for as long after its date.
const WINDOW: Duration = Duration::from_mins(31);

/// Uses a signature up; `false` when it was used before.
pub fn use_up(tx: &Tx<'_>, signature: &[u8; 32], now: Micros) -> Result<bool, StoreError> {
    tx.prepare_cached("DELETE FROM replays WHERE until_us < ?1")?
        .execute([now])?;
    let added = tx
        .prepare_cached("INSERT OR IGNORE INTO replays (signature, until_us) VALUES (?1, ?2)")?
        .execute(params![signature.as_slice(), now.after(WINDOW)])?;
    Ok(added == 1)
}

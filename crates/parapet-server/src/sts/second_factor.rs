//! The second factor of a request: `SerialNumber` and `TokenCode`.
//!
//! A code is checked here and counts once: the step it belongs to is written with the change that
//! it was for ([`Factor::spend`]). Wrong codes of a device are counted in memory, so that nobody
//! tries a million of them; the count is forgotten after some minutes, so that nobody is locked out
//! for long.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use parapet_auth::{PrincipalKind, totp};

use super::parameters::{SERIAL, TOKEN_CODE};
use crate::call::Call;
use crate::query::{Failure, Form};
use crate::store::{Micros, StoreError, Tx, mfa_devices};

/// Wrong codes of a device within [`WINDOW`].
const ATTEMPTS: u32 = 10;
/// How long wrong codes count.
const WINDOW: Duration = Duration::from_mins(5);
/// Devices whose wrong codes are counted at once.
const DEVICES: usize = 4_096;

/// Wrong codes, by device.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<HashMap<String, (Instant, u32)>>);

impl Attempts {
    /// Whether another code of this device may be tried.
    fn may_try(&self, serial: &str, now: Instant) -> bool {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .get(serial)
            .is_none_or(|(since, count)| now.duration_since(*since) >= WINDOW || *count < ATTEMPTS)
    }

    fn failed(&self, serial: &str, now: Instant) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= DEVICES {
            table.retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
        }
        let entry = table.entry(serial.to_owned()).or_insert((now, 0));
        if now.duration_since(entry.0) >= WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }
}

/// A code that was right, not yet used up.
#[derive(Debug, Clone)]
pub(super) struct Factor {
    account: String,
    serial: String,
    step: totp::Step,
}

impl Factor {
    /// Uses the code up; `false` if somebody was faster.
    pub(super) fn spend(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        let step = self.step.unsigned_abs();
        mfa_devices::accept_step(tx, &self.account, &self.serial, step)
    }
}

/// The factor that a request names, if it names one. It is one of the caller's own devices.
pub(super) async fn read(call: &Call, form: &Form) -> Result<Option<Factor>, Failure> {
    let serial = form.optional("SerialNumber", &SERIAL)?;
    let code = form.optional("TokenCode", &TOKEN_CODE)?;
    let (serial, code) = match (serial, code) {
        (None, None) => return Ok(None),
        (Some(serial), Some(code)) => (serial, code),
        (Some(_), None) => return Err(Failure::validation("SerialNumber comes with TokenCode")),
        (None, Some(_)) => return Err(Failure::validation("TokenCode comes with SerialNumber")),
    };
    let PrincipalKind::User { id, .. } = &call.caller.principal.kind else {
        return Err(wrong());
    };
    let now = Instant::now();
    if !call.ctx.mfa_attempts.may_try(&serial, now) {
        return Err(Failure::denied(
            "Too many wrong one-time codes of this device; wait five minutes.",
        ));
    }
    let (account, wanted) = (call.scope.account.clone(), serial.clone());
    let device = call
        .ctx
        .store
        .read::<_, StoreError, _>(move |connection| mfa_devices::get(connection, &account, &wanted))
        .await?;
    let device = device.filter(|device| {
        device
            .enabled
            .as_ref()
            .is_some_and(|(owner, _)| owner == id)
    });
    let Some(device) = device else {
        call.ctx.mfa_attempts.failed(&serial, now);
        return Err(wrong());
    };
    let label = mfa_devices::seed_label(&call.scope.account, &serial);
    let seed = call
        .ctx
        .master_key
        .unwrap(&label, &device.wrapped)
        .map_err(Failure::internal)?;
    let last = device
        .last_step
        .map(|step| i64::try_from(step).unwrap_or(i64::MAX));
    let seconds = Micros::now().0.div_euclid(1_000_000);
    let Ok(step) = totp::verify(&seed, &code, seconds, last) else {
        call.ctx.mfa_attempts.failed(&serial, now);
        return Err(wrong());
    };
    Ok(Some(Factor {
        account: call.scope.account.clone(),
        serial,
        step,
    }))
}

/// The original's words for every way in which a factor is of no use.
pub(super) fn wrong() -> Failure {
    Failure::denied("MultiFactorAuthentication failed with invalid MFA one time pass code.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_codes_are_counted_and_forgotten() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for _ in 0..ATTEMPTS {
            assert!(attempts.may_try("a", start));
            attempts.failed("a", start);
        }
        assert!(!attempts.may_try("a", start));
        assert!(attempts.may_try("b", start));
        let later = start + WINDOW;
        assert!(attempts.may_try("a", later));
        attempts.failed("a", later);
        assert!(attempts.may_try("a", later));
    }
}

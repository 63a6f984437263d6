//! What a device trusts: told with every answer, noted with its reports.
//!
//! Two headers travel with the answers, so that an older agent does without: the digest of the
//! server authorities that are trusted now, and whether the device shall renew its certificate. A
//! device that knows other authorities fetches these, and says with its reports which it knows.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, HeaderValue};
use parapet_device::enroll::{AUTHORITIES_HEADER, RENEW_HEADER, TrustedAuthorities};

use super::Refusal;
use crate::context::Context;
use crate::fleet::DeviceKey;
use crate::store::{self, Micros, StoreError};

/// What each device said last, so that the same again is not written again.
#[derive(Debug, Default)]
pub(super) struct Trust(Mutex<HashMap<String, String>>);

impl Trust {
    /// Notes what a device says that it trusts.
    pub(super) async fn note(
        &self,
        context: &Context,
        key: &DeviceKey,
        headers: &HeaderMap,
    ) -> Result<(), Refusal> {
        let said = headers
            .get(AUTHORITIES_HEADER)
            .and_then(|value| value.to_str().ok());
        // An older agent says nothing; a digest has this shape or is none.
        let Some(said) = said.filter(|text| text.len() == 64) else {
            return Ok(());
        };
        if self.last(&key.device).as_deref() == Some(said) {
            return Ok(());
        }
        let (wanted, text) = (key.clone(), said.to_owned());
        context
            .store
            .write(move |tx| {
                let DeviceKey { scope, device } = &wanted;
                store::authorities::note_trust(tx, scope, device, &text, Micros::now())
            })
            .await
            .map_err(|error: StoreError| Refusal::Store(error))?;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.device.clone(), said.to_owned());
        Ok(())
    }

    fn last(&self, device: &str) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(device).cloned()
    }
}

/// Puts both headers into an answer.
pub(super) fn tell(context: &Context, renew: bool, headers: &mut HeaderMap) {
    let digest = context.enrollment.authorities().server.digest();
    if let Ok(value) = HeaderValue::from_str(&digest) {
        headers.insert(AUTHORITIES_HEADER, value);
    }
    if renew {
        headers.insert(RENEW_HEADER, HeaderValue::from_static("now"));
    }
}

/// The answer to `GET /v1/device/authorities`.
pub(super) fn authorities(context: &Context) -> TrustedAuthorities {
    TrustedAuthorities {
        version: parapet_device::PROTOCOL_VERSION,
        pem: context.enrollment.authorities().server.pem(),
    }
}

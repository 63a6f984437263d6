//! The master keys of a running server: one ring, replaced as a whole while it serves.
//!
//! Everything that seals or opens takes the ring of that moment; nothing waits for a change.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parapet_auth::wrap::NONCE_BYTES;
use parapet_auth::{Label, MasterKeys, WrapError};
use zeroize::Zeroizing;

/// The ring in use. Its `Debug` shows key IDs only.
#[derive(Debug)]
pub struct KeyRing(ArcSwap<MasterKeys>);

impl KeyRing {
    /// Begins with these keys.
    #[must_use]
    pub fn new(keys: MasterKeys) -> Self {
        Self(ArcSwap::from_pointee(keys))
    }

    /// The keys of this moment.
    #[must_use]
    pub fn keys(&self) -> Arc<MasterKeys> {
        self.0.load_full()
    }

    /// Puts other keys in their place. The caller sees to it that nothing durable needs a key
    /// that is left out.
    pub fn replace(&self, keys: MasterKeys) {
        self.0.store(Arc::new(keys));
    }

    /// Seals `plain` under the current key for the place that `label` names. `nonce` is random.
    pub fn wrap(
        &self,
        label: &Label<'_>,
        plain: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, WrapError> {
        self.0.load().wrap(label, plain, nonce)
    }

    /// Opens what was sealed for the same place under any key of the ring.
    pub fn unwrap(
        &self,
        label: &Label<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        self.0.load().unwrap(label, sealed)
    }
}

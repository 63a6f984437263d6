//! Keys that the server makes for its own use, kept wrapped like every other secret.
//!
//! What they seal does not outlive a page of a list, but it does outlive a restart and a new
//! master key: only the row of the key itself is wrapped anew then.

use parapet_auth::wrap::KEY_BYTES;
use parapet_auth::{Label, MasterKey, WrapError};
use zeroize::Zeroizing;

use super::{IdentityError, KeyRing};
use crate::random;
use crate::store::{Micros, Scope, Store, service_keys};

/// The key of this name; made at the first call.
pub async fn service_key(
    store: &Store,
    scope: &Scope,
    master: &KeyRing,
    name: &'static str,
) -> Result<MasterKey, IdentityError> {
    let label = Label {
        table: "service_keys",
        account: &scope.account,
        id: name,
        column: "wrapped",
        version: 1,
    };
    let account = scope.account.clone();
    let stored = store
        .read(move |connection| service_keys::get(connection, &account, name))
        .await?;
    if let Some(wrapped) = stored {
        let plain = master.unwrap(&label, &wrapped)?;
        let bytes: &[u8; KEY_BYTES] = plain
            .as_slice()
            .try_into()
            .map_err(|_| IdentityError::Wrap(WrapError::Format))?;
        return Ok(MasterKey::new(*bytes));
    }
    let plain = Zeroizing::new(random::bytes::<KEY_BYTES>().map_err(IdentityError::Random)?);
    let nonce = random::bytes().map_err(IdentityError::Random)?;
    let wrapped = master.wrap(&label, plain.as_slice(), nonce)?;
    let account = scope.account.clone();
    store
        .write(move |tx| service_keys::insert(tx, &account, name, &wrapped, Micros::now()))
        .await?;
    Ok(MasterKey::new(*plain))
}

//! What an appliance keeps secret on its disk, and what keeps it so.
//!
//! One key of 32 random bytes, the device key, seals everything secret below the state directory:
//! camera passwords, the device's private keys, that of inbound ports ([`vault`]). The device key
//! itself is sealed by the machine's TPM, or lies in a file where there is none ([`keep`], [`tpm`]).
//! The whole state directory may lie encrypted beside that, by the file system ([`data`]), with a
//! key that a TPM or a passphrase opens ([`protect`]). What goes is overwritten first ([`wipe`]).
//! See `docs/hardening.md`, "Data at rest".

pub(crate) mod data;
mod encrypt;
pub(crate) mod keep;
mod place;
mod protect;
mod settings;
#[cfg(test)]
mod tests;
mod tpm;
pub(crate) mod vault;
pub(crate) mod wipe;

pub(crate) use data::unlock_data;
pub use data::{DataError, Unlocked};
pub(crate) use encrypt::tidy_up;
pub use encrypt::{EncryptError, encrypt_data};
pub use keep::KeyError;
pub(crate) use keep::hand_over;
pub(crate) use place::{LARGEST, Place, WIPING};
pub(crate) use protect::Ask;
pub use settings::{KeySettings, TpmUse};
pub use vault::HeldBy;
pub(crate) use vault::{PrivateKey, Vault, VaultError};

//! `[keys]` of the configuration.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where Linux shows a TPM 2.0, with a resource manager in between.
const TPM: &str = "/dev/tpmrm0";

/// How keys are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// Whether the TPM seals the device key.
    pub tpm: TpmUse,
    /// The TPM: a device, or the socket of a software TPM.
    pub tpm_device: PathBuf,
    /// Whether the TPM opens only while PCR 7, which secure boot and its keys are measured into, is
    /// as it was at the sealing.
    pub pcr7: bool,
    /// The passphrase of an encrypted state directory, for a start without a person and without a
    /// TPM: on storage that does not go with the appliance.
    pub passphrase_file: Option<PathBuf>,
}

/// Whether the TPM seals the device key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TpmUse {
    /// Where there is one that can be used.
    #[default]
    Auto,
    /// Not even then.
    Never,
    /// Without it nothing starts.
    Require,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            tpm: TpmUse::default(),
            tpm_device: TPM.into(),
            pcr7: false,
            passphrase_file: None,
        }
    }
}

impl KeySettings {
    /// The field at fault with its remedy, or nothing.
    pub(crate) fn check(&self) -> Result<(), String> {
        absolute("tpm_device", &self.tpm_device)?;
        // The TPM's tools take the path as a part of a text that these would end.
        if self.tpm_device.to_string_lossy().contains([',', ':', '=']) {
            return Err("tpm_device: use a path without ',', ':' and '='".to_owned());
        }
        self.passphrase_file
            .as_deref()
            .map_or(Ok(()), |file| absolute("passphrase_file", file))
    }
}

fn absolute(field: &str, path: &Path) -> Result<(), String> {
    if path.is_absolute() && path.to_str().is_some() {
        return Ok(());
    }
    Err(format!("{field}: name it by its full path, in UTF-8"))
}

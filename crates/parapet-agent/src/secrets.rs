//! Camera passwords: fetched by reference, sealed on disk, opened for one message.
//!
//! Owns `device/secrets/`, sealed by the device key ([`Vault`]). A secret is fetched once per version, so that
//! an offline restart works. Values are wiped from memory where they lie here; they are never
//! logged and never part of an error.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use parapet_device::SecretId;
use parapet_device::desired::{CameraSecret, SecretRef};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::at_rest::{Vault, VaultError};
use crate::durable;
use crate::launcher::lock;
use crate::link::{Origin, OriginError};

/// Why a password is not to be had.
#[derive(Debug, Error)]
pub(crate) enum SecretError {
    #[error("make the directory of secrets")]
    Directory(#[source] io::Error),
    #[error("seal a secret")]
    Seal(#[from] VaultError),
    #[error("write a secret as JSON")]
    Json(#[source] serde_json::Error),
    #[error("store a secret")]
    Store(#[source] io::Error),
    #[error("fetch the secret")]
    Fetch(#[from] OriginError),
    #[error(
        "fetch version {wanted} of the secret: version {found} is there; wait or store it anew"
    )]
    Version { wanted: u64, found: u64 },
}

/// All secrets of this device.
pub(crate) struct Secrets {
    directory: PathBuf,
    vault: Vault,
    origin: Origin,
    /// Two cameras may use one secret: one writer at a time.
    writing: Mutex<()>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Secrets {
    /// Opens the sealed secrets beside the device's identity.
    pub(crate) fn open(vault: Vault, origin: Origin) -> Result<Self, SecretError> {
        let directory = directory(&vault);
        std::fs::create_dir_all(&directory).map_err(SecretError::Directory)?;
        Ok(Self {
            directory,
            vault,
            origin,
            writing: Mutex::new(()),
        })
    }

    /// The values of one version of a secret.
    pub(crate) async fn get(&self, reference: &SecretRef) -> Result<CameraSecret, SecretError> {
        if let Some(secret) = self.unseal(&reference.id)
            && secret.version == reference.version
        {
            return Ok(secret);
        }
        let secret = self.origin.secret(&reference.id).await?;
        if secret.version != reference.version {
            let (wanted, found) = (reference.version, secret.version);
            return Err(SecretError::Version { wanted, found });
        }
        self.seal(&reference.id, &secret)?;
        Ok(secret)
    }

    /// Forgets the secrets that no camera refers to.
    pub(crate) fn retain(&self, wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&wanted) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn seal(&self, id: &SecretId, secret: &CameraSecret) -> Result<(), SecretError> {
        let bytes = Zeroizing::new(serde_json::to_vec(secret).map_err(SecretError::Json)?);
        let sealed = self.vault.seal(id.as_str(), &bytes)?;
        let _writing = lock(&self.writing);
        durable::replace(&self.directory.join(id.as_str()), &sealed, 0o600)
            .map_err(SecretError::Store)
    }

    /// What cannot be read or opened counts as not there: it is fetched again.
    fn unseal(&self, id: &SecretId) -> Option<CameraSecret> {
        peek(&self.vault, id)
    }
}

/// A secret of a device, also for somebody who only looks; `None` where it is not there or cannot
/// be opened.
pub(crate) fn peek(vault: &Vault, id: &SecretId) -> Option<CameraSecret> {
    let sealed = durable::read_if_there(&directory(vault).join(id.as_str())).ok()??;
    let opened = vault.open(id.as_str(), &sealed)?;
    serde_json::from_slice(&opened).ok()
}

fn directory(vault: &Vault) -> PathBuf {
    vault.directory().join("secrets")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn reference(version: u64) -> SecretRef {
        SecretRef {
            id: "secret-a".parse().unwrap(),
            version,
        }
    }

    fn origin(dir: &Path, json: &str) -> Origin {
        let desired = dir.join("desired.json");
        std::fs::write(dir.join("desired.json.secrets.json"), json).unwrap();
        Origin::File(desired)
    }

    #[tokio::test]
    async fn a_secret_is_fetched_once_a_version_and_is_sealed_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"secret-a":{"version":1,"username":"u","password":"opensesame"}}"#;
        let secrets = Secrets::open(Vault::in_file(dir.path()), origin(dir.path(), json)).unwrap();
        assert_eq!(
            secrets.get(&reference(1)).await.unwrap().password,
            "opensesame"
        );
        // The control plane is gone and the agent starts again.
        let offline = Secrets::open(Vault::in_file(dir.path()), origin(dir.path(), "{}")).unwrap();
        assert_eq!(offline.get(&reference(1)).await.unwrap().username, "u");
        let seen = peek(&Vault::in_file(dir.path()), &reference(1).id);
        assert_eq!(seen.unwrap().password, "opensesame");
        let newer = offline.get(&reference(2)).await;
        assert!(matches!(newer, Err(SecretError::Fetch(_))));
        let sealed = std::fs::read(dir.path().join("secrets/secret-a")).unwrap();
        assert!(!sealed.windows(10).any(|w| w == b"opensesame"));
        offline.retain(|_| false).unwrap();
        assert!(offline.get(&reference(1)).await.is_err());
    }

    #[tokio::test]
    async fn cameras_that_share_a_secret_get_it_at_the_same_time() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"secret-a":{"version":1,"username":"u","password":"p"}}"#;
        let secrets = std::sync::Arc::new(
            Secrets::open(Vault::in_file(dir.path()), origin(dir.path(), json)).unwrap(),
        );
        let mut cameras = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let secrets = std::sync::Arc::clone(&secrets);
            cameras.spawn_blocking(move || {
                let secret = CameraSecret {
                    version: 1,
                    username: "u".to_owned(),
                    password: "p".to_owned(),
                };
                secrets.seal(&reference(1).id, &secret)
            });
        }
        while let Some(done) = cameras.join_next().await {
            done.unwrap().unwrap();
        }
        assert_eq!(secrets.get(&reference(1)).await.unwrap().password, "p");
    }

    #[tokio::test]
    async fn another_version_than_the_one_asked_for_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"secret-a":{"version":1,"username":"u","password":"p"}}"#;
        let secrets = Secrets::open(Vault::in_file(dir.path()), origin(dir.path(), json)).unwrap();
        let refused = secrets.get(&reference(2)).await.err();
        assert!(matches!(
            refused,
            Some(SecretError::Version {
                wanted: 2,
                found: 1
            })
        ));
    }
}

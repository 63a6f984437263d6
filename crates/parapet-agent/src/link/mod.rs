//! The way to the control plane, and its stand-in on disk for tests.
//!
//! [`client`] is the mutual-TLS connection; [`enroll`] makes the identity it uses; [`session`]
//! keeps desired document and report flowing; [`live`] is the channel of pictures. Everything is
//! dialled by the device, tried again for ever with back-off, and nothing else waits for it.

pub(crate) mod client;
pub(crate) mod enroll;
pub(crate) mod identity;
pub(crate) mod live;
pub(crate) mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parapet_device::desired::CameraSecret;
use parapet_device::{BlobDigest, SecretId};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncSeekExt};

use client::{ClientError, ControlPlane};

/// Where secrets and blobs come from.
#[derive(Clone)]
pub(crate) enum Origin {
    /// From beside a desired document on disk: `FILE.secrets.json` and the directory `blobs`.
    File(PathBuf),
    /// From the control plane.
    Server(Arc<ControlPlane>),
}

/// Why something cannot be fetched.
#[derive(Debug, Error)]
pub(crate) enum OriginError {
    #[error("read {path}", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("read {path}: give {{\"<secret ID>\": {{\"version\", \"username\", \"password\"}}}}", path = .0.display())]
    Secrets(PathBuf),
    #[error("find secret {id} in {path}", path = .path.display())]
    NoSecret { id: SecretId, path: PathBuf },
    #[error("ask the control plane")]
    Server(#[from] ClientError),
}

/// The bytes of a blob from some offset on.
pub(crate) type BlobStream = Box<dyn AsyncRead + Send + Unpin>;

impl Origin {
    /// A camera's credentials.
    pub(crate) async fn secret(&self, id: &SecretId) -> Result<CameraSecret, OriginError> {
        match self {
            Self::Server(server) => Ok(server.secret(id).await?),
            Self::File(desired) => {
                let mut path = desired.clone().into_os_string();
                path.push(".secrets.json");
                let path = PathBuf::from(path);
                let bytes = tokio::fs::read(&path)
                    .await
                    .map_err(|error| OriginError::Read(path.clone(), error))?;
                // The parser's message could quote a value.
                let mut secrets: BTreeMap<SecretId, CameraSecret> = serde_json::from_slice(&bytes)
                    .map_err(|_| OriginError::Secrets(path.clone()))?;
                secrets.remove(id).ok_or_else(|| OriginError::NoSecret {
                    id: id.clone(),
                    path,
                })
            }
        }
    }

    /// The bytes of a blob from `offset` on.
    pub(crate) async fn blob(
        &self,
        digest: &BlobDigest,
        offset: u64,
    ) -> Result<BlobStream, OriginError> {
        match self {
            Self::Server(server) => Ok(server.blob(digest, offset).await?),
            Self::File(desired) => {
                let path = desired.with_file_name("blobs").join(digest.to_string());
                let failed = |error| OriginError::Read(path.clone(), error);
                let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
                file.seek(io::SeekFrom::Start(offset))
                    .await
                    .map_err(failed)?;
                Ok(Box::new(file))
            }
        }
    }
}

//! What an appliance's state directory tells to somebody who looks from outside, for
//! `parapet doctor`.
//!
//! Only reads, with an agent running there or not, and gives no secret away. Whoever has taken the
//! agent over wrote these files: they are read bounded, and only where they are plain files.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parapet_device::enroll::EnrollConfig;
use parapet_device::{DesiredDocument, SecretId};
use parapet_sandbox::fscrypt;
use rustix::fs::OFlags;
use thiserror::Error;
use zeroize::Zeroize as _;

use crate::at_rest::{KeySettings, Vault, keep};
use crate::ledger::LARGEST_DOCUMENT;
use crate::link::client::{ClientError, ControlPlane};
use crate::link::identity::{Identity, IdentityError, Validity, certificates, validity_of};
use crate::secrets;
use crate::status::Status;

/// Everything but the desired document is far smaller.
const LARGEST_FILE: usize = LARGEST_DOCUMENT;

/// Why something in a state directory is not known.
#[derive(Debug, Error)]
pub enum ExamineError {
    /// It cannot be read.
    #[error("read {path}", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// It is not what it should be. Its contents are not quoted.
    #[error("read {path}: it is damaged", path = .0.display())]
    Damaged(PathBuf),
    /// The device's identity cannot be used.
    #[error("use the device's identity: {0}")]
    Identity(String),
    /// The device key cannot be opened.
    #[error("open the device key: {0}")]
    Key(String),
    /// The control plane does not answer.
    #[error("ask the control plane: {0}")]
    ControlPlane(String),
}

/// Lives of a device's certificates, and where its control plane is.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// Whose they are, and the control plane's address.
    pub config: EnrollConfig,
    /// Begin and end of the device's certificate, seconds since the epoch.
    pub certificate: (i64, i64),
    /// Likewise of the control plane's authorities.
    pub authorities: Vec<(i64, i64)>,
}

/// Reads `status.json`; `None` while there is none.
pub fn status(data: &Path) -> Result<Option<Status>, ExamineError> {
    let path = data.join("status.json");
    json(&path)
}

/// Reads the stored desired document; `None` while there is none.
pub fn desired(data: &Path) -> Result<Option<DesiredDocument>, ExamineError> {
    json(&data.join("ledger/desired.json"))
}

/// Reads the public part of the device's identity; `None` for one that is not enrolled.
pub fn enrolled(data: &Path) -> Result<Option<Enrolled>, ExamineError> {
    let directory = data.join("device");
    let path = directory.join("certificate.pem");
    let Some(pem) = read(&path)? else {
        return Ok(None);
    };
    let certificate = lives(&path, &pem)?
        .first()
        .copied()
        .ok_or(ExamineError::Damaged(path))?;
    let path = directory.join("ca.pem");
    let pem = read(&path)?.ok_or_else(|| ExamineError::Damaged(path.clone()))?;
    let authorities = lives(&path, &pem)?;
    let path = directory.join("config.json");
    let config = json(&path)?.ok_or(ExamineError::Damaged(path))?;
    Ok(Some(Enrolled {
        config,
        certificate,
        authorities,
    }))
}

/// The key to what a state directory keeps sealed.
#[derive(Debug)]
pub struct Keys(Vault);

/// Opens the device key, by the TPM where that keeps it; `None` while there is none.
pub fn keys(data: &Path, settings: &KeySettings) -> Result<Option<Keys>, ExamineError> {
    let opened = keep::peek(data, settings)
        .map_err(|error| ExamineError::Key(parapet_sandbox::failure::with_causes(&error)))?;
    Ok(opened.map(Keys))
}

/// Whether the file system encrypts the state directory and its key is not there: then nothing in
/// there can be read.
pub fn is_locked(data: &Path) -> io::Result<bool> {
    let directory = std::fs::File::open(data)?;
    match fscrypt::policy(directory.as_fd())? {
        fscrypt::Policy::Encrypted(identifier) => {
            let status = fscrypt::key_status(directory.as_fd(), identifier)?;
            Ok(status != fscrypt::KeyStatus::Present)
        }
        _ => Ok(false),
    }
}

/// Asks the control plane, as the device, for the time: the `Date` of an answer, as it was written.
/// `None` for a device that is not enrolled. Waits `limit` at most.
pub fn control_plane_date(
    data: &Path,
    keys: Option<&Keys>,
    limit: Duration,
) -> Result<Option<String>, ExamineError> {
    let certificate = data.join(keep::DEVICE).join("certificate.pem");
    let Some(Keys(vault)) = keys else {
        return match certificate.symlink_metadata() {
            Ok(_) => Err(ExamineError::Key("there is none".to_owned())),
            Err(_) => Ok(None),
        };
    };
    let identity = Identity::peek(vault).map_err(|error: IdentityError| {
        ExamineError::Identity(parapet_sandbox::failure::with_causes(&error))
    })?;
    let Some(identity) = identity else {
        return Ok(None);
    };
    let failed = |error: ClientError| {
        ExamineError::ControlPlane(parapet_sandbox::failure::with_causes(&error))
    };
    let plane = ControlPlane::new(identity).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ExamineError::ControlPlane(error.to_string()))?;
    let asked = runtime.block_on(async { tokio::time::timeout(limit, plane.date()).await });
    // A name that is still being looked up keeps nobody waiting.
    runtime.shutdown_background();
    match asked {
        Err(_) => Err(ExamineError::ControlPlane(format!(
            "no answer within {} s",
            limit.as_secs()
        ))),
        Ok(answer) => answer.map_err(failed).map(Some),
    }
}

/// Whether a camera's stored user and password are one of `pairs`, without asking the camera; `None`
/// where the secret has not been fetched yet.
#[must_use]
pub fn password_is_one_of(
    keys: Option<&Keys>,
    secret: &SecretId,
    pairs: &[(&str, &str)],
) -> Option<bool> {
    let Keys(vault) = keys?;
    secrets::peek(vault, secret).map(|mut stored| {
        let is_one = pairs
            .iter()
            .any(|(user, password)| stored.username == *user && stored.password == *password);
        stored.password.zeroize();
        is_one
    })
}

fn lives(path: &Path, pem: &[u8]) -> Result<Vec<(i64, i64)>, ExamineError> {
    let damaged = || ExamineError::Damaged(path.to_owned());
    certificates(pem)
        .ok_or_else(damaged)?
        .iter()
        .map(|certificate| {
            let Validity {
                not_before,
                not_after,
            } = validity_of(certificate).ok_or_else(damaged)?;
            Ok((not_before, not_after))
        })
        .collect()
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, ExamineError> {
    read(path)?
        .map(|bytes| {
            serde_json::from_slice(&bytes).map_err(|_| ExamineError::Damaged(path.to_owned()))
        })
        .transpose()
}

/// A plain file, never through a link, never one that blocks, never more than [`LARGEST_FILE`].
fn read(path: &Path) -> Result<Option<Vec<u8>>, ExamineError> {
    let failed = |error| ExamineError::Read(path.to_owned(), error);
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(ExamineError::Damaged(path.to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > LARGEST_FILE {
        return Err(ExamineError::Damaged(path.to_owned()));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_without_an_agent_tells_nothing_and_fails_at_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(status(dir.path()).unwrap().is_none());
        assert!(desired(dir.path()).unwrap().is_none());
        assert!(enrolled(dir.path()).unwrap().is_none());
        let limit = Duration::from_secs(1);
        let keys = keys(dir.path(), &KeySettings::default()).unwrap();
        assert!(keys.is_none());
        assert!(
            control_plane_date(dir.path(), keys.as_ref(), limit)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_pipe_a_link_and_a_huge_file_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        let elsewhere = dir.path().join("secret");
        std::fs::write(&elsewhere, b"{}").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(matches!(status(dir.path()), Err(ExamineError::Read(..))));
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(matches!(status(dir.path()), Err(ExamineError::Damaged(_))));
        std::fs::remove_file(&path).unwrap();
        let huge = std::fs::File::create(&path).unwrap();
        huge.set_len(1 << 40).unwrap();
        assert!(matches!(status(dir.path()), Err(ExamineError::Damaged(_))));
    }
}

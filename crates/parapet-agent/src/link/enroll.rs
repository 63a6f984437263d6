//! Enrolment: the archive of `ProvisionDevice` becomes an identity.
//!
//! The device makes its own key and asks, with the archive's claim certificate, for a certificate
//! of its own. An archive that has done its work already changes nothing, so that the same command
//! line works at every start.

use std::io::{self, Cursor, Read};
use std::time::{Duration, Instant};

use parapet_device::PROTOCOL_VERSION;
use parapet_device::enroll::EnrollConfig;
use reqwest::StatusCode;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use zip::ZipArchive;

use super::client::{self, ClientError};
use super::identity::{self, Identity, IdentityError};
use crate::at_rest::Vault;
use crate::backoff::Backoff;

/// The claim is valid for five minutes; what has not worked by then will not.
const TRIES: Duration = Duration::from_mins(5);
/// Largest file of the archive.
const LARGEST: u64 = 256 * 1024;

/// Why the device is not enrolled.
#[derive(Debug, Error)]
pub(crate) enum EnrollError {
    #[error("read the archive: it must be the ZIP of ProvisionDevice")]
    Archive(#[source] zip::result::ZipError),
    #[error("read {0} of the archive")]
    Entry(&'static str, #[source] io::Error),
    #[error("read {0} of the archive: it is damaged")]
    Damaged(&'static str),
    #[error("use the archive: its version is {0}, this agent speaks {PROTOCOL_VERSION}; update it")]
    Version(u32),
    #[error("keep the identity")]
    Identity(#[from] IdentityError),
    #[error(
        "use the claim: it is used, expired or deleted (it is valid once and for five minutes); \
         provision the device anew"
    )]
    Claim(#[source] ClientError),
    #[error("ask for a certificate")]
    Client(#[from] ClientError),
}

/// Enrols, unless the archive's device is this one already.
pub(crate) async fn enroll(archive: &[u8], vault: &Vault) -> Result<(), EnrollError> {
    let mut archive = ZipArchive::new(Cursor::new(archive)).map_err(EnrollError::Archive)?;
    let mut entry = |name: &'static str| -> Result<Vec<u8>, EnrollError> {
        let file = archive.by_name(name).map_err(EnrollError::Archive)?;
        let mut bytes = Vec::new();
        file.take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(|e| EnrollError::Entry(name, e))?;
        Ok(bytes)
    };
    let config: EnrollConfig = serde_json::from_slice(&entry("config.json")?)
        .map_err(|_| EnrollError::Damaged("config.json"))?;
    if config.version != PROTOCOL_VERSION {
        return Err(EnrollError::Version(config.version));
    }
    if let Ok(Some(identity)) = Identity::read(vault)
        && identity.config.device == config.device
    {
        tracing::info!(device = %config.device, "enrolled already");
        return Ok(());
    }
    let ca = entry("ca.pem")?;
    let authorities = identity::certificates(&ca).ok_or(EnrollError::Damaged("ca.pem"))?;
    let chain =
        identity::certificates(&entry("claim.crt")?).ok_or(EnrollError::Damaged("claim.crt"))?;
    let claim_key = zeroize::Zeroizing::new(entry("claim.key")?);
    let claim_key =
        PrivateKeyDer::from_pem_slice(&claim_key).map_err(|_| EnrollError::Damaged("claim.key"))?;
    let http = client::http(client::tls(&authorities, chain, claim_key)?)?;

    let request = identity::new_key(vault)?;
    let url = format!("{}/v1/enroll", config.endpoint.trim_end_matches('/'));
    let begin = Instant::now();
    let mut backoff = Backoff::for_network();
    let response = loop {
        match client::certificate(&http, &url, request.clone()).await {
            Ok(response) => break response,
            Err(
                error @ ClientError::Refused {
                    status: StatusCode::FORBIDDEN,
                    ..
                },
            ) => {
                return Err(EnrollError::Claim(error));
            }
            Err(error) if begin.elapsed() > TRIES => return Err(error.into()),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "enrolment is tried again"
                );
                tokio::time::sleep(backoff.next()).await;
            }
        }
    };
    identity::write_new(vault.directory(), &config, &ca, &response.certificate)?;
    tracing::info!(device = %config.device, serial = response.serial, "enrolled");
    Ok(())
}

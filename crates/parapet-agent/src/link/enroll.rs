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
use rustls::ClientConfig;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use zeroize::Zeroizing;
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
    let mut archive = Archive::open(archive)?;
    let config = archive.config()?;
    if let Ok(Some(identity)) = Identity::read(vault)
        && identity.config.device == config.device
    {
        tracing::info!(device = %config.device, "enrolled already");
        return Ok(());
    }
    let (ca, tls) = archive.claim()?;
    let http = client::http(tls)?;

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

/// The ZIP of `ProvisionDevice`. Who made it is not known yet.
struct Archive<'a>(ZipArchive<Cursor<&'a [u8]>>);

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, EnrollError> {
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(EnrollError::Archive)?;
        Ok(Self(archive))
    }

    fn entry(&mut self, name: &'static str) -> Result<Vec<u8>, EnrollError> {
        let file = self.0.by_name(name).map_err(EnrollError::Archive)?;
        let mut bytes = Vec::new();
        file.take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(|e| EnrollError::Entry(name, e))?;
        Ok(bytes)
    }

    fn config(&mut self) -> Result<EnrollConfig, EnrollError> {
        let config: EnrollConfig = serde_json::from_slice(&self.entry("config.json")?)
            .map_err(|_| EnrollError::Damaged("config.json"))?;
        if config.version == PROTOCOL_VERSION {
            Ok(config)
        } else {
            Err(EnrollError::Version(config.version))
        }
    }

    /// The server's authorities as they came, and a client that knows them and shows the claim.
    fn claim(&mut self) -> Result<(Vec<u8>, ClientConfig), EnrollError> {
        let ca = self.entry("ca.pem")?;
        let authorities = identity::certificates(&ca).ok_or(EnrollError::Damaged("ca.pem"))?;
        let chain = identity::certificates(&self.entry("claim.crt")?)
            .ok_or(EnrollError::Damaged("claim.crt"))?;
        let key = Zeroizing::new(self.entry("claim.key")?);
        let key =
            PrivateKeyDer::from_pem_slice(&key).map_err(|_| EnrollError::Damaged("claim.key"))?;
        Ok((ca, client::tls(&authorities, chain, key)?))
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;

    /// An archive is understood whole or refused with a sentence; nothing is written.
    #[test]
    fn enrolment_breaks_no_promise() {
        parapet_fuzz::feed(&parapet_fuzz::Target {
            name: "enrolment",
            words: &[
                "config.json",
                "ca.pem",
                "claim.crt",
                "claim.key",
                "PK\u{1}\u{2}",
                "PK\u{3}\u{4}",
                "PK\u{5}\u{6}",
                "-----BEGIN CERTIFICATE-----\n",
                "\"version\":1",
            ],
            run: &|bytes| {
                let read = Archive::open(bytes).and_then(|mut archive| {
                    let config = archive.config()?;
                    let (ca, _) = archive.claim()?;
                    assert!(ca.len() as u64 <= LARGEST);
                    Ok(config)
                });
                if let Err(error) = &read {
                    assert!((1..1000).contains(&error.to_string().len()), "{error}");
                }
                read.is_ok()
            },
        });
    }
}

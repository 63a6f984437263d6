//! A camera that is spoken to in TLS, with a certificate that it has signed itself, as cameras do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, crypto::aws_lc_rs};

/// Why a camera cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of key and certificate.
    #[error("read or write {path}", path = .0.display())]
    File(PathBuf, #[source] io::Error),
    /// What it holds.
    #[error(
        "find a key and a certificate (PEM) in {path}; delete it, and new ones are made",
        path = .0.display()
    )]
    Contents(PathBuf),
    /// They could not be made.
    #[error("make a certificate")]
    Make(#[source] rcgen::Error),
    /// They do not fit together.
    #[error("use the key and certificate in {path}", path = .0.display())]
    Use(PathBuf, #[source] rustls::Error),
}

/// What speaks TLS with the key and certificate in `file`, which are made where there are none.
pub(crate) fn acceptor(file: &Path) -> Result<TlsAcceptor, TlsError> {
    let failed = |error| TlsError::File(file.to_owned(), error);
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = rcgen::generate_simple_self_signed(["camera".to_owned()])
                .map_err(TlsError::Make)?;
            let text = format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem());
            keep(file, text.as_bytes()).map_err(failed)?;
            text.into_bytes()
        }
        Err(error) => return Err(failed(error)),
    };
    let unread = |_| TlsError::Contents(file.to_owned());
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(unread)?;
    let certificate = CertificateDer::from_pem_slice(&text).map_err(unread)?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            config
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
        })
        .map_err(|error| TlsError::Use(file.to_owned(), error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn keep(file: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    file.write_all(bytes)
}

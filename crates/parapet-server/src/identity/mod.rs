//! Who this server is, and who its first user is: made at the first start, found again at every
//! other.
//!
//! Owns the master key's whereabouts, the three certificate authorities (server, claim, device),
//! the user `admin` with its key, and `DATA/admin`. Private keys are wrapped in the store; the
//! server's own TLS key is made at each start and never stored.

mod admin;
mod authority;
mod certificate_watch;
mod device_verifier;
mod enrollment;
mod key_command;
mod key_ring;
mod master_key;
mod operator_certificate;
mod recover;
pub mod rollover;
pub mod rotation;
mod server_certificate;
mod service_key;

use std::io;
use std::path::PathBuf;

use parapet_auth::WrapError;
use thiserror::Error;

pub(crate) use admin::key_label;
pub use admin::{Endpoint, first_start, write_files};
pub use authority::{Authorities, Authority, IssuedLeaf, Kind, Leaf, Succession};
pub(crate) use certificate_watch::watch as watch_certificate;
pub use device_verifier::DeviceVerifier;
pub use enrollment::{Archive, Claim, Desk, EnrollError, Enrollment};
pub use key_command::KeyCommand;
pub use key_ring::KeyRing;
pub(crate) use master_key::is_inside;
pub use master_key::{KeySource, MasterKeyError};
pub use operator_certificate::{CertificateFault, CertificateFiles, OperatorCertificate};
pub use recover::{OtherKeys, Recovered, recover};
pub use server_certificate::ServerCertificate;
pub use service_key::service_key;

use crate::store::StoreError;

/// Why the server has no identity.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The database belongs to another account.
    #[error("use account_id {wanted}: the data directory belongs to account {found}")]
    OtherAccount {
        /// As configured.
        wanted: String,
        /// As stored.
        found: String,
    },
    /// There is no control plane in the directory.
    #[error(
        "find a control plane in {0}: it has no parapet.db with an account; name the data directory of a server that was started once"
    )]
    NoControlPlane(PathBuf),
    /// A file cannot be read or written.
    #[error("use {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No randomness.
    #[error("make a key")]
    Random(#[source] io::Error),
    /// A stored key does not open.
    #[error("open a stored key: is this the right master key?")]
    Wrap(#[from] WrapError),
    /// A certificate could not be made or read.
    #[error("make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// No verifier of client certificates.
    #[error("set up the verification of device certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A key that TLS does not take.
    #[error("use a new TLS key")]
    Tls(#[from] rustls::Error),
    /// A stored policy that this version does not take.
    #[error("read the policy of a stored user")]
    Policy(#[from] parapet_auth::PolicyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

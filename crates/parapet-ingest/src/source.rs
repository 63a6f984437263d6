//! The camera that is read.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use parapet_media::protocol::CameraTls;
use tokio_rustls::rustls::crypto::CryptoProvider;

/// Which camera to read. No `Debug`: it holds a password.
pub(crate) struct Source {
    pub(crate) url: String,
    /// The one place that is connected to.
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Option<(String, String)>,
    /// For `rtsps`. A pin that it lacks is set by the first dialogue.
    pub(crate) tls: Option<Cell<CameraTls>>,
    pub(crate) provider: Arc<CryptoProvider>,
}

//! RTSP inside TLS (`rtsps`).
//!
//! Owns the connection to the camera and its plain side, a loopback socket that `retina` connects
//! to, since it takes no connection that is made already. The plain side takes one caller and is
//! shut behind it; the zone's rules let no other user there.
//!
//! Cameras have certificates that they have signed themselves. Which one a camera has is remembered
//! instead: the first that it shows is told to the agent, and any other is refused from then on,
//! before the camera hears of a password.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use parapet_media::protocol::{CameraFault, CameraTls, Fingerprint};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme, crypto,
};

use crate::connection::{ANSWER_LIMIT, connect};
use crate::fault::{Fault, bounded};

/// Room for each direction: a large key frame in a few turns.
const BUFFER: usize = 64 * 1024;
/// How much of a fingerprint is shown.
const SHOWN: usize = 16;

/// A camera that has been spoken to in TLS, before anybody has connected to its plain side.
pub(crate) struct Secured {
    listener: TcpListener,
    camera: TlsStream<TcpStream>,
    /// What it has shown.
    pub(crate) certificate: Fingerprint,
}

/// Connects to the camera and listens for who speaks RTSP to it. The provider is made once, before
/// the process confines itself.
pub(crate) async fn secure(
    tls: &CameraTls,
    provider: &Arc<CryptoProvider>,
    address: SocketAddr,
) -> Result<Secured, Fault> {
    let listener = listen(tls.plain).map_err(|error| {
        Fault::passing(
            CameraFault::Protocol,
            format!(
                "the plain side of TLS cannot be had at {} ({error})",
                tls.plain
            ),
        )
    })?;
    let stream = connect(address).await?;
    let seen = Arc::new(Seen {
        pin: tls.pin,
        shown: Mutex::new(None),
        algorithms: provider.signature_verification_algorithms,
    });
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| cannot_speak(&error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    // An address is not sent, and cameras need no name to choose a certificate by.
    let name = ServerName::IpAddress(address.ip().into());
    let spoken = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let camera = match timeout(ANSWER_LIMIT, spoken).await {
        Err(_) => {
            return Err(Fault::passing(
                CameraFault::Timeout,
                format!(
                    "the camera did not answer in TLS within {} s; check the port of its rtsps",
                    ANSWER_LIMIT.as_secs()
                ),
            ));
        }
        Ok(Err(error)) => return Err(seen.why(&error)),
        Ok(Ok(camera)) => camera,
    };
    let certificate = seen.shown().ok_or_else(|| cannot_speak("no certificate"))?;
    Ok(Secured {
        listener,
        camera,
        certificate,
    })
}

impl Secured {
    /// Carries one dialogue to its end; a connection that breaks breaks on the plain side too.
    pub(crate) async fn carry(mut self) -> io::Result<()> {
        let (mut plain, _) = self.listener.accept().await?;
        drop(self.listener);
        plain.set_nodelay(true)?;
        tokio::io::copy_bidirectional_with_sizes(&mut plain, &mut self.camera, BUFFER, BUFFER)
            .await?;
        Ok(())
    }
}

fn listen(plain: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // After a dialogue its connection lingers for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(plain)?;
    socket.listen(1)
}

/// Which certificate a camera may show, and which it has shown.
#[derive(Debug)]
struct Seen {
    pin: Option<Fingerprint>,
    shown: Mutex<Option<Fingerprint>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Seen {
    fn shown(&self) -> Option<Fingerprint> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why(&self, error: &io::Error) -> Fault {
        if let (Some(pin), Some(shown)) = (self.pin, self.shown())
            && pin != shown
        {
            let short = |of: Fingerprint| bounded(&of.to_string(), SHOWN);
            return Fault::passing(
                CameraFault::Certificate,
                format!(
                    "another certificate ({}) than before ({}); if the camera got a new one: \
                     `parapet agent forget-certificate HOST[:PORT]` on the appliance",
                    short(shown),
                    short(pin)
                ),
            );
        }
        cannot_speak(&error.to_string())
    }
}

fn cannot_speak(why: &str) -> Fault {
    Fault::passing(
        CameraFault::Certificate,
        format!(
            "no TLS can be spoken with the camera ({}); check the port of its rtsps, and that it \
             offers TLS 1.2 or newer",
            bounded(why, 80)
        ),
    )
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _authorities: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, certificate);
        let mut shown = [0; 32];
        shown.copy_from_slice(digest.as_ref());
        let shown = Fingerprint(shown);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        match self.pin {
            Some(pin) if pin != shown => Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            )),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The cryptography of the process, made and tried before it confines itself: what is set up at
/// the first use is set up here.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut bytes = [0; 1];
    // Where there is no randomness a handshake will say so.
    let _ = provider.secure_random.fill(&mut bytes);
    provider
}

//! The connection to a camera, and why there is none.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use parapet_media::protocol::CameraFault;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fault::Fault;

/// To connect: a LAN answers in milliseconds, a lost packet is repeated within three seconds.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For an answer: small cameras take seconds for the first after a start.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A connection to the camera.
pub(crate) async fn connect(address: SocketAddr) -> Result<TcpStream, Fault> {
    let connect = TcpStream::connect(address);
    let place = address.to_string();
    match timeout(CONNECT_LIMIT, connect).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match error.kind() {
            ErrorKind::ConnectionRefused => Fault::passing(
                CameraFault::Refused,
                format!("nothing listens at {place}; check port and RTSP service of the camera"),
            ),
            ErrorKind::TimedOut => silent(&place),
            _ => Fault::passing(
                CameraFault::Unreachable,
                format!("{place} cannot be reached ({error}); check address and network"),
            ),
        }),
        Err(_) => Err(silent(&place)),
    }
}

fn silent(place: &str) -> Fault {
    Fault::passing(
        CameraFault::Timeout,
        format!("{place} does not answer; check address, network and power of the camera"),
    )
}

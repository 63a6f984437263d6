//! RFC 5424 messages, over the local socket, UDP or TCP.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, lookup_host};

use super::{Signed, Syslog};
use crate::audit::record::bounded;
use crate::store::Micros;

/// Facility "log audit" (13), severity "notice" (5).
const PRIORITY: u8 = 13 * 8 + 5;

pub(super) async fn send(receiver: &Syslog, signed: &Signed) -> io::Result<()> {
    let message = message(signed, &host(), std::process::id());
    match receiver {
        Syslog::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.send_to(message.as_bytes(), path).await?;
        }
        Syslog::Udp(address) => {
            let address = lookup_host(address).await?.next();
            let address = address.ok_or_else(|| io::Error::other("the host has no address"))?;
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any).await?;
            socket.send_to(message.as_bytes(), address).await?;
        }
        Syslog::Tcp(address) => {
            let mut stream = TcpStream::connect(address).await?;
            let frame = format!("{} {message}", message.len());
            stream.write_all(frame.as_bytes()).await?;
            stream.shutdown().await?;
        }
    }
    Ok(())
}

fn message(signed: &Signed, host: &str, process: u32) -> String {
    let time = time(signed.checkpoint.time);
    format!(
        "<{PRIORITY}>1 {time} {host} parapet {process} audit-checkpoint - {}",
        signed.line
    )
}

/// RFC 3339 with microseconds; `-` is RFC 5424's word for none.
fn time(time: Micros) -> String {
    jiff::Timestamp::from_microsecond(time.0)
        .map_or_else(|_| "-".to_owned(), |time| format!("{time:.6}"))
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.chars().filter(char::is_ascii_graphic).collect();
    if name.is_empty() {
        "-".to_owned()
    } else {
        bounded(&name, 255)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::signed;
    use super::*;

    #[test]
    fn a_message_has_the_form_of_rfc_5424() {
        let signed = signed(7);
        let message = message(&signed, "host", 42);
        let (head, body) = message.split_at(message.find('{').expect("a body"));
        assert_eq!(
            head,
            "<109>1 2026-09-21T14:13:20.000007Z host parapet 42 audit-checkpoint - "
        );
        assert_eq!(body, signed.line);
    }
}

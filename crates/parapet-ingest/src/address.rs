//! The camera's URL: checked before anything is connected, and given the address to connect to.

use std::net::SocketAddr;

use parapet_media::protocol::CameraFault;
use url::Url;

use crate::fault::Fault;

/// Reads `SCHEME://host[:port]/path` and puts the address in the place of its host and port, so
/// that nothing is looked up and nothing else connected to. The scheme becomes `rtsp`: who asks
/// speaks no TLS. The text itself is never repeated: it may hold a password in spite of the rules.
pub(crate) fn to_ask(text: &str, scheme: &str, address: SocketAddr) -> Result<Url, Fault> {
    let wrong = |why: &str| Fault::lasting(CameraFault::Unreachable, why);
    let mut url = Url::parse(text).map_err(|error| {
        wrong(&format!(
            "the camera's address is no URL ({error}); write rtsp://HOST[:PORT]/PATH"
        ))
    })?;
    if url.scheme() != scheme {
        return Err(wrong(&format!(
            "the camera's address is not of the kind {scheme}://HOST[:PORT]/PATH"
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "the camera's address holds a user name or password; give them as credentials",
        ));
    }
    let no_host = || wrong("the camera's address names no host");
    if url.host_str().is_none_or(str::is_empty) {
        return Err(no_host());
    }
    url.set_ip_host(address.ip()).map_err(|()| no_host())?;
    url.set_port(Some(address.port())).map_err(|()| no_host())?;
    url.set_scheme("rtsp").map_err(|()| no_host())?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_given_address_takes_the_hosts_place_and_the_path_stays() {
        let asked = |text: &str, address: &str| {
            let scheme = text.split(':').next().unwrap();
            let url = to_ask(text, scheme, address.parse().unwrap()).unwrap();
            url.as_str().to_owned()
        };
        assert_eq!(
            asked("rtsp://cam.local:8554/a/b?x=1&y", "10.0.0.7:8554"),
            "rtsp://10.0.0.7:8554/a/b?x=1&y"
        );
        assert_eq!(
            asked("rtsp://10.0.0.7/stream", "10.0.0.7:554"),
            "rtsp://10.0.0.7:554/stream"
        );
        assert_eq!(
            asked("rtsp://cam/", "[2001:db8::7]:99"),
            "rtsp://[2001:db8::7]:99/"
        );
        assert_eq!(
            asked("rtsps://cam/a", "127.64.0.1:10554"),
            "rtsp://127.64.0.1:10554/a"
        );
    }

    #[test]
    fn other_schemes_and_passwords_in_the_address_are_refused_without_repeating_them() {
        for text in [
            "http://host/x",
            "rtsps://host/",
            "file:///etc/passwd",
            "rtsp:///x",
            "host:554/x",
            "",
            "rtsp://admin:hunter2@host/",
            "rtsp://admin@host/",
        ] {
            let fault = to_ask(text, "rtsp", "10.0.0.7:554".parse().unwrap()).unwrap_err();
            assert_eq!(
                (fault.code, fault.last),
                (CameraFault::Unreachable, true),
                "{text}"
            );
            assert!(!fault.message.contains("hunter2"));
        }
    }
}

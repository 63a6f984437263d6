//! The camera's address: checked before anything is connected.

use parapet_media::protocol::CameraFault;
use url::Url;

use crate::fault::Fault;

/// The port of RTSP.
const RTSP_PORT: u16 = 554;

/// A camera's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) url: Url,
    /// Without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads `rtsp://host[:port]/path`. The text itself is never repeated: it may hold a password
    /// in spite of the rules.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = |why: &str| Fault::lasting(CameraFault::Unreachable, why);
        let url = Url::parse(text).map_err(|error| {
            wrong(&format!(
                "the camera's address is no URL ({error}); write rtsp://HOST[:PORT]/PATH"
            ))
        })?;
        if url.scheme() != "rtsp" {
            return Err(wrong(
                "the camera's address is not of the kind rtsp://HOST[:PORT]/PATH",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "the camera's address holds a user name or password; give them as credentials",
            ));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("the camera's address names no host"))?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = url.port().unwrap_or(RTSP_PORT);
        Ok(Self { url, host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_cameras_are_read() {
        let parts = |text| {
            let address = Address::parse(text).unwrap();
            (address.host, address.port)
        };
        assert_eq!(
            parts("rtsp://10.0.0.7/stream?x=1"),
            ("10.0.0.7".to_owned(), 554)
        );
        assert_eq!(
            parts("rtsp://cam.local:8554/a"),
            ("cam.local".to_owned(), 8554)
        );
        assert_eq!(parts("rtsp://[::1]:99/"), ("::1".to_owned(), 99));
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
            let fault = Address::parse(text).unwrap_err();
            assert_eq!(
                (fault.code, fault.last),
                (CameraFault::Unreachable, true),
                "{text}"
            );
            assert!(!fault.message.contains("hunter2"));
        }
    }
}

//! Where a camera is: its host resolved to an address, and addresses that are no camera's refused.
//!
//! The agent looks names up, since ingest has no resolver; and it decides what may be a camera,
//! since a stream's address comes with an application and a name's answer from whoever runs the
//! name server. Whatever passes here is still held to by the launcher's rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use parapet_media::protocol::CameraFault;
use parapet_sandbox::zones::PortAddress;
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::{Host, Url};

/// Where cameras speak RTSP unless their address says otherwise.
pub const RTSP_PORT: u16 = 554;
/// The same in TLS.
pub const RTSPS_PORT: u16 = 322;
/// For a name: a resolver asks again after five seconds.
const LOOKUP_LIMIT: Duration = Duration::from_secs(6);
/// Answers of a name that are looked at.
const MAX_ANSWERS: usize = 16;

/// Why an address is not used: the camera's code, and a sentence with the remedy.
pub(crate) type Refusal = (CameraFault, String);

/// Which addresses may be a camera's on this appliance.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Cameras on the host itself, for who develops.
    pub(crate) on_host: bool,
    /// Where cameras have ports of their own: the networks of those. Empty elsewhere.
    pub(crate) networks: Vec<PortAddress>,
    /// Cameras have ports of their own.
    pub(crate) separated: bool,
}

/// A camera's URL, taken apart.
pub(crate) struct Place<'a> {
    host: Host<&'a str>,
    port: u16,
    tls: bool,
}

impl<'a> Place<'a> {
    /// Reads `rtsp://host[:port]/path` or `rtsps://…`. The URL itself is never repeated: it may hold a password
    /// in spite of the rules.
    pub(crate) fn of(url: &'a Url) -> Result<Self, Refusal> {
        let wrong = |why: &str| Err((CameraFault::Unreachable, why.to_owned()));
        let (tls, usual) = match url.scheme() {
            "rtsp" => (false, RTSP_PORT),
            "rtsps" => (true, RTSPS_PORT),
            _ => {
                return wrong(
                    "the camera's address is not of the kind rtsp://HOST[:PORT]/PATH or rtsps://…",
                );
            }
        };
        let port = url.port().unwrap_or(usual);
        match url.host() {
            Some(host) if port != 0 => Ok(Self { host, port, tls }),
            _ => wrong("the camera's address names no host or no port"),
        }
    }

    /// Whether it has to be looked up, so that it may lie elsewhere the next time.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self.host, Host::Domain(_))
    }

    /// Whether it is spoken to in TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// `host:port`, by which its certificate is known.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.host, self.port).to_ascii_lowercase()
    }
}

impl Places {
    /// The address to reach a camera at: the first of its name's that may be one.
    pub(crate) async fn find(&self, place: &Place<'_>) -> Result<SocketAddr, Refusal> {
        let (name, port) = match place.host {
            Host::Ipv4(address) => return self.accept(address.into(), place.port),
            Host::Ipv6(address) => return self.accept(address.into(), place.port),
            Host::Domain(name) => (name, place.port),
        };
        let shown: String = name.chars().take(60).collect();
        let unknown = |why: String| {
            let sentence = format!(
                "the camera's name {shown} cannot be looked up ({why}); check it, or give the \
                 camera's address"
            );
            (CameraFault::Unreachable, sentence)
        };
        let answers: Vec<SocketAddr> = match timeout(LOOKUP_LIMIT, lookup_host((name, port))).await
        {
            Err(_) => return Err(unknown("no answer in time".to_owned())),
            Ok(Err(error)) => return Err(unknown(error.to_string())),
            Ok(Ok(answers)) => answers.take(MAX_ANSWERS).collect(),
        };
        let mut refused = None;
        for answer in answers {
            match self.accept(answer.ip(), port) {
                Ok(address) => return Ok(address),
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        Err(refused.unwrap_or_else(|| unknown("it has no address".to_owned())))
    }

    fn accept(&self, address: IpAddr, port: u16) -> Result<SocketAddr, Refusal> {
        let address = address.to_canonical();
        match self.refuse(address, is_own(address)) {
            None => Ok(SocketAddr::new(address, port)),
            Some(why) => Err((CameraFault::Unreachable, format!("{address} {why}"))),
        }
    }

    /// Why an address is no camera's; `own` when it is one of the host's.
    pub(crate) fn refuse(&self, address: IpAddr, own: bool) -> Option<&'static str> {
        const METADATA: [IpAddr; 2] = [
            IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
            IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        ];
        let address = address.to_canonical();
        let nowhere = match address {
            IpAddr::V4(four) => four.octets()[0] == 0 || four.is_broadcast(),
            IpAddr::V6(six) => six.is_unspecified(),
        };
        if nowhere || address.is_multicast() {
            return Some("is no address of a single host; give the camera's own");
        }
        if METADATA.contains(&address) {
            return Some("is where clouds keep a machine's credentials, and no camera's address");
        }
        if matches!(address, IpAddr::V6(six) if six.is_unicast_link_local()) {
            return Some("is good on one link only; give the camera another address");
        }
        if address.is_loopback() || own {
            return (!self.on_host).then_some(
                "is the appliance itself; give the camera's address, or set \
                 network.loopback_cameras = true to develop with a camera on this host",
            );
        }
        if self.separated {
            if self
                .networks
                .iter()
                .any(|network| network.address == address)
            {
                return Some("is the appliance's own address at a camera port");
            }
            if !self.networks.iter().any(|network| network.holds(address)) {
                return Some(
                    "lies in no network of a camera port; correct the camera's address or \
                     network.camera_addresses",
                );
            }
        }
        None
    }
}

/// Whether an address is one of this host's: only then can a socket have it. Nothing is sent.
pub(crate) fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(places: &Places, address: &str) -> Option<&'static str> {
        places.refuse(address.parse().unwrap(), false)
    }

    #[test]
    fn addresses_that_are_no_cameras_are_refused_with_a_remedy() {
        let places = Places::default();
        for wrong in [
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "239.255.255.250",
            "ff02::1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00:ec2::254",
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "fe80::1",
        ] {
            assert!(refused(&places, wrong).is_some(), "{wrong}");
        }
        for good in [
            "10.0.0.7",
            "192.168.1.9",
            "203.0.113.5",
            "169.254.7.7",
            "2001:db8::7",
        ] {
            assert_eq!(refused(&places, good), None, "{good}");
            let own = places.refuse(good.parse().unwrap(), true);
            assert!(
                own.is_some_and(|why| why.contains("loopback_cameras")),
                "{good}"
            );
        }
    }

    #[test]
    fn the_host_itself_is_a_camera_only_for_who_develops() {
        let places = Places {
            on_host: true,
            ..Places::default()
        };
        assert_eq!(refused(&places, "127.0.0.1"), None);
        assert_eq!(places.refuse("10.0.0.7".parse().unwrap(), true), None);
        assert!(refused(&places, "169.254.169.254").is_some());
        assert!(is_own("127.0.0.1".parse().unwrap()));
        assert!(!is_own("203.0.113.5".parse().unwrap()));
    }

    #[test]
    fn with_ports_of_their_own_cameras_are_in_the_networks_of_those() {
        let places = Places {
            separated: true,
            networks: vec!["10.77.1.1/24%eth1".parse().unwrap()],
            ..Places::default()
        };
        assert_eq!(refused(&places, "10.77.1.9"), None);
        assert!(refused(&places, "10.77.1.1").is_some_and(|why| why.contains("own")));
        for elsewhere in ["10.77.2.9", "203.0.113.5", "2001:db8::7"] {
            let why = refused(&places, elsewhere);
            assert!(
                why.is_some_and(|why| why.contains("camera_addresses")),
                "{elsewhere}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_its_answers_are_judged() {
        let url = Url::parse("rtsp://localhost:8554/x").unwrap();
        let place = Place::of(&url).unwrap();
        assert!(place.is_name());
        let places = Places::default();
        let (code, why) = places.find(&place).await.unwrap_err();
        assert_eq!(code, CameraFault::Unreachable);
        assert!(why.contains("the appliance itself"), "{why}");
        let places = Places {
            on_host: true,
            ..Places::default()
        };
        let found = places.find(&place).await.unwrap();
        assert!(found.ip().is_loopback() && found.port() == 8554);
        let url = Url::parse("rtsp://name.invalid/x").unwrap();
        let (_, why) = places.find(&Place::of(&url).unwrap()).await.unwrap_err();
        assert!(why.contains("name.invalid"), "{why}");
    }

    #[test]
    fn cameras_are_spoken_to_in_rtsp_with_or_without_tls_and_in_nothing_else() {
        for (text, name) in [
            ("rtsp://h/x", "h:554"),
            ("rtsps://H/x", "h:322"),
            ("rtsps://[2001:db8::7]:7441/x", "[2001:db8::7]:7441"),
        ] {
            let url = Url::parse(text).unwrap();
            let place = Place::of(&url).ok().unwrap();
            assert_eq!(
                (place.name(), place.is_tls()),
                (name.to_owned(), text.contains("s:"))
            );
        }
        for (text, said) in [
            ("http://h/x", "rtsp://HOST"),
            ("file:///etc/passwd", "rtsp://HOST"),
            ("rtsp://h:0/x", "no port"),
        ] {
            let url = Url::parse(text).unwrap();
            let why = Place::of(&url)
                .err()
                .map(|(_, why)| why)
                .unwrap_or_default();
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}

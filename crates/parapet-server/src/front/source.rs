//! Where a request comes from: the address and TLS of its connection, or what a trusted proxy says.
//!
//! Pure. A forwarding header is written by whoever sends the request, so it is believed only on
//! connections that come from an address the operator has named (`[proxies] trusted`), only from
//! its right end, and only as far as each hop is itself a trusted one: what stands to the left of
//! the first hop that is not trusted is the caller's own claim (attack P8 of
//! `research/security.md`). One header is read, the one the proxy writes: a proxy that sets one
//! form passes the other through as the caller sent it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use rustls::{CipherSuite, ProtocolVersion, ServerConnection};
use thiserror::Error;

/// Most entries of a forwarding header that are looked at, from the right.
const HOPS: usize = 16;
/// The header that most proxies write.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The caller's address: `aws:SourceIp`, and what limits by address count by. An IPv4 address
    /// is always one, never mapped into IPv6.
    pub address: IpAddr,
    /// The port of the connection; of the proxy's where the address is `forwarded`.
    pub port: u16,
    /// TLS of the connection; of the proxy's where the address is `forwarded`.
    pub tls_version: TlsVersion,
    /// Cipher suite under the name that CloudTrail writes, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// A trusted proxy has named `address`.
    pub forwarded: bool,
}

/// A version of TLS that this server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// A TLS connection whose handshake is not over has no version yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("name the TLS version and cipher suite of a connection: its handshake is not over")]
pub struct NoTls;

/// The proxies whose word on the caller's address is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies {
    trusted: Vec<Network>,
    header: ForwardingHeader,
}

/// The one header in which proxies name the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingHeader {
    /// A list of addresses, each hop appending the one it saw.
    XForwardedFor,
    /// RFC 7239: `for=` of each element.
    Forwarded,
}

/// An IP network such as `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "read the network {0:?}: write an address with the length of its prefix and no bit set behind it, like 10.0.0.0/8"
)]
pub struct NetworkError(String);

impl Source {
    /// The source of a connection whose handshake is over.
    pub fn of(address: SocketAddr, tls: &ServerConnection) -> Result<Self, NoTls> {
        let tls_version = match tls.protocol_version().ok_or(NoTls)? {
            ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
            ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
            // No other is configured.
            _ => return Err(NoTls),
        };
        let suite = tls.negotiated_cipher_suite().ok_or(NoTls)?.suite();
        Ok(Self {
            address: address.ip().to_canonical(),
            port: address.port(),
            tls_version,
            cipher: cipher_name(suite),
            forwarded: false,
        })
    }
}

impl TlsVersion {
    /// As CloudTrail writes it: `TLSv1.3`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "TLSv1.2",
            Self::V1_3 => "TLSv1.3",
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Default for Proxies {
    fn default() -> Self {
        Self::new(Vec::new(), ForwardingHeader::XForwardedFor)
    }
}

impl Proxies {
    /// Proxies in these networks, which write this header. Without networks no header is believed.
    #[must_use]
    pub fn new(trusted: Vec<Network>, header: ForwardingHeader) -> Self {
        Self { trusted, header }
    }

    /// The source of a request with these headers on a connection from `direct`.
    #[must_use]
    pub fn source(&self, direct: &Source, headers: &HeaderMap) -> Source {
        let mut source = direct.clone();
        if !self.trusts(direct.address) {
            return source;
        }
        let hops = match self.header {
            ForwardingHeader::XForwardedFor => entries(headers, &X_FORWARDED_FOR),
            ForwardingHeader::Forwarded => entries(headers, &FORWARDED),
        };
        for entry in hops.into_iter().take(HOPS) {
            // Past an entry that cannot be read nothing is known: the hop before it stands.
            let Some(address) = entry.and_then(|entry| self.address(entry)) else {
                break;
            };
            source.address = address;
            source.forwarded = true;
            if !self.trusts(address) {
                break;
            }
        }
        source
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    fn address(&self, entry: &str) -> Option<IpAddr> {
        match self.header {
            ForwardingHeader::XForwardedFor => node(entry),
            ForwardingHeader::Forwarded => forwarded_for(entry),
        }
    }
}

impl Network {
    /// Whether an address lies in it. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let rest = |bits: u32| bits - u32::from(self.prefix);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let differs = u32::from(net) ^ u32::from(ip);
                differs.checked_shr(rest(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let differs = u128::from(net) ^ u128::from(ip);
                differs.checked_shr(rest(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let bad = || NetworkError(text.chars().take(64).collect());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| bad())?
            }
            Some(_) => return Err(bad()),
        };
        // A mapped address would never match: compared addresses are canonical.
        if prefix > bits || address.to_canonical() != address {
            return Err(bad());
        }
        let behind = match address {
            IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
            IpAddr::V6(ip) => u128::from(ip),
        };
        if behind.checked_shl(u32::from(prefix)).unwrap_or(0) != 0 {
            return Err(bad());
        }
        Ok(Self { address, prefix })
    }
}

/// Entries of all headers of this name, the last first; `None` for one that is no text.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<Option<&'a str>> {
    let mut all: Vec<_> = headers
        .get_all(name)
        .iter()
        .flat_map(|value| match value.to_str() {
            Ok(text) => text.split(',').map(|entry| Some(entry.trim())).collect(),
            Err(_) => vec![None],
        })
        .collect();
    all.reverse();
    all
}

/// The address of the `for=` of one element of `Forwarded` (RFC 7239, section 4); a comma inside a
/// quoted value splits the element into parts that are no addresses, which ends the search.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim().split_once('=')?;
        if name.eq_ignore_ascii_case("for") {
            // Twice: the element contradicts itself.
            if found.is_some() {
                return None;
            }
            let bare = value
                .strip_prefix('"')
                .map_or(Some(value), |rest| rest.strip_suffix('"'))?;
            found = Some(node(bare)?);
        }
    }
    found
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:4711`. Not `unknown`, not an obfuscated name.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let address: std::net::Ipv6Addr = inner.parse().ok()?;
    Some(IpAddr::V6(address).to_canonical())
}

/// The name that CloudTrail and most tools write: of TLS 1.3 IANA's, of TLS 1.2 OpenSSL's.
fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        other => other.as_str().unwrap_or("unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(address: &str) -> Source {
        Source {
            address: address.parse().expect("an address"),
            port: 4711,
            tls_version: TlsVersion::V1_3,
            cipher: "TLS_AES_256_GCM_SHA384",
            forwarded: false,
        }
    }

    fn proxies(header: ForwardingHeader) -> Proxies {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48"].map(|net| net.parse().expect("a network"));
        Proxies::new(trusted.into(), header)
    }

    fn seen(from: &str, header: ForwardingHeader, headers: &[(&str, &str)]) -> (String, bool) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        let source = proxies(header).source(&direct(from), &map);
        (source.address.to_string(), source.forwarded)
    }

    /// Attack P8: `aws:SourceIp` spoofed by a header.
    #[test]
    fn a_caller_that_is_no_trusted_proxy_cannot_name_its_address() {
        for header in [ForwardingHeader::XForwardedFor, ForwardingHeader::Forwarded] {
            let spoofed = [
                ("x-forwarded-for", "10.1.2.3"),
                ("forwarded", "for=10.1.2.3"),
                ("x-real-ip", "10.1.2.3"),
            ];
            let own = ("192.0.2.9".to_owned(), false);
            assert_eq!(seen("192.0.2.9", header, &spoofed), own);
        }
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "203.0.113.7".parse().expect("a value"));
        let nobody = Proxies::default().source(&direct("127.0.0.1"), &headers);
        assert_eq!(nobody, direct("127.0.0.1"), "without proxies nobody is one");
    }

    /// Attack P8: what stands left of the first untrusted hop is the caller's own claim.
    #[test]
    fn the_right_most_hop_that_is_not_trusted_is_the_caller() {
        let kind = ForwardingHeader::XForwardedFor;
        for (headers, caller) in [
            (vec![("x-forwarded-for", "203.0.113.7")], "203.0.113.7"),
            (
                vec![("x-forwarded-for", "1.1.1.1, 203.0.113.7")],
                "203.0.113.7",
            ),
            (
                vec![("x-forwarded-for", "1.1.1.1,203.0.113.7 , 10.9.9.9")],
                "203.0.113.7",
            ),
            (
                vec![
                    ("x-forwarded-for", "203.0.113.7"),
                    ("x-forwarded-for", "10.9.9.9"),
                ],
                "203.0.113.7",
            ),
            (vec![("x-forwarded-for", "203.0.113.7:8080")], "203.0.113.7"),
            (
                vec![("x-forwarded-for", "[2001:db8::7]:8080")],
                "2001:db8::7",
            ),
            (
                vec![("x-forwarded-for", "2001:db8::7, 2001:db8:1::5")],
                "2001:db8::7",
            ),
            (
                vec![("x-forwarded-for", "::ffff:203.0.113.7")],
                "203.0.113.7",
            ),
            // All hops are proxies: the left-most is the caller.
            (vec![("x-forwarded-for", "10.1.1.1, 10.9.9.9")], "10.1.1.1"),
            // The other form comes through a proxy as the caller sent it.
            (
                vec![
                    ("x-forwarded-for", "203.0.113.7"),
                    ("forwarded", "for=9.9.9.9"),
                ],
                "203.0.113.7",
            ),
        ] {
            assert_eq!(
                seen("10.0.0.1", kind, &headers),
                (caller.to_owned(), true),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_search() {
        let kind = ForwardingHeader::XForwardedFor;
        for junk in [
            "unknown",
            "",
            "203.0.113.7.9",
            "_hidden",
            "203.0.113.07",
            "a, ",
            "[::1",
        ] {
            let headers = [("x-forwarded-for", junk)];
            assert_eq!(
                seen("10.0.0.1", kind, &headers),
                ("10.0.0.1".to_owned(), false),
                "{junk}"
            );
        }
        let headers = [("x-forwarded-for", "9.9.9.9, junk, 10.2.2.2")];
        assert_eq!(
            seen("10.0.0.1", kind, &headers),
            ("10.2.2.2".to_owned(), true)
        );
        let long = vec!["10.3.3.3"; 10_000].join(",");
        let headers = [("x-forwarded-for", long.as_str())];
        assert_eq!(
            seen("10.0.0.1", kind, &headers),
            ("10.3.3.3".to_owned(), true)
        );
    }

    #[test]
    fn elements_of_rfc_7239_are_read_alike() {
        let kind = ForwardingHeader::Forwarded;
        for (value, caller, forwarded) in [
            ("for=203.0.113.7", "203.0.113.7", true),
            (
                "For=\"[2001:db8::7]:4711\";proto=https",
                "2001:db8::7",
                true,
            ),
            (
                "for=9.9.9.9, for=203.0.113.7;by=10.0.0.1",
                "203.0.113.7",
                true,
            ),
            ("for=203.0.113.7, for=10.4.4.4", "203.0.113.7", true),
            ("for=unknown", "10.0.0.1", false),
            ("for=203.0.113.7;for=9.9.9.9", "10.0.0.1", false),
            ("for=\"203.0.113.7", "10.0.0.1", false),
            ("proto=https", "10.0.0.1", false),
            ("203.0.113.7", "10.0.0.1", false),
        ] {
            let found = seen("10.0.0.1", kind, &[("forwarded", value)]);
            assert_eq!(found, (caller.to_owned(), forwarded), "{value}");
        }
    }

    #[test]
    fn networks_are_read_strictly() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("0.0.0.0/0", "203.0.113.7", "::1"),
            ("::/0", "2001:db8::1", "127.0.0.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("127.0.0.1/32", "::ffff:127.0.0.1", "127.0.0.2"),
        ] {
            let network: Network = text.parse().expect(text);
            assert!(
                network.contains(inside.parse().expect("an address")),
                "{text}"
            );
            assert!(
                !network.contains(outside.parse().expect("an address")),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "::/129",
            "2001:db8::1/64",
            "::ffff:10.0.0.0/104",
            "10.0.0.0/8 ",
            "example.com",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}

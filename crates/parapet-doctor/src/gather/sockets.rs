//! Sockets that wait for somebody, in the namespace of the thread that looks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::read;
use crate::facts::{Known, Listener, Protocol, Unknown};
use crate::report::plain;

/// More are not listed; a host with more is no appliance.
const MOST: usize = 4096;
/// `TCP_LISTEN`, and for UDP a socket that is connected to nobody (`TCP_CLOSE`).
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// The listening sockets of this thread's namespace.
pub(crate) fn listeners(owners: &BTreeMap<u64, String>) -> Known<Vec<Listener>> {
    let mut all = Vec::new();
    for (name, protocol) in [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
    ] {
        // A kernel without IPv6 has no such file.
        let text = read::file_if_there(Path::new("/proc/thread-self/net").join(name))?;
        all.extend(parse(&text.unwrap_or_default(), protocol, owners)?);
    }
    all.sort();
    all.dedup();
    all.truncate(MOST);
    Ok(all)
}

fn parse(text: &str, protocol: Protocol, owners: &BTreeMap<u64, String>) -> Known<Vec<Listener>> {
    let waits = match protocol {
        Protocol::Tcp => TCP_LISTEN,
        Protocol::Udp => UDP_UNCONNECTED,
    };
    let unreadable = || Unknown::because("the kernel's list of sockets cannot be read");
    let mut found = Vec::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, user, _, inode, ..] = fields[..] else {
            return Err(unreadable());
        };
        if state != waits {
            continue;
        }
        found.push(Listener {
            protocol,
            address: address(local).ok_or_else(unreadable)?,
            user: user.parse().map_err(|_| unreadable())?,
            process: inode
                .parse()
                .ok()
                .and_then(|inode: u64| owners.get(&inode).cloned()),
        });
    }
    Ok(found)
}

/// `0100007F:1F90`: words in the machine's order of bytes.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let text = address.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(text, 16).ok()?.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// Names of the processes behind sockets, by inode; of those that may be looked at.
pub(crate) fn owners() -> BTreeMap<u64, String> {
    let mut owners = BTreeMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return owners;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // Processes end while one looks, and those of others are closed to an ordinary user.
        let Ok(descriptors) = std::fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let mut called = None;
        for descriptor in descriptors.flatten().take(MOST) {
            let Ok(link) = std::fs::read_link(descriptor.path()) else {
                continue;
            };
            let inode = link.to_str().and_then(|link| {
                link.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            });
            if let Some(inode) = inode {
                let called = called.get_or_insert_with(|| {
                    let comm = read::file(entry.path().join("comm")).unwrap_or_default();
                    format!("{} ({name})", plain(comm.trim()))
                });
                owners.entry(inode).or_insert_with(|| called.clone());
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_kernels_list_are_read() {
        if cfg!(target_endian = "little") {
            assert_eq!(
                address("0100007F:1F90"),
                Some("127.0.0.1:8080".parse().unwrap())
            );
            assert_eq!(
                address("00000000000000000000000001000000:0016"),
                Some("[::1]:22".parse().unwrap())
            );
            // A mapped address is one of IPv4.
            assert_eq!(
                address("0000000000000000FFFF00000100007F:0016"),
                Some("127.0.0.1:22".parse().unwrap())
            );
        }
        for wrong in ["", "1", "01:", "0100007F", "x100007F:0016", "€€0007F:0016"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_sockets_that_wait_are_listed() {
        let text = "  sl  local_address rem_address st\n\
             0: 00000000:07E8 00000000:0000 0A 0:0 0:0 0 1000 0 1677 1\n\
             1: 00000000:07E9 00000000:0000 01 0:0 0:0 0 0 0 1678 1\n";
        let owners = BTreeMap::from([(1677, "sshd (7)".to_owned())]);
        let seen = parse(text, Protocol::Tcp, &owners).unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].address, "0.0.0.0:2024".parse().unwrap());
        assert_eq!(
            (seen[0].user, seen[0].process.as_deref()),
            (1000, Some("sshd (7)"))
        );
        assert!(parse("\nnonsense\n", Protocol::Tcp, &owners).is_err());
    }

    #[test]
    fn a_socket_of_this_process_is_seen() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let seen = listeners(&owners()).unwrap();
        let found = seen
            .iter()
            .find(|listener| listener.address == address)
            .unwrap();
        let process = found.process.as_deref().unwrap_or_default();
        assert!(
            process.contains(&std::process::id().to_string()),
            "{process}"
        );
    }
}

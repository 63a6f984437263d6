//! Who reaches whom: connections that are really tried, all at once, for about a second.
//!
//! A thread enters the namespace of a zone, becomes the user of a process there and connects. It
//! has that process's network, not its system call filter: what the process could reach if that
//! filter fell. A connection that comes up is closed at once, and nothing is sent on it.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use parapet_sandbox::examine::{Vantage, look_from};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::facts::{Attempt, Known, Outcome, Place, Process, Reach, Role, Target, Unknown};

/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_millis(1_200);
/// A gateway ends what it does not allow at once; a busy agent may need a moment.
const GATEWAY_LIMIT: Duration = Duration::from_secs(2);
/// Most addresses tried from one place.
pub(crate) const MOST_TARGETS: usize = 128;
/// Most processes of one kind whose place is tried.
const MOST_PLACES: usize = 32;

/// Where clouds keep their machines' secrets.
pub(crate) const METADATA: [&str; 2] = ["169.254.169.254:80", "[fd00:ec2::254]:80"];

/// What is needed to try.
pub(crate) struct Plan<'a> {
    pub(crate) targets: Vec<(Target, SocketAddr)>,
    pub(crate) is_root: bool,
    pub(crate) id_base: u32,
    /// Whether the agent has a user of its own.
    pub(crate) privileged: bool,
    pub(crate) cameras: &'a Known<Option<File>>,
    pub(crate) processes: &'a Known<Vec<Process>>,
}

/// One place to try from.
struct From {
    name: String,
    network: Option<File>,
    user: Option<u32>,
    /// Whether it is the host's own network, where the host's loopback is.
    is_host: bool,
}

impl Plan<'_> {
    /// Tries everything, from all places at the same time.
    pub(crate) fn run(self) -> Reach {
        let host = vec![From {
            name: "the host".to_owned(),
            network: None,
            user: None,
            is_host: true,
        }];
        let kinds = [
            Ok(host),
            self.agent(),
            self.cameras(),
            self.of(&[Role::Codec, Role::Infer], "worker"),
            self.of(&[Role::Application], "application"),
        ];
        let targets = &self.targets;
        let mut seen = std::thread::scope(|scope| {
            let running = kinds.map(|kind| {
                kind.map(|places| {
                    let threads = places
                        .into_iter()
                        .map(|from| scope.spawn(move || try_from(&from, targets)));
                    threads.collect::<Vec<_>>()
                })
            });
            running.map(|kind| {
                kind.and_then(|threads| {
                    let mut all = Vec::new();
                    for thread in threads {
                        let attempts = thread
                            .join()
                            .map_err(|_| Unknown::because("an attempt ended early"))??;
                        all.extend(attempts);
                    }
                    Ok(all)
                })
            })
        })
        .into_iter();
        let mut next = || {
            seen.next()
                .unwrap_or_else(|| Err(Unknown::because("nothing was tried")))
        };
        Reach {
            host: next(),
            agent: next(),
            cameras: next(),
            workers: next(),
            applications: next(),
        }
    }

    fn agent(&self) -> Known<Vec<From>> {
        if !self.is_root {
            return Err(Unknown::because(
                "only root can try as the agent's user: start the doctor as root",
            ));
        }
        if !self.privileged {
            return Err(Unknown::because(
                "no agent runs here with a user of its own: name its directory with --data",
            ));
        }
        Ok(vec![From {
            name: format!("the agent's user {}", self.id_base),
            network: None,
            user: Some(self.id_base),
            is_host: true,
        }])
    }

    fn cameras(&self) -> Known<Vec<From>> {
        let mut places = Vec::new();
        if let Some(network) = self.cameras.as_ref().map_err(Clone::clone)? {
            let network = network
                .try_clone()
                .map_err(|error| Unknown::because(format!("the camera zone: {error}")))?;
            places.push(From {
                name: "the camera zone".to_owned(),
                network: Some(network),
                user: None,
                is_host: false,
            });
        }
        match self.of(&[Role::Ingest], "ingest") {
            Ok(readers) => places.extend(readers),
            Err(error) if places.is_empty() => return Err(error),
            Err(_) => {}
        }
        Ok(places)
    }

    /// One place for each namespace of processes of these kinds.
    fn of(&self, roles: &[Role], called: &str) -> Known<Vec<From>> {
        if !self.is_root {
            return Err(Unknown::because(
                "only root can try from inside other processes' networks: start the doctor as root",
            ));
        }
        let processes = self.processes.as_ref().map_err(Clone::clone)?;
        let mut known = BTreeSet::new();
        let mut places = Vec::new();
        for process in processes.iter().filter(|p| roles.contains(&p.role)) {
            let place = process.place.clone()?;
            let number = match place {
                Place::Own(number) => number,
                Place::Host => 0,
                Place::Cameras => 1,
            };
            // Where all share a namespace, rules may tell users apart.
            let user = (number < 2).then_some(process.user);
            if !known.insert((number, user)) || places.len() == MOST_PLACES {
                continue;
            }
            match File::open(format!("/proc/{}/ns/net", process.pid)) {
                Ok(network) => places.push(From {
                    name: format!("{called} {}", process.pid),
                    network: Some(network),
                    user: Some(process.user),
                    is_host: place == Place::Host,
                }),
                // Ended meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Unknown::because(format!(
                        "the network of process {} cannot be entered: {error}",
                        process.pid
                    )));
                }
            }
        }
        if places.is_empty() {
            return Err(Unknown::because(format!(
                "no {called} runs here: start the appliance and look again"
            )));
        }
        Ok(places)
    }
}

fn try_from(from: &From, targets: &[(Target, SocketAddr)]) -> Known<Vec<Attempt>> {
    let vantage = Vantage {
        network: from.network.as_ref().map(AsFd::as_fd),
        user: from.user,
    };
    let has_gateway = from.network.is_some() && {
        let inside = Vantage {
            user: None,
            ..vantage
        };
        look_from(inside, has_gateway)
            .map_err(|error| Unknown::because(format!("{}: {error}", from.name)))?
    };
    // The loopback of another network is that network's own.
    let targets: Vec<(Target, SocketAddr)> = targets
        .iter()
        .filter(|(_, address)| from.is_host || !address.ip().is_loopback())
        .copied()
        .collect();
    let outcomes = look_from(vantage, || attempt(&targets, has_gateway))
        .map_err(|error| Unknown::because(format!("{} cannot be entered: {error}", from.name)))?;
    Ok(targets
        .iter()
        .zip(outcomes)
        .map(|((target, address), outcome)| Attempt {
            from: from.name.clone(),
            target: *target,
            address: *address,
            outcome,
        })
        .collect())
}

/// Whether this namespace sends everything to itself: an application's, with a gateway of the
/// agent inside. The kernel's table of routes has the default one on loopback then.
fn has_gateway() -> bool {
    let routes = super::read::file(Path::new("/proc/thread-self/net/route")).unwrap_or_default();
    routes.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        fields.next() == Some("lo") && fields.next() == Some("00000000")
    })
}

/// Connects to all at once; an outcome each, in their order.
fn attempt(targets: &[(Target, SocketAddr)], has_gateway: bool) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; targets.len()];
    let mut open: Vec<(usize, OwnedFd)> = Vec::new();
    let mut up: Vec<(usize, OwnedFd)> = Vec::new();
    for (at, (_, address)) in targets.iter().enumerate().take(MOST_TARGETS) {
        match begin(*address) {
            Ok((socket, true)) => up.push((at, socket)),
            Ok((socket, false)) => open.push((at, socket)),
            Err(outcome) => outcomes[at] = Some(outcome),
        }
    }
    let deadline = Instant::now() + LIMIT;
    while !open.is_empty() {
        let ready = wait(&open, PollFlags::OUT, deadline);
        if ready.is_empty() {
            break;
        }
        let (done, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut open)
            .into_iter()
            .partition(|(at, _)| ready.contains(at));
        open = rest;
        for (at, socket) in done {
            match sockopt::socket_error(&socket) {
                Ok(Ok(())) => up.push((at, socket)),
                Ok(Err(error)) | Err(error) => outcomes[at] = Some(refusal(error)),
            }
        }
    }
    for (at, _) in &up {
        outcomes[*at] = Some(Outcome::Connected);
    }
    if has_gateway {
        // A gateway takes every call and ends those that its rules do not allow.
        let deadline = Instant::now() + GATEWAY_LIMIT;
        while !up.is_empty() {
            let ready = wait(&up, PollFlags::RDHUP, deadline);
            if ready.is_empty() {
                break;
            }
            for at in &ready {
                outcomes[*at] = Some(Outcome::Gateway);
            }
            up.retain(|(at, _)| !ready.contains(at));
        }
    }
    outcomes
        .into_iter()
        .map(|outcome| outcome.unwrap_or(Outcome::Silent))
        .collect()
}

/// A socket that is on its way, and whether it has arrived already.
fn begin(address: SocketAddr) -> Result<(OwnedFd, bool), Outcome> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        socket_with(family, SocketType::STREAM, flags, None).map_err(|_| Outcome::NoWay)?;
    match connect(&socket, &address) {
        Ok(()) => Ok((socket, true)),
        Err(rustix::io::Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(refusal(error)),
    }
}

fn refusal(error: rustix::io::Errno) -> Outcome {
    use rustix::io::Errno;
    match error {
        Errno::CONNREFUSED | Errno::CONNRESET => Outcome::Refused,
        Errno::TIMEDOUT => Outcome::Silent,
        _ => Outcome::NoWay,
    }
}

/// Which of these something happened to, before the deadline.
fn wait(sockets: &[(usize, OwnedFd)], what: PollFlags, deadline: Instant) -> BTreeSet<usize> {
    let mut polled: Vec<PollFd<'_>> = sockets
        .iter()
        .map(|(_, socket)| PollFd::new(socket, what))
        .collect();
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec {
        tv_sec: left.as_secs().cast_signed(),
        tv_nsec: left.subsec_nanos().into(),
    };
    // An interrupted wait has seen nothing: the caller's limit holds all the same.
    if poll(&mut polled, Some(&left)).is_err() {
        return BTreeSet::new();
    }
    polled
        .iter()
        .zip(sockets)
        .filter(|(polled, _)| !polled.revents().is_empty())
        .map(|(_, (at, _))| *at)
        .collect()
}

/// Whether an address is worth trying from elsewhere: not this machine's own loopback.
pub(crate) fn is_outside(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        // Without the interface's number it leads nowhere.
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback()
        && !address.is_unspecified()
        && !is_link_local
        && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn open_closed_and_silent_addresses_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = gone.local_addr().unwrap();
        drop(gone);
        let targets = [(Target::Camera, open), (Target::Camera, closed)];
        assert_eq!(
            attempt(&targets, false),
            [Outcome::Connected, Outcome::Refused]
        );
    }

    #[test]
    fn a_peer_that_never_answers_does_not_hold_the_doctor() {
        // A listener whose queue is full answers no further call.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _filling: Vec<_> = (0..8).filter_map(|_| begin(address).ok()).collect();
        let begin = Instant::now();
        let seen = attempt(&[(Target::Camera, address)], false);
        assert_eq!(seen, [Outcome::Silent]);
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_call_that_the_gateway_ends_has_reached_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = std::thread::spawn(move || drop(listener.accept()));
        let seen = attempt(&[(Target::Camera, address)], true);
        assert_eq!(seen, [Outcome::Gateway]);
        gateway.join().unwrap();
    }
}

//! Code of an attacker, `examples/attacker.rs`, in the place of a worker and of an application.

use std::fs;
use std::io::PipeReader;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use parapet_sandbox::channel::Channel;
use parapet_sandbox::launch::{LaunchEvent, Worker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

use crate::host::{Host, IMAGE, on_each_host, read_until, text, wait_readable};

/// The attacker's executable, in the place of a worker or in an image.
pub(super) fn attacker() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_parapet-launcher"))
        .with_file_name("examples")
        .join("attacker")
}

/// What it said of each attempt until it had made all of them.
fn attempts(output: &mut PipeReader) -> Vec<(String, String)> {
    let mut text = String::new();
    let end = r#"{"attempt":"end","outcome":"done"}"#;
    read_until(output, &format!("{end}\n"), &mut text);
    text.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let word = |key: &str| line[key].as_str().unwrap().to_owned();
            (word("attempt"), word("outcome"))
        })
        .collect()
}

/// Sockets of the host that have a name and no file: only a network namespace, filters and
/// Landlock keep anybody from them. One for each kind of socket that an attacker may have.
fn abstract_listeners(test: &str) -> (String, UnixListener, OwnedFd) {
    let name = format!("parapet-{test}-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    listener.set_nonblocking(true).unwrap();
    // Whoever is outside gets in.
    drop(UnixStream::connect_addr(&address).unwrap());
    listener.accept().unwrap();
    let packets = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
    rustix::net::bind(&packets, &address).unwrap();
    rustix::net::listen(&packets, 4).unwrap();
    (name, listener, packets)
}

/// Nobody has called the host.
fn nobody_came(listener: &UnixListener, packets: &OwnedFd) {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    for socket in [listener.as_fd(), packets.as_fd()] {
        let called = poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&now)).unwrap();
        assert_eq!(called, 0, "somebody inside has reached the host");
    }
}

const WORKERS: [(&str, Worker); 3] = [
    ("parapet-codec", Worker::Codec),
    ("parapet-ingest", Worker::Ingest),
    ("parapet-infer", Worker::Infer),
];

#[test]
fn code_of_an_attacker_inside_a_worker_gets_out_nowhere() {
    on_each_host(|host| {
        let (abstract_name, listener, packets) = abstract_listeners("worker");
        for (name, worker) in WORKERS {
            fs::copy(attacker(), host.directory.path().join("libexec").join(name)).unwrap();
            let (id, _, mut output, channel) = host.worker(worker);
            let order = serde_json::json!({ "try": { "abstract_name": abstract_name } });
            channel.send(&order, &[], &[]).unwrap();
            let attempts = attempts(&mut output);
            // It goes on until its channel ends.
            drop(channel);
            assert_eq!(text(output), "");
            assert_eq!(host.exit_code(id), 0);
            for (attempt, outcome) in &attempts {
                let ingest = worker == Worker::Ingest;
                let wanted = match attempt.as_str() {
                    "end" => outcome == "done",
                    // It may listen to itself, for TLS: at no port that it asks for, but one that the
                    // kernel chose is behind the zone's rules.
                    "socket_inet" | "socket_inet6" | "listen_tcp_anywhere" if ingest => {
                        outcome == "done"
                    }
                    // Its channel is no socket to listen at (EINVAL).
                    "listen" if ingest => outcome == "errno 22",
                    // It may connect, but its channel is connected already (EISCONN).
                    "connect_abstract_by_channel" if ingest => outcome == "errno 106",
                    // EPERM, EACCES, or the end by SIGSYS.
                    _ => ["errno 1", "errno 13", "signal 31"].contains(&outcome.as_str()),
                };
                assert!(wanted, "{name}: {attempt} {outcome}");
            }
            assert!(attempts.len() > 33, "only these attempts: {attempts:?}");
        }
        nobody_came(&listener, &packets);
    });
}

/// An application's own affairs, within its own walls: what it may do, and what comes of it.
const ITS_OWN: &[&str] = &[
    "exec",
    "fork",
    "socket_inet",
    "socket_inet_datagram",
    "socket_inet6",
    "socket_unix",
    "listen_tcp",
    "listen_tcp_anywhere",
    "socket_netlink",
    "open_passwd",
    "open_itself",
    "open_null",
    "open_memory",
    "make_file",
    "kill_all",
    "kill_init",
    "listen_abstract",
    "new_code",
];

#[test]
fn code_of_an_attacker_as_an_application_gets_out_nowhere_and_ends_within_its_memory() {
    on_each_host(|host| {
        let (abstract_name, listener, packets) = abstract_listeners("application");
        let program = host
            .state()
            .join(format!("images/{IMAGE}/rootfs/panorama/attacker"));
        fs::copy(attacker(), program).unwrap();
        // Where nothing limits it, it takes nothing.
        let bytes = if host.limits_memory() {
            2_usize << 30
        } else {
            0
        };
        let (neighbour, _, _output, channel) = neighbour(host);
        let bytes_word = bytes.to_string();
        let command = ["/panorama/attacker", abstract_name.as_str(), &bytes_word];
        let (id, _, mut output) = host.application(&command);
        let attempts = attempts(&mut output);
        for (attempt, outcome) in &attempts {
            let wanted = match attempt.as_str() {
                "end" => outcome == "done",
                own if ITS_OWN.contains(&own) => outcome == "done",
                // Standard error; the pipe is root's where root starts it for nobody (EACCES).
                "open_descriptor_anew" => outcome == "done" || outcome == "errno 13",
                // Nobody listens there in its own network (ECONNREFUSED).
                "connect_abstract" => outcome == "errno 111",
                // It has no channel (EBADF).
                "connect_abstract_by_channel" | "listen" => outcome == "errno 9",
                // Process 1 is its init, whose memory is closed.
                _ => ["errno 1", "errno 13"].contains(&outcome.as_str()),
            };
            assert!(wanted, "{attempt} {outcome}");
        }
        assert!(attempts.len() > 33, "only these attempts: {attempts:?}");
        nobody_came(&listener, &packets);
        if bytes > 0 {
            assert_eq!(host.end(id), (137, true), "{}", text(output));
        } else {
            assert_eq!(host.end(id), (4, false), "{}", text(output));
        }
        still_alive(&channel);
        drop(channel);
        assert_eq!(host.exit_code(neighbour), 0);
    });
}

/// A decoder beside the one that is attacked.
fn neighbour(host: &mut Host) -> (u64, u32, PipeReader, Channel) {
    let place = host.directory.path().join("libexec/parapet-codec");
    fs::copy(attacker(), place).unwrap();
    let found = host.worker(Worker::Codec);
    still_alive(&found.3);
    found
}

fn still_alive(channel: &Channel) {
    channel.send(&"ping", &[], &[]).unwrap();
    wait_readable(channel, "a word of the neighbour");
    let said = channel.recv::<String>().unwrap().unwrap().header;
    assert_eq!(said, "alive");
}

impl Host {
    fn limits_memory(&self) -> bool {
        let lacks =
            |sentence: &&String| sentence.starts_with("limits of") && sentence.contains("memory");
        let lacking = self.missing.iter().find(lacks);
        if let Some(sentence) = lacking {
            eprintln!("skipped: {sentence}");
        }
        lacking.is_none()
    }

    /// Code, and whether it was for want of memory.
    fn end(&self, wanted: u64) -> (i32, bool) {
        match self.event() {
            LaunchEvent::Exited {
                id,
                code,
                out_of_memory,
            } if id == wanted => (code, out_of_memory),
            other => panic!("not the end of {wanted}: {other:?}"),
        }
    }
}

#[test]
fn a_worker_that_takes_memory_without_end_ends_alone_at_its_limit() {
    on_each_host(|host| {
        if !host.limits_memory() {
            return;
        }
        let (beside, _, _output, neighbour) = neighbour(host);
        fs::copy(
            attacker(),
            host.directory.path().join("libexec/parapet-ingest"),
        )
        .unwrap();
        let (id, _, output, channel) = host.worker(Worker::Ingest);
        // Ingest's limit is 256 MiB.
        let order = serde_json::json!({ "bomb": { "bytes": 1_u64 << 30 } });
        channel.send(&order, &[], &[]).unwrap();
        assert_eq!(host.end(id), (137, true), "{}", text(output));
        still_alive(&neighbour);
        drop(neighbour);
        assert_eq!(host.exit_code(beside), 0);
    });
}

//! The proofs of isolation: a launcher as the agent starts it, and programs inside that try to get
//! out. Each runs as root (where the test does) and as an ordinary user, and says when it skips.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step of a test is its failure"
)]

mod attacker;
#[path = "../../parapet-sandbox/tests/guest/mod.rs"]
mod guest;
mod host;
mod runtime;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use parapet_sandbox::channel::Channel;
use parapet_sandbox::launch::{LaunchEvent, LaunchRequest, Signal, Worker};
use parapet_sandbox::launcher_process::ID_BASE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::host::{
    As, Host, IMAGE, LIMIT, findings, on_each_host, read_until, text, wait_gone, wait_line,
    wait_readable,
};

#[test]
fn an_application_gets_out_nowhere() {
    on_each_host(|host| {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port().to_string();
        let name = format!("parapet-test-{}-{:?}", std::process::id(), host.how);
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _abstract_socket = UnixListener::bind_addr(&address).unwrap();
        let sdk = host.state().join("instances/one/run/node/sdk.sock");
        let listener = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            None,
        )
        .unwrap();
        rustix::net::bind(&listener, &rustix::net::SocketAddrUnix::new(&sdk).unwrap()).unwrap();
        rustix::net::listen(&listener, 4).unwrap();
        fs::set_permissions(&sdk, fs::Permissions::from_mode(0o666)).unwrap();
        // Another instance, with something in its storage.
        let (other, _, output) = host
            .try_application("two", &["sh", "-c", "echo x > /opt/aws/panorama/storage/x"])
            .unwrap();
        assert_eq!(text(output), "");
        assert_eq!(host.exit_code(other), 0);

        let pid = std::process::id().to_string();
        let state = host.state();
        let outside = [
            "device/key",
            "instances/two/storage/x",
            "instances/one/storage",
        ]
        .map(|path| state.join(path).to_string_lossy().into_owned());
        let mut command = vec![
            "python3",
            "/panorama/probe.py",
            port.as_str(),
            name.as_str(),
            pid.as_str(),
        ];
        command.extend(outside.iter().map(String::as_str));
        command.extend([
            "/etc/shadow",
            "/proc/1/root/device/key",
            "/run/parapet/../../device/key",
        ]);
        let (id, _, output) = host.application(&command);
        let output = text(output);
        assert_eq!(host.exit_code(id), 0, "{output}");
        let found = findings(&output);

        for allowed in ["connect_sdk", "write_storage", "write_logs", "write_tmp"] {
            assert_eq!(found.get(allowed), Some(&"ok"), "{allowed} in {output}");
        }
        // Started as nobody by a test that is root, the pipe is root's.
        if host.how != As::User || !rustix::process::geteuid().is_root() {
            assert_eq!(found.get("write_stdout_by_name"), Some(&"ok"), "{output}");
        }
        let expected_ok = [
            "connect_sdk",
            "write_storage",
            "write_logs",
            "write_tmp",
            "write_stdout_by_name",
        ];
        let attempts = found.iter().filter(|(name, _)| {
            !expected_ok.contains(name)
                && ![
                    "status_",
                    "processes",
                    "interfaces",
                    "descriptors",
                    "setuid_bits",
                ]
                .iter()
                .any(|fact| name.starts_with(fact))
        });
        let mut refused = 0;
        for (name, outcome) in attempts {
            let expected = [
                "EPERM",
                "EACCES",
                "EROFS",
                "ENOENT",
                "ECONNREFUSED",
                "ENETUNREACH",
                "ENOSPC",
                "ESRCH",
            ];
            // Without root there is no second user inside to become.
            let no_such_user = *name == "setuid" && *outcome == "EINVAL";
            assert!(
                expected.contains(outcome) || no_such_user,
                "{name} {outcome} in {output}"
            );
            refused += 1;
        }
        assert!(refused >= 36, "only {refused} attempts were made: {output}");
        for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh"] {
            assert_eq!(found[format!("status_{set}").as_str()], "0000000000000000");
        }
        assert_eq!(found["status_NoNewPrivs"], "1");
        assert_eq!(found["status_Uid"], "0 0 0 0");
        assert_eq!(found["processes"], "2", "its init and itself");
        assert_eq!(found["interfaces"], "lo");
        assert_eq!(found["descriptors"], "0 1 2 4");
        assert_eq!(found["setuid_bits"], "True");
        let written = state.join("instances/one/storage/new");
        let owner = fs::metadata(&written).unwrap().uid();
        match host.how {
            As::Root | As::Runtime | As::Crun => {
                assert!(owner > ID_BASE && owner % 65536 == 0, "{owner:#x}");
            }
            _ => assert_eq!(owner, fs::metadata(state.join("device/key")).unwrap().uid()),
        }
    });
}

#[test]
fn a_worker_has_its_channel_and_nothing_else() {
    on_each_host(|host| {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let look = format!(
            "{{ id -u; ls /proc/self/fd | tr '\\n' ' '; echo; \
             ls -d /proc/[0-9]* | wc -l; grep -c : /proc/net/dev; \
             cat {}/device/key; touch /x /usr/x /tmp/x; \
             python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 5); \
             print(\"connected\")'; }} >&2",
            host.state().display()
        );
        for (name, worker, connects) in [
            ("parapet-codec", Worker::Codec, false),
            ("parapet-ingest", Worker::Ingest, true),
        ] {
            host.worker_script(name, &look);
            let (id, _, output, _channel) = host.worker(worker);
            let output = text(output);
            host.exit_code(id);
            let mut lines = output.lines();
            assert_eq!(lines.next(), Some("1000"), "{output}");
            // 0, 1, 2, its channel; the shell's copy of its script and the listing itself.
            let descriptors = lines.next().unwrap().trim();
            assert!(descriptors.starts_with("0 1 2 3"), "{output}");
            assert!(descriptors.split(' ').count() <= 6, "{output}");
            assert!(!output.contains("secret"), "{output}");
            assert_eq!(output.matches("touch: cannot touch").count(), 3, "{output}");
            assert_eq!(output.contains("connected"), connects, "{name}: {output}");
        }
    });
}

/// Calls and questions towards the world, and what else an application could try; prints as
/// `probe.py` does.
const CALLS: &str = r#"
import errno, socket, sys
def attempt(name, action):
    try:
        print(name, action(), flush=True)
    except OSError as error:
        print(name, errno.errorcode.get(error.errno, error), flush=True)
def tcp(address, family=socket.AF_INET):
    def action():
        with socket.socket(family) as client:
            client.settimeout(10)
            client.connect(address)
            return client.recv(100).decode()
    return action
def udp(address, family=socket.AF_INET):
    def action():
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect(address)
            client.send(b"question")
            return client.recv(100).decode()
    return action
attempt("tcp", tcp(("203.0.113.7", 443)))
attempt("tcp_metadata", tcp(("169.254.169.254", 80)))
attempt("tcp_mapped", tcp(("::ffff:203.0.113.8", 443), socket.AF_INET6))
attempt("dns", udp(("8.8.8.8", 53)))
attempt("dns_ours", udp(("127.0.0.53", 53)))
attempt("udp", udp(("203.0.113.7", 123)))
attempt("udp_mapped", udp(("::ffff:203.0.113.7", 123), socket.AF_INET6))
attempt("udp6", udp(("2001:db8::7", 53), socket.AF_INET6))
attempt("tcp6", tcp(("2001:db8::7", 443), socket.AF_INET6))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
def take_their_place():
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        taker = socket.socket(socket.AF_INET, kind)
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for address in ("127.0.0.53", "0.0.0.0"):
            try:
                taker.bind((address, 53))
                taker.listen() if kind == socket.SOCK_STREAM else None
                return "taken"
            except OSError as error:
                last = error
    raise last
attempt("their_place", take_their_place)
attempt("resolver", lambda: open("/etc/resolv.conf").readline().strip().replace(" ", "_"))
attempt("host", tcp(("127.0.0.1", int(sys.argv[1]))))
inside = socket.socket()
inside.bind(("127.0.0.1", 9000))
inside.listen()
print("listens yes", flush=True)
peer, _ = inside.accept()
print("called", peer.recv(100).decode(), flush=True)
"#;

#[test]
fn all_calls_of_an_application_with_a_gateway_end_at_the_gateway() {
    on_each_host(|host| {
        assert!(
            !host
                .missing
                .iter()
                .any(|sentence| sentence.starts_with("gateways")),
            "{:?}",
            host.missing
        );
        let on_the_host = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = on_the_host.local_addr().unwrap().port().to_string();
        let (id, mut output, names, calls) =
            host.with_gateway(&["python3", "-c", CALLS, port.as_str()]);
        let answering = std::thread::spawn(move || {
            for _ in 0..3 {
                wait_readable(&calls, "a call");
                let (mut call, _) = calls.accept().unwrap();
                std::io::Write::write_all(&mut call, b"gateway").unwrap();
            }
            for _ in 0..2 {
                wait_readable(&names, "a question");
                let mut bytes = [0; 100];
                let (length, from) = names.recv_from(&mut bytes).unwrap();
                assert_eq!(&bytes[..length], b"question");
                names.send_to(b"answer", from).unwrap();
            }
            (names, calls)
        });
        let mut text = String::new();
        read_until(&mut output, "listens yes", &mut text);
        let (names, calls) = answering.join().unwrap();
        // Nothing else has arrived, and nothing at the host's own socket.
        for socket in [names.as_fd(), calls.as_fd(), on_the_host.as_fd()] {
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let ready = poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&now)).unwrap();
            assert_eq!(ready, 0, "{text}");
        }

        // The way in: a socket of the launcher's making, inside.
        host.send(&LaunchRequest::Socket { id }, &[]);
        wait_readable(host.channel(), "a socket");
        let packet = host.channel().recv::<LaunchEvent>().unwrap().unwrap();
        assert_eq!(packet.header, LaunchEvent::Socket { id, error: None });
        let [socket]: [OwnedFd; 1] = packet.fds.try_into().unwrap();
        rustix::io::ioctl_fionbio(&socket, false).unwrap();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9000));
        rustix::net::connect(&socket, &address).unwrap();
        std::io::Write::write_all(&mut TcpStream::from(socket), b"inbound").unwrap();
        read_until(&mut output, "called inbound", &mut text);
        assert_eq!(host.exit_code(id), 0, "{text}");
        let found = findings(&text);
        for (name, outcome) in [
            ("tcp", "gateway"),
            ("tcp_metadata", "gateway"),
            ("tcp_mapped", "gateway"),
            ("dns", "answer"),
            ("dns_ours", "answer"),
            ("udp", "EPERM"),
            ("udp_mapped", "EPERM"),
            ("udp6", "ENETUNREACH"),
            ("tcp6", "ENETUNREACH"),
            ("raw", "EPERM"),
            ("packet", "EPERM"),
            ("their_place", "EADDRINUSE"),
            ("resolver", "nameserver_127.0.0.53"),
            ("host", "ECONNREFUSED"),
        ] {
            assert_eq!(found.get(name), Some(&outcome), "{name} in {text}");
        }
        // Its end closes the way in.
        host.send(&LaunchRequest::Socket { id }, &[]);
        let event = host.event();
        assert!(
            matches!(&event, LaunchEvent::Socket { error: Some(_), .. }),
            "{event:?}"
        );
    });
}

#[test]
fn without_nft_an_application_starts_without_a_gateway_and_the_reason_is_said() {
    let Some(mut host) = Host::start(As::WithoutNft) else {
        return;
    };
    let told = |text: &str| text.contains("nft") && text.contains("nftables");
    assert!(
        host.missing
            .iter()
            .any(|sentence| sentence.starts_with("gateways") && told(sentence)),
        "{:?}",
        host.missing
    );
    let try_it = "import socket\ntry: socket.create_connection((\"203.0.113.7\", 443), 5)\n\
                  except OSError as error: print(error.errno)";
    let (id, output) = host.ask_for("one", &["python3", "-c", try_it], true);
    wait_readable(host.channel(), "the start of an application");
    let packet = host.channel().recv::<LaunchEvent>().unwrap().unwrap();
    match packet.header {
        LaunchEvent::Started { no_gateway, .. } => {
            let reason = no_gateway.unwrap_or_default();
            assert!(told(&reason), "{reason}");
        }
        other => panic!("not a start: {other:?}"),
    }
    assert!(packet.fds.is_empty());
    // ENETUNREACH.
    assert_eq!(text(output), "101\n");
    assert_eq!(host.exit_code(id), 0);
}

#[test]
fn no_two_processes_share_a_user_when_there_is_root() {
    let Some(mut host) = Host::start(As::Root) else {
        return;
    };
    host.worker_script("parapet-codec", "exec sleep 1000");
    let mut users = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..3 {
        let (_, pid, output, channel) = host.worker(Worker::Codec);
        users.push(fs::metadata(format!("/proc/{pid}/status")).unwrap().uid());
        kept.push((output, channel));
    }
    for instance in ["one", "two"] {
        let (_, _, output) = host.try_application(instance, &["sleep", "1000"]).unwrap();
        let storage = host
            .state()
            .join("instances")
            .join(instance)
            .join("storage");
        users.push(fs::metadata(storage).unwrap().uid());
        kept.push((output, Channel::pair().unwrap().0));
    }
    // A process that may not be read belongs to root in /proc; its user is in its status.
    assert!(users.iter().all(|user| *user > ID_BASE), "{users:x?}");
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len(), 5, "{users:x?}");
}

#[test]
fn everything_ends_with_the_launcher() {
    on_each_host(|host| {
        host.worker_script("parapet-codec", "exec sleep 1000");
        let (_, worker, _stderr, _channel) = host.worker(Worker::Codec);
        let (_, init, mut output) =
            host.application(&["sh", "-c", "trap '' TERM; echo ready; sleep 1000"]);
        wait_line(&mut output, "ready");
        // The script that started the launcher has become it.
        host.child.kill().unwrap();
        host.child.wait().unwrap();
        wait_gone(worker);
        wait_gone(init);
        text(output);
    });
}

#[test]
fn the_launcher_ends_with_the_agents_end_of_the_channel() {
    on_each_host(|host| {
        let (_, init, output) = host.application(&["sleep", "1000"]);
        drop(host.channel.take());
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = host.child.try_wait().unwrap() {
                break status;
            }
            assert!(begin.elapsed() < LIMIT, "the launcher outlives the agent");
            std::thread::yield_now();
        };
        assert!(status.success(), "{status}");
        wait_gone(init);
        text(output);
    });
}

#[test]
fn an_application_is_asked_before_it_is_ended() {
    on_each_host(|host| {
        let polite = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done";
        let (id, _, mut output) = host.application(&["sh", "-c", polite]);
        wait_line(&mut output, "ready");
        host.send(
            &LaunchRequest::Signal {
                id,
                signal: Signal::Terminate,
            },
            &[],
        );
        assert_eq!(host.exit_code(id), 42);

        let deaf = "trap '' TERM; echo ready; while :; do sleep 0.1; done";
        let (id, _, mut output) = host.application(&["sh", "-c", deaf]);
        wait_line(&mut output, "ready");
        host.send(
            &LaunchRequest::Signal {
                id,
                signal: Signal::Terminate,
            },
            &[],
        );
        host.send(
            &LaunchRequest::Signal {
                id,
                signal: Signal::Kill,
            },
            &[],
        );
        assert_eq!(host.exit_code(id), 128 + 9);
        text(output);
    });
}

#[test]
fn the_code_of_an_application_comes_back_and_its_orphans_end_with_it() {
    on_each_host(|host| {
        let (id, _, output) = host.application(&["sh", "-c", "sleep 1000 & exit 7"]);
        // The orphan holds the pipe: its end is the orphan's.
        assert_eq!(text(output), "");
        assert_eq!(host.exit_code(id), 7);
        let (id, _, _output) = host.application(&["sh", "-c", "kill -SEGV $$"]);
        assert_eq!(host.exit_code(id), 128 + 11);
    });
}

#[test]
fn links_of_an_image_lead_nowhere() {
    on_each_host(|host| {
        let rootfs = host.state().join(format!("images/{IMAGE}/rootfs"));
        let outside = host.directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
        for place in ["dev", "proc", "sys", "tmp", "run", "opt", "var", "etc"] {
            let link = rootfs.join(place);
            symlink(&outside, &link).unwrap();
            let refused = host.try_application("one", &["true"]).map(drop);
            let message = refused.expect_err(place);
            assert!(
                message.contains(&format!("/{place} is a symbolic link")),
                "{message}"
            );
            fs::remove_file(link).unwrap();
        }
        for place in ["opt/aws", "opt/aws/panorama", "opt/aws/panorama/storage"] {
            let link = rootfs.join(place);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(&outside, &link).unwrap();
            assert!(host.try_application("one", &["true"]).is_err(), "{place}");
            fs::remove_file(link).unwrap();
        }
        // Elsewhere a link stays one, and is followed inside only.
        symlink(host.state(), rootfs.join("escape")).unwrap();
        symlink("../../../../../..", rootfs.join("up")).unwrap();
        let read = "cat /escape/device/key /up/device/key; test -e /escape && echo out; true";
        let (id, _, output) = host.application(&["sh", "-c", read]);
        let output = text(output);
        assert!(
            !output.contains("secret") && !output.contains("out"),
            "{output}"
        );
        assert_eq!(host.exit_code(id), 0);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    });
}

#[test]
fn an_image_with_its_own_system_is_the_root() {
    on_each_host(|host| {
        let rootfs = host.state().join(format!("images/{IMAGE}/rootfs"));
        // A whole system of one program that needs no library.
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find(|p| Path::new(p).exists());
        let Some(busybox) = busybox else {
            eprintln!("skipped: no static busybox on this machine");
            return;
        };
        for directory in ["usr/bin", "etc", "opt/own"] {
            fs::create_dir_all(rootfs.join(directory)).unwrap();
        }
        fs::copy(busybox, rootfs.join("usr/bin/busybox")).unwrap();
        symlink("usr/bin", rootfs.join("bin")).unwrap();
        symlink("busybox", rootfs.join("usr/bin/sh")).unwrap();
        fs::write(rootfs.join("etc/hosts"), "").unwrap();
        fs::write(rootfs.join("opt/own/file"), "own\n").unwrap();
        let look = "busybox cat /opt/own/file /etc/hosts; busybox ls /usr /opt/aws/panorama";
        let (id, _, output) = host.application(&["sh", "-c", look]);
        let output = text(output);
        assert_eq!(host.exit_code(id), 0, "{output}");
        for expected in [
            "own\n",
            "127.0.0.1 localhost",
            "/usr:\nbin\n",
            "logs\nstorage\n",
        ] {
            assert!(output.contains(expected), "{expected:?} in {output}");
        }
    });
}

#[test]
fn fifty_starts_leave_nothing_behind() {
    on_each_host(|host| {
        let launcher = host.child.id();
        let directory = host.directory.path().to_string_lossy().into_owned();
        let count = || {
            let descriptors = fs::read_dir(format!("/proc/{launcher}/fd"))
                .unwrap()
                .count();
            let mounts = fs::read_to_string(format!("/proc/{launcher}/mountinfo")).unwrap();
            let children =
                fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap();
            // Others mount and unmount on this host meanwhile: what is ours, or on the stage.
            let ours = |line: &&str| line.contains(&directory) || line.contains(" /tmp ");
            (descriptors, mounts.lines().filter(ours).count(), children)
        };
        let before = count();
        let mut times = Vec::new();
        for _ in 0..50 {
            let begin = Instant::now();
            let (id, _, output) = host.application(&["true"]);
            times.push(begin.elapsed());
            assert_eq!(host.exit_code(id), 0);
            assert_eq!(text(output), "");
        }
        assert_eq!(count(), before);
        times.sort_unstable();
        eprintln!(
            "start as {:?}: median {:?}, slowest {:?}",
            host.how, times[25], times[49]
        );
        // A runtime is started twice for a container.
        let bound = if runtime::is_used(host.how) { 500 } else { 30 };
        assert!(
            times[0] < Duration::from_millis(bound),
            "the fastest start took {:?}",
            times[0]
        );
    });
}

#[test]
fn an_instance_is_removed_with_all_its_files_but_not_while_it_runs() {
    on_each_host(|host| {
        let fill = "cd /opt/aws/panorama/storage; mkdir -p a/b/c; echo x > a/b/c/x; \
                    ln -s /etc a/link; chmod 0 a/b; echo ready; sleep 1000";
        let (id, _, mut output) = host.application(&["sh", "-c", fill]);
        wait_line(&mut output, "ready");
        let refused = host.remove("one").unwrap();
        assert!(refused.contains("runs"), "{refused}");
        host.send(
            &LaunchRequest::Signal {
                id,
                signal: Signal::Kill,
            },
            &[],
        );
        host.exit_code(id);
        assert_eq!(host.remove("one"), None);
        assert!(!host.state().join("instances/one").exists());
        assert!(host.state().join("instances/two").exists());
        assert_eq!(host.remove("one"), None, "once more");
        assert!(host.remove("../device").is_some());
        assert!(host.state().join("device/key").exists());
    });
}

#[test]
fn what_cannot_start_says_why_and_the_launcher_goes_on() {
    on_each_host(|host| {
        // A runtime says it in its own words.
        let (no_program, no_right) = match host.how {
            As::Runtime | As::Crun => ("executable file", "ermission denied"),
            _ => ("/usr/bin/no-such-program", "start the program"),
        };
        let refusals = [
            ("../one", vec!["true"], "instance \"../one\""),
            ("three", vec!["true"], "instances/three"),
            ("one", vec!["no-such-program"], no_program),
            ("one", vec![], "the command"),
            ("one", vec!["/panorama/probe.py"], no_right),
        ];
        for (instance, command, expected) in refusals {
            let refused = host.try_application(instance, &command).map(drop);
            let message = refused.expect_err(expected);
            assert!(message.contains(expected), "{message}");
        }
        // Descriptors that do not fit, a number in use, a worker that is not there.
        let (ours, theirs) = Channel::pair().unwrap();
        host.send(
            &LaunchRequest::Worker {
                id: 99,
                worker: Worker::Codec,
            },
            &[theirs.into_fd()],
        );
        assert!(host.begun(99).unwrap_err().contains("descriptors"));
        drop(ours);
        let (id, _, _output) = host.application(&["sleep", "1000"]);
        host.next = id;
        assert!(
            host.try_application("one", &["true"])
                .map(drop)
                .unwrap_err()
                .contains("in use")
        );
        host.next = id + 1;
        let (id, _, output) = host.application(&["echo", "still here"]);
        assert_eq!(text(output), "still here\n");
        assert_eq!(host.exit_code(id), 0);
    });
}

#[test]
fn where_no_namespaces_are_a_worker_runs_without_network_and_the_operator_is_told() {
    let allowed = Command::new("unshare")
        .args(["--user", "--map-root-user", "true"])
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this host makes no user namespace to forbid others in");
        return;
    }
    let Some(mut host) = Host::start(As::Caged) else {
        return;
    };
    assert!(
        host.missing
            .iter()
            .any(|sentence| sentence.starts_with("sandboxes")),
        "{:?}",
        host.missing
    );
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let connect = format!(
        "exec python3 -c 'import socket, sys\nsocket.socketpair()\n\
         print(open(\"/proc/self/status\").read().count(\"NoNewPrivs:\\t1\"), file=sys.stderr)\n\
         socket.create_connection((\"127.0.0.1\", {port}), 5)' "
    );
    host.worker_script("parapet-codec", &connect);
    let (id, _, output, _channel) = host.worker(Worker::Codec);
    let output = text(output);
    assert_eq!(host.exit_code(id), 1, "{output}");
    assert!(
        output.starts_with('1') && output.contains("PermissionError"),
        "{output}"
    );
    host.worker_script("parapet-ingest", &connect);
    let (id, _, output, _channel) = host.worker(Worker::Ingest);
    let output = text(output);
    assert_eq!(host.exit_code(id), 0, "{output}");
    let refused = host
        .try_application("one", &["true"])
        .map(drop)
        .unwrap_err();
    assert!(refused.contains("user namespaces"), "{refused}");
}

#[test]
fn an_ordinary_program_finds_all_that_it_needs_under_its_filter() {
    // Threads, children, pipes, loopback, local sockets, mappings, timers, locks of files; and
    // NumPy with its threads where the host has it.
    let program = "import concurrent.futures as f, mmap, os, socket, subprocess, tempfile, threading, time, fcntl\n\
        with f.ThreadPoolExecutor(8) as p: assert sum(p.map(lambda n: n * n, range(100))) == 328350\n\
        assert subprocess.run(['sh', '-c', 'echo a | tr a b'], stdout=subprocess.PIPE).stdout == b'b\\n'\n\
        s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname())\n\
        a, _ = s.accept(); c.sendall(b'x'); assert a.recv(1) == b'x'\n\
        u, v = socket.socketpair(); u.send(b'y'); assert v.recv(1) == b'y'\n\
        m = mmap.mmap(-1, 8192); m[0:1] = b'z'; assert m[0:1] == b'z'\n\
        t = tempfile.TemporaryFile(); t.write(b'1'); t.flush(); os.fsync(t.fileno()); fcntl.flock(t, fcntl.LOCK_EX)\n\
        p = os.fork()\n\
        if p == 0: os._exit(7)\n\
        assert os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) == 7\n\
        time.sleep(0.01)\n\
        try:\n import numpy as n; assert n.ones((300, 300)).dot(n.ones((300, 300)))[0, 0] == 300; print('numpy')\n\
        except ImportError: pass\n\
        print('all')";
    on_each_host(|host| {
        let (id, _, output) = host.application(&["python3", "-c", program]);
        let output = text(output);
        assert_eq!(host.exit_code(id), 0, "{output}");
        assert!(output.ends_with("all\n"), "{output}");
        if !output.contains("numpy") {
            eprintln!("skipped: this host's Python has no NumPy; the rest was tried");
        }
    });
}

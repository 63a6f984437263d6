//! What an attacker could try who runs code of his own inside a worker or an application.
//!
//! For tests. Takes the place of `parapet-codec`, `parapet-infer` or `parapet-ingest` in a
//! directory of executables, and learns by its name which one it is; under any other name it is an
//! application. For each attempt it makes a child that, in a worker, confines itself as the real
//! one does ([`confine::worker`]) and then tries; one JSON line an attempt goes to standard error:
//! `{"attempt":"bpf","outcome":"signal 31"}`, where an outcome is `done`, `errno N` or `signal N`.
//! The last line is `{"attempt":"end",...}`.
//!
//! A worker is ordered about by its channel ([`Order`]), an application by its arguments:
//! `attacker ABSTRACT-NAME BYTES`.

#![expect(
    unsafe_code,
    reason = "attacks are system calls that no safe wrapper makes"
)]

use std::ffi::CStr;
use std::process::ExitCode;
use std::sync::OnceLock;

use parapet_sandbox::channel::Channel;
use parapet_sandbox::launch::Worker;
use parapet_sandbox::launcher_process::CHANNEL_FD;
use parapet_sandbox::{confine, inherited};
use serde::Deserialize;

/// What a test tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    /// Make all attempts; the host listens at this abstract name.
    Try { abstract_name: String },
    /// Take memory until the end, or until there are so many bytes.
    Bomb { bytes: usize },
    /// Say that it lives, by the channel.
    Ping,
}

/// The name of a socket of the host, without the zero byte that makes it abstract.
static ABSTRACT: OnceLock<String> = OnceLock::new();

/// A name, and what is called: 0 and more is a success.
type Attempt = (&'static str, fn() -> i64);

const ATTEMPTS: &[Attempt] = &[
    ("exec", || {
        let arguments = [c"/bin/true".as_ptr(), std::ptr::null()];
        // SAFETY: a path and a list that end with their nulls.
        i64::from(unsafe {
            libc::execve(
                arguments[0],
                arguments.as_ptr(),
                arguments[1..].as_ptr().cast(),
            )
        })
    }),
    ("fork", || {
        call(libc::SYS_clone, [libc::SIGCHLD as u64, 0, 0, 0, 0])
    }),
    ("socket_inet", || socket(libc::AF_INET, libc::SOCK_STREAM)),
    ("socket_inet_datagram", || {
        socket(libc::AF_INET, libc::SOCK_DGRAM)
    }),
    ("socket_raw", || socket(libc::AF_INET, libc::SOCK_RAW)),
    ("socket_inet6", || socket(libc::AF_INET6, libc::SOCK_STREAM)),
    ("socket_unix", || socket(libc::AF_UNIX, libc::SOCK_STREAM)),
    ("socket_netlink", || {
        socket(libc::AF_NETLINK, libc::SOCK_RAW)
    }),
    ("socket_packet", || socket(libc::AF_PACKET, libc::SOCK_RAW)),
    ("socket_alg", || socket(libc::AF_ALG, libc::SOCK_SEQPACKET)),
    ("socket_vsock", || socket(libc::AF_VSOCK, libc::SOCK_STREAM)),
    ("open_passwd", || open(c"/etc/passwd", libc::O_RDONLY)),
    ("open_itself", || open(c"/proc/self/exe", libc::O_RDONLY)),
    ("open_null", || open(c"/dev/null", libc::O_WRONLY)),
    ("open_memory", || open(c"/proc/self/mem", libc::O_RDWR)),
    ("open_others", || open(c"/proc/1/environ", libc::O_RDONLY)),
    ("open_descriptor_anew", || {
        open(c"/proc/self/fd/2", libc::O_WRONLY)
    }),
    ("make_file", || {
        open(c"/tmp/x", libc::O_CREAT | libc::O_WRONLY)
    }),
    ("mount", || call(libc::SYS_mount, [0; 5])),
    ("ptrace", || {
        call(libc::SYS_ptrace, [libc::PTRACE_TRACEME.into(), 0, 0, 0, 0])
    }),
    ("bpf", || call(libc::SYS_bpf, [0; 5])),
    ("userfaultfd", || {
        call(libc::SYS_userfaultfd, [1, 0, 0, 0, 0])
    }),
    ("io_uring", || {
        call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0])
    }),
    ("keyctl", || call(libc::SYS_keyctl, [0; 5])),
    ("perf_event", || call(libc::SYS_perf_event_open, [0; 5])),
    ("unshare", || {
        call(libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0])
    }),
    ("setns", || call(libc::SYS_setns, [3, 0, 0, 0, 0])),
    ("module", || call(libc::SYS_finit_module, [3, 0, 0, 0, 0])),
    ("file_by_handle", || {
        call(libc::SYS_open_by_handle_at, [3, 0, 0, 0, 0])
    }),
    ("kill_all", || call(libc::SYS_kill, [u64::MAX, 0, 0, 0, 0])),
    ("kill_init", || call(libc::SYS_kill, [1, 0, 0, 0, 0])),
    ("read_others", || {
        call(libc::SYS_process_vm_readv, [1, 0, 0, 0, 0])
    }),
    ("listen", || call(libc::SYS_listen, [3, 1, 0, 0, 0])),
    ("listen_tcp", || listen_tcp(Some(4444))),
    // The kernel chooses a port where none was asked for.
    ("listen_tcp_anywhere", || listen_tcp(None)),
    ("connect_abstract", || {
        connect_abstract(socket(libc::AF_UNIX, libc::SOCK_STREAM))
    }),
    // A socket that it has, where it may make none.
    ("connect_abstract_by_channel", || {
        connect_abstract(CHANNEL_FD.into())
    }),
    ("listen_abstract", || {
        let made = socket(libc::AF_UNIX, libc::SOCK_STREAM);
        if made < 0 {
            return made;
        }
        let (address, length) = abstract_address();
        let address = std::ptr::from_ref(&address) as u64;
        call(libc::SYS_bind, [made as u64, address, length, 0, 0])
    }),
    ("new_code", || {
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let rights = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
        call(libc::SYS_mmap, [0, 4096, rights, flags, u64::MAX])
    }),
];

fn call(number: libc::c_long, a: [u64; 5]) -> i64 {
    // SAFETY: the addresses among the arguments are null, which the kernel answers with an error.
    unsafe { libc::syscall(number, a[0], a[1], a[2], a[3], a[4], 0) }
}

fn socket(family: i32, kind: i32) -> i64 {
    call(libc::SYS_socket, [family as u64, kind as u64, 0, 0, 0])
}

fn open(path: &CStr, flags: i32) -> i64 {
    // SAFETY: the path ends with its null.
    i64::from(unsafe { libc::open(path.as_ptr(), flags, 0o600) })
}

/// Listens at all addresses; without a socket or a port the failure to get it stands.
fn listen_tcp(port: Option<u16>) -> i64 {
    let made = socket(libc::AF_INET, libc::SOCK_STREAM);
    if made < 0 {
        return made;
    }
    if let Some(port) = port {
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: 0 },
            sin_zero: [0; 8],
        };
        let length = size_of_val(&address) as u64;
        let address = std::ptr::from_ref(&address) as u64;
        let bound = call(libc::SYS_bind, [made as u64, address, length, 0, 0]);
        if bound < 0 {
            return bound;
        }
    }
    call(libc::SYS_listen, [made as u64, 1, 0, 0, 0])
}

fn abstract_address() -> (libc::sockaddr_un, u64) {
    let name = ABSTRACT.get().map(String::as_bytes).unwrap_or_default();
    let mut address = libc::sockaddr_un {
        sun_family: libc::AF_UNIX as libc::sa_family_t,
        sun_path: [0; 108],
    };
    for (place, byte) in address.sun_path[1..].iter_mut().zip(name) {
        *place = byte.cast_signed();
    }
    let length = size_of::<libc::sa_family_t>() + 1 + name.len();
    (address, length as u64)
}

/// Connects a socket to the host's; without a socket the failure to make it stands.
fn connect_abstract(socket: i64) -> i64 {
    if socket < 0 {
        return socket;
    }
    let (address, length) = abstract_address();
    let address = std::ptr::from_ref(&address) as u64;
    call(libc::SYS_connect, [socket as u64, address, length, 0, 0])
}

fn main() -> ExitCode {
    let mut words = std::env::args();
    let name = words.next().unwrap_or_default();
    let worker = if name.ends_with("parapet-ingest") {
        Worker::Ingest
    } else if name.ends_with("parapet-infer") {
        Worker::Infer
    } else if name.ends_with("parapet-codec") {
        Worker::Codec
    } else {
        return application(words);
    };
    let Ok(channel) = inherited::channel() else {
        return ExitCode::from(2);
    };
    obey(worker, &channel)
}

/// Until the channel ends.
fn obey(worker: Worker, channel: &Channel) -> ExitCode {
    while let Ok(Some(packet)) = channel.recv::<Order>() {
        match packet.header {
            Order::Try { abstract_name } => try_all(Some(worker), abstract_name),
            Order::Bomb { bytes } => {
                // As the real worker is when it reads what an attacker sent.
                if confine::worker(worker).is_err() {
                    return ExitCode::from(3);
                }
                bomb(bytes);
                return ExitCode::from(4);
            }
            Order::Ping => {
                if channel.send(&"alive", &[], &[]).is_err() {
                    return ExitCode::from(5);
                }
            }
        }
    }
    ExitCode::SUCCESS
}

fn application(mut words: std::env::Args) -> ExitCode {
    let (Some(name), Some(Ok(bytes))) = (words.next(), words.next().map(|word| word.parse()))
    else {
        return ExitCode::from(2);
    };
    try_all(None, name);
    bomb(bytes);
    // A host without limits gives it all: that is no end by a limit.
    ExitCode::from(4)
}

fn try_all(worker: Option<Worker>, abstract_name: String) {
    // Told twice, the first name stands.
    let _ = ABSTRACT.set(abstract_name);
    for (name, attempt) in ATTEMPTS {
        println_error(name, &outcome(worker, *attempt));
    }
    println_error("end", "done");
}

/// Takes memory, and writes to all of it: what is only promised is nobody's.
fn bomb(bytes: usize) {
    const PART: usize = 8 << 20;
    let mut taken = Vec::new();
    while taken.len() * PART < bytes {
        let mut part = vec![0_u8; PART];
        for page in part.chunks_mut(4096) {
            page[0] = 1;
        }
        taken.push(std::hint::black_box(part));
    }
}

fn println_error(attempt: &str, outcome: &str) {
    eprintln!(
        "{}",
        serde_json::json!({ "attempt": attempt, "outcome": outcome })
    );
}

fn outcome(worker: Option<Worker>, attempt: fn() -> i64) -> String {
    // SAFETY: this process has one thread, so its copy lacks none that holds a lock.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = match worker.map_or(Ok(()), confine::worker) {
            Err(_) => 255,
            Ok(()) if attempt() >= 0 => 0,
            Ok(()) => std::io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(254),
        };
        // SAFETY: takes a number and never returns.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    if child < 0 || unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
        return "no child".to_owned();
    }
    if libc::WIFSIGNALED(status) {
        return format!("signal {}", libc::WTERMSIG(status));
    }
    match libc::WEXITSTATUS(status) {
        0 => "done".to_owned(),
        255 => "not confined".to_owned(),
        number => format!("errno {number}"),
    }
}

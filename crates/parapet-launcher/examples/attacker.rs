//! What an attacker could try who runs code of his own inside a worker.
//!
//! For tests. Takes the place of `parapet-codec`, `parapet-infer` or `parapet-ingest` in a
//! directory of executables, and learns by its name which one it is. For each attempt it makes a
//! child that confines itself as the real worker does ([`confine::worker`]) and then tries; one
//! JSON line an attempt goes to standard error: `{"attempt":"bpf","outcome":"signal 31"}`, where an
//! outcome is `done`, `errno N` or `signal N`. The last line is `{"attempt":"end",...}`; then it
//! waits for the end of its channel.

#![expect(
    unsafe_code,
    reason = "attacks are system calls that no safe wrapper makes"
)]

use std::ffi::CStr;
use std::process::ExitCode;

use parapet_sandbox::launch::Worker;
use parapet_sandbox::{confine, inherited};

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

fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    let worker = if name.ends_with("parapet-ingest") {
        Worker::Ingest
    } else if name.ends_with("parapet-infer") {
        Worker::Infer
    } else {
        Worker::Codec
    };
    let Ok(channel) = inherited::channel() else {
        return ExitCode::from(2);
    };
    for (name, attempt) in ATTEMPTS {
        println_error(name, &outcome(worker, *attempt));
    }
    println_error("end", "done");
    while let Ok(Some(_)) = channel.recv::<serde_json::Value>() {}
    ExitCode::SUCCESS
}

fn println_error(attempt: &str, outcome: &str) {
    eprintln!(
        "{}",
        serde_json::json!({ "attempt": attempt, "outcome": outcome })
    );
}

fn outcome(worker: Worker, attempt: fn() -> i64) -> String {
    // SAFETY: this process has one thread, so its copy lacks none that holds a lock.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = match confine::worker(worker) {
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

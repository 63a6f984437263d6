//! System calls that rustix does not offer, each as one safe function.
//!
//! Owns every `unsafe` block of this crate but for [`crate::inherited`]. Never decides anything: no paths, no users, no order.

#![expect(
    unsafe_code,
    reason = "clone3, mount_setattr, close_range and their like have no safe wrapper"
)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process::Command;

use rustix::mount::MountAttrFlags;

/// Which namespaces a process gets of its own; user, mount, PID, IPC, UTS and cgroup always come
/// together, the network is a question of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    /// None: a plain child.
    Plain,
    /// All but the network.
    Namespaces,
    /// All.
    NamespacesAndNetwork,
}

/// Which side of [`fork`] this is.
pub(crate) enum Side {
    /// The child.
    Child,
    /// The parent, with the child's process ID and a descriptor of it.
    Parent(u32, OwnedFd),
}

/// Makes a child that goes on from here with a copy of everything. Refused while this process has
/// further threads: a lock held by one of them would be locked for ever in the child.
pub(crate) fn fork(fork: Fork) -> io::Result<Side> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("this process has more than one thread"));
    }
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let flags = libc::CLONE_PIDFD
        | match fork {
            Fork::Plain => 0,
            Fork::Namespaces => namespaces,
            Fork::NamespacesAndNetwork => namespaces | libc::CLONE_NEWNET,
        };
    let mut pidfd: RawFd = -1;
    // SAFETY: all-zero is a valid `clone_args`: every field is a number, zero means "not used".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags as u64;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM and with no stack given this is a fork: the child goes on with a
    // copy of this memory. `arguments` and `pidfd` outlive the call and the size is that of
    // `arguments`. There is one thread only (checked above), so no lock of the allocator or of
    // std is held by a thread that the child lacks.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut arguments,
            size_of::<libc::clone_args>(),
        )
    };
    match pid {
        0 => Ok(Side::Child),
        // SAFETY: on success with CLONE_PIDFD the kernel has stored a fresh descriptor in `pidfd`,
        // which nobody else knows.
        pid if pid > 0 => Ok(Side::Parent(pid as u32, unsafe {
            OwnedFd::from_raw_fd(pidfd)
        })),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a change of mounts reaches those below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This mount.
    One,
    /// This mount and all below it.
    All,
}

/// Adds attributes to a mount and cuts it off from its peers.
pub(crate) fn restrict_mount(
    mount: BorrowedFd<'_>,
    reach: Reach,
    attributes: MountAttrFlags,
) -> io::Result<()> {
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns: u64,
    }
    let attr = MountAttr {
        set: u64::from(attributes.bits()),
        clear: 0,
        propagation: libc::MS_PRIVATE,
        userns: 0,
    };
    let flags = libc::AT_EMPTY_PATH as u32
        | match reach {
            Reach::One => 0,
            Reach::All => libc::AT_RECURSIVE as u32,
        };
    // SAFETY: the path is an empty C string, `attr` has the layout of `struct mount_attr` in its
    // first version and lives through the call, and the size given is its own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result)
}

/// Marks every descriptor from `first` on to be closed by the next `exec`.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: CLOSE_RANGE_CLOEXEC closes nothing by itself, so no owned descriptor is lost.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
}

/// Closes every descriptor. For a process that owns none any more and only waits.
pub(crate) fn close_all() -> io::Result<()> {
    // SAFETY: the caller, the init of an application, uses no descriptor after this call and
    // leaves by `exit_now`, which runs no destructor that would close one again.
    check(unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) })
}

/// Puts a copy of a descriptor at number `target`, to survive `exec`.
pub(crate) fn place(descriptor: RawFd, target: RawFd) -> io::Result<()> {
    // SAFETY: used between fork and exec only, where numbers below the lowest owned descriptor
    // belong to nobody but the standard streams that are replaced on purpose.
    check(i64::from(unsafe {
        if descriptor == target {
            libc::fcntl(target, libc::F_SETFD, 0)
        } else {
            libc::dup2(descriptor, target)
        }
    }))
}

/// Has `command`'s child find `descriptor` at number `target`. The descriptor must stay open until
/// the command is spawned.
pub(crate) fn place_in(command: &mut Command, descriptor: RawFd, target: RawFd) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure allocates nothing, takes no lock and calls async-signal-safe functions
    // only (fcntl, dup2), as `pre_exec` asks for.
    unsafe {
        command.pre_exec(move || place(descriptor, target));
    }
}

/// Makes every thread of this process user and group `id`, without further groups.
/// The error names the call.
pub(crate) fn become_user(id: u32) -> Result<(), (&'static str, io::Error)> {
    // glibc's wrappers change every thread of the process; rustix's would change this one alone.
    // SAFETY: the calls take numbers and, for setgroups, an empty list whose address is unused.
    let failed = unsafe {
        if libc::setgroups(0, std::ptr::null()) != 0 {
            Some("setgroups")
        } else if libc::setresgid(id, id, id) != 0 {
            Some("setresgid")
        } else if libc::setresuid(id, id, id) != 0 {
            Some("setresuid")
        } else {
            None
        }
    };
    failed.map_or(Ok(()), |call| Err((call, io::Error::last_os_error())))
}

/// Empties the bounding set of capabilities, also of those younger than this code.
pub(crate) fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        // SAFETY: PR_CAPBSET_DROP takes a number and no memory.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            // The first number that this kernel does not know.
            return if error.raw_os_error() == Some(libc::EINVAL) && capability > 0 {
                Ok(())
            } else {
                Err(error)
            };
        }
    }
    Ok(())
}

/// Joins a new, empty session keyring, so that keys of the launcher's session are out of reach.
pub(crate) fn new_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<u8>(),
        )
    };
    match check(result) {
        // A kernel without keys has none to hide.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        other => other,
    }
}

/// Brings up the loopback interface of this network namespace.
pub(crate) fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero is a valid `ifreq`: numbers and an array of bytes.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which lives through the call.
    check(i64::from(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    }))
}

/// Which signals a process waits for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signals {
    /// None: as a fresh program expects them. Rust's runtime ignores SIGPIPE, which a program
    /// would inherit.
    Default,
    /// All blocked, for [`next_signal`].
    Blocked,
}

/// Sets what happens with signals.
pub(crate) fn set_signals(signals: Signals) -> io::Result<()> {
    // SAFETY: all-zero is a valid `sigset_t`; the calls write and read only this set, and SIG_DFL
    // is a valid disposition for SIGPIPE.
    let result = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        if signals == Signals::Blocked {
            libc::sigfillset(&raw mut set);
        } else {
            libc::sigemptyset(&raw mut set);
            libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut())
    };
    check(i64::from(result))
}

/// Waits for the next of the blocked signals.
pub(crate) fn next_signal() -> libc::c_int {
    // SAFETY: as in `set_signals`; a null information pointer is allowed.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigwaitinfo(&raw const set, std::ptr::null_mut())
    }
}

/// Sends SIGTERM to every other process of this PID namespace.
pub(crate) fn terminate_everybody() {
    // SAFETY: no memory is involved. The caller is the init of its own PID namespace, so that -1
    // reaches nobody outside. No such process is no failure.
    unsafe { libc::kill(-1, libc::SIGTERM) };
}

/// Becomes the program at `path`. Returns only on failure.
pub(crate) fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let vector = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|entry| entry.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (arguments, environment) = (vector(arguments), vector(environment));
    // SAFETY: both vectors end with a null pointer; their strings and the path end with a null
    // byte and live in the caller.
    unsafe {
        libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
    }
    io::Error::last_os_error()
}

/// Moves this process into a user and a mount namespace of its own.
pub(crate) fn unshare_user_and_mounts() -> io::Result<()> {
    // SAFETY: the flags are numbers; neither touches memory or descriptors of other threads. The
    // kernel refuses CLONE_NEWUSER while there are any.
    check(i64::from(unsafe {
        libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
    }))
}

/// From here on this process and its children make local sockets only. Needs "no new privileges".
pub(crate) fn forbid_network() -> io::Result<()> {
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE: u32 = 0xc000_00b7;
    // The second way into x86-64's calls, with numbers of its own.
    const X32: u32 = 0x4000_0000;
    // Offsets in `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    const FIRST_ARGUMENT: u32 = 16;
    let refused = libc::SECCOMP_RET_ERRNO | libc::EACCES as u32;
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let end = |action| statement(libc::BPF_RET | libc::BPF_K, action);
    let equal = |value, yes, no| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: yes,
        jf: no,
        k: value,
    };
    let mut filter = [
        load(ARCH),
        equal(ARCHITECTURE, 0, 7),
        load(NUMBER),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16,
            jt: 5,
            jf: 0,
            k: X32,
        },
        // A ring of requests could ask for a socket without the call.
        equal(libc::SYS_io_uring_setup as u32, 4, 0),
        equal(libc::SYS_socket as u32, 0, 2),
        load(FIRST_ARGUMENT),
        equal(libc::AF_UNIX as u32, 0, 1),
        end(libc::SECCOMP_RET_ALLOW),
        end(refused),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as libc::c_ushort,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` names the array above with its length; both live through the call, which
    // copies them.
    check(i64::from(unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    }))
}

fn statement(code: u32, value: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    }
}

/// What the kernel knows of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockState {
    /// Whether somebody keeps it near the true time.
    pub synchronised: bool,
    /// How far it may be from the true time, in microseconds; grows while nobody corrects it.
    pub most_error_us: u64,
}

/// Asks the kernel how well its clock is kept; sets nothing.
pub fn clock_state() -> io::Result<ClockState> {
    // SAFETY: all-zero is a valid `timex`: numbers only; no mode bit asks for a change.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `state` lives through the call, which writes into it.
    let clock = unsafe { libc::adjtimex(&raw mut state) };
    check(i64::from(clock))?;
    Ok(ClockState {
        synchronised: clock != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0,
        most_error_us: u64::try_from(state.maxerror).unwrap_or(0),
    })
}

/// The version of Landlock's interface; the error is the kernel's word that it has none.
pub fn landlock_version() -> io::Result<u32> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the call takes a null pointer and size 0 and gives a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    check(version)?;
    Ok(version as u32)
}

/// Ends this process at once, without destructors: those belong to the process it was copied from.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes a number and never returns.
    unsafe { libc::_exit(code) }
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

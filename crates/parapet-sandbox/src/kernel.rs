//! System calls that rustix does not offer, each as one safe function.
//!
//! Owns every `unsafe` block of this crate but for [`crate::inherited`] and [`crate::fscrypt`]. Never decides anything: no paths, no users, no order.

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
    set_interface("lo", libc::IFF_UP as libc::c_short)
}

/// Brings an interface of this network namespace down.
pub(crate) fn shut_interface(name: &str) -> io::Result<()> {
    set_interface(name, 0)
}

fn set_interface(name: &str, flags: libc::c_short) -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero is a valid `ifreq`: numbers and an array of bytes.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = flags;
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

/// Moves this process into a mount namespace of its own.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: the flag is a number; memory and descriptors stay as they are.
    check(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNS) }))
}

/// Moves this thread into a network namespace of its own, without any interface up.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: the flag is a number; memory and descriptors stay as they are.
    check(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNET) }))
}

/// Whether this kernel filters system calls.
pub(crate) fn has_filters() -> bool {
    // SAFETY: no filter is set from a null pointer; the kernel answers EFAULT where it would have
    // read one, and EINVAL where it has no filters. Any other number is the answer of a filter that
    // is set already, as the outer one of a worker is.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    result != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL)
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

/// What came of a system call that a test tried under filters.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    /// The filters let it through.
    Allowed,
    /// It was refused with this number.
    Refused(i32),
    /// It ended the process with this signal.
    Ended(i32),
}

/// Tries calls under `filters` without ever making one: a filter beneath them turns what they
/// let through into "no tracer", and every refusal of theirs outranks it.
#[cfg(test)]
pub(crate) fn try_calls(
    filters: &[seccompiler::BpfProgram],
    calls: &[(i64, [u64; 6])],
) -> Vec<Tried> {
    // An argument that `seccomp` and `exit_group` do not have tells our own calls from those that
    // are tried.
    const OURS: u64 = 0x5041_5241;
    const NOT_YET: i32 = -1;
    let ours = |call| {
        let own = seccompiler::SeccompCondition::new(
            5,
            seccompiler::SeccompCmpArgLen::Dword,
            seccompiler::SeccompCmpOp::Eq,
            OURS,
        );
        (
            call,
            vec![seccompiler::SeccompRule::new(vec![own.unwrap()]).unwrap()],
        )
    };
    let beneath: seccompiler::BpfProgram = seccompiler::SeccompFilter::new(
        [ours(libc::SYS_seccomp), ours(libc::SYS_exit_group)].into(),
        seccompiler::SeccompAction::Trace(0),
        seccompiler::SeccompAction::Allow,
        std::env::consts::ARCH.try_into().unwrap(),
    )
    .unwrap()
    .try_into()
    .unwrap();
    let bytes = size_of::<i32>() * calls.len().max(1);
    // SAFETY: a fresh mapping of this many bytes, zeroed and aligned to a page, which parent and
    // child share and nobody else knows; it is taken down below.
    let results = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(results, libc::MAP_FAILED);
    let results = results.cast::<i32>();
    let mut tried = Vec::new();
    while tried.len() < calls.len() {
        let first = tried.len();
        // SAFETY: the mapping has room for one number a call, and no child runs.
        unsafe {
            for index in first..calls.len() {
                results.add(index).write_volatile(NOT_YET);
            }
        }
        // SAFETY: the child makes system calls only, on memory that is there already, and leaves
        // by one; other threads of the test keep no lock that it would take.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: as above. The filters are arrays of the length given; every call but our
            // own is refused by one of them, so the numbers in its arguments are never used.
            unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
                for filter in std::iter::once(&beneath).chain(filters) {
                    let program = libc::sock_fprog {
                        len: filter.len() as libc::c_ushort,
                        filter: filter.as_ptr().cast::<libc::sock_filter>().cast_mut(),
                    };
                    let set = libc::syscall(
                        libc::SYS_seccomp,
                        libc::SECCOMP_SET_MODE_FILTER,
                        0,
                        &raw const program,
                        0,
                        0,
                        OURS,
                    );
                    if set != 0 {
                        libc::syscall(libc::SYS_exit_group, 3, 0, 0, 0, 0, OURS);
                    }
                }
                for (index, (number, a)) in calls.iter().enumerate().skip(first) {
                    let result = libc::syscall(*number, a[0], a[1], a[2], a[3], a[4], a[5]);
                    let errno = if result < 0 {
                        *libc::__errno_location()
                    } else {
                        0
                    };
                    results.add(index).write_volatile(errno);
                }
                libc::syscall(libc::SYS_exit_group, 0, 0, 0, 0, 0, OURS);
            }
            // Not reached: every policy lets a process end.
            std::process::abort();
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call; the child is ours and not yet waited for.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(
            !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) == 0,
            "a filter could not be set"
        );
        for index in first..calls.len() {
            // SAFETY: within the mapping; the child that wrote it is gone.
            match unsafe { results.add(index).read_volatile() } {
                NOT_YET => {
                    assert!(libc::WIFSIGNALED(status), "call {index} has no result");
                    tried.push(Tried::Ended(libc::WTERMSIG(status)));
                    break;
                }
                libc::ENOSYS => tried.push(Tried::Allowed),
                errno => tried.push(Tried::Refused(errno)),
            }
        }
    }
    // SAFETY: the mapping made above, not used any more.
    unsafe { libc::munmap(results.cast(), bytes) };
    tried
}

/// What the kernel itself answers to a call without arguments under `filters`; `None` when that
/// ends the process.
#[cfg(test)]
pub(crate) fn answer_of(filters: &[seccompiler::BpfProgram], number: i64) -> Option<i32> {
    in_child(|| {
        for filter in filters {
            if seccompiler::apply_filter(filter).is_err() {
                return 255;
            }
        }
        // SAFETY: no memory is passed; the caller chooses a call that refuses to work with nothing.
        if unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) } >= 0 {
            return 0;
        }
        io::Error::last_os_error().raw_os_error().unwrap_or(255)
    })
    .ok()
}

/// Does `work`, which makes system calls and no more, in a child: its code, or the signal that
/// ended it.
#[cfg(test)]
fn in_child(work: impl FnOnce() -> i32) -> Result<i32, i32> {
    // SAFETY: the child makes system calls on memory that is there already, and leaves by one;
    // other threads of the test keep no lock that it would take.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        exit_now(work());
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call; the child is ours and not yet waited for.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFSIGNALED(status) {
        Err(libc::WTERMSIG(status))
    } else {
        Ok(libc::WEXITSTATUS(status))
    }
}

/// Asks for a process ID by 32-bit x86's way into the kernel, under `filters`: the signal that
/// ends the process, if one does.
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) fn try_foreign_call(filters: &[seccompiler::BpfProgram]) -> Option<i32> {
    in_child(|| {
        for filter in filters {
            if seccompiler::apply_filter(filter).is_err() {
                return 3;
            }
        }
        // SAFETY: number 20 is getpid, which takes no memory; the register of the result is
        // declared.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("eax") 20 => _);
        }
        0
    })
    .err()
}

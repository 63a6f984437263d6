//! Groups of calls that several policies share.

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET,
    CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, CLONE_SIGHAND, CLONE_THREAD, CLONE_VM,
    F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD, F_SETFL, PR_GET_NAME, PR_SET_NAME,
    PR_SET_NO_NEW_PRIVS, PR_SET_VMA, PROT_EXEC, SIGABRT, SOCK_DGRAM, SOCK_STREAM,
};

use super::{Condition, Rule, bits, is, may, may_if};

/// The bits of a socket's type that are no flags.
pub(super) const SOCKET_TYPE: u32 = 0xf;

pub(super) const UNIX: u32 = AF_UNIX as u32;
pub(super) const INET: u32 = AF_INET as u32;
pub(super) const INET6: u32 = AF_INET6 as u32;
pub(super) const NETLINK: u32 = AF_NETLINK as u32;
pub(super) const STREAM: u32 = SOCK_STREAM as u32;
pub(super) const DGRAM: u32 = SOCK_DGRAM as u32;
pub(super) const TCP: u32 = 6;
pub(super) const UDP: u32 = 17;

/// Every flag of `clone` that makes a namespace.
pub(super) const NAMESPACES: u32 = (CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET) as u32;
/// What a thread shares with its process.
const THREAD: u32 = (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD) as u32;
/// No memory that can be run: argument 2 of `mmap` and `mprotect`.
const NOT_EXECUTABLE: &[Condition] = &[bits(2, PROT_EXEC as u32, 0)];

/// `clone3` has its flags in memory, where no filter can look; without it libraries use `clone`.
pub(super) const NO_CLONE3: &[Rule] = &[may("clone3", "its flags cannot be looked at")];

/// Memory, none of it executable: all code is there already.
pub(super) const DATA_MEMORY: &[Rule] = &[
    may("brk", "the allocator"),
    may_if("mmap", NOT_EXECUTABLE, "the allocator, buffers, stacks"),
    may_if("mprotect", NOT_EXECUTABLE, "the allocator, guard pages"),
    may("munmap", "what mmap gave"),
    may("mremap", "grows large buffers"),
    may("madvise", "gives memory back"),
    may_if(
        "prctl",
        &[is(0, PR_SET_VMA as u32)],
        "glibc names its memory",
    ),
];

/// Memory of a program that is being loaded, or brings a compiler of its own.
pub(super) const MEMORY: &[Rule] = &[
    may("brk", "the allocator"),
    may("mmap", "the loader, the allocator, shared frames"),
    may("mprotect", "the loader, compilers at run time"),
    may("munmap", "what mmap gave"),
    may("mremap", "grows large buffers"),
    may("madvise", "gives memory back"),
    may("mincore", "asks what is in memory"),
    may("msync", "writes a mapping back"),
    may("mlock", "keeps a page in memory, within the limit"),
    may("mlock2", "likewise"),
    may("munlock", "the reverse"),
    may("mlockall", "likewise"),
    may("munlockall", "likewise"),
    may("mseal", "newer loaders seal what they have mapped"),
    may("membarrier", "libraries for threads"),
    may("memfd_create", "memory that is shared as a descriptor"),
    may("get_mempolicy", "libraries ask for memory nodes"),
    may("set_mempolicy", "likewise"),
    may("mbind", "likewise"),
    may("pkey_alloc", "protects parts of the own memory"),
    may("pkey_free", "likewise"),
    may("pkey_mprotect", "likewise"),
    may("remap_file_pages", "old data bases"),
    may("map_shadow_stack", "newer loaders protect return addresses"),
];

/// Clocks, and waiting for them.
pub(super) const TIME: &[Rule] = &[
    may("clock_gettime", "where the vDSO cannot answer"),
    may("clock_getres", "likewise"),
    may("gettimeofday", "likewise"),
    may("time", "likewise"),
    may("nanosleep", "waits"),
    may("clock_nanosleep", "waits"),
    may("restart_syscall", "goes on waiting after a signal"),
];

/// Locks and threads that are there already, signals to itself, and the end.
pub(super) const PROCESS: &[Rule] = &[
    may("futex", "locks"),
    may("futex_waitv", "locks of newer libraries"),
    may("futex_wait", "likewise"),
    may("futex_wake", "likewise"),
    may("futex_requeue", "likewise"),
    may("set_robust_list", "locks that outlive their holder"),
    may("get_robust_list", "likewise"),
    may("rseq", "glibc, at the start of a thread"),
    may("sched_yield", "spinning locks"),
    may("sched_getaffinity", "how many processors there are"),
    may("getcpu", "which processor this is"),
    may("gettid", "names a thread in a message"),
    may("getpid", "names a process in a message"),
    may("getrandom", "keys of hash tables"),
    may("sigaltstack", "Rust's guard against overflows of a stack"),
    may("rt_sigaction", "likewise, and abort"),
    may("rt_sigprocmask", "the start of a thread, and abort"),
    may("rt_sigreturn", "the end of a signal's handler"),
    may_if("tgkill", &[is(2, SIGABRT as u32)], "abort"),
    may_if("prctl", &[is(0, PR_SET_NAME as u32)], "names a thread"),
    may_if("prctl", &[is(0, PR_GET_NAME as u32)], "asks for it"),
    may("exit", "the end of a thread"),
    may("exit_group", "the end"),
];

/// Threads of the same process. No other process, no namespace.
pub(super) const THREADS: &[Rule] = &[
    may_if("clone", &[bits(0, THREAD | NAMESPACES, THREAD)], "a thread"),
    may("set_tid_address", "the start of a thread"),
];

/// What a worker does with the descriptors it has: its channel, standard error.
pub(super) const CHANNEL: &[Rule] = &[
    may("read", "a descriptor from the agent"),
    may("readv", "likewise"),
    may("write", "standard error"),
    may("writev", "likewise"),
    may("close", "what is done with"),
    may("recvmsg", "packets of the channel"),
    may("sendmsg", "likewise"),
    may("recvfrom", "likewise"),
    may("sendto", "likewise"),
    may("poll", "waits for the channel"),
    may("ppoll", "likewise"),
    may_if("fcntl", &[is(1, F_GETFD as u32)], "looks at a descriptor"),
    may_if("fcntl", &[is(1, F_SETFD as u32)], "close-on-exec"),
    may_if("fcntl", &[is(1, F_GETFL as u32)], "looks at a descriptor"),
    may_if("fcntl", &[is(1, F_SETFL as u32)], "waiting or not"),
    may_if("fcntl", &[is(1, F_DUPFD_CLOEXEC as u32)], "a copy"),
];

/// Descriptors in general.
pub(super) const DESCRIPTORS: &[Rule] = &[
    may("read", "reads"),
    may("readv", "reads"),
    may("pread64", "reads"),
    may("preadv", "reads"),
    may("preadv2", "reads"),
    may("write", "writes"),
    may("writev", "writes"),
    may("pwrite64", "writes"),
    may("pwritev", "writes"),
    may("pwritev2", "writes"),
    may("lseek", "moves in a file"),
    may("close", "closes"),
    may("close_range", "closes many before another program"),
    may("dup", "copies a descriptor"),
    may("dup2", "places one for another program"),
    may("dup3", "likewise"),
    may("fcntl", "flags, locks, seals of descriptors"),
    may("pipe", "pipes"),
    may("pipe2", "pipes"),
    may("eventfd", "wakes a thread"),
    may("eventfd2", "likewise"),
    may("epoll_create", "waits for many"),
    may("epoll_create1", "likewise"),
    may("epoll_ctl", "likewise"),
    may("epoll_wait", "likewise"),
    may("epoll_pwait", "likewise"),
    may("epoll_pwait2", "likewise"),
    may("poll", "waits for some"),
    may("ppoll", "likewise"),
    may("select", "likewise"),
    may("pselect6", "likewise"),
];

/// Looks at files. Mounts, owners and Landlock say which.
pub(super) const READ_FILES: &[Rule] = &[
    may("open", "opens"),
    may("openat", "opens"),
    may("openat2", "opens"),
    may("access", "looks whether a file is there"),
    may("faccessat", "likewise"),
    may("faccessat2", "likewise"),
    may("stat", "looks at a file"),
    may("lstat", "likewise"),
    may("fstat", "likewise"),
    may("newfstatat", "likewise"),
    may("statx", "likewise"),
    may("statfs", "looks at a file system"),
    may("fstatfs", "likewise"),
    may("readlink", "reads a link"),
    may("readlinkat", "likewise"),
    may("getdents", "lists a directory"),
    may("getdents64", "likewise"),
    may("getcwd", "where it is"),
    may("chdir", "goes elsewhere"),
    may("fchdir", "likewise"),
    may("fadvise64", "reads ahead"),
    may("readahead", "likewise"),
    may("getxattr", "looks at attributes"),
    may("lgetxattr", "likewise"),
    may("fgetxattr", "likewise"),
    may("listxattr", "likewise"),
    may("llistxattr", "likewise"),
    may("flistxattr", "likewise"),
];

/// What programs ask about themselves and the machine.
pub(super) const QUESTIONS: &[Rule] = &[
    may("getuid", "who it is"),
    may("geteuid", "likewise"),
    may("getgid", "likewise"),
    may("getegid", "likewise"),
    may("getresuid", "likewise"),
    may("getresgid", "likewise"),
    may("getgroups", "likewise"),
    may("getppid", "who started it"),
    may("getpgid", "its group"),
    may("getpgrp", "likewise"),
    may("getsid", "its session"),
    may("uname", "the kernel's version"),
    may("sysinfo", "how much memory there is"),
    may("getrusage", "what it has used"),
    may("times", "likewise"),
    may("getrlimit", "its limits"),
    may("prlimit64", "its limits; to raise them takes a capability"),
    may("getpriority", "its priority"),
    may("sched_getscheduler", "likewise"),
    may("sched_getparam", "likewise"),
    may("sched_getattr", "likewise"),
    may("sched_get_priority_max", "likewise"),
    may("sched_get_priority_min", "likewise"),
    may("capget", "its capabilities, which are none"),
];

/// A program and its children.
pub(super) const PROGRAMS: &[Rule] = &[
    may("execve", "becomes a program"),
    may("vfork", "starts a child"),
    may("fork", "likewise"),
    may_if("clone", &[bits(0, NAMESPACES, 0)], "a child or a thread"),
    may("set_tid_address", "the start of a program"),
    may("wait4", "the end of a child"),
    may("waitid", "likewise"),
    may("kill", "ends a child; its PID namespace has no others"),
    may("tkill", "likewise"),
    may("tgkill", "likewise"),
    may("umask", "the mode of new files"),
    may("setpgid", "a group of its own"),
    may("setsid", "a session of its own"),
    may("arch_prctl", "the loader"),
    may("rt_sigsuspend", "waits for a signal"),
    may("rt_sigpending", "likewise"),
    may("rt_sigtimedwait", "likewise"),
    may("pause", "likewise"),
    may("alarm", "a signal later"),
    may("setitimer", "likewise"),
    may("getitimer", "likewise"),
];

/// The way into the inner layer: a worker narrows itself.
pub(super) const NARROW: &[Rule] = &[
    may("seccomp", "the worker's own filter"),
    may(
        "landlock_create_ruleset",
        "the worker's own rules for files",
    ),
    may("landlock_add_rule", "likewise"),
    may("landlock_restrict_self", "likewise"),
    may_if("prctl", &[is(0, PR_SET_NO_NEW_PRIVS as u32)], "before them"),
    may_if(
        "prctl",
        &[is(0, libc::PR_SET_DUMPABLE as u32)],
        "closes its memory",
    ),
    may_if(
        "prctl",
        &[is(0, PR_SET_VMA as u32)],
        "glibc names its memory",
    ),
    may("setrlimit", "lowers its limits"),
    may_if("fcntl", &[is(1, F_DUPFD as u32)], "shells"),
];

/// A pair of local sockets: both ends are the process's own.
pub(super) const PAIRS: &[Rule] = &[may_if(
    "socketpair",
    &[is(0, UNIX)],
    "wakes threads; no way out of the process",
)];

/// Sockets that are there.
pub(super) const SOCKETS: &[Rule] = &[
    may(
        "connect",
        "where the network namespace and its rules let it",
    ),
    may("recvfrom", "receives"),
    may("recvmsg", "receives"),
    may("recvmmsg", "receives"),
    may("sendto", "sends"),
    may("sendmsg", "sends"),
    may("sendmmsg", "sends"),
    may("shutdown", "says that it has sent all"),
    may("getsockopt", "asks for an option"),
    may("setsockopt", "sets one"),
    may("getsockname", "asks for its address"),
    may("getpeername", "asks for the other's"),
];

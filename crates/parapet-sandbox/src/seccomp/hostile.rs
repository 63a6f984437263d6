//! Calls that nothing here makes by mistake: doors of the kernel that exploits go through, or
//! powers over other processes and the machine. Workers end at them; to the launcher some are
//! tools of its work, so it has a list of its own in [`super::launcher`]; applications, which run
//! software of any age, get `EPERM`.

use super::{Rule, may};

/// A program in the place of the worker's.
pub(super) const EXEC: &[Rule] = &[
    may("execve", "a worker is its program for life"),
    may("execveat", "likewise, also from memory"),
];

/// Into other processes.
pub(super) const OTHERS: &[Rule] = &[
    may("ptrace", "reads and writes other processes"),
    may("process_vm_readv", "reads other processes"),
    may("process_vm_writev", "writes other processes"),
    may("process_madvise", "drops pages of other processes"),
    may("pidfd_getfd", "takes descriptors out of other processes"),
    may("kcmp", "compares what belongs to other processes"),
];

/// Large and young parts of the kernel that no process here needs.
pub(super) const KERNEL: &[Rule] = &[
    may("bpf", "programs inside the kernel"),
    may("perf_event_open", "counters that have been a way in"),
    may("userfaultfd", "stops the kernel at a place of choice"),
    may("io_uring_setup", "calls without the filter"),
    may("io_uring_enter", "likewise"),
    may("io_uring_register", "likewise"),
    may("init_module", "code into the kernel"),
    may("finit_module", "likewise"),
    may("delete_module", "out of it"),
    may("create_module", "likewise, long ago"),
    may("query_module", "likewise"),
    may("get_kernel_syms", "likewise"),
    may("kexec_load", "another kernel"),
    may("kexec_file_load", "likewise"),
    may("lookup_dcookie", "profiling"),
    may("fanotify_init", "watches the files of others"),
    may("modify_ldt", "segments: a way in, twice"),
    may("memfd_secret", "memory that no reviewer can look at"),
];

/// Keys of the kernel, which namespaces do not keep apart.
pub(super) const KEYS: &[Rule] = &[
    may("keyctl", "keys of the kernel"),
    may("add_key", "likewise"),
    may("request_key", "likewise, and starts a program of the host"),
];

/// Other namespaces and other mounts.
pub(super) const NAMESPACES: &[Rule] = &[
    may("unshare", "namespaces, in which there are capabilities"),
    may("setns", "other namespaces"),
    may("mount", "mounts"),
    may("umount2", "uncovers what a mount covers"),
    may("pivot_root", "another root"),
    may("chroot", "likewise"),
    may("move_mount", "mounts"),
    may("open_tree", "copies of mounts"),
    may("fsopen", "mounts"),
    may("fsconfig", "likewise"),
    may("fsmount", "likewise"),
    may("fspick", "likewise"),
    may("mount_setattr", "uncovers what a mount forbids"),
];

/// Powers over the machine.
pub(super) const MACHINE: &[Rule] = &[
    may("reboot", "ends the machine"),
    may("swapon", "memory of the machine"),
    may("swapoff", "likewise"),
    may("settimeofday", "the machine's clock"),
    may("clock_settime", "likewise"),
    may("clock_adjtime", "likewise"),
    may("adjtimex", "likewise"),
    may("acct", "accounts of all processes"),
    may("quotactl", "limits of file systems"),
    may("quotactl_fd", "likewise"),
    may("open_by_handle_at", "files by number, past every directory"),
    may("name_to_handle_at", "such numbers"),
    may("iopl", "ports of devices"),
    may("ioperm", "likewise"),
    may("syslog", "messages of the kernel, with addresses"),
    may("vhangup", "the terminal of others"),
    may("nfsservctl", "a server inside the kernel"),
    may("_sysctl", "settings of the kernel"),
    may("uselib", "a loader inside the kernel"),
    may("sethostname", "the machine's name"),
    may("setdomainname", "likewise"),
];

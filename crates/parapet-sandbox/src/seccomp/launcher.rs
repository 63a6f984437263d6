//! The launcher: everything that its children may (a child's filter only narrows), and its own
//! work: namespaces, mounts, users, limits, `ip` and `nft` as programs. Root as it is, it traces
//! nobody, loads nothing into the kernel, and makes no sockets but local ones, IP, and those that
//! interfaces and rules are set with. Nothing ends it: applications inherit this filter, and what
//! they try by mistake is to be refused.

use libc::{
    NETLINK_NETFILTER, PR_CAPBSET_DROP, PR_SET_KEEPCAPS, PR_SET_SECCOMP, PR_SET_SECUREBITS,
};

use super::application::{ASK_OF_ITSELF, MORE, NETWORK, WRITE_FILES};
use super::common::{
    DESCRIPTORS, MEMORY, NETLINK, PAIRS, PROCESS, PROGRAMS, QUESTIONS, READ_FILES, SOCKETS, TIME,
};
use super::{Policy, Rule, is, may, may_if};

const SANDBOXES: &[Rule] = &[
    may(
        "clone3",
        "a child in namespaces of its own, with its descriptor",
    ),
    may("clone", "ip and nft are started by libraries that use it"),
    may(
        "unshare",
        "a namespace to furnish; as an ordinary user one of its own",
    ),
    may("setns", "into a zone, or an application's network"),
    may("mount", "keeps a namespace as a file"),
    may("umount2", "the old root; a namespace that is given up"),
    may("pivot_root", "the new root"),
    may("move_mount", "the new root"),
    may("open_tree", "the new root"),
    may("fsopen", "the new root"),
    may("fsconfig", "the new root"),
    may("fsmount", "the new root"),
    may("mount_setattr", "read-only, no set-user bits, no devices"),
    may("sethostname", "a name that says nothing"),
    may("seccomp", "the filters of children"),
    may_if(
        "keyctl",
        &[is(0, 1)],
        "an empty session keyring (JOIN_SESSION_KEYRING)",
    ),
    may_if(
        "prctl",
        &[is(0, PR_CAPBSET_DROP as u32)],
        "no capability, ever",
    ),
    may_if(
        "prctl",
        &[is(0, PR_SET_SECUREBITS as u32)],
        "root is a name only",
    ),
    may_if(
        "prctl",
        &[is(0, PR_SET_KEEPCAPS as u32)],
        "users of children",
    ),
    may_if(
        "prctl",
        &[is(0, PR_SET_SECCOMP as u32)],
        "the filters of children",
    ),
];

const ZONES: &[Rule] = &[
    may_if(
        "socket",
        &[is(0, NETLINK), is(2, NETLINK_NETFILTER as u32)],
        "nft",
    ),
    may("ioctl", "the loopback interface of a child; ip"),
];

const ALLOW: [&[Rule]; 15] = [
    MEMORY,
    TIME,
    PROCESS,
    DESCRIPTORS,
    READ_FILES,
    WRITE_FILES,
    QUESTIONS,
    PROGRAMS,
    MORE,
    ASK_OF_ITSELF,
    PAIRS,
    SOCKETS,
    NETWORK,
    SANDBOXES,
    ZONES,
];

pub(super) const POLICY: Policy = Policy {
    name: "launcher",
    allow: &ALLOW,
    absent: &[],
    kill: &[],
};

/// What an OCI runtime does beside that, which inherits this filter. It attaches a list of devices
/// to a control group of version 2 as a program of the kernel.
const RUNTIME: &[Rule] = &[
    may_if("bpf", &[is(0, BPF_PROG_LOAD)], "a list of devices"),
    may_if("bpf", &[is(0, BPF_PROG_ATTACH)], "to a control group"),
    may_if("bpf", &[is(0, BPF_PROG_DETACH)], "an older list goes"),
    may_if("bpf", &[is(0, BPF_PROG_GET_FD_BY_ID)], "likewise"),
    may_if("bpf", &[is(0, BPF_PROG_QUERY)], "whether there is one"),
];
// `enum bpf_cmd` of the kernel's uapi/linux/bpf.h.
const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_ATTACH: u32 = 8;
const BPF_PROG_DETACH: u32 = 9;
const BPF_PROG_GET_FD_BY_ID: u32 = 13;
const BPF_PROG_QUERY: u32 = 16;

/// Where an operator has applications run by an OCI runtime: the price of the choice.
pub(super) const WITH_RUNTIME: Policy = Policy {
    name: "launcher_with_runtime",
    allow: &{
        let mut all = [RUNTIME; ALLOW.len() + 1];
        let mut group = 0;
        while group < ALLOW.len() {
            all[group] = ALLOW[group];
            group += 1;
        }
        all
    },
    ..POLICY
};

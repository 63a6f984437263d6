//! The outer layer of workers: set by the launcher before `exec`, so that it has to let a program
//! be loaded. It holds whatever is started in a worker's place, and keeps the doors of the kernel
//! and the network shut from the first instruction on; the inner layer, which the worker sets
//! itself, leaves a fraction of it.

use super::common::{
    DESCRIPTORS, INET, INET6, MEMORY, NARROW, NO_CLONE3, PAIRS, PROCESS, PROGRAMS, QUESTIONS,
    READ_FILES, SOCKET_TYPE, SOCKETS, STREAM, TCP, TIME,
};
use super::hostile::{KERNEL, KEYS, MACHINE, NAMESPACES, OTHERS};
use super::{Policy, Rule, bits, is, may, may_if};

const KILL: &[&[Rule]] = &[OTHERS, KERNEL, KEYS, NAMESPACES, MACHINE];

/// What the agent's sockets need beside reading and writing.
const CHANNEL: &[Rule] = &[
    may("recvmsg", "packets of the channel"),
    may("recvfrom", "likewise"),
    may("sendmsg", "likewise"),
    may("sendto", "likewise, and the report of a failed set-up"),
    may("getsockopt", "whether descriptor 3 is the channel"),
    may("fallocate", "the memory of a ring"),
    may("ftruncate", "the memory of an answer"),
    may("sched_setaffinity", "threads of a model"),
    may_if(
        "ioctl",
        &[is(1, 0x5401)],
        "whether it is a terminal (TCGETS)",
    ),
    may_if("ioctl", &[is(1, 0x5421)], "waiting or not (FIONBIO)"),
    may_if(
        "ioctl",
        &[is(1, 0x5450)],
        "kept by a program that is started (FIONCLEX)",
    ),
    may_if("ioctl", &[is(1, 0x5451)], "or not (FIOCLEX)"),
];

/// TCP to cameras. Names are looked up by the agent.
const CAMERAS: &[Rule] = &[
    may_if(
        "socket",
        &[is(0, INET), bits(1, SOCKET_TYPE, STREAM), is(2, 0)],
        "a camera",
    ),
    may_if(
        "socket",
        &[is(0, INET), bits(1, SOCKET_TYPE, STREAM), is(2, TCP)],
        "a camera",
    ),
    may_if(
        "socket",
        &[is(0, INET6), bits(1, SOCKET_TYPE, STREAM), is(2, 0)],
        "a camera",
    ),
    may_if(
        "socket",
        &[is(0, INET6), bits(1, SOCKET_TYPE, STREAM), is(2, TCP)],
        "a camera",
    ),
    may(
        "bind",
        "the plain side of its own TLS, at the one port that Landlock leaves",
    ),
    may("listen", "likewise"),
    may(
        "accept4",
        "likewise; the zone's rules let nobody else get there",
    ),
    may_if(
        "ioctl",
        &[is(1, 0x541b)],
        "how much there is to read (FIONREAD)",
    ),
];

pub(super) const CODEC: Policy = Policy {
    name: "worker-codec",
    allow: &[
        MEMORY,
        TIME,
        PROCESS,
        DESCRIPTORS,
        READ_FILES,
        QUESTIONS,
        PROGRAMS,
        NARROW,
        PAIRS,
        CHANNEL,
    ],
    absent: NO_CLONE3,
    kill: KILL,
};

pub(super) const INFER: Policy = Policy {
    name: "worker-infer",
    ..CODEC
};

pub(super) const INGEST: Policy = Policy {
    name: "worker-ingest",
    allow: &[
        MEMORY,
        TIME,
        PROCESS,
        DESCRIPTORS,
        READ_FILES,
        QUESTIONS,
        PROGRAMS,
        NARROW,
        PAIRS,
        CHANNEL,
        SOCKETS,
        CAMERAS,
    ],
    absent: NO_CLONE3,
    kill: KILL,
};

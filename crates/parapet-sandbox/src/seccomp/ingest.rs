//! `parapet-ingest` after its start: TCP to a camera, packets to the agent. One thread, no file but
//! one that is handed over,
//! no name server (the agent resolves), no socket of another family or kind, none that listens but to
//! itself, for TLS.
//!
//! Measured with `strace` over the virtual camera's streams and faults, glibc 2.36.

use libc::{IPPROTO_TCP, SOL_SOCKET};

use super::common::{
    CHANNEL, DATA_MEMORY, INET, INET6, NO_CLONE3, PROCESS, SOCKET_TYPE, STREAM, TCP, TIME,
};
use super::hostile::{EXEC, KERNEL, KEYS, MACHINE, NAMESPACES, OTHERS};
use super::{Policy, Rule, bits, is, may, may_if};

const CAMERA: &[Rule] = &[
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
        "connect",
        "to the address that the agent named; the zone's rules let no other through",
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
    may("shutdown", "the end of a dialogue"),
    may("getsockopt", "whether a connection has come about"),
    may_if(
        "setsockopt",
        &[is(1, SOL_SOCKET as u32)],
        "time limits of a connection",
    ),
    may_if(
        "setsockopt",
        &[is(1, IPPROTO_TCP as u32)],
        "requests without delay",
    ),
    may("getsockname", "the own address, for RTSP"),
    may("getpeername", "the camera's, for RTSP"),
    may_if("ioctl", &[is(1, 0x5421)], "waiting or not (FIONBIO)"),
];

/// A file that plays a camera comes as a descriptor.
const FILE: &[Rule] = &[
    may("lseek", "how long it is, and from box to box"),
    may("pread64", "its pictures"),
];

const WAITING: &[Rule] = &[
    may("epoll_create1", "the run time"),
    may("epoll_ctl", "likewise"),
    may("epoll_wait", "likewise"),
    may("epoll_pwait", "likewise, newer libraries"),
    may("epoll_pwait2", "likewise"),
    may("eventfd2", "wakes the run time"),
];

pub(super) const POLICY: Policy = Policy {
    name: "ingest",
    allow: &[DATA_MEMORY, TIME, PROCESS, CHANNEL, CAMERA, FILE, WAITING],
    absent: NO_CLONE3,
    kill: &[EXEC, OTHERS, KERNEL, KEYS, NAMESPACES, MACHINE],
};

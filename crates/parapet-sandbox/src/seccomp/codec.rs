//! `parapet-codec` after its start: packets in, pictures into memory that it makes itself. One
//! thread, no file, no socket, no other process.
//!
//! Measured with `strace` over H.264, H.265 and MJPEG at several sizes, a change of size and
//! damaged streams, glibc 2.36; what other versions of glibc do in their place is there too.

use libc::{F_ADD_SEALS, F_GET_SEALS};

use super::common::{CHANNEL, DATA_MEMORY, NO_CLONE3, PROCESS, TIME};
use super::hostile::{EXEC, KERNEL, KEYS, MACHINE, NAMESPACES, OTHERS};
use super::{Policy, Rule, is, may, may_if};

const RINGS: &[Rule] = &[
    may("memfd_create", "the memory of a ring"),
    may_if("fallocate", &[is(1, 0)], "its pages, never a hole"),
    may_if("fcntl", &[is(1, F_ADD_SEALS as u32)], "seals it"),
    may_if("fcntl", &[is(1, F_GET_SEALS as u32)], "looks at its seals"),
];

pub(super) const POLICY: Policy = Policy {
    name: "codec",
    allow: &[DATA_MEMORY, TIME, PROCESS, CHANNEL, RINGS],
    absent: NO_CLONE3,
    kill: &[EXEC, OTHERS, KERNEL, KEYS, NAMESPACES, MACHINE],
};

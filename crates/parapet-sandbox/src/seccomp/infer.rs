//! `parapet-infer` once ONNX Runtime's library is loaded: a model from a descriptor, threads that
//! compute, tensors in memory that callers sent or it made itself. No file, no socket, no other
//! process, no new code.
//!
//! Measured with `strace` over the models of the tests with one and several threads, ONNX Runtime
//! 1.32, glibc 2.36. The run time's own attempts at files (telemetry, a directory for its cache)
//! are refused and harm nothing.

use libc::{AT_EMPTY_PATH, F_ADD_SEALS, F_GET_SEALS};

use super::common::{CHANNEL, DATA_MEMORY, NO_CLONE3, PROCESS, THREADS, TIME};
use super::hostile::{EXEC, KERNEL, KEYS, MACHINE, NAMESPACES, OTHERS};
use super::{Policy, Rule, bits, is, may, may_if};

const TENSORS: &[Rule] = &[
    may("pread64", "tensors of a caller"),
    may("preadv", "likewise"),
    may("pwrite64", "tensors of an answer"),
    may("pwritev", "likewise"),
    may("lseek", "the length of a model"),
    may("fstat", "likewise"),
    may_if(
        "newfstatat",
        &[bits(3, AT_EMPTY_PATH as u32, AT_EMPTY_PATH as u32)],
        "likewise, newer libraries",
    ),
    may_if(
        "statx",
        &[bits(2, AT_EMPTY_PATH as u32, AT_EMPTY_PATH as u32)],
        "likewise, newest libraries",
    ),
    may("memfd_create", "the memory of an answer"),
    may("ftruncate", "its length"),
    may_if("fallocate", &[is(1, 0)], "its pages, never a hole"),
    may_if("fcntl", &[is(1, F_ADD_SEALS as u32)], "seals it"),
    may_if("fcntl", &[is(1, F_GET_SEALS as u32)], "looks at its seals"),
];

const RUN_TIME: &[Rule] = &[
    may("sched_setaffinity", "a thread for each processor"),
    may("sched_getscheduler", "the start of a thread"),
    may("sched_getparam", "likewise"),
    may("getrusage", "what a call has cost"),
    may("sysinfo", "how much memory there is"),
    may("uname", "the kernel's version"),
    may("geteuid", "whose files it would look for"),
    may("getuid", "likewise"),
    may_if("prlimit64", &[is(2, 0)], "the size of a stack; sets none"),
    may("getrlimit", "likewise"),
    may("membarrier", "libraries for threads"),
];

pub(super) const POLICY: Policy = Policy {
    name: "infer",
    allow: &[
        DATA_MEMORY,
        TIME,
        PROCESS,
        THREADS,
        CHANNEL,
        TENSORS,
        RUN_TIME,
    ],
    absent: NO_CLONE3,
    kill: &[EXEC, OTHERS, KERNEL, KEYS, NAMESPACES, MACHINE],
};

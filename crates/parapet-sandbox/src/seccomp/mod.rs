//! Which system calls a process may make: commented tables, and what turns them into filters.
//!
//! A [`Policy`] is data: what it allows (a [`Rule`] each: the call, conditions on its arguments,
//! why it is needed), what it answers as if the kernel did not have it, and what ends the process.
//! All else is refused with `EPERM`. The tables: [`worker`] (the outer layer of workers),
//! [`codec`], [`infer`], [`ingest`] (their inner layer), [`application`], [`launcher`], with
//! [`common`] groups and the [`hostile`] calls. `seccompiler` compiles them for x86-64 and aarch64;
//! another architecture's calls end the process, x86-64's second numbering (x32) is in no table
//! and so refused.
//!
//! Decides nothing at run time. `tests.rs` tries every rule and every call without one.

mod application;
mod codec;
mod common;
mod hostile;
mod infer;
mod ingest;
mod launcher;
mod profile;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde_json::{Value, json};
use thiserror::Error;

use crate::launch::Worker;

pub(crate) use profile::application as application_profile;

/// One way in which a call is allowed. Several rules for a call: one of them has to fit.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// The call's name in the kernel's tables.
    call: &'static str,
    /// What its arguments have to be, all of it.
    when: &'static [Condition],
    /// Why it is needed.
    why: &'static str,
}

/// What an argument has to be. The lower half is looked at: the arguments in question are `int`s
/// to the kernel, or have no meaning above it.
#[derive(Debug, Clone, Copy)]
struct Condition {
    argument: u8,
    test: Test,
}

#[derive(Debug, Clone, Copy)]
enum Test {
    /// Equal to this.
    Is(u32),
    /// Other than this.
    IsNot(u32),
    /// The bits of `mask` as in `value`.
    Bits { mask: u32, value: u32 },
}

/// The whole of what a kind of process may call.
#[derive(Debug, Clone, Copy)]
struct Policy {
    name: &'static str,
    /// Groups of what it may do.
    allow: &'static [&'static [Rule]],
    /// Answered with `ENOSYS`, on which libraries take the older call, whose arguments a filter
    /// can look at.
    absent: &'static [Rule],
    /// Ends the process: nothing that belongs here makes these calls by mistake.
    kill: &'static [&'static [Rule]],
}

/// A call without conditions.
const fn may(call: &'static str, why: &'static str) -> Rule {
    Rule {
        call,
        when: &[],
        why,
    }
}

/// A call with conditions.
const fn may_if(call: &'static str, when: &'static [Condition], why: &'static str) -> Rule {
    Rule { call, when, why }
}

/// Argument number `argument` (the first is 0) is `value`.
const fn is(argument: u8, value: u32) -> Condition {
    Condition {
        argument,
        test: Test::Is(value),
    }
}

/// Argument number `argument` is anything but `value`.
const fn is_not(argument: u8, value: u32) -> Condition {
    Condition {
        argument,
        test: Test::IsNot(value),
    }
}

/// Of argument number `argument`, the bits of `mask` are those of `value`.
const fn bits(argument: u8, mask: u32, value: u32) -> Condition {
    Condition {
        argument,
        test: Test::Bits { mask, value },
    }
}

/// Calls of x86-64 that newer architectures never had; their rules are left out there.
const OLD_CALLS: &[&str] = &[
    "access",
    "alarm",
    "arch_prctl",
    "chmod",
    "chown",
    "creat",
    "create_module",
    "dup2",
    "epoll_create",
    "epoll_wait",
    "eventfd",
    "fork",
    "futimesat",
    "get_kernel_syms",
    "get_thread_area",
    "getdents",
    "getpgrp",
    "inotify_init",
    "ioperm",
    "iopl",
    "lchown",
    "link",
    "lstat",
    "mkdir",
    "mknod",
    "modify_ldt",
    "open",
    "pause",
    "pipe",
    "poll",
    "query_module",
    "readlink",
    "rename",
    "rmdir",
    "select",
    "set_thread_area",
    "signalfd",
    "stat",
    "symlink",
    "sysfs",
    "_sysctl",
    "time",
    "unlink",
    "uselib",
    "ustat",
    "utime",
    "utimes",
    "vfork",
];

/// Why there are no filters.
#[derive(Debug, Error)]
pub enum FilterError {
    /// A table names a call that the architecture has not, or is too long.
    #[error("compile the filter {policy}")]
    Compile {
        /// Which one.
        policy: &'static str,
        /// Why.
        #[source]
        source: seccompiler::Error,
    },
    /// The kernel refused.
    #[error("set the filter {policy}")]
    Install {
        /// Which one.
        policy: &'static str,
        /// Why.
        #[source]
        source: seccompiler::Error,
    },
}

/// A compiled policy.
#[derive(Debug, Clone)]
pub(crate) struct Filters {
    policy: &'static str,
    /// In the order of setting them: the one that allows comes last, since it allows no further
    /// one.
    programs: Vec<BpfProgram>,
}

/// Whose threads a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling one and what it starts.
    This,
    /// All of the process.
    All,
}

impl Filters {
    /// What a worker may do from before its `exec` on.
    pub(crate) fn outer(worker: Worker) -> Result<Self, FilterError> {
        Self::compile(match worker {
            Worker::Ingest => &worker::INGEST,
            Worker::Codec => &worker::CODEC,
            Worker::Infer => &worker::INFER,
        })
    }

    /// What is left to it before the first byte from outside.
    pub(crate) fn inner(worker: Worker) -> Result<Self, FilterError> {
        Self::compile(match worker {
            Worker::Ingest => &ingest::POLICY,
            Worker::Codec => &codec::POLICY,
            Worker::Infer => &infer::POLICY,
        })
    }

    /// What an application may do.
    pub(crate) fn application() -> Result<Self, FilterError> {
        Self::compile(&application::POLICY)
    }

    /// What the launcher may do; with the calls of an OCI runtime where it starts one.
    pub(crate) fn launcher(runtime: bool) -> Result<Self, FilterError> {
        Self::compile(if runtime {
            &launcher::WITH_RUNTIME
        } else {
            &launcher::POLICY
        })
    }

    fn compile(policy: &Policy) -> Result<Self, FilterError> {
        Self::compile_for(policy, ARCHITECTURE)
    }

    fn compile_for(policy: &Policy, architecture: TargetArch) -> Result<Self, FilterError> {
        // Of two refusals with an error number the one set last wins, so those that answer
        // "not there" are let through by the last filter.
        let allowed = policy.allow.concat();
        let allowed = [&allowed[..], policy.absent].concat();
        let filters = [
            (policy.kill.concat(), json!("kill_process"), json!("allow")),
            (
                policy.absent.to_vec(),
                json!({ "errno": libc::ENOSYS }),
                json!("allow"),
            ),
            (allowed, json!("allow"), json!({ "errno": libc::EPERM })),
        ];
        let mut programs = Vec::new();
        for (rules, matched, other) in filters {
            if rules.is_empty() {
                continue;
            }
            let filter = json!({ policy.name: {
                "match_action": matched,
                "mismatch_action": other,
                "filter": written(&rules, architecture),
            }});
            let compiled = compile_from_json(filter.to_string().as_bytes(), architecture);
            let mut compiled = compiled.map_err(|source| FilterError::Compile {
                policy: policy.name,
                source,
            })?;
            programs.extend(compiled.remove(policy.name));
        }
        Ok(Self {
            policy: policy.name,
            programs,
        })
    }

    /// From here on the calls of these threads are judged. Sets "no new privileges" as well.
    pub(crate) fn install(&self, threads: Threads) -> Result<(), FilterError> {
        for program in &self.programs {
            match threads {
                Threads::This => seccompiler::apply_filter(program),
                Threads::All => seccompiler::apply_filter_all_threads(program),
            }
            .map_err(|source| FilterError::Install {
                policy: self.policy,
                source,
            })?;
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// The rules as `seccompiler` reads them. It takes a call's conditions as all there is, so they
/// are left out where another group allows the call without any.
fn written(rules: &[Rule], architecture: TargetArch) -> Vec<Value> {
    let free: BTreeSet<_> = rules
        .iter()
        .filter(|rule| rule.when.is_empty())
        .map(|rule| rule.call)
        .collect();
    rules
        .iter()
        .filter(|rule| architecture == TargetArch::x86_64 || !OLD_CALLS.contains(&rule.call))
        .filter(|rule| rule.when.is_empty() || !free.contains(rule.call))
        .map(|rule| {
            let mut value = json!({ "syscall": rule.call, "comment": rule.why });
            if !rule.when.is_empty() {
                value["args"] = rule.when.iter().map(Condition::written).collect();
            }
            value
        })
        .collect()
}

impl Condition {
    fn written(&self) -> Value {
        let (op, value) = match self.test {
            Test::Is(value) => (json!("eq"), value),
            Test::IsNot(value) => (json!("ne"), value),
            Test::Bits { mask, value } => (json!({ "masked_eq": mask }), value),
        };
        json!({ "index": self.argument, "type": "dword", "op": op, "val": value })
    }
}

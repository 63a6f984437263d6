//! Every rule and every call of every policy, tried against the kernel: what the tables say, by a
//! reading of their own ([`Policy::verdict`]), is what happens. A new rule is tried by being there.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use seccompiler::TargetArch;

use super::{
    ARCHITECTURE, Condition, Filters, OLD_CALLS, Policy, Rule, Test, application, codec, hostile,
    infer, ingest, launcher, worker,
};
use crate::kernel::{Tried, try_calls};

const POLICIES: [&Policy; 9] = [
    &worker::INGEST,
    &worker::CODEC,
    &worker::INFER,
    &ingest::POLICY,
    &codec::POLICY,
    &infer::POLICY,
    &application::POLICY,
    &launcher::POLICY,
    &launcher::WITH_RUNTIME,
];

const HOSTILE: [&[Rule]; 5] = [
    hostile::OTHERS,
    hostile::KERNEL,
    hostile::KEYS,
    hostile::NAMESPACES,
    hostile::MACHINE,
];

type Arguments = [u64; 6];

impl Condition {
    fn holds(&self, arguments: &Arguments) -> bool {
        let argument = arguments[usize::from(self.argument)] as u32;
        match self.test {
            Test::Is(value) => argument == value,
            Test::IsNot(value) => argument != value,
            Test::Bits { mask, value } => argument & mask == value & mask,
        }
    }

    /// A value with which it holds, and one with which it does not.
    fn examples(&self) -> (u32, u32) {
        match self.test {
            Test::Is(value) => (value, value ^ 0x0100_0000),
            Test::IsNot(value) => (value ^ 0x0100_0000, value),
            Test::Bits { mask, value } => (value, value ^ (mask & mask.wrapping_neg())),
        }
    }
}

impl Rule {
    /// Arguments with which it fits.
    pub(super) fn fitting(&self) -> Arguments {
        let mut arguments = [0; 6];
        for condition in self.when {
            arguments[usize::from(condition.argument)] |= u64::from(condition.examples().0);
        }
        assert!(self.fits(&arguments), "{self:?} contradicts itself");
        arguments
    }

    /// Arguments with which it does not, one set for each condition.
    pub(super) fn unfitting(&self) -> Vec<Arguments> {
        let broken = self.when.iter().map(|condition| {
            let mut arguments = self.fitting();
            arguments[usize::from(condition.argument)] = u64::from(condition.examples().1);
            arguments
        });
        broken.collect()
    }

    fn fits(&self, arguments: &Arguments) -> bool {
        self.when.iter().all(|condition| condition.holds(arguments))
    }
}

impl Policy {
    /// What the tables say, read without the compiler.
    pub(super) fn verdict(&self, call: &str, arguments: &Arguments) -> Tried {
        let names = |rules: &[Rule]| {
            rules
                .iter()
                .any(|rule| rule.call == call && rule.fits(arguments))
        };
        if self.kill.iter().any(|rules| names(rules)) {
            Tried::Ended(libc::SIGSYS)
        } else if names(self.absent) {
            // Indistinguishable, in `try_calls`, from what is let through; a test of its own
            // tells them apart.
            Tried::Allowed
        } else if self.allow.iter().any(|rules| names(rules)) {
            Tried::Allowed
        } else {
            Tried::Refused(libc::EPERM)
        }
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = &Rule> {
        let groups = self.allow.iter().chain(self.kill).copied();
        groups.chain([self.absent]).flatten()
    }
}

/// Every call of this architecture with its number, from the compiler's own table.
fn numbers() -> Vec<(String, i64)> {
    // The table is not public: a filter of one call has its number as the operand of the first
    // comparison after the architecture's.
    let number = |call: &str| {
        let filter = serde_json::json!({ "one": {
            "match_action": "allow", "mismatch_action": "trap", "filter": [{ "syscall": call }],
        }});
        let compiled =
            seccompiler::compile_from_json(filter.to_string().as_bytes(), ARCHITECTURE).ok()?;
        Some(i64::from(compiled["one"][4].k))
    };
    let known = NAMES.split_whitespace().map(|name| (name, number(name)));
    let known: Vec<_> = known
        .filter_map(|(name, number)| Some((name.to_owned(), number?)))
        .collect();
    assert!(known.len() > 300, "{} calls are known", known.len());
    known
}

/// The calls of Linux by name, those of one architecture only among them; but for `uretprobe`,
/// which the kernel never shows to a filter.
const NAMES: &str = include_str!("calls.txt");

#[test]
fn every_rule_of_every_policy_allows_and_refuses_as_its_table_says() {
    let numbers = numbers();
    let mut differences = String::new();
    let mut attempts = 0;
    for policy in POLICIES {
        let filters = Filters::compile(policy).unwrap();
        let mut tries: Vec<(&str, i64, Arguments)> = Vec::new();
        for (name, number) in &numbers {
            // A call without a rule is tried once, and has to be refused.
            tries.push((name, *number, [0; 6]));
            for rule in policy.rules().filter(|rule| rule.call == name) {
                tries.push((name, *number, rule.fitting()));
                let unfitting = rule.unfitting().into_iter();
                tries.extend(unfitting.map(|arguments| (name.as_str(), *number, arguments)));
            }
        }
        let calls: Vec<_> = tries
            .iter()
            .map(|(_, n, arguments)| (*n, *arguments))
            .collect();
        let results = try_calls(&filters.programs, &calls);
        for ((name, _, arguments), found) in tries.iter().zip(results) {
            let expected = policy.verdict(name, arguments);
            attempts += 1;
            if found != expected {
                writeln!(
                    differences,
                    "{}: {name}{arguments:x?} is {found:?}, its table says {expected:?}",
                    policy.name
                )
                .unwrap();
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
    eprintln!("{attempts} attempts");
}

#[test]
fn what_is_said_to_be_absent_answers_so() {
    for policy in POLICIES {
        let filters = Filters::compile(policy).unwrap();
        // Without the filter beneath, a call of `clone3` with nothing is EINVAL when it is there.
        let answers = crate::kernel::answer_of(&filters.programs, libc::SYS_clone3);
        let absent = policy.absent.iter().any(|rule| rule.call == "clone3");
        let expected = if absent { libc::ENOSYS } else { libc::EINVAL };
        assert_eq!(answers, Some(expected), "{}", policy.name);
    }
}

#[test]
fn hostile_calls_end_a_worker_and_are_refused_to_all_others() {
    let numbers = numbers();
    let number = |call| {
        numbers
            .iter()
            .find(|(name, _)| name == call)
            .map(|(_, n)| *n)
    };
    for policy in POLICIES {
        let filters = Filters::compile(policy).unwrap();
        let launcher = policy.name.starts_with("launcher");
        let worker = policy.name != "application" && !launcher;
        let tools: BTreeSet<_> = if launcher {
            hostile::NAMESPACES.iter().map(|rule| rule.call).collect()
        } else {
            BTreeSet::new()
        };
        let calls: Vec<_> = HOSTILE
            .concat()
            .iter()
            .filter(|rule| !tools.contains(rule.call) && rule.call != "sethostname")
            .filter_map(|rule| Some((rule.call, number(rule.call)?)))
            .collect();
        assert!(calls.len() > 40, "{} are tried", calls.len());
        let tries: Vec<_> = calls.iter().map(|(_, number)| (*number, [0; 6])).collect();
        for ((call, _), found) in calls.iter().zip(try_calls(&filters.programs, &tries)) {
            let expected = if worker {
                Tried::Ended(libc::SIGSYS)
            } else {
                Tried::Refused(libc::EPERM)
            };
            assert_eq!(found, expected, "{call} under {}", policy.name);
        }
    }
}

#[test]
fn a_worker_that_has_confined_itself_starts_no_program_and_opens_nothing() {
    let number = |call: &str| {
        let numbers = numbers();
        numbers
            .iter()
            .find(|(name, _)| name == call)
            .map(|(_, n)| *n)
    };
    for policy in [&ingest::POLICY, &codec::POLICY, &infer::POLICY] {
        let filters = Filters::compile(policy).unwrap();
        let refused = Tried::Refused(libc::EPERM);
        let ended = Tried::Ended(libc::SIGSYS);
        // To itself, for TLS: which address and who gets there is left to Landlock and the zone.
        let listens = match policy.name {
            "ingest" => Tried::Allowed,
            _ => refused,
        };
        for (call, expected) in [
            ("execve", ended),
            ("execveat", ended),
            ("open", refused),
            ("openat", refused),
            ("openat2", refused),
            ("socketpair", refused),
            ("bind", listens),
            ("listen", listens),
            ("accept4", listens),
            ("fork", refused),
            ("vfork", refused),
            ("kill", refused),
            ("memfd_secret", ended),
        ] {
            let Some(number) = number(call) else { continue };
            let found = try_calls(&filters.programs, &[(number, [0; 6])]);
            assert_eq!(found, [expected], "{call} under {}", policy.name);
        }
        let socket = |family: i32, kind: i32, protocol: u64| {
            let arguments = [family as u64, kind as u64, protocol, 0, 0, 0];
            try_calls(&filters.programs, &[(libc::SYS_socket, arguments)])[0]
        };
        for family in 0..64 {
            for kind in 0..16 {
                let tcp = [libc::AF_INET, libc::AF_INET6].contains(&family)
                    && kind == libc::SOCK_STREAM
                    && policy.name == "ingest";
                let expected = if tcp { Tried::Allowed } else { refused };
                assert_eq!(socket(family, kind, 0), expected, "{family} {kind}");
            }
        }
        // A fork, and a thread that is half one.
        let process = libc::SIGCHLD as u64;
        let half = libc::CLONE_VM as u64;
        let namespace =
            (libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_NEWUSER)
                as u64;
        for flags in [process, half, namespace] {
            let arguments = [flags, 0, 0, 0, 0, 0];
            let found = try_calls(&filters.programs, &[(libc::SYS_clone, arguments)]);
            assert_eq!(found, [refused], "clone {flags:x} under {}", policy.name);
        }
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            let executable = [0, 4096, libc::PROT_EXEC as u64 | 1, 0x22, u64::MAX, 0];
            let found = try_calls(&filters.programs, &[(call, executable)]);
            assert_eq!(found, [refused], "new code under {}", policy.name);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_by_another_numbering_never_get_through() {
    const X32: i64 = 0x4000_0000;
    for policy in POLICIES {
        let filters = Filters::compile(policy).unwrap();
        let calls: Vec<_> = (0..600).map(|number| (X32 | number, [0; 6])).collect();
        for (number, found) in try_calls(&filters.programs, &calls).into_iter().enumerate() {
            assert_eq!(found, Tried::Refused(libc::EPERM), "x32 {number}");
        }
        let signal = crate::kernel::try_foreign_call(&filters.programs);
        // A kernel without 32-bit programs ends it with the other signal.
        assert!(
            signal == Some(libc::SIGSYS) || signal == Some(libc::SIGSEGV),
            "{signal:?} under {}",
            policy.name
        );
    }
}

#[test]
fn every_policy_is_there_for_both_architectures() {
    for architecture in [TargetArch::x86_64, TargetArch::aarch64] {
        for policy in POLICIES {
            let filters = Filters::compile_for(policy, architecture).unwrap();
            let longest = filters.programs.iter().map(Vec::len).max().unwrap_or(0);
            assert!(longest < 4096, "{} has {longest} steps", policy.name);
        }
    }
}

#[test]
fn the_tables_say_why_and_nothing_twice() {
    let known: BTreeSet<_> = NAMES.split_whitespace().collect();
    for policy in POLICIES {
        for rule in policy.rules() {
            assert!(!rule.why.is_empty(), "{rule:?}");
            assert!(known.contains(rule.call), "{rule:?} is in no list of calls");
        }
        let allowed = policy.allow.concat();
        for rule in &allowed {
            let killed = policy
                .kill
                .concat()
                .iter()
                .any(|other| other.call == rule.call);
            assert!(
                !killed,
                "{}: {} is allowed and ends",
                policy.name, rule.call
            );
        }
    }
    for call in OLD_CALLS {
        assert!(known.contains(call), "{call} is in no list of calls");
    }
}

//! An application's policy as an OCI runtime reads it (`linux.seccomp` of `config.json`,
//! opencontainers/runtime-spec `config-linux.md`), made from the table that our own filter is
//! compiled from.
//!
//! Pure. Two ways of libseccomp shape it. It compares all 64 bits of an argument, and the kernel
//! takes the lower half only: a plain "not equal" would let `TIOCSTI` through with a bit set above.
//! So every condition is a comparison of masked bits, and "none of these values" the blocks of
//! numbers that hold none. And runtimes read two conditions on one argument as alternatives, so no
//! entry has two.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{ARCHITECTURE, Condition, OLD_CALLS, Policy, Rule, TargetArch, Test, application};

/// Bits that an argument has to have where `mask` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Masked {
    mask: u32,
    value: u32,
}

/// `linux.seccomp` of an application.
pub(crate) fn application() -> Value {
    of(&application::POLICY, ARCHITECTURE)
}

/// What a policy that ends nothing says.
pub(super) fn of(policy: &Policy, architecture: TargetArch) -> Value {
    let (name, old) = match architecture {
        TargetArch::aarch64 => ("SCMP_ARCH_AARCH64", false),
        _ => ("SCMP_ARCH_X86_64", true),
    };
    let there = |rule: &&Rule| old || !OLD_CALLS.contains(&rule.call);
    let allowed = policy.allow.concat();
    let free: BTreeSet<&str> = allowed
        .iter()
        .filter(there)
        .filter(|rule| rule.when.is_empty())
        .map(|rule| rule.call)
        .collect();
    let absent: BTreeSet<&str> = policy
        .absent
        .iter()
        .filter(there)
        .map(|rule| rule.call)
        .collect();
    let mut entries = vec![json!({ "names": free, "action": "SCMP_ACT_ALLOW" })];
    if !absent.is_empty() {
        entries.push(json!({
            "names": absent, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS,
        }));
    }
    for rule in allowed.iter().filter(there) {
        if rule.when.is_empty() || free.contains(rule.call) {
            continue;
        }
        for arguments in ways(rule.when) {
            let arguments: Vec<Value> = arguments
                .iter()
                .map(|(index, Masked { mask, value })| {
                    json!({
                        "index": index, "op": "SCMP_CMP_MASKED_EQ",
                        "value": mask, "valueTwo": value,
                    })
                })
                .collect();
            entries.push(json!({
                "names": [rule.call], "action": "SCMP_ACT_ALLOW", "args": arguments,
            }));
        }
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": libc::EPERM,
        "architectures": [name],
        "syscalls": entries,
    })
}

/// All ways in which the conditions hold, each with one comparison an argument.
fn ways(when: &[Condition]) -> Vec<BTreeMap<u8, Masked>> {
    let arguments: BTreeSet<u8> = when.iter().map(|condition| condition.argument).collect();
    let mut ways = vec![BTreeMap::new()];
    for argument in arguments {
        let on_it = || when.iter().filter(|c| c.argument == argument);
        // A conjunction of masks is one mask.
        let wanted = on_it().fold(Masked { mask: 0, value: 0 }, |all, condition| {
            let (mask, value) = match condition.test {
                Test::Is(value) => (u32::MAX, value),
                Test::Bits { mask, value } => (mask, value & mask),
                Test::IsNot(_) => (0, 0),
            };
            Masked {
                mask: all.mask | mask,
                value: all.value | value,
            }
        });
        let forbidden: Vec<u32> = on_it()
            .filter_map(|condition| match condition.test {
                Test::IsNot(value) => Some(value),
                Test::Is(_) | Test::Bits { .. } => None,
            })
            .collect();
        let mut blocks = Vec::new();
        without(&forbidden, Masked { mask: 0, value: 0 }, &mut blocks);
        let alternatives: Vec<Masked> = blocks
            .into_iter()
            .filter(|block| (block.value ^ wanted.value) & block.mask & wanted.mask == 0)
            .map(|block| Masked {
                mask: block.mask | wanted.mask,
                value: block.value | wanted.value,
            })
            .collect();
        ways = ways
            .iter()
            .flat_map(|way| {
                alternatives.iter().map(|alternative| {
                    let mut way = way.clone();
                    way.insert(argument, *alternative);
                    way
                })
            })
            .collect();
    }
    ways
}

/// The largest blocks of numbers within `block` that hold none of `forbidden`. A block is all
/// numbers with the same upper bits; there are at most 32 for each forbidden one.
fn without(forbidden: &[u32], block: Masked, blocks: &mut Vec<Masked>) {
    let inside = |value: &&u32| **value & block.mask == block.value;
    if !forbidden.iter().any(|value| inside(&value)) {
        blocks.push(block);
        return;
    }
    let bit = (!block.mask)
        .checked_ilog2()
        .map_or(0, |highest| 1 << highest);
    if bit == 0 {
        // The forbidden number itself.
        return;
    }
    for value in [block.value, block.value | bit] {
        let half = Masked {
            mask: block.mask | bit,
            value,
        };
        without(forbidden, half, blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{bits, is, is_not};
    use super::*;

    /// As libseccomp reads it: all 64 bits, the first entry that fits, else the default.
    fn reads(profile: &Value, call: &str, arguments: &[u64; 6]) -> (String, i64) {
        for entry in profile["syscalls"].as_array().unwrap() {
            let named = entry["names"].as_array().unwrap().iter().any(|n| n == call);
            let fits = |argument: &Value| {
                assert_eq!(argument["op"], "SCMP_CMP_MASKED_EQ");
                let index = argument["index"].as_u64().unwrap();
                let (mask, value) = (&argument["value"], &argument["valueTwo"]);
                arguments[index as usize] & mask.as_u64().unwrap() == value.as_u64().unwrap()
            };
            let all = entry["args"].as_array().is_none_or(|a| a.iter().all(fits));
            if named && all {
                let number = entry["errnoRet"].as_i64().unwrap_or(0);
                return (entry["action"].as_str().unwrap().to_owned(), number);
            }
        }
        let number = profile["defaultErrnoRet"].as_i64().unwrap();
        (
            profile["defaultAction"].as_str().unwrap().to_owned(),
            number,
        )
    }

    #[test]
    fn a_runtime_reads_every_rule_as_our_own_filter_does() {
        use crate::kernel::Tried;
        let policy = &application::POLICY;
        let profile = application();
        let mut tries = 0;
        for call in include_str!("calls.txt").split_whitespace() {
            if ARCHITECTURE == TargetArch::aarch64 && OLD_CALLS.contains(&call) {
                continue;
            }
            let mut arguments = vec![[0; 6]];
            for rule in policy.rules().filter(|rule| rule.call == call) {
                arguments.push(rule.fitting());
                arguments.extend(rule.unfitting());
            }
            // What the kernel does not look at changes nothing.
            let above = |a: &[u64; 6]| a.map(|argument| argument | 0xdead_0000_0000);
            arguments.extend(arguments.clone().iter().map(above));
            for arguments in arguments {
                let absent = policy.absent.iter().any(|rule| rule.call == call);
                let expected = match policy.verdict(call, &arguments) {
                    Tried::Allowed if absent => ("SCMP_ACT_ERRNO", i64::from(libc::ENOSYS)),
                    Tried::Allowed => ("SCMP_ACT_ALLOW", 0),
                    Tried::Refused(number) => ("SCMP_ACT_ERRNO", i64::from(number)),
                    Tried::Ended(_) => panic!("an application's policy ends nothing"),
                };
                let found = reads(&profile, call, &arguments);
                assert_eq!(
                    (found.0.as_str(), found.1),
                    expected,
                    "{call}{arguments:x?}"
                );
                tries += 1;
            }
        }
        assert!(tries > 800, "{tries} were tried");
    }

    #[test]
    fn keystrokes_into_a_terminal_are_refused_whatever_stands_above_the_request() {
        let profile = application();
        for request in [0x5412_u64, 0x541c, 0x5423] {
            for above in [0, 1 << 32, 0xffff_ffff << 32] {
                let found = reads(&profile, "ioctl", &[1, request | above, 0, 0, 0, 0]);
                assert_eq!(found.0, "SCMP_ACT_ERRNO", "{request:x} {above:x}");
            }
            for other in [request - 1, request + 1, request | 0x8000_0000] {
                let found = reads(&profile, "ioctl", &[1, other, 0, 0, 0, 0]);
                assert_eq!(found.0, "SCMP_ACT_ALLOW", "{other:x}");
            }
        }
    }

    #[test]
    fn no_entry_has_two_conditions_on_one_argument() {
        for entry in application()["syscalls"].as_array().unwrap() {
            let mut seen = BTreeSet::new();
            for argument in entry["args"].as_array().into_iter().flatten() {
                assert!(seen.insert(argument["index"].as_u64()), "{entry}");
            }
        }
    }

    #[test]
    fn conditions_on_one_argument_become_one() {
        let way = ways(&[bits(0, 0xf0, 0x30), is_not(0, 0x35), is(1, 7)]);
        let holds = |a: u32, b: u32| {
            way.iter().any(|way| {
                let fits = |i: u8, a: u32| a & way[&i].mask == way[&i].value;
                fits(0, a) && fits(1, b)
            })
        };
        for a in 0..0x200 {
            assert_eq!(holds(a, 7), a & 0xf0 == 0x30 && a != 0x35, "{a:x}");
            assert!(!holds(a, 6));
        }
    }
}

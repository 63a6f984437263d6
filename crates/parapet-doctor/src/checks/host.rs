//! The host itself.

use std::time::Duration;

use super::{Verdict, count};
use crate::facts::{Console, Dumps, Facts, Known, Unknown, Usb, in_words};

pub(super) fn sandbox(facts: &Facts) -> Known<Verdict> {
    let mut missing = Vec::new();
    let mut unknown = None;
    for (name, has) in &facts.host.sandbox {
        match has {
            Ok(true) => {}
            Ok(false) => missing.push(format!("{name} is missing")),
            Err(error) => unknown = Some(error.clone()),
        }
    }
    if !missing.is_empty() {
        let found = format!("{} missing", count(missing.len(), "part"));
        return Ok(Verdict::failure(found).with(missing));
    }
    if let Some(error) = unknown {
        return Err(error);
    }
    let all = facts.host.sandbox.iter().map(|(name, _)| name.clone());
    Ok(Verdict::ok("all that is used is there").with(all))
}

pub(super) fn missing(facts: &Facts) -> Known<Verdict> {
    let status = facts.agent.status.clone()?;
    let status = status.ok_or_else(|| Unknown::because("no agent has run there yet"))?;
    Ok(if status.missing.is_empty() {
        Verdict::ok("nothing")
    } else {
        let found = count(status.missing.len(), "thing");
        Verdict::warning(found).with(status.missing)
    })
}

pub(super) fn runtime(facts: &Facts) -> Known<Verdict> {
    let status = facts.agent.status.clone()?;
    let status = status.ok_or_else(|| Unknown::because("no agent has run there yet"))?;
    match status.applications.as_str() {
        "own" => Ok(Verdict::ok("the launcher's own set-up")),
        "none" => {
            let reason = |missing: &String| missing.starts_with("the runtime of applications");
            let reasons = status.missing.into_iter().filter(reason);
            Ok(Verdict::failure("nothing: the runtime cannot be used").with(reasons))
        }
        "" => Err(Unknown::because(
            "the agent that ran last says nothing of it",
        )),
        runtime => Ok(Verdict::ok(runtime.to_owned())),
    }
}

/// Two years without any repair.
const OLD_FIRMWARE: i64 = 2 * 365 * 86_400;

pub(super) fn firmware(facts: &Facts) -> Known<Verdict> {
    let age = (facts.now - facts.host.firmware.clone()?).max(0);
    let words = in_words(Duration::from_secs(age.unsigned_abs()));
    let found = format!("made {words} ago");
    Ok(if age > OLD_FIRMWARE {
        Verdict::warning(found)
    } else {
        Verdict::ok(found)
    })
}

pub(super) fn secure_boot(facts: &Facts) -> Known<Verdict> {
    Ok(match facts.host.secure_boot.clone()? {
        Some(true) => Verdict::ok("on"),
        Some(false) => Verdict::warning("off"),
        None => Verdict::warning("the host was not started by UEFI, which alone has it"),
    })
}

pub(super) fn consoles(facts: &Facts) -> Known<Verdict> {
    let consoles = facts.host.consoles.clone()?;
    let evidence = consoles.iter().map(
        |Console {
             name,
             program,
             is_open,
         }| {
            let how = if *is_open {
                "without a password"
            } else {
                "asks for a password"
            };
            format!("{name}: {program}, {how}")
        },
    );
    let evidence: Vec<String> = evidence.collect();
    Ok(if consoles.iter().any(|console| console.is_open) {
        Verdict::failure("somebody is let in without a password").with(evidence)
    } else if consoles.is_empty() {
        Verdict::ok("nobody waits for a login")
    } else {
        let found = format!("a login waits at {}", count(consoles.len(), "console"));
        Verdict::warning(found).with(evidence)
    })
}

pub(super) fn usb(facts: &Facts) -> Known<Verdict> {
    Ok(match facts.host.usb.clone()? {
        Usb::Absent => Verdict::ok("this kernel has no USB"),
        Usb::Blocked => Verdict::ok("its driver is forbidden or absent"),
        Usb::Guarded => Verdict::ok("new devices are refused until somebody allows them"),
        Usb::Allowed => Verdict::warning("a stick is taken as soon as it is there"),
        Usb::InUse => Verdict::warning("a USB disk or stick is in use now"),
    })
}

pub(super) fn dumps(facts: &Facts) -> Known<Verdict> {
    let Dumps {
        pattern,
        of_privileged,
    } = facts.host.dumps.clone()?;
    // systemd's and apport's handlers honour the limit of 0 that Parapet sets for its processes;
    // the kernel itself does not where a pipe takes the dump (core(5)).
    let is_known = ["systemd-coredump", "apport", "/bin/false", "/bin/true"]
        .iter()
        .any(|name| pattern.contains(name));
    let evidence = [
        format!("kernel.core_pattern={pattern}"),
        format!("fs.suid_dumpable={of_privileged}"),
    ];
    Ok(if of_privileged == 1 {
        Verdict::failure("privileged processes leave dumps for everybody").with(evidence)
    } else if pattern.starts_with('|') && !is_known {
        Verdict::warning("a program takes dumps and may not honour limits").with(evidence)
    } else if of_privileged != 0 && !is_known {
        Verdict::warning("privileged processes leave dumps").with(evidence)
    } else {
        Verdict::ok("none of Parapet's processes leaves one").with(evidence)
    })
}

pub(super) fn kernel(facts: &Facts) -> Known<Verdict> {
    let mut weak = Vec::new();
    let mut good = Vec::new();
    for switch in &facts.host.hardening {
        let name = &switch.name;
        match switch.value.clone()? {
            Some(value) if !switch.good.contains(&value) => {
                let more = if *switch.good.end() == i64::MAX {
                    " or more"
                } else {
                    ""
                };
                weak.push(format!("{name}={value}, not {}{more}", switch.good.start()));
            }
            Some(value) => good.push(format!("{name}={value}")),
            None if switch.guards_a_part => {
                good.push(format!("{name}: this kernel lacks what it guards"));
            }
            None => weak.push(format!("{name}: this kernel has no such guard")),
        }
    }
    good.push(match &facts.host.lockdown {
        Ok(Some(true)) => "lockdown: root itself is kept out of the kernel".to_owned(),
        Ok(Some(false)) => "lockdown: off, root may change the kernel".to_owned(),
        Ok(None) => "lockdown: this kernel has none".to_owned(),
        Err(error) => error.to_string(),
    });
    Ok(if weak.is_empty() {
        Verdict::ok("no more than it must").with(good)
    } else {
        Verdict::warning(format!(
            "{} open",
            count(weak.len(), "switch").replace("switchs", "switches")
        ))
        .with(weak)
    })
}

//! Versions and updates.

use std::time::Duration;

use super::{Verdict, count};
use crate::facts::{Facts, Known, in_words};

/// Half a year.
const OLD: i64 = 182 * 86_400;
/// Lists of packages that are older tell nothing of today's weaknesses.
const OLD_LISTS: i64 = 14 * 86_400;

pub(super) fn parapet(facts: &Facts) -> Known<Verdict> {
    let version = &facts.software.version;
    let age = (facts.now - facts.software.built.clone()?).max(0);
    let words = in_words(Duration::from_secs(age.unsigned_abs()));
    Ok(if age > OLD {
        Verdict::warning(format!("version {version}, made {words} ago"))
    } else {
        Verdict::ok(format!("version {version}, made {words} ago"))
    })
}

pub(super) fn updates(facts: &Facts) -> Known<Verdict> {
    let updates = facts.software.updates.clone()?;
    let age = (facts.now - updates.listed).max(0);
    let words = in_words(Duration::from_secs(age.unsigned_abs()));
    let pending = count(updates.pending.len(), "package");
    if !updates.security.is_empty() {
        let security = updates.security.len();
        let found = format!("{pending} pending, {security} of them repair weaknesses");
        return Ok(Verdict::failure(found).with(updates.security));
    }
    if age > OLD_LISTS {
        let found = format!("the lists of packages are {words} old; by them {pending} pending");
        return Ok(Verdict::warning(found).with(updates.pending));
    }
    Ok(if updates.pending.is_empty() {
        Verdict::ok(format!("none, by lists that are {words} old"))
    } else {
        Verdict::warning(format!("{pending} pending")).with(updates.pending)
    })
}

pub(super) fn kernel(facts: &Facts) -> Known<Verdict> {
    let kernel = facts.software.kernel.clone()?;
    let running = kernel.running;
    Ok(match kernel.newer {
        Some(newer) => Verdict::warning(format!("{running} runs, {newer} is installed")),
        None if kernel.restart_asked => Verdict::warning(format!(
            "{running} runs, and the distribution asks for a restart"
        )),
        None => Verdict::ok(format!("{running}, the newest that is installed")),
    })
}

//! Clocks and the lives of certificates.

use std::time::Duration;

use super::{Verdict, count};
use crate::facts::{Facts, Known, Validity, in_words};

/// A signature of the API may be five minutes off; half of it leaves room.
const FAR: i64 = 150;
/// A second or two is the way there and back.
const NEAR: i64 = 5;
/// An authority is rolled by hand.
const AUTHORITY_SOON: i64 = 60 * 86_400;

pub(super) fn synchronised(facts: &Facts) -> Known<Verdict> {
    Ok(if facts.clock.synchronised.clone()? {
        Verdict::ok("kept near the true time by a time service")
    } else {
        Verdict::warning("the kernel knows of no time service that keeps it right")
    })
}

pub(super) fn control_plane(facts: &Facts) -> Known<Verdict> {
    let Some(before) = facts.clock.before_control_plane.clone()? else {
        return Ok(Verdict::ok(
            "the device is not enrolled: it has no control plane",
        ));
    };
    let away = in_words(Duration::from_secs(before.unsigned_abs()));
    let side = if before > 0 { "before" } else { "behind" };
    Ok(match before.abs() {
        0..=NEAR => Verdict::ok(format!("within {NEAR} seconds of it")),
        off if off < FAR => Verdict::warning(format!("{away} {side} it")),
        _ => Verdict::failure(format!("{away} {side} it")),
    })
}

pub(super) fn certificate(facts: &Facts) -> Known<Verdict> {
    let Some(identity) = facts.agent.identity.clone()? else {
        return Ok(Verdict::ok("the device is not enrolled"));
    };
    let Validity {
        not_before,
        not_after,
    } = identity.certificate;
    if facts.now < not_before {
        return Ok(Verdict::failure("it is not valid yet: the clock is behind"));
    }
    let left = not_after - facts.now;
    let words = in_words(Duration::from_secs(left.unsigned_abs()));
    // The agent renews at two thirds; a tenth more is a way that was closed for a while.
    let is_late = left < (not_after - not_before) / 4;
    Ok(if left <= 0 {
        Verdict::failure(format!("it ended {words} ago"))
    } else if is_late {
        Verdict::warning(format!("its renewal is overdue; it ends in {words}"))
    } else {
        Verdict::ok(format!("it ends in {words}"))
    })
}

pub(super) fn authorities(facts: &Facts) -> Known<Verdict> {
    let Some(identity) = facts.agent.identity.clone()? else {
        return Ok(Verdict::ok("the device is not enrolled"));
    };
    let last = identity
        .authorities
        .iter()
        .map(|validity| validity.not_after)
        .max();
    let left = last.unwrap_or(0) - facts.now;
    let words = in_words(Duration::from_secs(left.unsigned_abs()));
    let known = count(identity.authorities.len(), "authority").replace("authoritys", "authorities");
    let found = format!("{known}; the last ends in {words}");
    Ok(if left <= 0 {
        Verdict::failure("none of them is valid any more")
    } else if left < AUTHORITY_SOON {
        Verdict::warning(found)
    } else {
        Verdict::ok(found)
    })
}

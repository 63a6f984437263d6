//! What was reached from inside each zone.

use std::collections::BTreeSet;

use super::{Verdict, count};
use crate::facts::{Attempt, Facts, Known, Outcome, Target};

/// Judges attempts of which only those that `may` says are allowed.
fn judge(attempts: &[Attempt], may: impl Fn(&Attempt) -> bool) -> Verdict {
    let reached: Vec<String> = attempts
        .iter()
        .filter(|attempt| attempt.outcome.arrived() && !may(attempt))
        .map(words)
        .collect();
    let tried = count(attempts.len(), "attempt");
    if reached.is_empty() {
        Verdict::ok(format!("{tried}, nothing reached that should not be"))
            .with(attempts.iter().map(words))
    } else {
        Verdict::failure(format!("{} of {tried} arrived", reached.len())).with(reached)
    }
}

fn words(attempt: &Attempt) -> String {
    format!(
        "{} to {} {}: {}",
        attempt.from, attempt.target, attempt.address, attempt.outcome
    )
}

pub(super) fn from_cameras(facts: &Facts) -> Known<Verdict> {
    let attempts = facts.reach.cameras.clone()?;
    let verdict = judge(&attempts, |attempt| attempt.target == Target::Camera);
    if verdict.level != crate::report::Level::Ok {
        return Ok(verdict);
    }
    // A reader has one camera. The zone itself may see them all.
    let readers: BTreeSet<&str> = attempts
        .iter()
        .map(|attempt| attempt.from.as_str())
        .filter(|from| from.starts_with("ingest"))
        .collect();
    for reader in readers {
        let own: Vec<&Attempt> = attempts
            .iter()
            .filter(|a| a.from == reader && a.target == Target::Camera && a.outcome.arrived())
            .collect();
        if own.len() > 1 {
            let found = format!("{reader} reaches {}, not one", count(own.len(), "camera"));
            return Ok(Verdict::warning(found).with(own.into_iter().map(words)));
        }
    }
    Ok(verdict)
}

pub(super) fn from_workers(facts: &Facts) -> Known<Verdict> {
    Ok(judge(&facts.reach.workers.clone()?, |_| false))
}

pub(super) fn from_applications(facts: &Facts) -> Known<Verdict> {
    let attempts = facts.reach.applications.clone()?;
    let behind_gateways: BTreeSet<&str> = attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::Gateway)
        .map(|attempt| attempt.from.as_str())
        .collect();
    // Its policy may name the control plane; a gateway then lets it through on purpose.
    Ok(judge(&attempts, |attempt| {
        attempt.target == Target::ControlPlane && behind_gateways.contains(attempt.from.as_str())
    }))
}

pub(super) fn from_agent(facts: &Facts) -> Known<Verdict> {
    let attempts = facts.reach.agent.clone()?;
    let plane: Vec<&Attempt> = attempts
        .iter()
        .filter(|attempt| attempt.target == Target::ControlPlane)
        .collect();
    if !plane.is_empty() && plane.iter().all(|a| a.outcome != Outcome::Connected) {
        let evidence: Vec<String> = plane.into_iter().map(words).collect();
        return Ok(Verdict::failure("the control plane is not reached").with(evidence));
    }
    Ok(judge(&attempts, |attempt| {
        matches!(attempt.target, Target::ControlPlane | Target::Appliance)
    }))
}

//! Cameras.

use parapet_device::reported::Separation;

use super::{Verdict, count};
use crate::facts::{Camera, Facts, Known, Passwords, Target, Unknown};

fn cameras(facts: &Facts) -> Known<Vec<Camera>> {
    facts.cameras.clone()
}

const NONE: &str = "no camera is configured";

pub(super) fn exposed(facts: &Facts) -> Known<Verdict> {
    if cameras(facts)?.is_empty() {
        return Ok(Verdict::ok(NONE));
    }
    let attempts = facts.reach.host.clone()?;
    let attempts: Vec<_> = attempts
        .into_iter()
        .filter(|attempt| attempt.target == Target::Camera)
        .collect();
    if attempts.is_empty() {
        return Err(Unknown::because("no camera's name could be looked up here"));
    }
    let reached: Vec<String> = attempts
        .iter()
        .filter(|attempt| attempt.outcome.arrived() && !attempt.address.ip().is_loopback())
        .map(|attempt| format!("{}: {}", attempt.address, attempt.outcome))
        .collect();
    if reached.is_empty() {
        return Ok(Verdict::ok("none is reached from the uplink's side"));
    }
    let found = format!(
        "{} reached from the host's own network",
        count(reached.len(), "camera")
    );
    let level = super::zones::separation(facts);
    Ok(if level == Ok(Separation::Separated) {
        Verdict::failure(format!(
            "{found}, although they are in a zone of their own: another way leads there"
        ))
        .with(reached)
    } else {
        Verdict::warning(found).with(reached)
    })
}

pub(super) fn passwords(facts: &Facts) -> Known<Verdict> {
    let cameras = cameras(facts)?;
    if cameras.is_empty() {
        return Ok(Verdict::ok(NONE));
    }
    let mut open = Vec::new();
    let mut unknown = Vec::new();
    let mut refused = Vec::new();
    for camera in &cameras {
        let name = &camera.name;
        if camera.uses_well_known == Ok(Some(true)) {
            open.push(format!("{name} is used with a well-known password"));
            continue;
        }
        match &camera.passwords {
            Ok(Passwords::NoneAsked) => open.push(format!("{name} asks for no password")),
            Ok(Passwords::WellKnown(user)) => {
                open.push(format!("{name} lets in {user} with a well-known password"));
            }
            Ok(Passwords::Refused(tried)) => refused.push(format!("{name} refused {tried}")),
            Err(error) => unknown.push(format!("{name}: {error}")),
        }
    }
    if !open.is_empty() {
        let found = format!("{} open to everybody", count(open.len(), "camera"));
        return Ok(Verdict::failure(found).with(open).with(unknown));
    }
    if let Some(first) = unknown.first() {
        return Err(Unknown::because(match unknown.len() {
            1 => first.clone(),
            more => format!("{first}, and {} more", more - 1),
        }));
    }
    Ok(Verdict::ok("well-known passwords are refused").with(refused))
}

pub(super) fn transport(facts: &Facts) -> Known<Verdict> {
    let cameras = cameras(facts)?;
    let plain: Vec<String> = cameras
        .iter()
        .filter(|camera| camera.scheme == "rtsp")
        .map(|camera| format!("{}: {}", camera.name, camera.place))
        .collect();
    if plain.is_empty() {
        let found = if cameras.is_empty() {
            NONE
        } else {
            "no stream is plain"
        };
        return Ok(Verdict::ok(found));
    }
    let streams = count(plain.len(), "plain stream");
    Ok(match super::zones::separation(facts)? {
        Separation::Separated => Verdict::ok(format!("{streams}, in a zone of their own")),
        Separation::Filtered | Separation::Flat => {
            Verdict::warning(format!("{streams} on a network that others share")).with(plain)
        }
    })
}

pub(super) fn firmware(facts: &Facts) -> Known<Verdict> {
    let cameras = cameras(facts)?;
    if cameras.is_empty() {
        return Ok(Verdict::ok(NONE));
    }
    let told: Vec<String> = cameras
        .iter()
        .filter_map(|camera| {
            Some(format!(
                "{} calls itself {}",
                camera.name,
                camera.server.as_ref()?
            ))
        })
        .collect();
    let mut verdict = Verdict::new(
        crate::report::Level::Unknown,
        "RTSP does not tell a camera's version",
    );
    verdict.evidence = told;
    Ok(verdict)
}

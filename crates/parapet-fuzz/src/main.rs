//! `parapet-fuzz`: feeds targets for as long as one likes, or one input again.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parapet_fuzz::{TARGETS, drive};

const USAGE: &str = "usage: parapet-fuzz [TARGET|all] [SECONDS]    feed a target, or all in turn
       parapet-fuzz TARGET FILE               feed one input again";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_else(|| "all".to_owned());
    let second = words.next().unwrap_or_else(|| "60".to_owned());
    let targets: Vec<_> = TARGETS
        .iter()
        .filter(|target| name == "all" || name == target.name)
        .collect();
    if targets.is_empty() || words.next().is_some() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("{USAGE}\ntargets: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let Ok(seconds) = second.parse() else {
        return match std::fs::read(&second) {
            Ok(input) => {
                for target in targets {
                    (target.run)(&input);
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("parapet-fuzz: read {second}: {error}\n{USAGE}");
                ExitCode::from(2)
            }
        };
    };
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64);
    for target in targets {
        let trace = PathBuf::from(format!("fuzz-{}-{seed}", target.name));
        match drive(target, seed, Duration::from_secs(seconds), &trace) {
            Ok(done) => println!(
                "{}: {} inputs, slowest {:?}, seed {seed}",
                target.name, done.inputs, done.slowest
            ),
            Err(error) => {
                eprintln!("parapet-fuzz: {}: {error}", target.name);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

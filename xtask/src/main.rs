//! What the house promises of itself and a compiler does not check.
//!
//! `cargo xtask check-deps` holds the directions between crates, the purity of the pure ones and a
//! reason for each dependency; `cargo xtask check-libs` holds which executable may link which
//! shared library; `cargo xtask check-promises` holds a test or a date for each row of
//! `docs/security.md`. All read what is there (`cargo metadata`, the pages, the built files) and
//! change nothing.
#![forbid(unsafe_code)]

mod check_deps;
mod check_libs;
mod check_promises;
mod reasons;

use std::process::ExitCode;

fn main() -> ExitCode {
    let verb = std::env::args().nth(1).unwrap_or_default();
    let result = match verb.as_str() {
        "check-deps" => check_deps::run(),
        "check-libs" => check_libs::run(),
        "check-promises" => check_promises::run(),
        _ => {
            eprintln!("usage: cargo xtask check-deps | check-libs | check-promises");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(faults) if faults.is_empty() => {
            println!("{verb}: ok");
            ExitCode::SUCCESS
        }
        Ok(faults) => {
            for fault in &faults {
                eprintln!("{verb}: {fault}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{verb}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

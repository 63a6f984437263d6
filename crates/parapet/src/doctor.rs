//! `parapet doctor`: looks at an appliance's host, explains what it finds, and ends with a code.
//!
//! The looking and judging are `parapet-doctor`'s; this is the command line around it.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use parapet_doctor::checks::{self, CHECKS};
use parapet_doctor::gather::{self, Options};

/// Arguments of `parapet doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Changes nothing. As root it sees most; without, it says what it could not see. \
                  Ends with 0 when all is well, 1 after a failure, 3 when there are only warnings \
                  or things that are not known, 2 for wrong usage."
)]
pub(crate) struct Arguments {
    /// State directory of the appliance, running or not
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The agent's configuration (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object, for auditors
    #[arg(long)]
    json: bool,
    /// Try well-known passwords on the configured cameras. Cameras may lock an account after a few
    #[arg(long)]
    try_passwords: bool,
    /// How many well-known passwords are tried on each camera
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u8).range(1..=10),
        requires = "try_passwords"
    )]
    attempts: u8,
    /// A check whose finding is accepted as it is: it is shown and does not count. May be repeated
    #[arg(long, value_name = "CHECK", value_parser = check)]
    accept: Vec<String>,
}

fn check(id: &str) -> Result<String, String> {
    if CHECKS.iter().any(|check| check.id == id) {
        return Ok(id.to_owned());
    }
    let all: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    Err(format!(
        "there is no such check; there are {}",
        all.join(", ")
    ))
}

/// Looks and tells.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let facts = gather::facts(&Options {
        data: arguments.data.clone(),
        config: arguments.config.clone(),
        password_attempts: arguments
            .try_passwords
            .then_some(usize::from(arguments.attempts)),
    });
    let report = checks::examine(&facts, &arguments.accept);
    if arguments.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&report).context("write the report")?
        );
    } else {
        let with_colours =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print!("{}", parapet_doctor::table(&report, with_colours));
    }
    Ok(ExitCode::from(report.exit_code()))
}

//! The command line of Parapet: a file a verb, no logic but the demo's.
//!
//! Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage; `doctor` has one
//! more, 3: no failure, and not all well or known.
#![forbid(unsafe_code)]

mod agent;
mod api;
mod audit;
mod camera;
mod console;
mod demo;
mod doctor;
mod fleet;
mod key;
mod launcher;
mod principals;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Computer vision next to the cameras: the open, self-hosted successor of AWS Panorama
#[derive(Debug, Parser)]
#[command(
    name = "parapet",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the control plane: the signed API, the registry of devices and packages, the console
    Server(server::Arguments),
    /// Run an appliance: cameras, models and applications, as the control plane desires
    Agent(agent::Arguments),
    /// Be the root half of an appliance that runs as two services (docs/hardening.md)
    #[command(hide = true)]
    Launcher(launcher::Arguments),
    /// Print a link that signs a browser in to the console, once, within a minute
    Console(console::Arguments),
    /// Applications: what each may use, whom it may call, who may call it
    #[command(subcommand)]
    App(fleet::app::Verb),
    /// Devices: how they stand, and how they keep the cameras' network apart
    #[command(subcommand)]
    Device(fleet::device::Verb),
    /// Change cameras in place
    #[command(subcommand)]
    Camera(camera::Verb),
    /// Look into the audit trail, copy it, and tell whether it is whole
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Users: people and programs with keys of their own
    #[command(subcommand)]
    User(principals::user::Verb),
    /// Roles: what somebody may become for a while
    #[command(subcommand)]
    Role(principals::role::Verb),
    /// Policies: who may do what; check, change and try them
    #[command(subcommand)]
    Policy(principals::policy::Verb),
    /// Keys: access keys of users, and the master key that wraps stored secrets
    #[command(subcommand)]
    Key(key::Verb),
    /// Look at an appliance's host and explain what is not as it should be
    Doctor(doctor::Arguments),
    /// Run all of it on this machine and show it working
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = |is_well: bool| {
        if is_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    };
    let result = match cli.verb {
        Verb::Server(arguments) => server::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Agent(arguments) => agent::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Launcher(arguments) => launcher::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::Console(arguments) => console::run(&arguments).map(|()| ExitCode::SUCCESS),
        Verb::App(verb) => fleet::app::run(&verb).map(|()| ExitCode::SUCCESS),
        Verb::Device(verb) => fleet::device::run(&verb).map(|()| ExitCode::SUCCESS),
        Verb::Camera(verb) => camera::run(&verb).map(|()| ExitCode::SUCCESS),
        Verb::Audit(verb) => audit::run(&verb).map(done),
        Verb::User(verb) => principals::user::run(&verb).map(|()| ExitCode::SUCCESS),
        Verb::Role(verb) => principals::role::run(&verb).map(|()| ExitCode::SUCCESS),
        Verb::Policy(verb) => principals::policy::run(&verb).map(done),
        Verb::Key(verb) => key::run(&verb).map(|()| ExitCode::SUCCESS),
        Verb::Doctor(arguments) => doctor::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments).map(done),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("parapet: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// No core dump of this process and of those it starts: they hold keys and passwords. Says so where
/// the kernel refuses, and goes on.
fn no_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "failed to switch core dumps off");
    }
}

/// No look into this process's memory and environment by others of the same user.
fn close_memory() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "failed to close the process's memory to debuggers");
    }
}

/// JSON lines on standard error, as a service manager collects them; `PARAPET_LOG` chooses.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PARAPET_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_verb_and_option_fits_with_the_others() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_says_what_it_does() {
        let mut left = vec![Cli::command()];
        while let Some(command) = left.pop() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            left.extend(command.get_subcommands().cloned());
        }
    }
}

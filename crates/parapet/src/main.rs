//! The command line of Parapet: a file a verb, no logic but the demo's.
//!
//! Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.
#![forbid(unsafe_code)]

mod agent;
mod api;
mod audit;
mod camera;
mod console;
mod demo;
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
    /// Print a link that signs a browser in to the console, once, within a minute
    Console(console::Arguments),
    /// Change cameras in place
    #[command(subcommand)]
    Camera(camera::Verb),
    /// Look into the audit trail, copy it, and tell whether it is whole
    #[command(subcommand)]
    Audit(audit::Verb),
    /// Run all of it on this machine and show it working
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Server(arguments) => server::run(&arguments).map(|()| true),
        Verb::Agent(arguments) => agent::run(&arguments).map(|()| true),
        Verb::Console(arguments) => console::run(&arguments).map(|()| true),
        Verb::Camera(verb) => camera::run(&verb).map(|()| true),
        Verb::Audit(verb) => audit::run(&verb),
        Verb::Demo(arguments) => demo::run(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("parapet: {error:#}");
            ExitCode::FAILURE
        }
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

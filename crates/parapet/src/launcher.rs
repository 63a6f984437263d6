//! `parapet launcher`: finds what the launcher needs as the agent does, and becomes it.

use std::path::PathBuf;

use anyhow::Result;
use parapet_agent::Config;

/// Arguments of `parapet launcher`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For a service manager that listens for the agent and leaves the socket as \
                  descriptor 3; the agent is started with --launcher."
)]
pub(crate) struct Arguments {
    /// The state directory of the agent
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The agent's configuration (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Load the appliance's zones and end: before ports come up, at boot
    #[arg(long)]
    zones_only: bool,
}

/// Becomes `parapet-launcher`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    super::no_core_dumps();
    let config = Config::load(&arguments.data, arguments.config.as_deref(), None, None)?;
    Err(if arguments.zones_only {
        parapet_agent::load_zones(&config).into()
    } else {
        parapet_agent::run_launcher(&config).into()
    })
}

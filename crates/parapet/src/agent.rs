//! `parapet agent`: the appliance.

use std::path::PathBuf;

use anyhow::Result;
use parapet_agent::Config;

/// Arguments of `parapet agent`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Started as root, it leaves root to parapet-launcher and goes on as a user \
                        of its own; started as anybody else it says what is then missing."
)]
pub(crate) struct Arguments {
    /// Where everything is kept: identity, ledger, assets, logs
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The archive of `ProvisionDevice`, certificates-omni_NAME.zip, for the first start
    #[arg(long, value_name = "ZIP", conflicts_with = "desired")]
    enroll: Option<PathBuf>,
    /// Configuration (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run this desired document, and each new version of the file, without a control plane
    #[arg(long, value_name = "FILE")]
    desired: Option<PathBuf>,
    /// Use the launcher that a service manager starts at this socket; the agent is an ordinary user
    /// from the beginning
    #[arg(long, value_name = "SOCKET")]
    launcher: Option<PathBuf>,
}

/// Runs until it is told to end.
///
/// No thread may have been started before: root is given up for the whole process.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    super::log_to_stderr();
    super::no_core_dumps();
    let mut config = Config::load(
        &arguments.data,
        arguments.config.as_deref(),
        arguments.enroll.as_deref(),
        arguments.desired.as_deref(),
    )?;
    config.launcher.clone_from(&arguments.launcher);
    Ok(parapet_agent::run(config)?)
}

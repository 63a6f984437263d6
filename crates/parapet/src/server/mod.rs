//! `parapet server`: the control plane, its backups and its authorities.

mod backup;
mod ca;
mod recover;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use parapet_server::ServerConfig;

/// Arguments of `parapet server`. What is not given comes from the file, then from the defaults.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "The first start writes DIR/admin: credentials, config and CA for the AWS \
                        tools, and `env` to source. The master key that seals secrets is kept \
                        outside DIR: a file, a systemd credential, a variable or a command, \
                        see [master_key] in docs/secrets.md; by default \
                        /etc/parapet/master.key or ~/.config/parapet/master.key."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Where everything is kept: database, blobs, certificates
    #[arg(long, value_name = "DIR", required = true)]
    data: Option<PathBuf>,
    /// The signed API and the console [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Devices [default: 127.0.0.1:8444]
    #[arg(long, value_name = "ADDR:PORT")]
    device_listen: Option<SocketAddr>,
    /// Metrics, loopback only [default: 127.0.0.1:8445]
    #[arg(long, value_name = "ADDR:PORT")]
    admin_listen: Option<SocketAddr>,
    /// Configuration (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Twelve digits, at the first start only [default: made at random]
    #[arg(long, value_name = "ID")]
    account_id: Option<String>,
    /// Region of the ARNs [default: us-west-2]
    #[arg(long)]
    region: Option<String>,
    /// Refuse signatures for other regions instead of taking them as aliases
    #[arg(long)]
    strict_region: bool,
    /// Address or name under which clients and devices reach this server, if it is not --listen
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
}

/// What else there is to do with a control plane; without one of these it runs.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Write all of a control plane into one file, while it runs; the master key is not in it
    Backup(backup::Backup),
    /// Make a data directory from a backup
    Restore(backup::Restore),
    /// Make a new key for the user admin when all are lost; on the server's host, running or not
    Recover(recover::Recover),
    /// The certificate authorities: from one to the next, without enrolling devices anew
    #[command(subcommand)]
    Ca(ca::Verb),
}

/// Runs until SIGINT or SIGTERM, or carries out what is asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.verb {
        Some(Verb::Backup(backup)) => backup::write(backup),
        Some(Verb::Restore(restore)) => backup::restore(restore),
        Some(Verb::Recover(recover)) => recover::run(recover),
        Some(Verb::Ca(verb)) => ca::run(verb),
        None => serve(arguments),
    }
}

fn serve(arguments: &Arguments) -> Result<()> {
    super::log_to_stderr();
    super::no_core_dumps();
    super::close_memory();
    let data = arguments.data.as_ref().context("give --data")?;
    let data = std::path::absolute(data).context("read --data")?;
    let mut config = ServerConfig::new(data);
    if let Some(file) = &arguments.config {
        config.read_file(file)?;
    }
    config.listen = arguments.listen.unwrap_or(config.listen);
    config.device_listen = arguments.device_listen.unwrap_or(config.device_listen);
    config.admin_listen = arguments.admin_listen.unwrap_or(config.admin_listen);
    config.account_id = arguments.account_id.clone().or(config.account_id);
    config.region = arguments.region.clone().unwrap_or(config.region);
    config.strict_region |= arguments.strict_region;
    config.advertise = arguments.advertise.clone().or(config.advertise);
    config.check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the run time")?;
    runtime.block_on(parapet_server::run(config, stop()))?;
    Ok(())
}

/// Ends with SIGINT or SIGTERM.
async fn stop() {
    use tokio::signal::unix::{SignalKind, signal};
    match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without signals only the end of the process is left.
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(%error, "failed to listen for signals");
            std::future::pending::<()>().await;
        }
    }
}

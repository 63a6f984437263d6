//! `parapet server`: the control plane.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use parapet_server::ServerConfig;

/// Arguments of `parapet server`. What is not given comes from the file, then from the defaults.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The first start writes DIR/admin: credentials, config and CA for the AWS \
                        tools, and `env` to source. The master key that seals secrets is kept \
                        outside DIR: PARAPET_MASTER_KEY_FILE, a systemd credential, \
                        /etc/parapet/master.key or ~/.config/parapet/master.key."
)]
pub(crate) struct Arguments {
    /// Where everything is kept: database, blobs, certificates
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
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

/// Runs until SIGINT or SIGTERM.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    super::log_to_stderr();
    let data = std::path::absolute(&arguments.data).context("read --data")?;
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

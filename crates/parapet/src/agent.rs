//! `parapet agent`: the appliance, and its end.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use parapet_agent::{Config, RTSPS_PORT, Unlocked};

/// Arguments of `parapet agent`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Started as root, it leaves root to parapet-launcher and goes on as a user \
                        of its own; started as anybody else it says what is then missing."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Where everything is kept: identity, ledger, assets, logs
    #[arg(long, value_name = "DIR", required = true)]
    data: Option<PathBuf>,
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
    /// The device key, handed over in this file by a unit of root's: written by --unlock-data, read
    /// by an agent that is an ordinary user from the beginning (docs/hardening.md)
    #[arg(long, value_name = "FILE")]
    device_key: Option<PathBuf>,
    /// Encrypt the state directory of an agent that does not run, with a key that the TPM opens, or a
    /// passphrase where there is none; what lay there is overwritten
    #[arg(long, conflicts_with_all = ["enroll", "desired", "launcher", "device_key", "unlock_data"])]
    encrypt_data: bool,
    /// Unlock the encrypted state directory of an agent that does not run yet, as root
    #[arg(long, conflicts_with_all = ["enroll", "desired", "launcher"])]
    unlock_data: bool,
    /// Where the passphrase of the encrypted state directory is, instead of the terminal [default:
    /// `keys.passphrase_file` of the configuration]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What else there is to do with an appliance; without one of these it runs.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Empty an appliance that does not run: keys first, then all the rest of its state directory
    Reset(Reset),
    /// Take the zones of an appliance that does not run off this host: its rules and its camera
    /// namespace go, the camera ports come back as they were
    RemoveZones(RemoveZones),
    /// Have the certificate of a camera forgotten that got a new one, so that its next is believed;
    /// the appliance may run
    ForgetCertificate(ForgetCertificate),
}

/// Arguments of `parapet agent reset`.
#[derive(Debug, clap::Args)]
struct Reset {
    /// The state directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The configuration it ran with, whose zones go with it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do it; without this it is only said what would be done
    #[arg(long)]
    yes: bool,
}

/// Arguments of `parapet agent remove-zones`.
#[derive(Debug, clap::Args)]
#[command(after_help = "As root. Running it again does nothing.")]
struct RemoveZones {
    /// The configuration it ran with: `[process] id_base` tells which zones are its own
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Arguments of `parapet agent forget-certificate`.
#[derive(Debug, clap::Args)]
struct ForgetCertificate {
    /// The camera, as its `rtsps://` address names it, e.g. 10.0.0.7:322; without one all that are
    /// kept are listed
    #[arg(value_name = "HOST[:PORT]")]
    camera: Option<String>,
    /// The state directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Runs until it is told to end, or does what else is asked for.
///
/// No thread may have been started before: root is given up for the whole process.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.verb {
        Some(Verb::Reset(reset)) => return reset.run(),
        Some(Verb::RemoveZones(remove)) => return remove.run(),
        Some(Verb::ForgetCertificate(forget)) => return forget.run(),
        None => {}
    }
    super::log_to_stderr();
    super::no_core_dumps();
    let data = arguments.data.as_deref().context("find --data")?;
    let mut config = Config::load(
        data,
        arguments.config.as_deref(),
        arguments.enroll.as_deref(),
        arguments.desired.as_deref(),
    )?;
    config.launcher.clone_from(&arguments.launcher);
    config.device_key = arguments.device_key.as_deref().map(absolute).transpose()?;
    if let Some(file) = &arguments.passphrase_file {
        config.keys.passphrase_file = Some(absolute(file)?);
    }
    if arguments.encrypt_data {
        return Ok(parapet_agent::encrypt_data(
            &config.data,
            &config.keys,
            &mut |step| println!("{step}"),
        )?);
    }
    if arguments.unlock_data {
        let data = config.data.display();
        match parapet_agent::unlock(&config)? {
            Unlocked::Plain => println!("{data} is not encrypted"),
            Unlocked::Before => println!("{data} was unlocked before"),
            Unlocked::Now => println!("{data} is unlocked"),
        }
        return Ok(());
    }
    Ok(parapet_agent::run(config)?)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("use {}", path.display()))
}

impl Reset {
    fn run(&self) -> Result<()> {
        if !self.yes {
            bail!(
                "reset {data}: its keys would be overwritten and deleted, then everything else in \
                 there: identity, camera passwords, applications and their storage, models, logs; \
                 then its zones on this host. Nothing brings them back. Say --yes to do it",
                data = self.data.display()
            );
        }
        parapet_agent::reset(&self.data, &mut |step| println!("{step}"))?;
        remove_zones(self.config.as_deref()).context(
            "remove the zones of the appliance, which is empty by now: repeat with \
             `parapet agent remove-zones`",
        )?;
        eprintln!(
            "The appliance knows nothing any more. Delete the device at the control plane \
             (DeleteDevice) and change the passwords of the cameras it knew: flash storage may \
             keep the old blocks of an overwritten file for a while."
        );
        Ok(())
    }
}

impl RemoveZones {
    fn run(&self) -> Result<()> {
        remove_zones(self.config.as_deref())
    }
}

impl ForgetCertificate {
    fn run(&self) -> Result<()> {
        let known = parapet_agent::known_cameras(&self.data)?;
        let Some(camera) = &self.camera else {
            if known.is_empty() {
                eprintln!("No certificate of a camera is kept.");
            }
            for (place, certificate) in known {
                println!("{place}\t{certificate}");
            }
            return Ok(());
        };
        let usual = format!("{camera}:{RTSPS_PORT}");
        for place in [camera, &usual] {
            if parapet_agent::forget_certificate(&self.data, place)? {
                println!("{place}: forgotten; the next certificate that it shows is believed");
                return Ok(());
            }
        }
        let known: Vec<_> = known.into_iter().map(|(place, _)| place).collect();
        bail!(
            "forget the certificate of {camera:?}: none is kept; those kept are of: {}",
            if known.is_empty() {
                "nobody".to_owned()
            } else {
                known.join(", ")
            }
        )
    }
}

fn remove_zones(config: Option<&Path>) -> Result<()> {
    // Only root has ever made any.
    if !rustix::process::geteuid().is_root() {
        eprintln!("Zones belong to root: not looked at.");
        return Ok(());
    }
    // Zones are not in the state directory.
    let config = Config::load(Path::new("/"), config, None, None)?;
    parapet_agent::remove_zones(&config)?;
    println!("zones: rules and camera namespace removed, camera ports given back");
    Ok(())
}

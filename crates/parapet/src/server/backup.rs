//! `parapet server backup` and `parapet server restore`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use parapet_server::backup::{self, Progress};
use serde_json::json;

/// Arguments of `parapet server backup`.
#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    /// The data directory; its server may run
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The new file
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Arguments of `parapet server restore`.
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The data directory to make; there is none yet, or an empty one
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Writes a backup; prints what is in it.
pub(super) fn write(arguments: &Backup) -> Result<()> {
    let to = std::path::absolute(&arguments.to).context("read --to")?;
    let manifest = backup::write(&arguments.data, &to, told)?;
    report(&manifest);
    eprintln!(
        "The master key is not in it. To restore it you need key {}: keep a copy of it elsewhere.",
        manifest.master_keys.join(" and ")
    );
    Ok(())
}

/// Restores a backup; prints what was in it.
pub(super) fn restore(arguments: &Restore) -> Result<()> {
    let data = std::path::absolute(&arguments.data).context("read --data")?;
    let manifest = backup::restore(&arguments.from, &data, told)?;
    report(&manifest);
    eprintln!(
        "Its secrets need master key {}: start the server where it has that key.",
        manifest.master_keys.join(" and ")
    );
    Ok(())
}

/// For who looks on.
fn told(progress: Progress) {
    if std::io::stderr().is_terminal() {
        let mebibytes = progress.bytes / (1024 * 1024);
        eprint!("\r{} files, {mebibytes} MiB ", progress.files);
    }
}

fn report(manifest: &backup::Manifest) {
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    println!(
        "{}",
        json!({
            "account": manifest.account,
            "created": manifest.created,
            "software": manifest.software,
            "files": manifest.files.len(),
            "bytes": bytes,
            "master_keys": manifest.master_keys,
        })
    );
}

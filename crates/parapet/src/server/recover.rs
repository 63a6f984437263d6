//! `parapet server recover`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use parapet_server::ServerConfig;
use parapet_server::identity::{self, OtherKeys, Recovered};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde_json::json;

/// Arguments of `parapet server recover`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs no key, only the data directory and the master key: run it on the \
                  server's host as root or as the server's user, with the server's configuration \
                  if the master key is named there. Root's rights are given up for those of the \
                  directory's owner first. The new key is in DIR/admin/credentials; the audit \
                  trail says that this was done."
)]
pub(super) struct Recover {
    /// The data directory; its server may run
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Configuration of the server (TOML), which tells where the master key is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Delete its other keys and void its sessions: somebody else may have them
    #[arg(long)]
    end_others: bool,
    /// Region of the ARNs [default: us-west-2]
    #[arg(long)]
    region: Option<String>,
}

/// Makes the key; says what was done.
pub(super) fn run(arguments: &Recover) -> Result<()> {
    crate::no_core_dumps();
    let data = std::path::absolute(&arguments.data).context("read --data")?;
    let mut config = ServerConfig::new(data);
    if let Some(file) = &arguments.config {
        config.read_file(file)?;
    }
    config.region = arguments.region.clone().unwrap_or(config.region);
    config.check()?;
    let uid = geteuid();
    // Before the run time starts its threads, which inherit what this thread may.
    become_owner(&config.data, uid)?;
    let others = if arguments.end_others {
        OtherKeys::End
    } else {
        OtherKeys::Keep
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the run time")?;
    let done = runtime.block_on(identity::recover(&config, others, uid.as_raw()))?;
    report(&done);
    Ok(())
}

/// Root becomes the user that the server runs as: that one may write everything that is needed
/// here, and so nothing in its directory (a link, say) can lead root to other files.
fn become_owner(data: &Path, uid: Uid) -> Result<()> {
    // The directory's owner and not the database's: what is in the directory is its owner's word.
    let owner = std::fs::metadata(data).with_context(|| {
        format!(
            "read {}: is it the data directory of a control plane?",
            data.display()
        )
    })?;
    if uid.as_raw() == owner.uid() {
        return Ok(());
    }
    ensure!(
        uid.is_root(),
        "recover {}: it belongs to user {}; run this as that user or as root",
        data.display(),
        owner.uid()
    );
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    set_thread_groups(&[group])
        .and_then(|()| set_thread_res_gid(group, group, group))
        .and_then(|()| set_thread_res_uid(user, user, user))
        .with_context(|| format!("become user {}, to whom the directory belongs", owner.uid()))
}

fn report(done: &Recovered) {
    println!(
        "{:#}",
        json!({
            "account": done.account,
            "user": done.user,
            "access_key": done.access_key,
            "credentials": done.credentials,
            "made_user": done.is_new_user,
            "attached_administrator_access": done.is_newly_attached,
            "removed_boundary": done.removed_boundary,
            "removed_access_keys": done.removed_keys,
            "other_access_key": done.other_key,
            "other_policies": done.other_policies,
        })
    );
    let (user, file) = (&done.user, done.credentials.display());
    eprintln!("{user} has a new key, in {file}. A running server takes it within a second.");
    if !done.removed_keys.is_empty() {
        eprintln!("Deleted: {}.", done.removed_keys.join(", "));
    }
    if let Some(key) = &done.other_key {
        eprintln!(
            "The key {key} can still be used: if it is lost, `parapet key delete {key}` takes it \
             away."
        );
    }
    if let Some(boundary) = &done.removed_boundary {
        eprintln!("The boundary {boundary} is taken away.");
    }
    if !done.other_policies.is_empty() {
        eprintln!(
            "Other policies speak for {user} too, and a deny in one of them counts: {}.",
            done.other_policies.join(", ")
        );
    }
}

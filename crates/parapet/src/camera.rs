//! `parapet camera`: changes cameras without a new deployment.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value};

use crate::api::{Access, Client};

/// What can be done with cameras.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Change address or credentials of a camera; every appliance that runs it tries them at once
    Set(Set),
}

/// Arguments of `parapet camera set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    /// The camera: the name of its package
    name: String,
    /// `rtsp://host[:port]/path`, without credentials
    #[arg(long)]
    url: Option<String>,
    /// User name
    #[arg(long)]
    username: Option<String>,
    /// A file that holds the password, and nothing else but a line end
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

/// Carries it out.
pub(crate) fn run(verb: &Verb) -> Result<()> {
    let Verb::Set(set) = verb;
    let mut changes = Map::new();
    if let Some(url) = &set.url {
        changes.insert("Url".to_owned(), Value::from(url.as_str()));
    }
    if let Some(username) = &set.username {
        changes.insert("Username".to_owned(), Value::from(username.as_str()));
    }
    if let Some(file) = &set.password_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("read --password-file {}", file.display()))?;
        changes.insert(
            "Password".to_owned(),
            Value::from(text.trim_end_matches(['\r', '\n'])),
        );
    }
    ensure!(
        !changes.is_empty(),
        "nothing to change: give --url, --username or --password-file"
    );
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    ensure!(
        !set.name.is_empty() && set.name.bytes().all(plain),
        "camera {:?}: letters, digits, '-' and '_'",
        set.name
    );
    let path = format!("/parapet/cameras/{}", set.name);
    Client::new(&set.access)?.call("PUT", &path, &Value::Object(changes))?;
    eprintln!("changed {}", set.name);
    Ok(())
}

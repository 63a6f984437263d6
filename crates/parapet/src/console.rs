//! `parapet console`: a one-time link that signs a browser in.

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::api::{Access, Client};

/// Arguments of `parapet console`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    access: Access,
}

/// Prints the link.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let answer =
        Client::new(&arguments.access)?.call("POST", "/parapet/console-sessions", &json!({}))?;
    let link = answer["Url"]
        .as_str()
        .context("read the answer: it has no Url")?;
    println!("{link}");
    eprintln!("Open it within a minute; it works once.");
    Ok(())
}

//! `parapet key`: users' access keys, and the master key of the control plane.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::api::{Access, Client};
use crate::principals::access_key::{self, Change};

/// Between two looks at a rotation.
const LOOK: Duration = Duration::from_millis(200);

/// What can be done with keys.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  \
    parapet key create ann --save ann\n  \
    parapet key list ann\n  \
    parapet key deactivate AKIAIOSFODNN7EXAMPLE\n  \
    parapet key rotate")]
pub(crate) enum Verb {
    /// Make an access key for a user
    Create(access_key::Create),
    /// Show access keys and when they were last used; never a secret
    List(access_key::List),
    /// Let an access key be used again
    Activate(access_key::One),
    /// Let an access key not be used until it is activated
    Deactivate(access_key::One),
    /// Delete an access key
    Delete(access_key::One),
    /// Go over to a new master key: rewraps all stored secrets while the server answers
    Rotate(Rotate),
    /// Show which master keys there are, as JSON
    Status(Status),
}

/// Arguments of `parapet key rotate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Where the master key is a file, the server makes the new one. Elsewhere let the \
                        source give the new key in its first line and the present one in the \
                        second, then run this; a key in a variable needs a start instead."
)]
pub(crate) struct Rotate {
    #[command(flatten)]
    access: Access,
}

/// Arguments of `parapet key status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    access: Access,
}

/// Carries it out.
pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Create(create) => access_key::create(create),
        Verb::List(list) => access_key::list(list),
        Verb::Activate(one) => access_key::change(one, Change::Activate),
        Verb::Deactivate(one) => access_key::change(one, Change::Deactivate),
        Verb::Delete(one) => access_key::change(one, Change::Delete),
        Verb::Rotate(rotate) => self::rotate(&Client::new(&rotate.access)?),
        Verb::Status(status) => {
            let answer = describe(&Client::new(&status.access)?)?;
            println!("{answer:#}");
            Ok(())
        }
    }
}

fn describe(client: &Client) -> Result<Value> {
    client.call("GET", "/parapet/master-key", &json!({}))
}

fn rotate(client: &Client) -> Result<()> {
    let mut answer = client.call("POST", "/parapet/master-key/rotate", &json!({}))?;
    let shown = std::io::stderr().is_terminal();
    loop {
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        let state = answer["State"]
            .as_str()
            .context("read the answer: it has no State")?;
        match state {
            "DONE" => break,
            "FAILED" => bail!(
                "the rotation stopped, both keys are kept: {}",
                answer["Failure"].as_str().unwrap_or("see the server's log")
            ),
            _ if shown => {
                let state = state.to_lowercase();
                eprint!(
                    "\r{state}: {} of {} secrets ",
                    number("Done"),
                    number("Total")
                );
            }
            _ => {}
        }
        std::thread::sleep(LOOK);
        answer = describe(client)?;
    }
    if shown {
        eprintln!();
    }
    println!("{answer:#}");
    let source = answer["Source"].as_str().unwrap_or_default();
    let retired: Vec<&str> = answer["RetiredKeyIds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let retired = retired.join(" and ");
    if answer["RetiredFromSource"] == true {
        eprintln!(
            "Key {retired} is out of {source} and lies beside it: backups of before need it. Keep \
             it elsewhere, or delete it when you need none of them."
        );
    } else {
        eprintln!("No secret needs key {retired} any more: take it out of {source}.");
    }
    Ok(())
}

//! `parapet server ca`: from one certificate authority to the next.

use anyhow::Result;
use serde_json::{Value, json};

use crate::api::{Access, Client};

/// What can be done with authorities.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show where the three authorities stand, as JSON
    Show(Show),
    /// Take a step of a roll-over: without --step the one that is due
    Roll(Roll),
}

/// Arguments of `parapet server ca show`.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    #[command(flatten)]
    access: Access,
}

/// Which authority.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Signs the server's own certificate
    Server,
    /// Signs the certificates of devices
    Device,
    /// Signs claims for enrolment
    Claim,
}

/// Which step.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Step {
    /// Make the next authority
    Begin,
    /// Let it sign the server's certificate
    Switch,
    /// Give up the one before
    Finish,
    /// Give up the next one, before it signed
    Cancel,
}

/// Arguments of `parapet server ca roll`.
#[derive(Debug, clap::Args)]
pub(super) struct Roll {
    /// Which authority
    #[arg(long)]
    kind: Kind,
    /// Which step
    #[arg(long)]
    step: Option<Step>,
    /// Take the step although it locks devices out, which have to enrol anew then
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    access: Access,
}

/// Carries it out.
pub(super) fn run(verb: &Verb) -> Result<()> {
    let answer = match verb {
        Verb::Show(show) => {
            Client::new(&show.access)?.call("GET", "/parapet/authorities", &json!({}))?
        }
        Verb::Roll(roll) => {
            let kind = match roll.kind {
                Kind::Server => "server",
                Kind::Device => "device",
                Kind::Claim => "claim",
            };
            let step = roll.step.map(|step| match step {
                Step::Begin => "begin",
                Step::Switch => "switch",
                Step::Finish => "finish",
                Step::Cancel => "cancel",
            });
            let path = format!("/parapet/authorities/{kind}");
            let body = json!({ "Step": step, "Force": roll.force });
            let answer = Client::new(&roll.access)?.call("POST", &path, &body)?;
            advise(kind, &answer);
            answer
        }
    };
    println!("{answer:#}");
    Ok(())
}

/// What comes next.
fn advise(kind: &str, answer: &Value) {
    let due = answer["DueStep"].as_str().unwrap_or_default();
    let devices = answer["AwaitedDeviceCount"].as_u64().unwrap_or(0);
    let claims = answer["AwaitedClaimCount"].as_u64().unwrap_or(0);
    match due {
        "begin" => eprintln!("The roll-over of the {kind} authority is done."),
        _ if devices + claims > 0 => eprintln!(
            "Next is `--step {due}`, once {devices} devices were in contact and {claims} claims \
             are used or over."
        ),
        _ => eprintln!("Next is `--step {due}`; nobody is awaited."),
    }
}

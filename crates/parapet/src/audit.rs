//! `parapet audit`: looks into the audit trail, takes copies of it, and tells whether it is whole.
//!
//! `verify` never asks the server that may have been tampered with: it reads the database or an
//! export itself. `search` and `export` use the signed API, or with `--offline` the database.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use parapet_server::audit::checkpoint::PublicKey;
use parapet_server::audit::offline::{self, OfflineError, Trail};
use parapet_server::audit::search::Filter;
use parapet_server::store::Micros;
use serde_json::{Value, json};

use crate::api::{Access, Client};

/// What can be done with the trail.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Tell whether a trail is whole: 0 if it is, else 1 and the first record that is wrong
    Verify(Verify),
    /// Find records, the newest first
    Search(Search),
    /// Write records as lines of JSON, in order, for safekeeping
    Export(Export),
}

/// Arguments of `parapet audit verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Data directory of a control plane, running or not
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present = "export",
        conflicts_with = "export"
    )]
    data: Option<PathBuf>,
    /// A file that `parapet audit export` wrote
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Checkpoints that were exported: a file of them, or the line of one. Without any, a trail
    /// that somebody cut or wrote anew may look whole
    #[arg(long, value_name = "FILE|LINE")]
    checkpoint: Vec<String>,
    /// The public key of checkpoints, kept elsewhere [default: DIR/admin/audit-public-key.pem]
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Arguments of `parapet audit search`.
#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// Who: ARN, name, unique ID or access key
    #[arg(long)]
    principal: Option<String>,
    /// What, with or without its service: panorama:CreatePackage
    #[arg(long)]
    action: Option<String>,
    /// About what: an ARN, or what it ends with
    #[arg(long)]
    resource: Option<String>,
    /// From which address
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// With which request ID
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// success, failure or denied
    #[arg(long)]
    outcome: Option<String>,
    /// From when: 2026-11-25T16:00:00Z, 2026-11-25, or how long ago: 15m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until when
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Most records
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// How to print records
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Read the database in --data itself instead of asking the server
    #[arg(long, requires = "data")]
    offline: bool,
    #[command(flatten)]
    access: Access,
}

/// Arguments of `parapet audit export`.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Number of the first record
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    from: i64,
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read the database in --data itself instead of asking the server
    #[arg(long, requires = "data")]
    offline: bool,
    #[command(flatten)]
    access: Access,
}

/// For people, or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// Lines of JSON
    Json,
    /// Columns
    Table,
}

/// Carries it out; `false` when a trail is not whole.
pub(crate) fn run(verb: &Verb) -> Result<bool> {
    match verb {
        Verb::Verify(arguments) => verify(arguments),
        Verb::Search(arguments) => search(arguments).map(|()| true),
        Verb::Export(arguments) => export(arguments).map(|()| true),
    }
}

fn verify(arguments: &Verify) -> Result<bool> {
    let trail = match (&arguments.data, &arguments.export) {
        (Some(data), _) => Trail::Data(data.clone()),
        (None, Some(file)) => Trail::Export(file.clone()),
        (None, None) => bail!("name a trail with --data or --export"),
    };
    let mut checkpoints = Vec::new();
    for given in &arguments.checkpoint {
        let text = if given.trim_start().starts_with(['{', '<']) {
            given.clone()
        } else {
            std::fs::read_to_string(given).with_context(|| format!("read --checkpoint {given}"))?
        };
        checkpoints.extend(offline::checkpoints(&text)?);
    }
    let key = public_key(arguments)?;
    let (is_whole, told) = match offline::verify(&trail, checkpoints, key.as_ref()) {
        Ok(report) if arguments.output == Output::Json => {
            (true, json!({ "whole": true, "report": report }).to_string())
        }
        Ok(report) => {
            let told = format!(
                "whole: records {} to {}, {} checkpoints fit{}",
                report.first,
                report.last,
                report.checkpoints,
                if report.covered < report.last {
                    format!("; none covers what follows record {}", report.covered)
                } else {
                    String::new()
                }
            );
            (true, told)
        }
        Err(OfflineError::Problem(problem)) if arguments.output == Output::Json => {
            let told = json!({
                "whole": false,
                "firstBad": problem.sequence(),
                "problem": problem.to_string(),
            });
            (false, told.to_string())
        }
        Err(OfflineError::Problem(problem)) => (
            false,
            format!("not whole from record {}: {problem}", problem.sequence()),
        ),
        Err(error) => return Err(error.into()),
    };
    println!("{told}");
    Ok(is_whole)
}

fn public_key(arguments: &Verify) -> Result<Option<PublicKey>> {
    let default = arguments
        .data
        .as_ref()
        .map(|data| data.join("admin/audit-public-key.pem"))
        .filter(|file| file.exists());
    let Some(file) = arguments.public_key.clone().or(default) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("read the public key {}", file.display()))?;
    Ok(Some(PublicKey::from_pem(&text)?))
}

fn search(arguments: &Search) -> Result<()> {
    let parts: Vec<(&str, &str)> = [
        ("principal", &arguments.principal),
        ("action", &arguments.action),
        ("resource", &arguments.resource),
        ("source", &arguments.source),
        ("request-id", &arguments.request_id),
        ("outcome", &arguments.outcome),
        ("since", &arguments.since),
        ("until", &arguments.until),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    .collect();
    let mut print = Printer::new(arguments.output);
    if arguments.offline {
        let data = arguments.access.data().context("name --data")?;
        let mut filter = Filter::default();
        for (name, value) in parts {
            filter.set(name, value, Micros::now())?;
        }
        offline::search(data, &filter, arguments.limit, |row, record| {
            let record = serde_json::to_value(record)?;
            print.record(row.sequence, &record)
        })?;
        return Ok(());
    }
    let client = Client::new(&arguments.access)?;
    let mut left = arguments.limit;
    let mut token: Option<String> = None;
    while left > 0 {
        let size = left.min(500).to_string();
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&parts).append_pair("max-results", &size);
        if let Some(token) = &token {
            query.append_pair("next-token", token);
        }
        let answer = client.get(&format!("/parapet/audit?{}", query.finish()))?;
        let records = answer["Records"].as_array().context("read the answer")?;
        for found in records {
            let sequence = found["Sequence"].as_i64().context("read the answer")?;
            print.record(sequence, &found["Record"])?;
        }
        left = left.saturating_sub(records.len());
        token = answer["NextToken"].as_str().map(str::to_owned);
        if token.is_none() {
            break;
        }
    }
    Ok(())
}

/// Prints records as they come.
struct Printer {
    output: Output,
    is_begun: bool,
}

impl Printer {
    fn new(output: Output) -> Self {
        Self {
            output,
            is_begun: false,
        }
    }

    fn record(&mut self, sequence: i64, record: &Value) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.output == Output::Json {
            return writeln!(out, "{}", json!({ "sequence": sequence, "record": record }));
        }
        if !self.is_begun {
            self.is_begun = true;
            writeln!(
                out,
                "{:>8}  {:20}  {:32}  {:15}  {:24}  WHO",
                "RECORD", "TIME", "WHAT", "FROM", "OUTCOME"
            )?;
        }
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let service = text(&record["eventSource"]);
        let what = format!(
            "{}:{}",
            service.split('.').next().unwrap_or_default(),
            text(&record["eventName"])
        );
        let identity = &record["userIdentity"];
        let who = ["arn", "accessKeyId", "invokedBy", "type"]
            .into_iter()
            .find_map(|name| identity[name].as_str())
            .unwrap_or("-");
        writeln!(
            out,
            "{sequence:>8}  {:20}  {what:32}  {:15}  {:24}  {who}",
            text(&record["eventTime"]),
            text(&record["sourceIPAddress"]),
            record["errorCode"].as_str().unwrap_or("success"),
        )
    }
}

fn export(arguments: &Export) -> Result<()> {
    ensure!(
        arguments.from >= 1,
        "--from {}: records begin at 1",
        arguments.from
    );
    match &arguments.file {
        None => export_to(arguments, &mut std::io::stdout().lock()),
        Some(file) => {
            let made = private(file).with_context(|| format!("make {}", file.display()))?;
            let mut out = BufWriter::new(made);
            export_to(arguments, &mut out)?;
            let file = out.into_inner().context("write the export")?;
            file.sync_all().context("write the export")
        }
    }
}

fn export_to(arguments: &Export, out: &mut impl Write) -> Result<()> {
    if arguments.offline {
        let data = arguments.access.data().context("name --data")?;
        let count = offline::export(data, arguments.from, out)?;
        eprintln!("exported {count} records");
        return Ok(());
    }
    let client = Client::new(&arguments.access)?;
    let mut next = Some(arguments.from);
    let mut count = 0;
    while let Some(from) = next {
        let answer = client.get(&format!("/parapet/audit/records?from={from}"))?;
        if count == 0 {
            let beginning = answer["Beginning"].as_str().context("read the answer")?;
            writeln!(out, "{beginning}")?;
        }
        for line in answer["Lines"].as_array().context("read the answer")? {
            writeln!(out, "{}", line.as_str().context("read the answer")?)?;
            count += 1;
        }
        next = answer["Next"].as_i64();
    }
    eprintln!("exported {count} records");
    Ok(())
}

/// A new file that its owner alone reads: records tell who does what.
fn private(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

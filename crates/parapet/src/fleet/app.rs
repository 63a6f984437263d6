//! `parapet app`: what applications may use, whom they may call, and who may call them.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use parapet_agent::{Cpus, Size, human};
use parapet_device::confinement::{HostPort, Network};
use serde_json::{Map, Value, json};

use super::{decision, identify};
use crate::api::{Client, items};
use crate::principals::Asking;
use crate::principals::output::{Table, cell};

/// What can be done with applications.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  \
    parapet app list\n  \
    parapet app confinement counter\n  \
    parapet app limit counter --memory 2GiB --cpus 1.5\n  \
    parapet app egress learn counter on\n  \
    parapet app egress list counter\n  \
    parapet app egress allow counter s3.eu-central-1.example:443\n  \
    parapet app port counter 8080 --source 10.1.0.0/16 --client-ca clients.pem\n\n\
    An application is named by its name or ID. What is decided holds for the next version, too, \
    when it is deployed in the place of this one.")]
pub(crate) enum Verb {
    /// Show which applications there are, and what was decided about each
    List(List),
    /// Show all that was decided about an application, and whom it asked for
    Confinement(Named),
    /// Limit memory, processors, processes, disk; the application starts anew
    Limit(Limit),
    /// Whom an application may call: nobody, unless allowed by name and port
    #[command(subcommand)]
    Egress(Egress),
    /// Who may call a port that the overrides open, and whether through TLS
    Port(Inbound),
    /// Whether an image of another processor may run through an emulator, slowly
    Emulate(Switch),
}

/// Arguments of `parapet app list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only those of this device, by name or ID
    #[arg(long)]
    device: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// An application.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Name or ID of the application
    application: String,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet app limit`. Each takes `default`, too: that of the device.
#[derive(Debug, clap::Args)]
#[command(after_help = "`default` takes a limit back: `--memory default`.")]
pub(crate) struct Limit {
    /// Name or ID of the application
    application: String,
    /// Memory, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = or_default::<Size>)]
    memory: Option<Wanted<Size>>,
    /// Processors, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = or_default::<Cpus>)]
    cpus: Option<Wanted<Cpus>>,
    /// Processes and threads
    #[arg(long, value_name = "NUMBER", value_parser = or_default::<u32>)]
    processes: Option<Wanted<u32>>,
    /// From the disk and to it, a second each, such as 50MB
    #[arg(long, value_name = "SIZE", value_parser = or_default::<Size>)]
    io: Option<Wanted<Size>>,
    /// Storage and logs together, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = or_default::<Size>)]
    storage: Option<Wanted<Size>>,
    #[command(flatten)]
    asking: Asking,
}

/// A value, or the device's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted<T> {
    Default,
    Value(T),
}

/// What can be done with egress.
#[derive(Debug, clap::Subcommand)]
#[command(
    after_help = "An old application whose calls nobody knows: let it `learn`, look at the \
                        `list` after a day, `allow` what it shall call, and let it learn no more. \
                        While it learns it still reaches nobody who is not allowed."
)]
pub(crate) enum Egress {
    /// Show who is allowed, and whom the application asked for
    List(Named),
    /// Let an application call these hosts; at once, without a restart
    Allow(Change),
    /// Let an application not call these hosts any more; open calls end
    Deny(Change),
    /// Whether the device lists whom the application asks for in vain
    Learn(Switch),
}

/// Arguments of `allow` and `deny`.
#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    /// Name or ID of the application
    application: String,
    /// NAME:PORT, *.NAME:PORT, ADDRESS:PORT or [ADDRESS]:PORT
    #[arg(required = true, value_name = "HOST:PORT")]
    hosts: Vec<HostPort>,
    #[command(flatten)]
    asking: Asking,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum State {
    On,
    Off,
}

/// Arguments of what is switched.
#[derive(Debug, clap::Args)]
pub(crate) struct Switch {
    /// Name or ID of the application
    application: String,
    /// on or off
    state: State,
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet app port`. What is not given stays.
#[derive(Debug, clap::Args)]
#[group(id = "settings", required = true, multiple = true,
    args = ["source", "anybody", "tls", "client_ca", "no_tls"])]
pub(crate) struct Inbound {
    /// Name or ID of the application
    application: String,
    /// The port of the appliance, one that the overrides open
    port: u16,
    /// Who may connect, ADDRESS or ADDRESS/PREFIX; may be given more than once, and replaces what
    /// was given before
    #[arg(long, value_name = "RANGE", conflicts_with = "anybody")]
    source: Vec<Network>,
    /// Everybody on the uplink may connect
    #[arg(long)]
    anybody: bool,
    /// TLS in front, with a certificate of the device
    #[arg(long, conflicts_with = "no_tls")]
    tls: bool,
    /// TLS in front, for clients with a certificate of these authorities (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "no_tls")]
    client_ca: Option<PathBuf>,
    /// No TLS in front
    #[arg(long)]
    no_tls: bool,
    #[command(flatten)]
    asking: Asking,
}

/// Carries it out.
pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List(arguments) => list(arguments),
        Verb::Confinement(named) => {
            let client = named.asking.client()?;
            let known = decision::read(&client, &decision::find(&client, &named.application)?)?;
            named.asking.output.print(&known, || whole(&known))
        }
        Verb::Limit(arguments) => limit(arguments),
        Verb::Egress(Egress::List(named)) => {
            let client = named.asking.client()?;
            let known = decision::read(&client, &decision::find(&client, &named.application)?)?;
            named.asking.output.print(&known, || hosts(&known))?;
            if known["Confinement"]["Egress"]["Learn"] != true {
                eprintln!(
                    "What it asks for in vain is not listed: `parapet app egress learn {} on`.",
                    named.application
                );
            }
            Ok(())
        }
        Verb::Egress(Egress::Allow(arguments)) => egress(arguments, allow),
        Verb::Egress(Egress::Deny(arguments)) => egress(arguments, deny),
        Verb::Egress(Egress::Learn(switch)) => decide(&switch.application, &switch.asking, |it| {
            let on = switch.state == State::On;
            decision::members(it, "Egress")?.insert("Learn".to_owned(), on.into());
            Ok(())
        }),
        Verb::Port(arguments) => port(arguments),
        Verb::Emulate(switch) => decide(&switch.application, &switch.asking, |it| {
            it["Emulate"] = (switch.state == State::On).into();
            Ok(())
        }),
    }
}

fn list(arguments: &List) -> Result<()> {
    let client = arguments.asking.client()?;
    let device = match &arguments.device {
        Some(named) if !named.starts_with("device-") => {
            let all = client.panorama_list("/devices", &[], "Devices")?;
            let id = identify(&all, named, "device", "DeviceId", "parapet device list")?;
            Some(id)
        }
        named => named.clone(),
    };
    let mut instances = decision::present(&client, device.as_deref())?;
    for instance in &mut instances {
        let known = decision::read(
            &client,
            crate::api::text(instance, "ApplicationInstanceId")?,
        )?;
        instance["Confinement"] = known["Confinement"].clone();
        instance["OpenPorts"] = known["OpenPorts"].clone();
    }
    let table = || {
        let mut table = Table::with_headings(&[
            "APPLICATION",
            "DEVICE",
            "STATUS",
            "MEMORY",
            "CPUS",
            "EGRESS",
            "PORTS",
            "ID",
        ]);
        for instance in &instances {
            let limits = &instance["Confinement"]["Limits"];
            let ports: Vec<String> = items(instance, "OpenPorts")
                .map(|port| cell(&port["HostPort"]))
                .collect();
            table.row([
                cell(&instance["Name"]),
                cell(&instance["DefaultRuntimeContextDeviceName"]),
                cell(&instance["Status"]),
                size(&limits["MemoryBytes"]),
                cores(&limits["CpuMillis"]),
                calls(&instance["Confinement"]["Egress"]),
                if ports.is_empty() {
                    "-".to_owned()
                } else {
                    ports.join(",")
                },
                cell(&instance["ApplicationInstanceId"]),
            ]);
        }
        table
    };
    let value = json!({ "ApplicationInstances": instances });
    arguments.asking.output.print(&value, table)
}

/// Changes what was decided, and shows what it is now.
fn decide(
    application: &str,
    asking: &Asking,
    change: impl Fn(&mut Value) -> Result<()>,
) -> Result<()> {
    let client = asking.client()?;
    let known = changed(&client, application, change)?;
    asking.output.print(&known, || whole(&known))
}

fn changed(
    client: &Client,
    application: &str,
    change: impl Fn(&mut Value) -> Result<()>,
) -> Result<Value> {
    let id = decision::find(client, application)?;
    decision::change(client, &id, change)
}

fn limit(arguments: &Limit) -> Result<()> {
    let given = [
        ("MemoryBytes", number(arguments.memory, |size| size.0)),
        ("CpuMillis", number(arguments.cpus, |cpus| cpus.0.into())),
        ("Processes", number(arguments.processes, u64::from)),
        ("IoBytesPerSecond", number(arguments.io, |size| size.0)),
        ("StorageBytes", number(arguments.storage, |size| size.0)),
    ];
    if given.iter().all(|(_, value)| value.is_none()) {
        bail!("nothing to change: give --memory, --cpus, --processes, --io or --storage");
    }
    decide(&arguments.application, &arguments.asking, |it| {
        let limits = decision::members(it, "Limits")?;
        for (member, wanted) in &given {
            match wanted {
                None => {}
                Some(Wanted::Default) => {
                    limits.remove(*member);
                }
                Some(Wanted::Value(value)) => {
                    limits.insert((*member).to_owned(), (*value).into());
                }
            }
        }
        Ok(())
    })
}

fn egress(arguments: &Change, change: fn(&mut Vec<Value>, &HostPort)) -> Result<()> {
    let client = arguments.asking.client()?;
    let known = changed(&client, &arguments.application, |it| {
        let hosts = decision::list(decision::members(it, "Egress")?, "Hosts")?;
        for host in &arguments.hosts {
            change(hosts, host);
        }
        Ok(())
    })?;
    arguments.asking.output.print(&known, || hosts(&known))
}

fn allow(hosts: &mut Vec<Value>, host: &HostPort) {
    let host = Value::from(host.to_string());
    if !hosts.contains(&host) {
        hosts.push(host);
    }
}

fn deny(hosts: &mut Vec<Value>, host: &HostPort) {
    let host = Value::from(host.to_string());
    hosts.retain(|known| *known != host);
}

fn port(arguments: &Inbound) -> Result<()> {
    let authorities = match &arguments.client_ca {
        None => None,
        Some(file) => {
            let pem = std::fs::read_to_string(file)
                .with_context(|| format!("read --client-ca {}", file.display()))?;
            // An empty file would ask clients for nothing.
            if !pem.contains("-----BEGIN CERTIFICATE-----") {
                bail!("--client-ca {} holds no PEM certificate", file.display());
            }
            Some(pem)
        }
    };
    let settings = |port: &mut Map<String, Value>| {
        if arguments.anybody {
            port.insert("Sources".to_owned(), json!([]));
        } else if !arguments.source.is_empty() {
            let sources: Vec<String> = arguments.source.iter().map(Network::to_string).collect();
            port.insert("Sources".to_owned(), json!(sources));
        }
        if arguments.no_tls {
            port.remove("Tls");
        } else if let Some(pem) = &authorities {
            port.insert("Tls".to_owned(), json!({ "ClientAuthorities": pem }));
        } else if arguments.tls {
            // Whether clients are asked for a certificate stays as it was.
            port.entry("Tls").or_insert_with(|| json!({}));
        }
    };
    decide(&arguments.application, &arguments.asking, |it| {
        let whole = it.as_object_mut().context("read the answer")?;
        let ports = decision::list(whole, "Ports")?;
        let known = ports
            .iter_mut()
            .filter_map(Value::as_object_mut)
            .find(|port| port["HostPort"] == arguments.port);
        if let Some(known) = known {
            settings(known);
        } else {
            let mut port = Map::from_iter([("HostPort".to_owned(), arguments.port.into())]);
            settings(&mut port);
            ports.push(Value::Object(port));
        }
        Ok(())
    })
}

/// All that was decided.
fn whole(known: &Value) -> Table {
    let decided = &known["Confinement"];
    let limits = &decided["Limits"];
    let mut table = Table::default();
    let mut line = |label: &str, value: String| table.row([label.to_owned(), value]);
    line("Application", decision::id(known).unwrap_or("-").to_owned());
    line("Revision", cell(&known["Revision"]));
    line("Memory", size(&limits["MemoryBytes"]));
    line("Processors", cores(&limits["CpuMillis"]));
    line("Processes", or_devices(&limits["Processes"]));
    line("Disk a second", size(&limits["IoBytesPerSecond"]));
    line("Storage", size(&limits["StorageBytes"]));
    line("Emulation", on(&decided["Emulate"]).to_owned());
    line("Runtime role", cell(&known["RuntimeRoleArn"]));
    line("May call", calls(&decided["Egress"]));
    for host in items(&decided["Egress"], "Hosts") {
        line("", cell(host));
    }
    line("Learning", on(&decided["Egress"]["Learn"]).to_owned());
    for open in items(known, "OpenPorts") {
        let settings = items(decided, "Ports").find(|port| port["HostPort"] == open["HostPort"]);
        line(
            &format!("Port {}", open["HostPort"]),
            format!(
                "to {} of {}, {}",
                open["ContainerPort"],
                cell(&open["NodeName"]),
                who(settings)
            ),
        );
    }
    for asked in
        items(known, "Asked").filter(|asked| asked["Listed"] != true && asked["Allowed"] != true)
    {
        line(
            "Asked in vain",
            format!("{} ({})", place(asked), asked["Count"]),
        );
    }
    table
}

/// Whom it may call, and whom it asked for.
fn hosts(known: &Value) -> Table {
    let mut table = Table::with_headings(&["HOST", "ALLOWED", "ASKED"]);
    let allowed: Vec<String> = items(&known["Confinement"]["Egress"], "Hosts")
        .map(cell)
        .collect();
    let asked: Vec<&Value> = items(known, "Asked").collect();
    for host in &allowed {
        let count = asked.iter().find(|asked| place(asked) == *host);
        let count = count.map_or_else(|| "-".to_owned(), |asked| cell(&asked["Count"]));
        table.row([host.clone(), "yes".to_owned(), count]);
    }
    for asked in asked
        .iter()
        .filter(|asked| !allowed.contains(&place(asked)))
    {
        // Below a pattern, among the device's own hosts, or by nothing.
        let allowed = match (&asked["Listed"], &asked["Allowed"]) {
            (Value::Bool(true), _) => "yes, by a pattern",
            (_, Value::Bool(true)) => "yes, by the device",
            _ => "no",
        };
        table.row([place(asked), allowed.to_owned(), cell(&asked["Count"])]);
    }
    table
}

/// Host and port as they are written; a name that was only looked up has no port.
fn place(asked: &Value) -> String {
    let host = cell(&asked["Host"]);
    match asked["Port"]
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())
    {
        Some(0) | None => host,
        Some(port) => HostPort { host, port }.to_string(),
    }
}

fn calls(egress: &Value) -> String {
    match items(egress, "Hosts").count() {
        0 => "nobody by name".to_owned(),
        1 => "1 host".to_owned(),
        many => format!("{many} hosts"),
    }
}

fn who(settings: Option<&Value>) -> String {
    let Some(settings) = settings else {
        return "for everybody on the uplink, without TLS".to_owned();
    };
    let sources: Vec<String> = items(settings, "Sources").map(cell).collect();
    let from = if sources.is_empty() {
        "everybody on the uplink".to_owned()
    } else {
        sources.join(", ")
    };
    let tls = match &settings["Tls"] {
        Value::Null => "without TLS",
        tls if tls["ClientAuthorities"] == "" => "through TLS",
        _ => "through TLS with a client's certificate",
    };
    format!("for {from}, {tls}")
}

fn on(value: &Value) -> &'static str {
    if value == true { "on" } else { "off" }
}

fn size(value: &Value) -> String {
    value.as_u64().map_or_else(|| "default".to_owned(), human)
}

fn cores(value: &Value) -> String {
    let Some(millis) = value.as_u64() else {
        return "default".to_owned();
    };
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn or_devices(value: &Value) -> String {
    if value.is_null() {
        "default".to_owned()
    } else {
        cell(value)
    }
}

fn number<T: Copy>(wanted: Option<Wanted<T>>, value: impl Fn(T) -> u64) -> Option<Wanted<u64>> {
    wanted.map(|wanted| match wanted {
        Wanted::Default => Wanted::Default,
        Wanted::Value(given) => Wanted::Value(value(given)),
    })
}

fn or_default<T>(text: &str) -> Result<Wanted<T>, String>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    if text == "default" {
        return Ok(Wanted::Default);
    }
    text.parse()
        .map(Wanted::Value)
        .map_err(|error: T::Err| format!("{error}, or `default`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Value {
        json!({
            "ApplicationInstanceId": "applicationInstance-a",
            "Revision": 3,
            "RuntimeRoleArn": null,
            "Confinement": {
                "Limits": { "MemoryBytes": 2_u64 << 30, "CpuMillis": 1500 },
                "Egress": { "Learn": true, "Hosts": ["s3.example:443", "*.iot.example:8883"] },
                "Ports": [{ "HostPort": 8080, "Sources": ["10.1.0.0/16"],
                    "Tls": { "ClientAuthorities": "PEM" } }],
                "Emulate": false,
            },
            "OpenPorts": [
                { "NodeName": "code", "HostPort": 8080, "ContainerPort": 80 },
                { "NodeName": "code", "HostPort": 8081, "ContainerPort": 81 }],
            "Asked": [
                { "NodeName": "code", "Host": "s3.example", "Port": 443, "Allowed": true,
                    "Listed": true, "Count": 7 },
                { "NodeName": "code", "Host": "a.iot.example", "Port": 8883, "Allowed": true,
                    "Listed": true, "Count": 2 },
                { "NodeName": "code", "Host": "blobs.example", "Port": 443, "Allowed": true,
                    "Listed": false, "Count": 1 },
                { "NodeName": "code", "Host": "evil.example", "Port": 0, "Allowed": false,
                    "Listed": false, "Count": 9 }],
        })
    }

    #[test]
    fn hosts_are_shown_with_who_allowed_them() {
        assert_eq!(
            hosts(&known()).to_string(),
            "HOST                ALLOWED             ASKED\n\
             s3.example:443      yes                 7\n\
             *.iot.example:8883  yes                 -\n\
             a.iot.example:8883  yes, by a pattern   2\n\
             blobs.example:443   yes, by the device  1\n\
             evil.example        no                  9\n"
        );
    }

    #[test]
    fn a_decision_is_shown_whole() {
        assert_eq!(
            whole(&known()).to_string(),
            "Application    applicationInstance-a\n\
             Revision       3\n\
             Memory         2 GiB\n\
             Processors     1.5\n\
             Processes      default\n\
             Disk a second  default\n\
             Storage        default\n\
             Emulation      off\n\
             Runtime role   -\n\
             May call       2 hosts\n\
            \x20              s3.example:443\n\
            \x20              *.iot.example:8883\n\
             Learning       on\n\
             Port 8080      to 80 of code, for 10.1.0.0/16, through TLS with a client's certificate\n\
             Port 8081      to 81 of code, for everybody on the uplink, without TLS\n\
             Asked in vain  evil.example (9)\n"
        );
    }

    #[test]
    fn a_limit_is_a_value_or_the_devices() {
        assert_eq!(or_default::<Size>("2GiB"), Ok(Wanted::Value(Size(2 << 30))));
        assert_eq!(or_default::<Size>("default"), Ok(Wanted::Default));
        assert_eq!(or_default::<Cpus>("1.5"), Ok(Wanted::Value(Cpus(1500))));
        assert!(or_default::<Size>("lots").is_err_and(|error| error.contains("default")));
    }

    #[test]
    fn a_host_is_allowed_once_and_denied_by_the_same_text() -> Result<()> {
        let mut list = vec![json!("a.example:443")];
        let host: HostPort = "A.example.:443".parse()?;
        allow(&mut list, &host);
        assert_eq!(list.len(), 1);
        deny(&mut list, &host);
        assert!(list.is_empty());
        Ok(())
    }
}

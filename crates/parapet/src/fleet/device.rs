//! `parapet device`: how devices stand.

use anyhow::Result;
use serde_json::{Value, json};

use super::identify;
use crate::api::items;
use crate::principals::Asking;
use crate::principals::output::{Table, cell};

/// What can be done with devices.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "Examples:\n  \
    parapet device list\n  \
    parapet device show dock\n\n\
    A new one is made with `aws panorama provision-device`, and looks at its own host with \
    `parapet doctor`.")]
pub(crate) enum Verb {
    /// Show which devices there are, and how they keep the cameras' network apart
    List(List),
    /// Show a device, and what its host lacks for more separation
    Show(Show),
}

/// Arguments of `parapet device list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    asking: Asking,
}

/// Arguments of `parapet device show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// Name or ID
    device: String,
    #[command(flatten)]
    asking: Asking,
}

/// Carries it out.
pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::List(arguments) => list(arguments),
        Verb::Show(arguments) => show(arguments),
    }
}

fn list(arguments: &List) -> Result<()> {
    let client = arguments.asking.client()?;
    let mut devices = client.panorama_list("/devices", &[], "Devices")?;
    for device in &mut devices {
        let id = crate::api::text(device, "DeviceId")?;
        let described = client.panorama(&format!("/devices/{id}"))?;
        device["NetworkSeparation"] = described["NetworkSeparation"].clone();
    }
    let table = || {
        let mut table = Table::with_headings(&["DEVICE", "STATUS", "SEPARATION", "SOFTWARE", "ID"]);
        table.members(
            &devices,
            &[
                "Name",
                "DeviceAggregatedStatus",
                "NetworkSeparation",
                "CurrentSoftware",
                "DeviceId",
            ],
        );
        table
    };
    let value = json!({ "Devices": devices });
    arguments.asking.output.print(&value, table)
}

fn show(arguments: &Show) -> Result<()> {
    let client = arguments.asking.client()?;
    let named = &arguments.device;
    let id = if named.starts_with("device-") {
        named.clone()
    } else {
        let all = client.panorama_list("/devices", &[], "Devices")?;
        identify(&all, named, "device", "DeviceId", "parapet device list")?
    };
    let device = client.panorama(&format!("/devices/{id}"))?;
    arguments.asking.output.print(&device, || table(&device))?;
    if device["NetworkSeparation"] == "separated" || device["NetworkSeparation"].is_null() {
        return Ok(());
    }
    eprintln!("`parapet doctor` on its host says more, with remedies.");
    Ok(())
}

fn table(device: &Value) -> Table {
    let mut table = Table::default();
    for (label, member) in [
        ("Device", "Name"),
        ("ID", "DeviceId"),
        ("Status", "DeviceAggregatedStatus"),
        ("Software", "CurrentSoftware"),
    ] {
        table.row([label.to_owned(), cell(&device[member])]);
    }
    let level = &device["NetworkSeparation"];
    table.row(["Separation".to_owned(), cell(level)]);
    table.row(["", meaning(level.as_str())]);
    for (index, missing) in items(device, "NetworkSeparationMissing").enumerate() {
        let label = if index == 0 { "Missing" } else { "" };
        table.row([label.to_owned(), cell(missing)]);
    }
    table
}

/// What a level means to whoever answers for the cameras.
fn meaning(level: Option<&str>) -> &'static str {
    match level {
        Some("separated") => {
            "cameras have ports and a namespace of their own; no packet passes the appliance"
        }
        Some("filtered") => {
            "cameras share a port with the uplink; the kernel's rules keep processes apart, but \
             whoever is on that network reaches the cameras without the appliance"
        }
        Some("flat") => {
            "nothing but each process's own restraint; give the agent root and nftables"
        }
        _ => "the device has not said yet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_shown_with_what_its_level_means_and_lacks() {
        let device = json!({
            "Name": "dock", "DeviceId": "device-a", "DeviceAggregatedStatus": "ONLINE",
            "CurrentSoftware": "0.1.0", "NetworkSeparation": "filtered",
            "NetworkSeparationMissing": ["name the cameras' ports in [network]", "install nft"],
        });
        let text = table(&device).to_string();
        assert!(text.contains("Separation  filtered\n"), "{text}");
        assert!(text.contains("share a port"), "{text}");
        assert!(
            text.contains("Missing     name the cameras' ports"),
            "{text}"
        );
        assert!(text.contains("            install nft\n"), "{text}");
        let silent = table(&json!({ "Name": "dock" })).to_string();
        assert!(silent.contains("has not said yet"), "{silent}");
    }
}

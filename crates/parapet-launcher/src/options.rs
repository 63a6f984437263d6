//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use parapet_sandbox::launcher_process::{CHANNEL_FD, ID_BASE, RUN};
use parapet_sandbox::zones::{Ports, PortsError};
use thiserror::Error;

use crate::users;

pub(crate) const USAGE: &str = "usage: parapet-launcher --channel-fd 3 --state DIR --libexec DIR \
     --sdk DIR [--onnxruntime FILE] [--runtime FILE] [--id-base N] [--run DIR] \
     [--uplink PORTS --cameras PORTS --camera-addresses ADDRESSES --others PORTS]\n       \
     parapet-launcher --load-zones [--id-base N] [--run DIR] [--uplink PORTS] [--cameras PORTS] \
     [--camera-addresses ADDRESSES] [--others PORTS]\n       \
     parapet-launcher --remove-zones [--id-base N] [--run DIR]";

const CHANNEL: u32 = CHANNEL_FD.cast_unsigned();

/// What is wrong with the command line.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum OptionsError {
    #[error("{0:?} is no option")]
    Unknown(OsString),
    #[error("{0} needs a value")]
    NoValue(&'static str),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error(transparent)]
    Ports(#[from] PortsError),
    #[error("{option} {value:?}: {remedy}")]
    Value {
        option: &'static str,
        value: OsString,
        remedy: String,
    },
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Serve an agent.
    Serve(Options),
    /// Load the zones of an appliance that is yet to start, and end.
    LoadZones {
        id_base: u32,
        run: PathBuf,
        network: Option<Ports>,
    },
    /// Take the zones of an appliance that does not run away.
    RemoveZones { id_base: u32, run: PathBuf },
}

/// What the agent wants of this launcher.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) state: PathBuf,
    pub(crate) libexec: PathBuf,
    pub(crate) sdk: PathBuf,
    pub(crate) onnxruntime: Option<PathBuf>,
    pub(crate) id_base: u32,
    pub(crate) run: PathBuf,
    /// Of applications; `None` for our own set-up.
    pub(crate) runtime: Option<PathBuf>,
    /// `None` for no rules.
    pub(crate) network: Option<Ports>,
}

impl Task {
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, OptionsError> {
        const NAMES: [&str; 12] = [
            "--channel-fd",
            "--state",
            "--libexec",
            "--sdk",
            "--onnxruntime",
            "--id-base",
            "--run",
            "--uplink",
            "--cameras",
            "--camera-addresses",
            "--others",
            "--runtime",
        ];
        let mut values: [Option<OsString>; NAMES.len()] = Default::default();
        let mut arguments = arguments.into_iter().peekable();
        let mut first = |name: &str| arguments.next_if(|first| first == name).is_some();
        let (remove, load) = (first("--remove-zones"), first("--load-zones"));
        while let Some(argument) = arguments.next() {
            let Some(index) = NAMES.iter().position(|name| argument == *name) else {
                return Err(OptionsError::Unknown(argument));
            };
            values[index] = Some(
                arguments
                    .next()
                    .ok_or(OptionsError::NoValue(NAMES[index]))?,
            );
        }
        let [
            channel_fd,
            state,
            libexec,
            sdk,
            onnxruntime,
            id_base,
            run,
            uplink,
            cameras,
            camera_addresses,
            others,
            runtime,
        ] = values;
        let id_base = match id_base {
            Some(value) => number(NAMES[5], value, users::LOWEST_BASE, users::HIGHEST_BASE)?,
            None => ID_BASE,
        };
        let run = path(NAMES[6], Some(run.unwrap_or_else(|| RUN.into())))?;
        if remove {
            return Ok(Self::RemoveZones { id_base, run });
        }
        let ports = [uplink, cameras, camera_addresses, others];
        let network = if ports.iter().any(Option::is_some) {
            let [uplink, cameras, camera_addresses, others] = ports;
            let ports = Ports {
                uplink: list(NAMES[7], uplink)?,
                cameras: list(NAMES[8], cameras)?,
                camera_addresses: list(NAMES[9], camera_addresses)?,
                others: list(NAMES[10], others)?,
            };
            ports.check()?;
            Some(ports)
        } else {
            None
        };
        if load {
            return Ok(Self::LoadZones {
                id_base,
                run,
                network,
            });
        }
        // Said on the command line for whoever reads it there; there is no other number.
        let channel_fd = channel_fd.ok_or(OptionsError::Missing(NAMES[0]))?;
        number(NAMES[0], channel_fd, CHANNEL, CHANNEL)?;
        Ok(Self::Serve(Options {
            state: path(NAMES[1], state)?,
            libexec: path(NAMES[2], libexec)?,
            sdk: path(NAMES[3], sdk)?,
            onnxruntime: onnxruntime
                .map(|file| path(NAMES[4], Some(file)))
                .transpose()?,
            id_base,
            run,
            runtime: runtime
                .map(|file| path(NAMES[11], Some(file)))
                .transpose()?,
            network,
        }))
    }
}

/// What a list with commas holds; nothing where it is empty.
fn list<T: FromStr<Err: ToString>>(
    option: &'static str,
    value: Option<OsString>,
) -> Result<Vec<T>, OptionsError> {
    let value = value.unwrap_or_default();
    let wrong = |remedy: String| OptionsError::Value {
        option,
        value: value.clone(),
        remedy,
    };
    let text = value
        .to_str()
        .ok_or_else(|| wrong("give text".to_owned()))?;
    text.split(',')
        .filter(|item| !item.is_empty())
        .map(|item| {
            item.parse()
                .map_err(|error: T::Err| wrong(error.to_string()))
        })
        .collect()
}

fn number(
    option: &'static str,
    value: OsString,
    lowest: u32,
    highest: u32,
) -> Result<u32, OptionsError> {
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(number) if (lowest..=highest).contains(&number) => Ok(number),
        _ => Err(OptionsError::Value {
            option,
            value,
            remedy: if lowest == highest {
                format!("give {lowest}")
            } else {
                format!("give a number from {lowest} to {highest}")
            },
        }),
    }
}

fn path(option: &'static str, value: Option<OsString>) -> Result<PathBuf, OptionsError> {
    let value = value.ok_or(OptionsError::Missing(option))?;
    let path = PathBuf::from(&value);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(OptionsError::Value {
            option,
            value,
            remedy: "give an absolute path".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `''` stands for an empty word.
    fn parse(line: &str) -> Result<Task, OptionsError> {
        let words = line.split_whitespace();
        Task::parse(words.map(|word| OsString::from(if word == "''" { "" } else { word })))
    }

    #[test]
    fn the_agents_command_line_is_understood() {
        let options =
            parse("--channel-fd 3 --state /s --libexec /l --sdk /p --onnxruntime /o/x.so");
        let expected = Options {
            state: "/s".into(),
            libexec: "/l".into(),
            sdk: "/p".into(),
            onnxruntime: Some("/o/x.so".into()),
            id_base: ID_BASE,
            run: RUN.into(),
            runtime: None,
            network: None,
        };
        assert_eq!(options, Ok(Task::Serve(expected)));
    }

    #[test]
    fn ports_are_parsed_and_no_ports_are_still_rules() {
        let common = "--channel-fd 3 --state /s --libexec /l --sdk /p";
        let ports = |line: &str| match parse(&format!("{common} {line}")) {
            Ok(Task::Serve(options)) => Ok(options.network),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        };
        let none = "--uplink '' --cameras '' --camera-addresses '' --others ''";
        assert_eq!(ports(none), Ok(Some(Ports::default())));
        let two = ports("--uplink eth0,wlan0 --cameras eth1 --camera-addresses 10.77.1.1/24");
        let two = two.unwrap().unwrap();
        assert_eq!(two.uplink.len(), 2);
        assert_eq!(two.camera_addresses, ["10.77.1.1/24".parse().unwrap()]);
        for wrong in [
            "--uplink eth0;drop",
            "--uplink eth0 --cameras eth1 --camera-addresses 10.77.1.1",
            "--cameras eth1",
        ] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn removal_needs_nothing_but_the_users() {
        let task = parse("--remove-zones --id-base 70000 --run /r");
        let expected = Task::RemoveZones {
            id_base: 70_000,
            run: "/r".into(),
        };
        assert_eq!(task, Ok(expected));
    }

    #[test]
    fn each_wrong_command_line_is_refused_by_name() {
        let common = "--channel-fd 3 --state /s --libexec /l";
        assert_eq!(parse(common), Err(OptionsError::Missing("--sdk")));
        assert_eq!(parse("--state"), Err(OptionsError::NoValue("--state")));
        assert_eq!(
            parse("--shell x"),
            Err(OptionsError::Unknown("--shell".into()))
        );
        for wrong in [
            "--sdk /p --channel-fd 4",
            "--sdk here",
            "--sdk /p --runtime runc",
            "--sdk /p --id-base 0",
            "--sdk /p --id-base 4294967295",
        ] {
            let refused = parse(&format!("{common} {wrong}"));
            assert!(
                matches!(refused, Err(OptionsError::Value { .. })),
                "{wrong}: {refused:?}"
            );
        }
    }
}

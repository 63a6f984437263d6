//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use parapet_sandbox::launcher_process::{CHANNEL_FD, ID_BASE};
use thiserror::Error;

use crate::users;

pub(crate) const USAGE: &str = "usage: parapet-launcher --channel-fd 3 --state DIR --libexec DIR \
     --sdk DIR [--onnxruntime FILE] [--id-base N]";

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
    #[error("{option} {value:?}: {remedy}")]
    Value {
        option: &'static str,
        value: OsString,
        remedy: String,
    },
}

/// What the agent wants of this launcher.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) state: PathBuf,
    pub(crate) libexec: PathBuf,
    pub(crate) sdk: PathBuf,
    pub(crate) onnxruntime: Option<PathBuf>,
    pub(crate) id_base: u32,
}

impl Options {
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, OptionsError> {
        const NAMES: [&str; 6] = [
            "--channel-fd",
            "--state",
            "--libexec",
            "--sdk",
            "--onnxruntime",
            "--id-base",
        ];
        let mut values: [Option<OsString>; 6] = Default::default();
        let mut arguments = arguments.into_iter();
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
        let [channel_fd, state, libexec, sdk, onnxruntime, id_base] = values;
        // Said on the command line for whoever reads it there; there is no other number.
        let channel_fd = channel_fd.ok_or(OptionsError::Missing(NAMES[0]))?;
        number(NAMES[0], channel_fd, CHANNEL, CHANNEL)?;
        Ok(Self {
            state: path(NAMES[1], state)?,
            libexec: path(NAMES[2], libexec)?,
            sdk: path(NAMES[3], sdk)?,
            onnxruntime: onnxruntime
                .map(|file| path(NAMES[4], Some(file)))
                .transpose()?,
            id_base: match id_base {
                Some(value) => number(NAMES[5], value, users::LOWEST_BASE, users::HIGHEST_BASE)?,
                None => ID_BASE,
            },
        })
    }
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

    fn parse(line: &str) -> Result<Options, OptionsError> {
        Options::parse(line.split_whitespace().map(OsString::from))
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
        };
        assert_eq!(options, Ok(expected));
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

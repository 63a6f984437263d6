//! Work on the files of an instance, in a process of its own each: deleting them, measuring them.
//! Neither may hold up the loop, however many there are.

use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;
use parapet_sandbox::launch::LaunchEvent;
use parapet_sandbox::remove::remove;
use parapet_sandbox::root::open_below;
use parapet_sandbox::spawn::{Running, spawn_task};
use rustix::io::Errno;

use super::directories::DIRECTORY;
use super::{Kind, MAX_MESSAGE, MAX_PROCESSES, Process, RequestError, Requests};
use crate::measure::measure;
use crate::names::Name;

/// One under way.
pub(super) struct Errand {
    instance: Name,
    pub(super) running: Running,
    report: PipeReader,
    /// Of a look at what it holds: how much.
    measured: Option<PipeReader>,
}

impl Requests<'_> {
    pub(super) fn remove(&mut self, instance: String) -> Result<(), RequestError> {
        let instance = Name::parse("instance", instance)?;
        if self.processes.len() + self.errands.len() >= MAX_PROCESSES {
            return Err(RequestError::Full);
        }
        let in_use = |process: &Process| matches!(&process.kind, Kind::Application { instance: used } if *used == instance);
        if self.processes.values().any(in_use) {
            return Err(RequestError::InUse(instance));
        }
        let state = self.host.state();
        let started = spawn_task(|| {
            let directory = match open_below(state, Path::new("instances"), DIRECTORY) {
                Err(Errno::NOENT) => return Ok(()),
                other => other.map_err(|errno| format!("open instances: {errno}"))?,
            };
            let name = std::ffi::CString::new(instance.as_str()).map_err(|e| e.to_string())?;
            remove(directory.as_fd(), &name)
        });
        let (running, report) = started.map_err(|source| RequestError::Task {
            instance: instance.clone(),
            source,
        })?;
        self.errands.push(Errand {
            instance,
            running,
            report,
            measured: None,
        });
        Ok(())
    }

    pub(super) fn measure(&mut self, instance: String) -> Result<(), RequestError> {
        let instance = Name::parse("instance", instance)?;
        if self.processes.len() + self.errands.len() >= MAX_PROCESSES {
            return Err(RequestError::Full);
        }
        let pids: Vec<u32> = self
            .processes
            .values()
            .filter(|process| matches!(&process.kind, Kind::Application { instance: used } if *used == instance))
            .flat_map(|process| process.group.processes())
            .collect();
        let failed = |source| RequestError::Task {
            instance: instance.clone(),
            source,
        };
        let (measured, mut writer) = std::io::pipe().map_err(failed)?;
        let state = self.host.state();
        let path = format!("instances/{instance}");
        let started = spawn_task(move || {
            let directory = open_below(state, Path::new(&path), DIRECTORY)
                .map_err(|errno| format!("open {path}: {errno}"))?;
            let bytes = measure(directory.as_fd(), &["storage", "logs"], &pids)?;
            writer
                .write_all(&bytes.to_le_bytes())
                .map_err(|error| error.to_string())
        });
        let (running, report) = started.map_err(failed)?;
        self.errands.push(Errand {
            instance,
            running,
            report,
            measured: Some(measured),
        });
        Ok(())
    }

    /// Tells what became of one.
    pub(super) fn done(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(code) = self.errands[index]
            .running
            .reap()
            .context("reap an errand")?
        else {
            return Ok(());
        };
        let Errand {
            instance,
            report,
            measured,
            ..
        } = self.errands.remove(index);
        let mut message = String::new();
        let read = report.take(MAX_MESSAGE as u64).read_to_string(&mut message);
        let error = match (code, read) {
            (0, _) => None,
            (_, Ok(length)) if length > 0 => Some(message),
            _ => Some(format!("the work ended with code {code}")),
        };
        if let Some(mut measured) = measured {
            let mut bytes = [0; 8];
            let read = measured.read_exact(&mut bytes);
            let error = error.or_else(|| read.err().map(|error| error.to_string()));
            return self.tell(&LaunchEvent::Measured {
                instance: instance.as_str().to_owned(),
                bytes: u64::from_le_bytes(bytes),
                error,
            });
        }
        self.tell(&LaunchEvent::Removed {
            instance: instance.as_str().to_owned(),
            error,
        })
    }
}

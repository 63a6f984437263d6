//! How a process is started: what it is given, in the one order that the sandbox needs.

use std::os::fd::OwnedFd;
use std::path::Path;

use parapet_sandbox::bare::{self, Bare};
use parapet_sandbox::confine;
use parapet_sandbox::failure;
use parapet_sandbox::gateway::{Inside, furnish};
use parapet_sandbox::launch::{Resources, Worker};
use parapet_sandbox::oci::{self, Containment};
use parapet_sandbox::spawn::{
    Limits, Network, Program, Sandbox, SpawnError, spawn, spawn_prepared,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::directories::own;
use super::{Gateway, Kind, MAX_PROCESSES, Process, RequestError, Requests, files};
use crate::accelerators;
use crate::host::{Host, Isolation, Starter};
use crate::limits;
use crate::names::{Image, Name};
use crate::roots::{self, Extras};

/// An application as it was asked for.
pub(super) struct Wanted {
    pub(super) instance: String,
    pub(super) node: String,
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) resources: Resources,
    pub(super) gateway: bool,
    pub(super) gpu: bool,
}

impl Requests<'_> {
    pub(super) fn worker(
        &mut self,
        id: u64,
        worker: Worker,
        fds: Vec<OwnedFd>,
    ) -> Result<Process, RequestError> {
        self.admit(id)?;
        let found = fds.len();
        let [channel, stderr]: [OwnedFd; 2] = fds
            .try_into()
            .map_err(|_| RequestError::Descriptors { needed: 2, found })?;
        let taken = self
            .processes
            .values()
            .filter_map(|process| match process.kind {
                Kind::Worker { user, .. } => Some(user),
                Kind::Application { .. } => None,
            })
            .chain(self.host.zones.spent());
        let users = self.host.users.worker(&taken.collect())?;
        let command = roots::worker_command(&self.host, worker)?;
        let descriptors = vec![null()?, null()?, stderr, channel];
        let limits = self.limits(limits::WORKER_PROCESSES.into());
        let group = self.host.groups.make(
            &format!("w{id}"),
            &limits::worker(worker, self.host.machine_bytes),
        )?;
        let place = group.place()?;
        // Ingest alone talks to cameras.
        let network = match worker {
            Worker::Ingest => self.host.zones.network().map_err(SpawnError::Join)?,
            Worker::Codec | Worker::Infer => Network::None,
        };
        let running = if self.host.isolation == Isolation::Bare {
            bare::spawn(Bare {
                executable: self.host.libexec.join(roots::executable(worker)),
                environment: bare_environment(&self.host, worker),
                worker,
                descriptors,
                limits,
                place,
            })?
        } else {
            let root = roots::worker_root(&self.host, worker)?;
            let program = Program::First(command);
            spawn(Sandbox {
                kind: confine::Kind::Worker(worker),
                users,
                network,
                root,
                program,
                descriptors,
                limits,
                place,
            })?
        };
        let user = users.outside;
        Ok(Process::new(
            running,
            Kind::Worker { worker, user },
            None,
            group,
        ))
    }

    pub(super) fn application(
        &mut self,
        id: u64,
        wanted: Wanted,
        fds: Vec<OwnedFd>,
    ) -> Result<(Process, Gateway), RequestError> {
        self.admit(id)?;
        let found = fds.len();
        let [output]: [OwnedFd; 1] = fds
            .try_into()
            .map_err(|_| RequestError::Descriptors { needed: 1, found })?;
        let instance = Name::parse("instance", wanted.instance)?;
        let node = Name::parse("node", wanted.node)?;
        let image = Image::parse(wanted.image)?;
        if self.host.isolation == Isolation::Bare {
            return Err(RequestError::NoSandbox);
        }
        if let Starter::Nothing(reason) = &self.host.starter {
            return Err(RequestError::NoRuntime(reason.clone()));
        }
        let limits = limits::application(wanted.resources)?;
        let command = roots::application_command(wanted.command, wanted.environment)?;
        let users = self.directories(&instance, &node)?;
        // So that the application may open /dev/stdout: the pipe is a file of its own then.
        // Where there is one user for all, it is the caller's as it should be.
        if self.host.isolation == Isolation::Users {
            own(&output, users)?;
        }
        let gateway = wanted.gateway;
        let extras = Extras {
            gateway,
            gpu: wanted.gpu,
        };
        let root = roots::application_root(&self.host, &image, &instance, &node, extras)?;
        let again = output.try_clone().map_err(|error| {
            let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            RequestError::Files {
                step: "copy the output's descriptor",
                source,
            }
        })?;
        let group = self.host.groups.make(&format!("a{id}"), &limits)?;
        let sandbox = Sandbox {
            kind: confine::Kind::Application,
            users,
            network: Network::Loopback,
            root,
            program: Program::UnderInit(command),
            descriptors: vec![null()?, output, again],
            // Also where no control group counts them.
            limits: self.limits(wanted.resources.processes.into()),
            place: group.place()?,
        };
        let prepare = |pid| {
            let network = Inside::of(pid);
            let gateway = gateway.then(|| match &network {
                Ok(network) => furnish(network).map_err(|error| failure::with_causes(&error)),
                Err(error) => Err(failure::with_causes(error)),
            });
            (network.ok(), gateway)
        };
        let (running, (network, gateway)) = match &self.host.starter {
            Starter::Runtime(runtime) => {
                let devices = if wanted.gpu {
                    accelerators::numbers(Path::new("/dev"))
                } else {
                    Vec::new()
                };
                let containment = Containment {
                    runtime,
                    groups: &self.host.groups,
                    group: &group,
                    limits: &limits,
                    devices: &devices,
                };
                oci::spawn_prepared(sandbox, containment, prepare)
            }
            Starter::Own | Starter::Nothing(_) => spawn_prepared(sandbox, prepare),
        }?;
        let kind = Kind::Application { instance };
        Ok((Process::new(running, kind, network, group), gateway))
    }

    fn admit(&self, id: u64) -> Result<(), RequestError> {
        if self.processes.contains_key(&id) {
            return Err(RequestError::Used(id));
        }
        if self.processes.len() + self.errands.len() >= MAX_PROCESSES {
            return Err(RequestError::Full);
        }
        Ok(())
    }

    fn limits(&self, processes: u64) -> Limits {
        // Where all share the caller's user, the limit would count what is not ours.
        let own = self.host.isolation == Isolation::Users;
        Limits {
            files: 2048,
            processes: own.then_some(processes),
        }
    }
}

fn null() -> Result<OwnedFd, RequestError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, Mode::empty())
        .map_err(|source| files("open /dev/null", source))
}

fn bare_environment(host: &Host, worker: Worker) -> Vec<(String, String)> {
    let mut environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    if let (Worker::Infer, Some(library)) = (worker, &host.onnxruntime) {
        environment.push((
            "ORT_DYLIB_PATH".to_owned(),
            library.to_string_lossy().into_owned(),
        ));
    }
    environment
}

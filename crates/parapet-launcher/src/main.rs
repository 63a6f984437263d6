//! `parapet-launcher`: the only privileged process of an appliance.
//!
//! It starts workers and applications from typed requests of the agent and tells the agent what
//! became of them. One thread, one loop. It parses nothing but its command line and those
//! requests, listens nowhere by itself, and ends with the agent's end of the channel; everything it
//! has started ends with it. The agent starts it, or a service manager that listens for the agent
//! and leaves it the socket. As an ordinary user it works in a user namespace of its own and says
//! what that cannot give. See `docs/sandbox.md`.

#![forbid(unsafe_code)]

mod accelerators;
mod host;
mod limits;
mod measure;
mod names;
mod options;
mod requests;
mod roots;
mod users;
mod zones;

use std::process::ExitCode;

use anyhow::Context;
use options::{Options, Task};
use parapet_sandbox::channel::Channel;
use parapet_sandbox::inherited::{self, Door};
use parapet_sandbox::{confine, split};

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let task = match Task::parse(arguments) {
        Ok(task) => task,
        Err(error) => {
            eprintln!("parapet-launcher: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    let done = match task {
        Task::Serve(options) => run(&options),
        Task::LoadZones {
            id_base,
            run,
            network,
        } => zones::load(network, &run, id_base),
        Task::RemoveZones { id_base, run } => zones::remove(&run, id_base),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parapet-launcher: failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let channel = match inherited::door()? {
        Door::Agent(channel) => channel,
        Door::Listening(socket) => split::accept_agent(socket, options.id_base)?,
    };
    // Before the first request, and before the first child, which inherits it.
    confine::launcher(options.runtime.is_some())?;
    let host = host::prepare(options).context("prepare the host")?;
    serve(&channel, host)
}

fn serve(channel: &Channel, host: host::Host) -> anyhow::Result<()> {
    requests::Requests::new(channel, host)
        .serve()
        .context("serve the agent")
}

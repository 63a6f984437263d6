//! The ingest worker: `parapet-ingest`, the RTSP dialogue of one camera.
//!
//! Started by the launcher with its channel as descriptor 3. Alone on the appliance it knows the
//! camera's password, and it alone reads what the camera sends, in memory-safe Rust; what it hands
//! on are access units ([`outbox`]), with the time of each ([`clock`]). A camera that wants TLS gets it
//! ([`tls`]); where an administrator allows it, a file plays the camera ([`file`]). Decodes nothing, writes no
//! file, logs no secret.

#![forbid(unsafe_code)]

mod address;
mod backoff;
mod clock;
mod connection;
mod dialogue;
mod fault;
mod file;
#[cfg(test)]
mod fuzz;
mod outbox;
mod sink;
mod source;
mod tls;
mod worker;

use std::error::Error;
use std::process::ExitCode;

use parapet_sandbox::launch::Worker;
use parapet_sandbox::{confine, failure};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Address space of the process: RTP has no bound on the length of a fragmented picture, so a
/// hostile camera could fill the memory until the stall watchdog ends the dialogue. An ordinary
/// one needs a twentieth.
const ADDRESS_SPACE: u64 = 1024 * 1024 * 1024;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::exit("parapet-ingest", error.as_ref()),
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let channel = parapet_sandbox::inherited::channel()?;
    let limit = Rlimit {
        current: Some(ADDRESS_SPACE),
        maximum: Some(ADDRESS_SPACE),
    };
    setrlimit(Resource::As, limit)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let provider = tls::provider();
    // The run-time has made its own sockets; from here on there are none but a camera's.
    confine::worker(Worker::Ingest)?;
    let served = runtime.block_on(worker::run(channel, provider));
    // A resolver that hangs on a thread of its own shall not keep the process alive.
    runtime.shutdown_timeout(worker::SHUTDOWN_LIMIT);
    Ok(served?)
}

/// Targets of `parapet-fuzz` have a bound on memory.
#[cfg(test)]
#[global_allocator]
static MEMORY: parapet_fuzz::Counting = parapet_fuzz::Counting;

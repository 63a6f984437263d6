//! The decoder worker: `parapet-codec`, started by the launcher with its channel as descriptor 3.

#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

use parapet_sandbox::launch::Worker;
use parapet_sandbox::{confine, failure, inherited};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::exit("parapet-codec", error.as_ref()),
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let channel = inherited::channel()?;
    // Before the first byte of a camera.
    confine::worker(Worker::Codec)?;
    Ok(parapet_codec::worker::run(&channel)?)
}

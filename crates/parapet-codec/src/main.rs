//! The decoder worker: `parapet-codec`, started by the launcher with its channel as descriptor 3.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use parapet_sandbox::failure;

fn main() -> ExitCode {
    match parapet_sandbox::inherited::channel() {
        Ok(channel) => match parapet_codec::worker::run(&channel) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure::exit("parapet-codec", &error),
        },
        Err(error) => failure::exit("parapet-codec", &error),
    }
}

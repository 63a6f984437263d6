//! The model worker: one model, loaded once, answering calls on any number of sockets.
//!
//! Owns the ONNX Runtime session and nothing else: no network, and no file once the run time's
//! library is loaded, which it confines itself after and before it reads a model. The model
//! comes as an open file, tensors come and go in memfds. It never maps another process's memory
//! (a file that shrinks would end it), it reads and writes with offsets; what a caller says wrong
//! is answered on its socket and harms nobody else.
//!
//! Threads: the main one listens to the agent; one a socket serves calls; the session is behind a
//! mutex, calls of one model run one after the other.

mod calls;
mod element;
mod model;

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

use parapet_media::protocol::{Hello, InferEvent, InferRequest};
use parapet_sandbox::channel::{Channel, ChannelError, Packet};
use parapet_sandbox::launch::Worker;
use parapet_sandbox::{confine, failure, inherited};

use model::{LoadError, Model};

/// Largest model file.
const MAX_MODEL: u64 = 2 << 30;
/// Most sockets at a time; further ones are closed at once.
const MAX_SOCKETS: usize = 64;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("parapet-infer {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    match confined() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::exit("parapet-infer", error.as_ref()),
    }
}

fn confined() -> Result<(), Box<dyn Error>> {
    let channel = inherited::channel()?;
    // The library is the last file that is opened; a model comes after it.
    let library = model::run_time().map(drop);
    confine::worker(Worker::Infer)?;
    Ok(serve(&channel, &library)?)
}

fn serve(channel: &Channel, library: &Result<(), LoadError>) -> Result<(), ChannelError> {
    channel.send(
        &Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        &[],
        &[],
    )?;
    let mut model: Option<Arc<Model>> = None;
    while let Some(packet) = channel.recv::<InferRequest>()? {
        let Packet { header, fds, .. } = packet;
        let fd = fds.into_iter().next();
        match (header, fd, &model) {
            (InferRequest::Load { inputs, threads }, Some(file), None) => {
                let loaded = match library {
                    Ok(()) => read(file).and_then(|bytes| Model::load(&bytes, &inputs, threads)),
                    Err(error) => Err(error.clone()),
                };
                match loaded {
                    Ok(loaded) => {
                        let (inputs, outputs) = loaded.shapes();
                        channel.send(&InferEvent::Loaded { inputs, outputs }, &[], &[])?;
                        model = Some(Arc::new(loaded));
                    }
                    Err(error) => channel.send(&failed(&error), &[], &[])?,
                }
            }
            (InferRequest::Attach, Some(socket), Some(model)) => {
                // The main thread holds one reference.
                if Arc::strong_count(model) <= MAX_SOCKETS {
                    let model = Arc::clone(model);
                    // Ends with its socket, or with the process.
                    std::thread::spawn(move || calls::serve(&model, &Channel::from_fd(socket)));
                }
            }
            // Out of order: the agent's own mistake, told by the closed descriptor.
            (InferRequest::Load { .. } | InferRequest::Attach, _, _) => {
                eprintln!("parapet-infer: a request that does not fit here was passed over");
            }
        }
    }
    Ok(())
}

fn read(file: OwnedFd) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    File::from(file)
        .take(MAX_MODEL + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| LoadError::Model(format!("the model file cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_MODEL {
        return Err(LoadError::Model(
            "the model file is larger than 2 GiB".to_owned(),
        ));
    }
    Ok(bytes)
}

fn failed(error: &LoadError) -> InferEvent {
    let code = match error {
        LoadError::Model(_) => "model_load",
        LoadError::Descriptor(_) => "model_descriptor",
    };
    let message = error.to_string().chars().take(200).collect();
    InferEvent::Failed {
        code: code.to_owned(),
        message,
    }
}

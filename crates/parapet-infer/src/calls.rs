//! Calls on one socket: `docs/sdk-protocol.md`, section Models.

use std::os::fd::{AsFd as _, OwnedFd};

use parapet_sandbox::channel::{Channel, ChannelError};
use rustix::fs::{MemfdFlags, SealFlags};
use serde::{Deserialize, Serialize};

use crate::element;
use crate::model::{Filler, Model, Output, RunError};

/// Each tensor starts at a multiple of this in its memory.
const ALIGN: u64 = 64;
/// Largest memory of one call's outputs.
const MAX_OUTPUT: u64 = 1 << 30;

/// Caller to worker.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Call {
        seq: u64,
        buffer: bool,
        inputs: Vec<Tensor>,
    },
}

/// Worker to caller.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Answer {
    Result {
        seq: u64,
        buffer: bool,
        outputs: Vec<Tensor>,
    },
    Error {
        seq: u64,
        code: &'static str,
        message: String,
    },
}

/// A tensor and its place in the memory that goes with the message.
#[derive(Debug, Serialize, Deserialize)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    offset: u64,
    bytes: u64,
}

/// Answers calls until the caller closes its end.
pub(crate) fn serve(model: &Model, channel: &Channel) {
    let mut input: Option<OwnedFd> = None;
    let mut output: Option<Memory> = None;
    loop {
        let packet = match channel.recv::<Request>() {
            Ok(Some(packet)) => packet,
            Ok(None) => return,
            Err(error) => {
                eprintln!("parapet-infer: a caller is cut off: failed to {error}");
                return;
            }
        };
        let Request::Call {
            seq,
            buffer,
            inputs,
        } = packet.header;
        if buffer {
            input = packet.fds.into_iter().next();
        }
        let result = run(model, input.as_ref(), &inputs);
        let sent = match result.and_then(|outputs| store(&mut output, &outputs)) {
            Ok((outputs, fresh)) => {
                let fds = output
                    .iter()
                    .filter(|_| fresh)
                    .map(|m| m.fd.as_fd())
                    .collect::<Vec<_>>();
                channel.send(
                    &Answer::Result {
                        seq,
                        buffer: fresh,
                        outputs,
                    },
                    &[],
                    &fds,
                )
            }
            Err(error) => channel.send(&refusal(seq, &error), &[], &[]),
        };
        if let Err(error) = sent
            && !matches!(error, ChannelError::Socket(_))
        {
            eprintln!("parapet-infer: failed to {error}");
        }
    }
}

fn refusal(seq: u64, error: &RunError) -> Answer {
    let code = match error {
        RunError::Input(_) => "input",
        RunError::Run(_) => "run",
    };
    Answer::Error {
        seq,
        code,
        message: error.to_string().chars().take(500).collect(),
    }
}

fn run(
    model: &Model,
    memory: Option<&OwnedFd>,
    tensors: &[Tensor],
) -> Result<Vec<Output>, RunError> {
    let memory = memory.ok_or_else(|| RunError::Input("no input memory was sent".to_owned()))?;
    let mut fillers = Vec::new();
    for port in model.inputs() {
        let tensor = tensors
            .iter()
            .find(|tensor| tensor.name == port.name)
            .ok_or_else(|| RunError::Input(format!("input {:?} is missing", port.name)))?;
        let expected = element::count(&tensor.shape).map(|n| (n * port.element_bytes) as u64);
        if expected != Some(tensor.bytes) {
            return Err(RunError::Input(format!(
                "input {:?} of shape {:?} has {} bytes",
                port.name, tensor.shape, tensor.bytes
            )));
        }
        let (name, offset) = (port.name.clone(), tensor.offset);
        fillers.push(Filler {
            shape: tensor.shape.clone(),
            fill: Box::new(move |buffer: &mut [u8]| {
                read_at(memory, buffer, offset)
                    .map_err(|error| RunError::Input(format!("input {name:?}: {error}")))
            }),
        });
    }
    model.run(&mut fillers)
}

/// Reads exactly the buffer. By offset, not by mapping: the caller may cut its file at any time.
fn read_at(fd: &OwnedFd, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(fd, &mut buffer[done..], offset.saturating_add(done as u64)) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => done += read,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Where the outputs of a socket's calls go, sealed so that the reader may map it.
struct Memory {
    fd: OwnedFd,
    bytes: u64,
}

/// Writes the outputs; also tells whether the memory is new to the caller.
fn store(memory: &mut Option<Memory>, outputs: &[Output]) -> Result<(Vec<Tensor>, bool), RunError> {
    let mut end = 0;
    let mut described = Vec::with_capacity(outputs.len());
    for output in outputs {
        let bytes = output.bytes.len() as u64;
        described.push(Tensor {
            name: output.name.clone(),
            dtype: output.dtype.to_owned(),
            shape: output.shape.clone(),
            offset: end,
            bytes,
        });
        end += bytes.next_multiple_of(ALIGN);
    }
    if end > MAX_OUTPUT {
        return Err(RunError::Run(format!(
            "the outputs take {end} bytes, at most {MAX_OUTPUT}"
        )));
    }
    let fault = |error: std::io::Error| RunError::Run(format!("no memory for outputs: {error}"));
    let fresh = memory.as_ref().is_none_or(|memory| memory.bytes < end);
    if fresh {
        *memory = Some(Memory::new(end.max(1)).map_err(fault)?);
    }
    if let Some(memory) = memory {
        for (tensor, output) in described.iter().zip(outputs) {
            memory
                .write_at(&output.bytes, tensor.offset)
                .map_err(fault)?;
        }
    }
    Ok((described, fresh))
}

impl Memory {
    fn new(bytes: u64) -> std::io::Result<Self> {
        let bytes = bytes.next_multiple_of(4096);
        let fd = rustix::fs::memfd_create(
            "parapet-tensors",
            MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
        )?;
        rustix::fs::ftruncate(&fd, bytes)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(Self { fd, bytes })
    }

    fn write_at(&self, mut bytes: &[u8], mut offset: u64) -> std::io::Result<()> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.fd, bytes, offset) {
                Ok(written) => {
                    bytes = &bytes[written..];
                    offset += written as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

//! One model: a worker process that answers calls, started again when it dies.
//!
//! Applications ask for a [`ModelHandle::attach`], which gives them a socket straight to the
//! worker; calls do not pass through the agent. A model that cannot be loaded, or does not fit its
//! descriptor, is final: its instance fails with that reason.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parapet_device::desired::Tensor;
use parapet_device::reported::{NodeStatus, Reason};
use parapet_media::protocol::{InferEvent, InferRequest, TensorShape};
use parapet_sandbox::channel::{Channel, ChannelError};
use parapet_sandbox::launch::Worker;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::board::Line;
use crate::launcher::{End, Launcher, Process, StartError};
use crate::logs::{self, Task};
use crate::packets::PacketSocket;

/// Loading may take minutes (`spec/sdk.md` 2.2); what takes longer hangs.
const LOAD_LIMIT: Duration = Duration::from_mins(10);
/// Attachments waiting for a model that loads.
const WAITING: usize = 64;

/// What a loaded model declares.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) inputs: Vec<TensorShape>,
    pub(crate) outputs: Vec<TensorShape>,
}

/// A socket to the worker, and what it serves.
pub(crate) type Attached = (Arc<Signature>, OwnedFd);

/// How far a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelState {
    /// Not ready, or ready no more, but it will be.
    Loading,
    /// Answers calls.
    Ready,
    /// Never will.
    Failed(Reason),
}

/// What sessions keep of a model.
#[derive(Clone)]
pub(crate) struct ModelHandle {
    requests: mpsc::Sender<oneshot::Sender<Attached>>,
}

impl ModelHandle {
    /// Waits for the model and gives a socket to it; `None` when the model has ended for good.
    pub(crate) async fn attach(&self) -> Option<Attached> {
        loop {
            let (answer, attached) = oneshot::channel();
            self.requests.send(answer).await.ok()?;
            // A worker that died with the request in its hands drops it: ask the next one.
            if let Ok(attached) = attached.await {
                return Some(attached);
            }
        }
    }
}

#[cfg(test)]
impl ModelHandle {
    /// One without a worker; what it asks for comes out of the other end.
    pub(crate) fn without_worker() -> (Self, mpsc::Receiver<oneshot::Sender<Attached>>) {
        let (requests, waiting) = mpsc::channel(WAITING);
        (Self { requests }, waiting)
    }
}

/// A running model. Dropping it ends the process.
pub(crate) struct Model {
    /// For sessions.
    pub(crate) handle: ModelHandle,
    /// How far it is.
    pub(crate) state: watch::Receiver<ModelState>,
    _task: Task,
}

impl Model {
    /// Starts the worker for a `.onnx` file.
    pub(crate) fn start(
        launcher: Launcher,
        line: Line,
        file: PathBuf,
        inputs: &[Tensor],
        threads: u32,
    ) -> Self {
        let (state_sender, state) = watch::channel(ModelState::Loading);
        let (requests, waiting) = mpsc::channel(WAITING);
        let inputs = inputs
            .iter()
            .map(|tensor| TensorShape {
                name: tensor.name.clone(),
                dtype: String::new(),
                shape: tensor.shape.clone(),
            })
            .collect();
        let job = Job {
            launcher,
            line,
            file,
            inputs,
            threads,
            state: state_sender,
            waiting,
        };
        Self {
            handle: ModelHandle { requests },
            state,
            _task: tokio::spawn(job.run()).into(),
        }
    }
}

#[derive(Debug, Error)]
enum ModelError {
    #[error("start the model")]
    Start(#[from] StartError),
    #[error("talk to the model")]
    Channel(#[from] ChannelError),
    #[error("open the model file")]
    Open(#[from] std::io::Error),
    #[error("load the model: no answer within {} s", LOAD_LIMIT.as_secs())]
    Timeout,
    #[error("use the model: its process {0}")]
    Ended(End),
}

struct Job {
    launcher: Launcher,
    line: Line,
    file: PathBuf,
    inputs: Vec<TensorShape>,
    threads: u32,
    state: watch::Sender<ModelState>,
    waiting: mpsc::Receiver<oneshot::Sender<Attached>>,
}

impl Job {
    async fn run(mut self) {
        let mut backoff = Backoff::for_processes();
        loop {
            match self.once().await {
                Ok(reason) => {
                    self.line.set(NodeStatus::Error, Some(reason.clone()));
                    self.state.send_replace(ModelState::Failed(reason));
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        instance = %self.line.instance(),
                        node = %self.line.node(),
                        error = &error as &dyn std::error::Error,
                        "model is started again"
                    );
                    self.state.send_replace(ModelState::Loading);
                    let code = match &error {
                        ModelError::Ended(end) if end.out_of_memory => "memory",
                        ModelError::Ended(_) => "exited",
                        _ => "launch",
                    };
                    self.line.error(code, &error.to_string());
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// One life of the worker; `Ok` is the reason why there is no other.
    async fn once(&mut self) -> Result<Reason, ModelError> {
        let (mut process, socket) = self.launcher.worker(Worker::Infer).await?;
        let _log = logs::forward(process.take_output(), &self.line, "model");
        let file = File::open(&self.file)?;
        let load = InferRequest::Load {
            inputs: self.inputs.clone(),
            threads: self.threads,
        };
        socket.send(&load, &[], &[file.as_fd()]).await?;
        let event = tokio::select! {
            end = process.exited() => return Err(ModelError::Ended(end)),
            event = timeout(LOAD_LIMIT, socket.recv::<InferEvent>()) => event,
        };
        let Some(packet) = event.map_err(|_| ModelError::Timeout)?? else {
            return Err(ModelError::Ended(process.exited_soon().await));
        };
        match packet.header {
            InferEvent::Loaded { inputs, outputs } => {
                self.line.running();
                self.state.send_replace(ModelState::Ready);
                let signature = Arc::new(Signature { inputs, outputs });
                self.serve(&mut process, &socket, signature).await
            }
            InferEvent::Failed { code, message } => Ok(Reason {
                code,
                message: crate::board::cut(&message),
            }),
        }
    }

    async fn serve(
        &mut self,
        process: &mut Process,
        socket: &PacketSocket,
        signature: Arc<Signature>,
    ) -> Result<Reason, ModelError> {
        loop {
            tokio::select! {
                end = process.exited() => return Err(ModelError::Ended(end)),
                event = socket.recv::<InferEvent>() => match event? {
                    Some(packet) => if let InferEvent::Failed { code, message } = packet.header {
                        return Ok(Reason { code, message: crate::board::cut(&message) });
                    },
                    None => return Err(ModelError::Ended(process.exited_soon().await)),
                },
                answer = self.waiting.recv() => {
                    // Without handles nobody can ask, and the model goes on waiting for its end.
                    let Some(answer) = answer else {
                        return Err(ModelError::Ended(process.exited().await));
                    };
                    let (theirs, ours) = Channel::pair()?;
                    socket.send(&InferRequest::Attach, &[], &[ours.as_fd()]).await?;
                    // A session that has ended needs no socket.
                    let _ = answer.send((Arc::clone(&signature), theirs.into_fd()));
                }
            }
        }
    }
}

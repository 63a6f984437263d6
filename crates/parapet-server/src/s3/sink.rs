//! From an asynchronous body to a file: a blocking thread writes and hashes, a short queue between.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use md5::{Digest as _, Md5};
use parapet_device::BlobDigest;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::blobs::{Blobs, Draft};

/// Pieces that wait for the disk; beyond them the network waits.
const QUEUE: usize = 8;

/// What was written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// Its content; `None` for a part.
    pub(super) digest: Option<BlobDigest>,
    /// Its length.
    pub(super) bytes: u64,
    /// Its MD5, hexadecimal.
    pub(super) md5: String,
}

/// Where the bytes go in the end.
pub(super) enum Place {
    /// Among the contents.
    Content,
    /// A file of this name in this directory.
    Part(PathBuf, String),
}

enum Order {
    Data(Bytes),
    Keep,
}

/// A file that is being written; dropped before [`keep`](Self::keep) it is gone.
pub(super) struct Sink {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<io::Result<Option<Written>>>,
}

impl Sink {
    pub(super) fn begin(blobs: &Blobs, place: Place) -> Self {
        let (orders, queue) = mpsc::channel(QUEUE);
        let blobs = blobs.clone();
        let thread = tokio::task::spawn_blocking(move || write(blobs.begin()?, place, queue));
        Self { orders, thread }
    }

    /// Appends a piece.
    pub(super) async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        if self.orders.send(Order::Data(bytes)).await.is_err() {
            // The thread ends early for a reason of its own.
            return Err(match (&mut self.thread).await {
                Ok(Err(error)) => error,
                Ok(Ok(_)) | Err(_) => io::Error::other("the writing thread ended"),
            });
        }
        Ok(())
    }

    /// Makes it durable.
    pub(super) async fn keep(self) -> io::Result<Written> {
        // When the thread has ended its result says why.
        let _ended = self.orders.send(Order::Keep).await;
        let written = self.thread.await.map_err(io::Error::other)??;
        written.ok_or_else(|| io::Error::other("the writing thread was not told to keep the file"))
    }
}

fn write(
    mut draft: Draft,
    place: Place,
    mut orders: mpsc::Receiver<Order>,
) -> io::Result<Option<Written>> {
    let mut md5 = Md5::new();
    while let Some(order) = orders.blocking_recv() {
        match order {
            Order::Data(bytes) => {
                draft.write(&bytes)?;
                md5.update(&bytes);
            }
            Order::Keep => {
                let (digest, bytes) = match place {
                    Place::Content => {
                        let (digest, bytes) = draft.keep()?;
                        (Some(digest), bytes)
                    }
                    Place::Part(directory, name) => (None, draft.keep_at(&directory, &name)?),
                };
                return Ok(Some(Written {
                    digest,
                    bytes,
                    md5: hex::encode(md5.finalize()),
                }));
            }
        }
    }
    Ok(None)
}

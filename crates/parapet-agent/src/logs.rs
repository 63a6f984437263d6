//! What processes write: applications into `console_output`, workers and SDKs into the agent's own
//! log.
//!
//! Both are read for as long as the process lives, whatever it writes and however fast, so that a
//! full pipe never stops it; what exceeds the bounds is dropped and counted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use crate::board::Line;

/// `console_output` is capped at 11 MB on disk (`spec/sdk.md` 3.8): two files of half of it.
const CONSOLE_BYTES: u64 = 11_000_000 / 2;
/// Longest line of a worker or SDK that reaches the log.
const LINE_BYTES: usize = 2000;
/// Lines of a worker or SDK that reach the log within [`SPAN`].
const LINES: u32 = 100;
const SPAN: Duration = Duration::from_secs(10);

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl From<JoinHandle<()>> for Task {
    fn from(handle: JoinHandle<()>) -> Self {
        Self(handle)
    }
}

/// Copies a worker's standard error into the log, line by line.
pub(crate) fn forward(
    output: Option<pipe::Receiver>,
    line: &Line,
    worker: &'static str,
) -> Option<Task> {
    let output = output?;
    let (instance, node) = (line.instance().clone(), line.node().clone());
    Some(Task(tokio::spawn(async move {
        let mut lines = Lines::default();
        each_chunk(output, |chunk| {
            lines.feed(chunk, Instant::now(), |text| {
                tracing::info!(%instance, %node, worker, "{text}");
            });
            Ok(())
        })
        .await;
    })))
}

/// Appends an application's output to `console_output` in the instance's log directory.
pub(crate) fn console(output: Option<pipe::Receiver>, directory: PathBuf) -> Option<Task> {
    let output = output?;
    Some(Task(tokio::spawn(async move {
        let mut file = Rotating::new(directory.join("console_output"), CONSOLE_BYTES);
        each_chunk(output, |chunk| file.write(chunk)).await;
    })))
}

async fn each_chunk(mut output: pipe::Receiver, mut use_it: impl FnMut(&[u8]) -> io::Result<()>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut told = false;
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        // A full disk loses lines, it does not stop the process that writes them.
        if let Err(error) = use_it(&buffer[..length])
            && !std::mem::replace(&mut told, true)
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "output is lost");
        }
    }
}

/// Splits bytes into bounded lines and counts those that are too many.
#[derive(Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
    span: Option<Instant>,
    given: u32,
    dropped: u32,
}

impl Lines {
    pub(crate) fn feed(&mut self, bytes: &[u8], now: Instant, mut give: impl FnMut(&str)) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.rest);
                self.line(&line, now, &mut give);
            } else if self.rest.len() < LINE_BYTES {
                self.rest.push(*byte);
            }
        }
    }

    fn line(&mut self, line: &[u8], now: Instant, give: &mut impl FnMut(&str)) {
        if self.span.is_none_or(|span| now.duration_since(span) > SPAN) {
            if self.dropped > 0 {
                give(&format!("({} lines dropped)", self.dropped));
            }
            (self.span, self.given, self.dropped) = (Some(now), 0, 0);
        }
        if self.given < LINES {
            self.given += 1;
            give(&String::from_utf8_lossy(line));
        } else {
            self.dropped += 1;
        }
    }
}

/// A file that is renamed to `NAME.1` when it is full.
struct Rotating {
    path: PathBuf,
    limit: u64,
    open: Option<(File, u64)>,
}

impl Rotating {
    fn new(path: PathBuf, limit: u64) -> Self {
        Self {
            path,
            limit,
            open: None,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut file, length) = match self.open.take() {
            Some(open) => open,
            None => append(&self.path)?,
        };
        if length > 0 && length + bytes.len() as u64 > self.limit {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            fs::rename(&self.path, &old)?;
            return self.write(bytes);
        }
        file.write_all(bytes)?;
        self.open = Some((file, length + bytes.len() as u64));
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_renamed_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console_output");
        let mut file = Rotating::new(path.clone(), 10);
        for text in ["12345", "67890", "abc"] {
            file.write(text.as_bytes()).unwrap();
        }
        drop(file);
        Rotating::new(path.clone(), 10).write(b"def").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "abcdef");
        assert_eq!(
            fs::read_to_string(dir.path().join("console_output.1")).unwrap(),
            "1234567890"
        );
    }

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let start = Instant::now();
        let mut lines = Lines::default();
        let mut given = Vec::new();
        for _ in 0..LINES + 7 {
            lines.feed(b"x\n", start, |line| given.push(line.to_owned()));
        }
        assert_eq!(given.len(), LINES as usize);
        lines.feed(b"la", start, |_| ());
        lines.feed(b"ter\n", start + SPAN * 2, |line| {
            given.push(line.to_owned());
        });
        assert_eq!(given[LINES as usize..], ["(7 lines dropped)", "later"]);
        let long = vec![b'y'; LINE_BYTES * 2];
        lines.feed(&long, start, |_| ());
        lines.feed(b"\n", start + SPAN * 2, |line| {
            assert_eq!(line.len(), LINE_BYTES);
        });
    }
}

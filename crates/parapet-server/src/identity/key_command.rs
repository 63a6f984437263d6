//! The command hook for a key management service: a program that prints the master key.
//!
//! Run at the start and at a rotation, without a shell, with bounded time and output. It gets the
//! wrapped key on standard input where a file of it is configured. What it prints is the key; what
//! it writes to standard error is for the operator and is shown when it fails.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::master_key::{MOST_BYTES, VARIABLE};

/// Bytes of the wrapped key that is handed to the command.
const MOST_INPUT: u64 = 64 * 1024;
/// Characters of its standard error that are shown.
const SHOWN: usize = 500;

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCommand {
    /// Absolute path.
    pub program: PathBuf,
    /// Its arguments, as they are.
    pub arguments: Vec<String>,
    /// Handed to it on standard input.
    pub input: Option<PathBuf>,
    /// It has to be done by then.
    pub limit: Duration,
}

impl fmt::Display for KeyCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the arguments: an operator may have put a secret there.
        write!(f, "{}", self.program.display())
    }
}

/// Why the command gave no key.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It cannot be started, or its pipes break.
    #[error("run {command} for the master key")]
    Run {
        /// Which.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file that it gets.
    #[error("read the wrapped master key {path}")]
    Input {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Too slow.
    #[error(
        "run {command} for the master key: it did not end within {seconds} s; raise master_key.command_seconds if that is its nature"
    )]
    Time {
        /// Which.
        command: String,
        /// How long it had.
        seconds: u64,
    },
    /// It says that it failed.
    #[error("run {command} for the master key: it ended with {status} and said {said:?}")]
    Failed {
        /// Which.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Its standard error, cut.
        said: String,
    },
    /// More than keys, or no text.
    #[error(
        "run {command} for the master key: it printed no list of keys (at most {MOST_BYTES} bytes of text)"
    )]
    Output {
        /// Which.
        command: String,
    },
}

/// Runs the command; what it printed.
pub(super) async fn run(command: &KeyCommand) -> Result<Zeroizing<String>, CommandError> {
    let seconds = command.limit.as_secs();
    timeout(command.limit, talk(command))
        .await
        .unwrap_or_else(|_| {
            Err(CommandError::Time {
                command: command.to_string(),
                seconds,
            })
        })
}

async fn talk(command: &KeyCommand) -> Result<Zeroizing<String>, CommandError> {
    let failed = |source| CommandError::Run {
        command: command.to_string(),
        source,
    };
    let input = match &command.input {
        Some(path) => Some(read_input(path).await?),
        None => None,
    };
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        .env_remove(VARIABLE)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Too slow: it goes with the future that waits for it.
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async move {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A command that does not read its input ends the pipe; its status tells.
            let _unread = stdin.write_all(&input).await;
        }
    };
    let ((), printed, said, status) = tokio::join!(
        write,
        read_some(stdout, MOST_BYTES),
        read_some(stderr, MOST_BYTES),
        child.wait(),
    );
    let (printed, said) = (printed.map_err(failed)?, said.map_err(failed)?);
    let status = status.map_err(failed)?;
    if !status.success() {
        let said: String = String::from_utf8_lossy(&said).chars().take(SHOWN).collect();
        return Err(CommandError::Failed {
            command: command.to_string(),
            status,
            said,
        });
    }
    let unusable = || CommandError::Output {
        command: command.to_string(),
    };
    if printed.len() as u64 > MOST_BYTES {
        return Err(unusable());
    }
    let text = std::str::from_utf8(&printed).map_err(|_| unusable())?;
    Ok(Zeroizing::new(text.to_owned()))
}

async fn read_input(path: &PathBuf) -> Result<Zeroizing<Vec<u8>>, CommandError> {
    let failed = |source| CommandError::Input {
        path: path.clone(),
        source,
    };
    let opened = tokio::fs::File::open(path).await.map_err(failed)?;
    let bytes = read_some(Some(opened), MOST_INPUT).await.map_err(failed)?;
    if bytes.len() as u64 > MOST_INPUT {
        return Err(failed(io::Error::other("it is longer than 64 KiB")));
    }
    Ok(bytes)
}

/// Up to one byte more than `most`; the rest is read away, so that the writer does not stand still.
async fn read_some(
    from: Option<impl AsyncRead + Unpin>,
    most: u64,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    if let Some(mut from) = from {
        (&mut from).take(most + 1).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> KeyCommand {
        KeyCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            input: None,
            limit: Duration::from_secs(20),
        }
    }

    #[tokio::test]
    async fn what_the_command_prints_is_the_key() {
        let printed = run(&shell("echo abc; echo noise >&2")).await.expect("text");
        assert_eq!(printed.as_str(), "abc\n");
    }

    #[tokio::test]
    async fn the_command_gets_the_wrapped_key_on_standard_input() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "wrapped").expect("written");
        let mut command = shell("tr a-z A-Z");
        command.input = Some(file.path().to_owned());
        assert_eq!(run(&command).await.expect("text").as_str(), "WRAPPED");
        command.input = Some("/nowhere/at/all".into());
        assert!(matches!(
            run(&command).await,
            Err(CommandError::Input { .. })
        ));
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why() {
        let refused = run(&shell("echo printed; echo vault is sealed >&2; exit 3")).await;
        let Err(error @ CommandError::Failed { .. }) = refused else {
            panic!("{refused:?}")
        };
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("vault is sealed"), "{shown}");
        assert!(!shown.contains("printed"), "{shown}");
    }

    #[tokio::test]
    async fn a_command_has_bounded_time_and_output() {
        let mut slow = shell("exec sleep 600");
        slow.limit = Duration::from_millis(50);
        assert!(matches!(run(&slow).await, Err(CommandError::Time { .. })));
        let flood = shell("head -c 10000000 /dev/zero | tr '\\0' 'a'");
        assert!(matches!(
            run(&flood).await,
            Err(CommandError::Output { .. })
        ));
        let missing = KeyCommand {
            program: "/nowhere/unwrap".into(),
            ..shell("")
        };
        assert!(matches!(run(&missing).await, Err(CommandError::Run { .. })));
    }
}

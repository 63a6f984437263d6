//! `ip`, `nft` and their like, run by their full paths, with an empty environment and words of our
//! own.
//!
//! The only programs that Parapet's privileged parts run: `ip` and `nft` by the launcher, and the
//! OCI runtime that an operator names ([`crate::oci`]), which is asked for its version here; the
//! TPM's tools and `cp` by the agent before it gives root up. Bounded in time and in what is read of
//! them; the environment's `PATH` is never asked. Decides nothing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use thiserror::Error;

/// The first one wins.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// They take milliseconds; a kernel under load takes longer, and a set-up waits for them.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest output that is read: a host with thousands of ports.
const MAX_OUTPUT: usize = 1 << 20;
/// Longest that is repeated of what a program said.
const MAX_SAID: usize = 300;

/// Why a program did not do its work.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// It is not installed.
    #[error("find {name} in {}: install the package {package}", PLACES.join(", "))]
    Missing {
        /// Which one.
        name: &'static str,
        /// What brings it.
        package: &'static str,
    },
    /// It could not be started or talked to.
    #[error("{what}: {cause}")]
    Start {
        /// What for.
        what: &'static str,
        /// Why.
        cause: io::Error,
    },
    /// It said no.
    #[error("{what}: {said}")]
    Refused {
        /// What for.
        what: &'static str,
        /// In its words, in one line.
        said: String,
    },
    /// It did not end, and was ended.
    #[error("{what}: no end within {limit_s} s")]
    Hangs {
        /// What for.
        what: &'static str,
        /// How long it was waited for.
        limit_s: u64,
    },
}

/// A program of the host.
#[derive(Debug, Clone)]
pub struct Program(PathBuf);

impl Program {
    /// `ip` of iproute2.
    pub fn ip() -> Result<Self, ProgramError> {
        Self::find("ip", "iproute2")
    }

    /// `nft` of nftables.
    pub fn nft() -> Result<Self, ProgramError> {
        Self::find("nft", "nftables")
    }

    /// A program of tpm2-tools: `tpm2_create` and its like.
    pub fn tpm2(name: &'static str) -> Result<Self, ProgramError> {
        Self::find(name, "tpm2-tools")
    }

    /// `cp` of coreutils.
    pub fn cp() -> Result<Self, ProgramError> {
        Self::find("cp", "coreutils")
    }

    /// The one at `path`, which somebody has looked at.
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn find(name: &'static str, package: &'static str) -> Result<Self, ProgramError> {
        PLACES
            .iter()
            .map(|place| Path::new(place).join(name))
            .find(|path| path.is_file())
            .map(Self)
            .ok_or(ProgramError::Missing { name, package })
    }

    /// Runs it with `words`, `input` at its standard input; what it writes to its output. `what`
    /// tells, in an error, what it was for.
    pub fn run(
        &self,
        what: &'static str,
        words: &[&str],
        input: &str,
    ) -> Result<Vec<u8>, ProgramError> {
        self.run_within(LIMIT, what, words, input.as_bytes())
    }

    /// The same with a limit of its own, and any bytes as input.
    pub fn run_within(
        &self,
        limit: Duration,
        what: &'static str,
        words: &[&str],
        input: &[u8],
    ) -> Result<Vec<u8>, ProgramError> {
        let started = |cause| ProgramError::Start { what, cause };
        let mut child = Command::new(&self.0)
            .args(words)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(started)?;
        let heard = converse(&mut child, input, limit);
        if !matches!(heard, Ok(Some(_))) {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
        }
        let status = child.wait().map_err(started)?;
        let Some([output, errors]) = heard.map_err(started)? else {
            let limit_s = limit.as_secs();
            return Err(ProgramError::Hangs { what, limit_s });
        };
        if status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&errors);
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.chars().take(MAX_SAID).collect();
        Err(ProgramError::Refused {
            what,
            said: if said.is_empty() {
                status.to_string()
            } else {
                said
            },
        })
    }
}

/// Writes the input, then reads output and errors to their ends; `None` when that takes too long.
fn converse(child: &mut Child, input: &[u8], limit: Duration) -> io::Result<Option<[Vec<u8>; 2]>> {
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // It has ended without reading; what it said tells why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
    }
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let deadline = Instant::now() + limit;
    let mut heard = [Vec::new(), Vec::new()];
    let mut open = vec![
        (0, File::from(OwnedFd::from(stdout))),
        (1, OwnedFd::from(stderr).into()),
    ];
    while !open.is_empty() {
        let mut polled: Vec<_> = open
            .iter()
            .map(|(_, pipe)| PollFd::new(pipe, PollFlags::IN))
            .collect();
        if !wait(&mut polled, deadline)? {
            return Ok(None);
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut still = Vec::new();
        for ((which, mut pipe), ready) in open.into_iter().zip(ready) {
            if !ready || take(&mut pipe, &mut heard[which])? {
                still.push((which, pipe));
            }
        }
        open = still;
    }
    Ok(Some(heard))
}

fn wait(polled: &mut [PollFd<'_>], deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(polled, Some(&limit)) {
            Ok(ready) => return Ok(ready != 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reads what is there; whether more may come. What is beyond the bound is read and dropped.
fn take(pipe: &mut impl Read, heard: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let read = pipe.read(&mut buffer)?;
    let room = MAX_OUTPUT.saturating_sub(heard.len());
    heard.extend_from_slice(&buffer[..read.min(room)]);
    Ok(read != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Program {
        Program("/bin/sh".into())
    }

    #[test]
    fn what_a_program_says_is_heard_and_its_no_is_repeated_in_one_line() {
        let said = shell().run("echo", &["-c", "cat; echo x >&2"], "rules");
        assert_eq!(said.unwrap(), b"rules");
        let refused = shell().run("load", &["-c", "echo 'no\n  way' >&2; exit 3"], "");
        assert_eq!(refused.unwrap_err().to_string(), "load: no way");
        let silent = shell().run("load", &["-c", "exit 3"], "");
        assert!(silent.unwrap_err().to_string().contains("exit status: 3"));
    }

    #[test]
    fn much_output_is_taken_up_to_a_bound_and_never_waited_for() {
        let line = "head -c 3000000 /dev/zero; head -c 200000 /dev/zero >&2";
        let much = shell().run("read", &["-c", line], "").unwrap();
        assert_eq!(much.len(), MAX_OUTPUT);
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let begun = Instant::now();
        let hangs = shell().run("wait", &["-c", "exec sleep 60"], "");
        assert!(
            matches!(hangs, Err(ProgramError::Hangs { .. })),
            "{hangs:?}"
        );
        assert!(begun.elapsed() < LIMIT * 3);
    }
}

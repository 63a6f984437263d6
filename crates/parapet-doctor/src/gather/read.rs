//! Reading files and asking programs, both within bounds.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use crate::facts::{Known, Unknown};

/// Largest file that is read: `/proc/net/tcp` of a busy server has some megabytes.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;
/// Largest output of a program that is read.
const LARGEST_OUTPUT: u64 = 32 * 1024 * 1024;
/// Where system programs stand.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The text of a plain file; `None` when there is none.
pub(crate) fn file_if_there(path: impl AsRef<Path>) -> Known<Option<String>> {
    let path = path.as_ref();
    let failed =
        |error: io::Error| Unknown::because(format!("{} cannot be read: {error}", path.display()));
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Unknown::because(format!("{} is no file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The text of a plain file.
pub(crate) fn file(path: impl AsRef<Path>) -> Known<String> {
    let path = path.as_ref();
    file_if_there(path)?.ok_or_else(|| Unknown::because(format!("{} is not there", path.display())))
}

/// A number in a file; `None` when there is no such file.
pub(crate) fn number_if_there(path: impl AsRef<Path>) -> Known<Option<i64>> {
    let path = path.as_ref();
    file_if_there(path)?
        .map(|text| {
            let text = text.trim();
            text.parse()
                .map_err(|_| Unknown::because(format!("{} holds no number", path.display())))
        })
        .transpose()
}

/// Names in a directory, sorted; none when there is no such directory.
pub(crate) fn names(path: impl AsRef<Path>) -> Known<Vec<String>> {
    const MOST: usize = 100_000;
    let path = path.as_ref();
    let failed = |error: io::Error| {
        Unknown::because(format!("{} cannot be listed: {error}", path.display()))
    };
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(MOST) {
        names.push(
            entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned(),
        );
    }
    names.sort();
    Ok(names)
}

/// What a system program writes to standard output. It gets no input and no environment, and is
/// ended after `limit`.
pub(crate) fn output(program: &str, arguments: &[&str], limit: Duration) -> Known<String> {
    let failed = |error: io::Error| Unknown::because(format!("{program} cannot be run: {error}"));
    let path = PLACES
        .iter()
        .map(|place| Path::new(place).join(program))
        .find(|path| path.exists())
        .ok_or_else(|| Unknown::because(format!("the program {program} is not installed")))?;
    let mut child = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", PLACES.join(":"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                // What was read before an error is all there is.
                let _ = pipe.take(LARGEST_OUTPUT).read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let out = drain(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let err = drain(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let deadline = Instant::now() + limit;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                child.kill().map_err(failed)?;
                child.wait().map_err(failed)?;
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let Some(status) = status else {
        // The threads end when the last holder of the pipes does: nobody waits for them.
        return Err(Unknown::because(format!(
            "{program} did not end within {} s",
            limit.as_secs()
        )));
    };
    let (out, err) = (out.join(), err.join());
    if !status.success() {
        let said = String::from_utf8_lossy(&err.unwrap_or_default()).into_owned();
        let line = said.lines().next().unwrap_or("it gave no reason").trim();
        return Err(Unknown::because(format!(
            "{program} failed: {}",
            crate::report::plain(line)
        )));
    }
    Ok(String::from_utf8_lossy(&out.unwrap_or_default()).into_owned())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let begin = Instant::now();
        let seen = output("sleep", &["100"], Duration::from_millis(100));
        let error = seen.unwrap_err().to_string();
        assert!(error.contains("did not end"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let seen = output("ls", &["/nowhere/at/all"], Duration::from_secs(20));
        let error = seen.unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
        let seen = output("no-such-program", &[], Duration::from_secs(1));
        assert!(seen.unwrap_err().to_string().contains("not installed"));
    }
}

//! Secrets of a running installation are nowhere but where they are meant to be (O3).
//!
//! Each is looked for in every file that the demo wrote (databases with their logs, logs, admin
//! files, state of the agent), in the arguments and the environment of every process it started,
//! and in core dumps, in the forms in which it could have been written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use parapet_testkit::demo::Demo;
use serde_json::Value;

use crate::cameras::{RIGHT_PASSWORD, WRONG_PASSWORD};

/// A secret, and the only files that may hold it.
struct Canary {
    what: &'static str,
    forms: Vec<Vec<u8>>,
    /// Below the demo's directory.
    meant_in: &'static [&'static str],
}

impl Canary {
    /// As text, as hexadecimal digits of both cases, and as base64.
    fn text(what: &'static str, value: &str, meant_in: &'static [&'static str]) -> Self {
        let hex = data_encoding::HEXLOWER.encode(value.as_bytes());
        let base64 = base64(value.as_bytes());
        let forms = [value.to_owned(), hex.to_uppercase(), hex, base64];
        Self {
            what,
            forms: forms.map(String::into_bytes).to_vec(),
            meant_in,
        }
    }

    fn found_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| find(bytes, form))
    }

    fn meant(&self, file: &Path) -> bool {
        self.meant_in.iter().any(|name| file == Path::new(name))
    }
}

/// Fails at the first secret that is where it should not be.
pub(crate) fn no_secret_can_be_found(demo: &Demo) -> Result<()> {
    let canaries = canaries(demo)?;
    let mut names_seen = false;
    for file in files(demo.dir()) {
        // Files of a running installation come and go.
        let Ok(bytes) = fs::read(&file) else { continue };
        let below = file.strip_prefix(demo.dir()).unwrap_or(&file);
        for canary in canaries.iter().filter(|canary| !canary.meant(below)) {
            let (what, place) = (canary.what, below.display());
            ensure!(!canary.found_in(&bytes), "{what} is in {place}");
        }
        let name = below.file_name().unwrap_or_default().to_string_lossy();
        ensure!(!name.starts_with("core"), "a core dump: {name}");
        names_seen |= below.starts_with("server") && find(&bytes, b"guarded");
    }
    ensure!(names_seen, "the search finds nothing at all");
    for canary in &canaries {
        for name in canary.meant_in {
            let bytes = fs::read(demo.dir().join(name))?;
            ensure!(canary.found_in(&bytes), "{} is not in {name}", canary.what);
        }
    }
    in_processes(demo, &canaries)
}

fn canaries(demo: &Demo) -> Result<Vec<Canary>> {
    let settings = demo.settings()?;
    let demo_password = settings["camera_password"].as_str();
    let demo_password = demo_password.context("no password")?;
    let credentials = fs::read_to_string(demo.dir().join("server/admin/credentials"))?;
    let access_key = credentials
        .lines()
        .find_map(|line| line.strip_prefix("aws_secret_access_key = "))
        .context("no secret key")?;
    // Outside of the server's data, where the demo has it.
    let master = fs::read_to_string(demo.dir().join("master.key"))?;
    let master = master.trim();
    let mut master_canary = Canary::text("the master key", master, &["master.key"]);
    let raw = |at| u8::from_str_radix(master.get(at..at + 2)?, 16).ok();
    let raw: Option<Vec<u8>> = (0..master.len()).step_by(2).map(raw).collect();
    let raw = raw.context("the master key is no hexadecimal text")?;
    master_canary.forms.push(base64(&raw).into_bytes());
    master_canary.forms.push(raw);
    let mut canaries = vec![
        Canary::text("the demo's camera password", demo_password, &["demo.json"]),
        Canary::text("a camera password", RIGHT_PASSWORD, &[]),
        Canary::text("a refused camera password", WRONG_PASSWORD, &[]),
        Canary::text(
            "a secret access key",
            access_key,
            &["server/admin/credentials"],
        ),
        master_canary,
    ];
    // What the API gives once.
    let session = demo.aws(&["sts", "get-session-token"])?;
    let session = &session["Credentials"];
    for (what, value) in [
        ("a session token", &session["SessionToken"]),
        ("the secret of a session", &session["SecretAccessKey"]),
    ] {
        canaries.push(Canary::text(what, text(value, what)?, &[]));
    }
    demo.aws(&["iam", "create-user", "--user-name", "canary"])?;
    let made = demo.aws(&["iam", "create-access-key", "--user-name", "canary"])?;
    let what = "the secret of a new access key";
    let secret = text(&made["AccessKey"]["SecretAccessKey"], what)?;
    canaries.push(Canary::text(what, secret, &[]));
    canaries.push(Canary::text(
        "the seed of a second factor",
        &second_factor(demo)?,
        &[],
    ));
    Ok(canaries)
}

/// A new one's seed, in base 32. The command line puts it into a file, which is not the demo's.
fn second_factor(demo: &Demo) -> Result<String> {
    let seed = tempfile::NamedTempFile::new()?;
    let path = seed.path().to_str().context("a path that is no text")?;
    demo.aws(&[
        "iam",
        "create-virtual-mfa-device",
        "--virtual-mfa-device-name",
        "canary",
        "--bootstrap-method",
        "Base32StringSeed",
        "--outfile",
        path,
    ])?;
    let seed = fs::read_to_string(path)?;
    ensure!(seed.len() >= 32, "the seed is {seed:?}");
    Ok(seed)
}

fn text<'v>(value: &'v Value, what: &str) -> Result<&'v str> {
    value
        .as_str()
        .with_context(|| format!("{what} is not there"))
}

fn in_processes(demo: &Demo, canaries: &[Canary]) -> Result<()> {
    let mut cameras = 0;
    for process in demo.all_processes() {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{}/{file}", process.pid);
            let Ok(bytes) = fs::read(&path) else { continue };
            for canary in canaries.iter().filter(|canary| canary.found_in(&bytes)) {
                // A virtual camera gets its own password in its environment.
                let own = canary.what == "the demo's camera password";
                let meant = process.name == "parapet-virtual" && file == "environ" && own;
                ensure!(meant, "{} is in {file} of {process:?}", canary.what);
                cameras += 1;
            }
        }
    }
    ensure!(
        cameras == 2,
        "the search finds {cameras} cameras' variables"
    );
    for verb in ["server", "agent"] {
        let process = demo.process_of(verb)?;
        let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid))?;
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let core: Vec<&str> = core
            .unwrap_or_default()
            .split_whitespace()
            .skip(4)
            .collect();
        ensure!(
            core.starts_with(&["0", "0"]),
            "parapet {verb} may dump core: {core:?}"
        );
    }
    Ok(())
}

fn find(bytes: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(bytes, word).is_some()
}

/// What stands for these bytes in any longer text in base64.
fn base64(bytes: &[u8]) -> String {
    let mut text = data_encoding::BASE64_NOPAD.encode(bytes);
    // The last digit of an incomplete group also depends on what follows.
    if !bytes.len().is_multiple_of(3) {
        text.pop();
    }
    text
}

/// All files below a directory; links are not followed.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found
}

//! The demo's client: the AWS CLI as it is, pointed at the control plane by its own variables.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The CLI with the credentials of the first start.
pub(crate) struct Aws {
    program: PathBuf,
    admin: PathBuf,
    endpoint: String,
}

impl Aws {
    /// A client for the control plane whose data directory is `server`.
    pub(crate) fn new(program: &Path, server: &Path, api_port: u16) -> Self {
        Self {
            program: program.to_owned(),
            admin: server.join("admin"),
            endpoint: format!("https://127.0.0.1:{api_port}"),
        }
    }

    /// Runs `aws ARGUMENTS --output json` and reads what it prints; `Null` where it prints nothing.
    pub(crate) fn json<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Value> {
        let text = self.run(arguments, "json")?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).context("read what aws prints")
    }

    /// Runs `aws ARGUMENTS --output text`.
    pub(crate) fn text<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        Ok(self.run(arguments, "text")?.trim().to_owned())
    }

    fn run<S: AsRef<OsStr>>(&self, arguments: &[S], output: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .args(["--output", output])
            .env(
                "AWS_SHARED_CREDENTIALS_FILE",
                self.admin.join("credentials"),
            )
            .env("AWS_CONFIG_FILE", self.admin.join("config"))
            .env("AWS_CA_BUNDLE", self.admin.join("ca.pem"))
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_PAGER", "");
        let named: Vec<_> = arguments
            .iter()
            .take(2)
            .map(|word| word.as_ref().to_string_lossy())
            .collect();
        let output = command
            .output()
            .with_context(|| format!("run {}: `make demo` installs it", self.program.display()))?;
        if !output.status.success() {
            bail!(
                "aws {}: {}",
                named.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8(output.stdout).context("read what aws prints")
    }
}

/// The text member `name` of an answer.
pub(crate) fn member<'a>(answer: &'a Value, name: &str) -> Result<&'a str> {
    answer
        .get(name)
        .and_then(Value::as_str)
        .with_context(|| format!("the answer of the control plane has no {name}"))
}

//! A demo that lives as long as its test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{self, Process};
use crate::wait_for;

/// Prints the status and the error's type on a line each, then the body.
const SIGNED_GET: &str = "\
import os, sys
import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session
session = botocore.session.get_session()
region = session.get_config_variable('region')
request = AWSRequest(method='GET', url=os.environ['AWS_ENDPOINT_URL'] + sys.argv[1])
SigV4Auth(session.get_credentials(), 'panorama', region).add_auth(request)
answer = URLLib3Session(verify=os.environ['AWS_CA_BUNDLE']).send(request.prepare())
print(answer.status_code)
print(answer.headers.get('x-amzn-ErrorType', ''))
print(answer.text)
";

/// What came of a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Of HTTP.
    pub status: u16,
    /// `x-amzn-ErrorType`, empty where nothing is wrong.
    pub error: String,
    /// JSON.
    pub body: Value,
}

/// A running `parapet demo`.
#[derive(Debug)]
pub struct Demo {
    child: Child,
    dir: TempDir,
    aws: PathBuf,
}

impl Demo {
    /// Starts `parapet demo --data DIR` with further arguments and waits until frames flow.
    pub fn start(parapet: &Path, arguments: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("parapet-test-")
            .tempdir()
            .context("make a directory for the demo")?;
        let log = std::fs::File::create(dir.path().join("demo.log")).context("make a log")?;
        let child = Command::new(parapet)
            .args(["demo", "--data"])
            .arg(dir.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start the demo")?;
        let mut demo = Self {
            child,
            dir,
            aws: aws(parapet)?,
        };
        let limit = Duration::from_secs(150);
        let ready = wait_for("frames of the demo", limit, || {
            if let Some(status) = demo.child.try_wait().context("look at the demo")? {
                // Waiting longer would not help: but the closure can only say so.
                bail!("the demo has ended: {status}");
            }
            demo.frames().and_then(|frames| {
                let flowing = !frames.is_empty() && frames.iter().all(|(_, count)| *count > 0);
                if flowing {
                    Ok(())
                } else {
                    bail!("frames: {frames:?}")
                }
            })
        });
        ready.with_context(|| demo.log_tail())?;
        Ok(demo)
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The agent's `status.json`.
    pub fn status(&self) -> Result<Value> {
        let file = self.dir().join("agent/status.json");
        let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_slice(&text).context("read the agent's status")
    }

    /// Nodes of all instances as the agent reports them.
    pub fn nodes(&self) -> Result<Vec<Value>> {
        let status = self.status()?;
        let instances = status["reported"]["instances"]
            .as_array()
            .context("no instances")?;
        Ok(instances
            .iter()
            .flat_map(|i| i["nodes"].as_array().cloned().unwrap_or_default())
            .collect())
    }

    /// Frames that applications received since the agent's start, per camera.
    pub fn frames(&self) -> Result<Vec<(String, u64)>> {
        Ok(self
            .nodes()?
            .iter()
            .filter_map(|node| {
                let frames = node["stream"]["frames"].as_u64()?;
                Some((node["node"].as_str()?.to_owned(), frames))
            })
            .collect())
    }

    /// Waits until every camera has delivered `more` frames from now on.
    pub fn wait_for_frames(&self, more: u64, limit: Duration) -> Result<()> {
        let mut last = self.frames().unwrap_or_default();
        let mut gained = vec![0; last.len().max(1)];
        wait_for(&format!("{more} more frames of each camera"), limit, || {
            let now = self.frames()?;
            if now.len() != last.len() {
                last = now;
                gained = vec![0; last.len().max(1)];
                bail!("cameras: {last:?}");
            }
            for (at, (_, frames)) in now.iter().enumerate() {
                // A smaller count is a new life of the agent: all of it is gain.
                let before = if *frames < last[at].1 { 0 } else { last[at].1 };
                gained[at] += frames - before;
            }
            last = now;
            if gained.iter().all(|count| *count >= more) {
                Ok(())
            } else {
                bail!("gained {gained:?}")
            }
        })
        .with_context(|| self.log_tail())
    }

    /// Processes of this demo, by the kernel's name (15 characters).
    #[must_use]
    pub fn processes(&self, name: &str) -> Vec<Process> {
        let mut all = self.all_processes();
        all.retain(|process| process.name == name);
        all
    }

    /// All processes of this demo.
    #[must_use]
    pub fn all_processes(&self) -> Vec<Process> {
        processes::below(self.child.id().cast_signed())
    }

    /// The process of `parapet VERB`.
    pub fn process_of(&self, verb: &str) -> Result<Process> {
        let word = format!(" {verb} ");
        self.processes("parapet")
            .into_iter()
            .find(|process| process.command.contains(&word))
            .with_context(|| format!("parapet {verb} does not run"))
    }

    /// Runs the AWS CLI against this demo's control plane and reads its JSON.
    pub fn aws(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.aws_output(arguments)?;
        if !output.status.success() {
            bail!(
                "aws {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        if output.stdout.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout).context("read what aws prints")
    }

    /// Runs the AWS CLI, whatever comes of it.
    pub fn aws_output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.aws);
        command.args(arguments).args(["--output", "json"]);
        self.as_admin(&mut command)?.output().context("run aws")
    }

    /// Sends a GET signed for `panorama` by botocore as it is, whatever comes of it. The
    /// body is whole: the CLI would pass over members that its model does not know.
    /// `variables` are set last, such as another secret key.
    pub fn signed_get(&self, path: &str, variables: &[(&str, &str)]) -> Result<Answer> {
        let mut command = Command::new(self.aws.with_file_name("python3"));
        command.args(["-c", SIGNED_GET, path]);
        let output = self
            .as_admin(&mut command)?
            .envs(variables.iter().copied())
            .output()
            .context("run python3")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let mut lines = said.splitn(3, '\n');
        let (Some(status), Some(error), Some(body)) = (lines.next(), lines.next(), lines.next())
        else {
            bail!(
                "GET {path}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        };
        Ok(Answer {
            status: status.parse().context("read a status")?,
            error: error.to_owned(),
            body: serde_json::from_str(body).with_context(|| format!("read {body:?}"))?,
        })
    }

    /// What the demo remembers of itself: ports and the cameras' password.
    pub fn settings(&self) -> Result<Value> {
        let file = self.dir().join("demo.json");
        let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_slice(&text).context("read the demo's settings")
    }

    /// With address, CA and key of the control plane.
    fn as_admin<'c>(&self, command: &'c mut Command) -> Result<&'c mut Command> {
        let admin = self.dir().join("server/admin");
        let endpoint = format!("https://127.0.0.1:{}", self.settings()?["api_port"]);
        Ok(command
            .env("AWS_SHARED_CREDENTIALS_FILE", admin.join("credentials"))
            .env("AWS_CONFIG_FILE", admin.join("config"))
            .env("AWS_CA_BUNDLE", admin.join("ca.pem"))
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_MAX_ATTEMPTS", "1"))
    }

    /// The last lines of all logs, for a test that fails.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let mut text = String::new();
        for name in ["demo.log", "server.log", "agent.log"] {
            let log = std::fs::read_to_string(self.dir().join(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(25).collect();
            text.extend(["\n--- ", name, "\n"]);
            for line in lines.iter().rev() {
                text.extend([line, "\n"]);
            }
        }
        text
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let below = processes::below(self.child.id().cast_signed());
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed())
            && rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok()
        {
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        if !ended {
            for process in below {
                // It may have ended meanwhile.
                let _: Result<()> = processes::kill(&process);
            }
            let _: std::io::Result<()> = self.child.kill();
            let _: std::io::Result<std::process::ExitStatus> = self.child.wait();
        }
    }
}

/// The pinned AWS CLI that `make` installs beside the build.
fn aws(parapet: &Path) -> Result<PathBuf> {
    parapet
        .ancestors()
        .map(|directory| directory.join("venv/bin/aws"))
        .find(|path| path.exists())
        .context("find the AWS CLI: run `make build` first")
}

//! Keeps the demo's processes running, as a service manager would.
//!
//! One thread owns all children: it starts them, starts again what has died, and stops them in the
//! end. The thread lives as long as they do, because the kernel's parent-death signal
//! (`setpriv --pdeathsig`), which ends them should the demo itself be killed, watches the thread.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How often children are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Time between a death and the next start.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// Time to end in peace before being killed.
const GRACE: Duration = Duration::from_secs(5);

/// A process to keep running.
pub(crate) struct Service {
    /// For people.
    pub(crate) name: String,
    /// Program and arguments.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Variables beside the demo's own.
    pub(crate) environment: Vec<(String, String)>,
    /// Where its standard error goes.
    pub(crate) log: PathBuf,
    /// Receives each line of its standard output; `None` discards it.
    pub(crate) lines: Option<Sender<String>>,
}

enum Order {
    Start(Service, Sender<Result<()>>),
    Say(String, String),
    Stop,
}

/// The thread that owns the children.
pub(crate) struct Supervisor {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Begins with no children.
    pub(crate) fn new() -> Self {
        let (orders, received) = mpsc::channel();
        let thread = std::thread::spawn(move || supervise(&received));
        Self {
            orders,
            thread: Some(thread),
        }
    }

    /// Starts a service and keeps it running.
    pub(crate) fn start(&self, service: Service) -> Result<()> {
        let (reply, answer) = mpsc::channel();
        self.orders
            .send(Order::Start(service, reply))
            .context("reach the supervisor")?;
        answer.recv().context("reach the supervisor")?
    }

    /// Writes a line to a service's standard input.
    pub(crate) fn say(&self, name: &str, line: &str) -> Result<()> {
        self.orders
            .send(Order::Say(name.to_owned(), line.to_owned()))
            .context("reach the supervisor")
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let told = self.orders.send(Order::Stop).is_ok();
        if let Some(thread) = self.thread.take()
            && told
            && thread.join().is_err()
        {
            eprintln!("demo: the supervisor has failed; processes may be left");
        }
    }
}

struct Running {
    service: Service,
    child: Option<Child>,
    stdin: Option<ChildStdin>,
    died: Option<Instant>,
}

fn supervise(orders: &Receiver<Order>) {
    let mut all: Vec<Running> = Vec::new();
    loop {
        match orders.recv_timeout(TICK) {
            Ok(Order::Start(service, reply)) => {
                let mut running = Running {
                    service,
                    child: None,
                    stdin: None,
                    died: None,
                };
                let result = spawn(&mut running);
                if result.is_ok() {
                    all.push(running);
                }
                // Nobody waits for the answer any more: then nobody misses it.
                let _: Result<(), _> = reply.send(result);
            }
            Ok(Order::Say(name, line)) => {
                let stdin = all.iter_mut().find(|r| r.service.name == name);
                if let Some(stdin) = stdin.and_then(|r| r.stdin.as_mut())
                    && let Err(error) = writeln!(stdin, "{line}").and_then(|()| stdin.flush())
                {
                    eprintln!("demo: failed to tell {name} {line:?}: {error}");
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => break,
        }
        for running in &mut all {
            revive(running);
        }
    }
    stop(&mut all);
}

fn revive(running: &mut Running) {
    if let Some(child) = running.child.as_mut() {
        match child.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => eprintln!(
                "demo: {} has ended ({status}); it is started again (log: {})",
                running.service.name,
                running.service.log.display()
            ),
            Err(error) => eprintln!("demo: failed to look at {}: {error}", running.service.name),
        }
        running.child = None;
        running.stdin = None;
        running.died = Some(Instant::now());
    }
    if running
        .died
        .is_some_and(|died| died.elapsed() >= RESTART_AFTER)
        && let Err(error) = spawn(running)
    {
        eprintln!("demo: {error:#}");
        running.died = Some(Instant::now());
    }
}

fn spawn(running: &mut Running) -> Result<()> {
    let service = &running.service;
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&service.log)
        .with_context(|| format!("open {}", service.log.display()))?;
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "--"])
        .arg(&service.program)
        .args(&service.arguments)
        .envs(service.environment.iter().cloned())
        // Ctrl-C is for the demo; it tells its children itself, and in order.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(if service.lines.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", service.name))?;
    if let (Some(lines), Some(stdout)) = (service.lines.clone(), child.stdout.take()) {
        // Ends with the child's output.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
    }
    running.stdin = child.stdin.take();
    running.child = Some(child);
    running.died = None;
    Ok(())
}

/// Ends the children, the last started first.
fn stop(all: &mut [Running]) {
    for running in all.iter_mut().rev() {
        running.stdin = None;
        if let Some(child) = &running.child
            && let Some(pid) = rustix::process::Pid::from_raw(child.id().cast_signed())
        {
            // It may have ended by itself in this moment.
            let _: Result<(), _> =
                rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
    let deadline = Instant::now() + GRACE;
    for running in all.iter_mut().rev() {
        let Some(child) = running.child.as_mut() else {
            continue;
        };
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(TICK / 4);
        }
        if matches!(child.try_wait(), Ok(None)) {
            let killed = child.kill().and_then(|()| child.wait());
            if let Err(error) = killed {
                eprintln!("demo: failed to stop {}: {error}", running.service.name);
            }
        }
    }
}

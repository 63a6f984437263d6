//! A virtual camera that lives as long as its test, and a relay that sees what is said to one.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// A running `parapet-virtual-camera` with a small scene.
#[derive(Debug)]
pub struct VirtualCamera {
    child: Child,
    url: String,
}

impl VirtualCamera {
    /// Starts the one that stands beside `parapet` and waits until it listens. It keeps its scene
    /// below `dir`. With `login` it asks for that user and password.
    pub fn start(
        parapet: &Path,
        dir: &Path,
        name: &str,
        fault: &str,
        login: Option<(&str, &str)>,
    ) -> Result<Self> {
        let mut command = Command::new(parapet.with_file_name("parapet-virtual-camera"));
        command
            .args(["--name", name, "--fault", fault, "--cache"])
            .arg(dir)
            .args(["--size", "320x240", "--fps", "10", "--seconds", "2"])
            // It ends with its input.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some((user, password)) = login {
            let file = dir.join(format!("{name}.password"));
            std::fs::write(&file, password).context("write a password")?;
            command.args(["--user", user, "--password-file"]).arg(file);
        }
        let mut child = command.spawn().context("start a virtual camera")?;
        let output = child.stdout.take().context("read from a virtual camera")?;
        let mut camera = Self {
            child,
            url: String::new(),
        };
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .context("read from a virtual camera")?;
        let event: Value = serde_json::from_str(&line)
            .with_context(|| format!("camera {name} does not listen: {line:?}"))?;
        event["url"]
            .as_str()
            .with_context(|| format!("camera {name} does not listen: {line:?}"))?
            .clone_into(&mut camera.url);
        Ok(camera)
    }

    /// Where it can be opened.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> Result<SocketAddr> {
        let rest = self.url.strip_prefix("rtsp://").unwrap_or(&self.url);
        let host = rest.split('/').next().unwrap_or_default();
        host.parse()
            .with_context(|| format!("read the camera's address {}", self.url))
    }
}

impl Drop for VirtualCamera {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

/// A listener in front of a camera that counts what clients ask, whatever the camera thinks of it.
///
/// Its threads end with their connections, and the listening one with the test's process.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    dialogues: AtomicU64,
    logins: AtomicU64,
}

impl Relay {
    /// Listens, and passes every connection on to `camera`.
    pub fn to(camera: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("open a relay")?;
        let address = listener.local_addr().context("open a relay")?;
        let seen = Arc::new(Seen::default());
        let counted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(camera) else {
                    continue;
                };
                let counted = Arc::clone(&counted);
                if let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) {
                    std::thread::spawn(move || pass_requests(from_client, to_server, &counted));
                }
                std::thread::spawn(move || pass(server, client));
            }
        });
        Ok(Self { address, seen })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were on which something was asked.
    #[must_use]
    pub fn dialogues(&self) -> u64 {
        self.seen.dialogues.load(Ordering::Relaxed)
    }

    /// How many requests carried a password.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.seen.logins.load(Ordering::Relaxed)
    }
}

/// Line by line: a request that carries a password has a line that says so.
fn pass_requests(from: TcpStream, mut to: TcpStream, seen: &Seen) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    let mut asked = false;
    loop {
        line.clear();
        match (&mut from).take(64 * 1024).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            Ok(_) | Err(_) => break,
        }
        if !asked {
            asked = true;
            seen.dialogues.fetch_add(1, Ordering::Relaxed);
        }
        if line.to_ascii_lowercase().starts_with(b"authorization:") {
            seen.logins.fetch_add(1, Ordering::Relaxed);
        }
        if to.write_all(&line).is_err() {
            break;
        }
    }
    // The other end may be gone already.
    let _: std::io::Result<()> = to.shutdown(Shutdown::Both);
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    // However it ends, both ends are to know.
    let _: std::io::Result<u64> = std::io::copy(&mut from, &mut to);
    let _: std::io::Result<()> = to.shutdown(Shutdown::Both);
}

//! A town of network namespaces with cameras and an uplink that answer, a launcher in it, and an
//! ingest that does what it is told.

use std::fs;
use std::io::{BufRead, BufReader, PipeReader};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parapet_sandbox::channel::Channel;
use parapet_sandbox::launch::{LaunchEvent, LaunchRequest, NetworkFound, Signal, Worker};
use parapet_sandbox::launcher_process::{LauncherOptions, remove_zones, spawn_launcher};
use parapet_sandbox::zones::Ports;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
pub(crate) const ID_BASE: u32 = 0x2000_0000;

/// Answers and says who it is, on each `address port` of its command line, until it is killed.
pub(crate) const LISTENER: &str = r#"
import socket, sys, threading
def serve(listener):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=talk, args=(client,), daemon=True).start()
def talk(client):
    try:
        while True:
            data = client.recv(64)
            if not data: break
            client.sendall(data)
    except OSError: pass
    client.close()
for address, port in zip(sys.argv[1::2], sys.argv[2::2]):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, int(port)))
    listener.listen(64)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"#;

/// In the place of ingest: does what its channel says and answers on its standard error.
pub(crate) const WORKER: &str = r#"#!/usr/bin/python3 -I
import os, socket, sys, json, struct, time
channel = socket.socket(fileno=3)
def say(text): os.write(2, (text + "\n").encode())
def reach(kind, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # The filter of system calls may refuse the socket itself.
    try: s = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    except OSError as error: return "refused " + (error.strerror or str(error))
    s.settimeout(1.5)
    try:
        s.connect((address, port))
        s.send(b"hello")
        return "open" if s.recv(64) == b"hello" else "odd"
    except socket.timeout: return "silent"
    except OSError as error: return "refused " + (error.strerror or str(error))
    finally: s.close()
held = None
while True:
    packet = channel.recv(65536)
    if not packet: break
    length = struct.unpack("<I", packet[:4])[0]
    words = json.loads(packet[4:4 + length]).split()
    if words[0] in ("tcp", "udp"): say(reach(words[0], words[1], int(words[2])))
    elif words[0] == "listen":
        door = socket.socket()
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((words[1], int(words[2])))
            door.listen(1)
            say("listening")
        except OSError as error: say("refused " + (error.strerror or str(error)))
    elif words[0] == "call":
        caller = socket.socket()
        caller.settimeout(1.5)
        try:
            caller.connect((words[1], int(words[2])))
            say("open")
        except socket.timeout: say("silent")
        except OSError as error: say("refused " + (error.strerror or str(error)))
    elif words[0] == "hold":
        held = socket.create_connection((words[1], int(words[2])), 2)
        held.settimeout(2)
        say("held")
    elif words[0] == "beat":
        # As many echoes as asked for; the longest wait of one, in milliseconds.
        worst = 0.0
        for _ in range(int(words[1])):
            begun = time.monotonic()
            try:
                held.send(b"x")
                if not held.recv(1): raise OSError("closed")
            except OSError as error:
                say("broken " + str(error)); break
            worst = max(worst, time.monotonic() - begun)
            time.sleep(0.001)
        else: say(f"{worst * 1000:.1f}")
    elif words[0] == "ports":
        with open("/proc/self/net/dev") as table:
            say(" ".join(sorted(line.split(":")[0].strip() for line in table if ":" in line)))
    else: say("what?")
"#;

pub(crate) fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn ready() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return false;
    }
    for program in ["nft", "ip"] {
        let there = Command::new(program).arg("-V").output();
        assert!(there.is_ok(), "{program} is missing: run tools/setup");
    }
    true
}

/// Namespaces `host`, `cam` and `up`, with names of this test alone.
pub(crate) struct Town {
    pub(crate) name: String,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) children: Vec<Child>,
}

impl Town {
    /// With a cable for each side.
    pub(crate) fn build() -> Self {
        let town = Self::begin();
        town.wire("eth1", "cam", "cam0");
        town.wire("eth0", "up", "up0");
        town.furnish();
        town
    }

    /// The three of them, and the programs.
    pub(crate) fn begin() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = tempfile::Builder::new()
            .prefix("parapet-zones-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        let town = Self {
            name: format!("pz{}x{count}", std::process::id()),
            directory,
            children: Vec::new(),
        };
        for place in ["host", "cam", "up"] {
            run("ip", &["netns", "add", &town.place(place)]);
            town.ip(place, "link set lo up");
        }
        let libexec = town.directory.path().join("libexec");
        fs::create_dir(&libexec).unwrap();
        fs::create_dir(town.directory.path().join("sdk")).unwrap();
        executable(&libexec.join("parapet-ingest"), WORKER);
        // Which namespace the launcher takes for the host's.
        executable(
            &town.directory.path().join("start"),
            &format!(
                "#!/bin/sh\nexec nsenter --net=/run/netns/{} {} \"$@\"\n",
                town.place("host"),
                env!("CARGO_BIN_EXE_parapet-launcher")
            ),
        );
        town
    }

    /// Addresses, once there are cables.
    pub(crate) fn furnish(&self) {
        for address in ["10.77.1.9/24", "10.77.1.10/24"] {
            self.ip("cam", &format!("address add {address} dev cam0"));
        }
        self.ip("cam", "address add 2001:db8:77::9/64 dev cam0 nodad");
        self.ip("up", "address add 10.77.2.9/24 dev up0");
        self.ip("host", "address add 10.77.2.1/24 dev eth0");
        self.ip("host", "link set eth0 up");
    }

    pub(crate) fn place(&self, place: &str) -> String {
        format!("{}{place}", self.name)
    }

    pub(crate) fn ip(&self, place: &str, words: &str) -> String {
        let place = self.place(place);
        let mut all = vec!["-n", &place];
        all.extend(words.split(' '));
        run("ip", &all)
    }

    pub(crate) fn wire(&self, ours: &str, place: &str, theirs: &str) {
        let (host, place) = (self.place("host"), self.place(place));
        let words =
            format!("link add {ours} netns {host} type veth peer name {theirs} netns {place}");
        run("ip", &words.split(' ').collect::<Vec<_>>());
        run("ip", &["-n", &place, "link", "set", theirs, "up"]);
    }

    pub(crate) fn inside(&self, place: &str, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.place(place)))
            .arg(program)
            .args(words);
        command
    }

    pub(crate) fn listen(&mut self, place: &str, places: &[&str]) {
        let mut words = vec!["-c", LISTENER];
        words.extend(places);
        let mut child = self
            .inside(place, "/usr/bin/python3", &words)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        self.children.push(child);
    }

    /// The cameras and the uplink's host.
    pub(crate) fn people(&mut self) {
        let cameras = [
            "10.77.1.9",
            "554",
            "10.77.1.9",
            "80",
            "10.77.1.10",
            "554",
            "2001:db8:77::9",
            "554",
        ];
        self.listen("cam", &cameras);
        self.listen("up", &["10.77.2.9", "443", "10.77.2.9", "554"]);
    }

    pub(crate) fn run_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub(crate) fn kept(&self) -> PathBuf {
        self.run_directory().join(format!("{ID_BASE:08x}/cameras"))
    }

    pub(crate) fn two_ports() -> Ports {
        Ports {
            uplink: vec!["eth0".parse().unwrap()],
            cameras: vec!["eth1".parse().unwrap()],
            camera_addresses: vec!["10.77.1.1/24".parse().unwrap()],
            others: Vec::new(),
        }
    }

    pub(crate) fn launch(&self, ports: Ports) -> Launcher {
        self.launch_by(&self.directory.path().join("start"), ports)
    }

    pub(crate) fn launch_by(&self, executable: &Path, ports: Ports) -> Launcher {
        let (child, channel) = spawn_launcher(&LauncherOptions {
            executable: executable.to_owned(),
            state: self.directory.path().join("state"),
            libexec: self.directory.path().join("libexec"),
            sdk: self.directory.path().join("sdk"),
            onnxruntime: None,
            runtime: None,
            id_base: ID_BASE,
            run: self.run_directory(),
            network: Some(ports),
        })
        .unwrap();
        let mut launcher = Launcher {
            child,
            channel: Some(channel),
            found: NetworkFound::flat(Vec::new()),
            next: 1,
        };
        let LaunchEvent::Ready {
            network, missing, ..
        } = launcher.event()
        else {
            panic!("the first event is not ready")
        };
        // What a host lacks for limits is the business of another test, as is its Landlock.
        let sandboxes = missing.iter().find(|sentence| {
            !sentence.starts_with("limits") && !sentence.starts_with("a newer Landlock")
        });
        assert_eq!(sandboxes, None);
        launcher.found = network;
        launcher
    }

    pub(crate) fn rules(&self, place: &str) -> String {
        let output = self
            .inside(place, "nft", &["-s", "list", "ruleset"])
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the camera zone's `nft` and `ip` say.
    pub(crate) fn in_zone(&self, words: &[&str]) -> String {
        let net = format!("--net={}", self.kept().display());
        run("nsenter", &[&[net.as_str()], words].concat())
    }

    pub(crate) fn remove(&self) {
        let start = self.directory.path().join("start");
        remove_zones(&start, &self.run_directory(), ID_BASE).unwrap();
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
        // Bound twice where something went wrong between.
        while rustix::mount::unmount(self.kept(), rustix::mount::UnmountFlags::DETACH).is_ok() {}
        for place in ["host", "cam", "up"] {
            Command::new("ip")
                .args(["netns", "delete", &self.place(place)])
                .output()
                .ok();
        }
    }
}

pub(crate) fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) struct Launcher {
    pub(crate) child: Child,
    pub(crate) channel: Option<Channel>,
    pub(crate) found: NetworkFound,
    pub(crate) next: u64,
}

/// An ingest that does what it is told.
pub(crate) struct Ingest {
    pub(crate) id: u64,
    pub(crate) channel: Channel,
    pub(crate) lines: BufReader<PipeReader>,
}

impl Launcher {
    pub(crate) fn channel(&self) -> &Channel {
        self.channel.as_ref().unwrap()
    }

    pub(crate) fn event(&self) -> LaunchEvent {
        wait_readable(self.channel(), "an event of the launcher");
        let packet = self.channel().recv::<LaunchEvent>().unwrap();
        packet.unwrap().header
    }

    pub(crate) fn send(&self, request: &LaunchRequest, fds: &[OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.channel().send(request, &[], &fds).unwrap();
    }

    pub(crate) fn ingest(&mut self) -> Ingest {
        let (reader, writer) = std::io::pipe().unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let id = self.next;
        self.next += 1;
        let request = LaunchRequest::Worker {
            id,
            worker: Worker::Ingest,
        };
        self.send(&request, &[theirs.into_fd(), writer.into()]);
        match self.event() {
            LaunchEvent::Started { id: started, .. } if started == id => {}
            other => panic!("not the start of {id}: {other:?}"),
        }
        Ingest {
            id,
            channel: ours,
            lines: BufReader::new(reader),
        }
    }

    pub(crate) fn reach(&self, ingest: &Ingest, addresses: &[&str]) -> Option<String> {
        let addresses: Vec<SocketAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.send(
            &LaunchRequest::Reach {
                id: ingest.id,
                addresses,
            },
            &[],
        );
        match self.event() {
            LaunchEvent::Reached { id, error } if id == ingest.id => error,
            other => panic!("not what {} reaches: {other:?}", ingest.id),
        }
    }

    pub(crate) fn end(&self, ingest: &Ingest) {
        let signal = Signal::Kill;
        self.send(
            &LaunchRequest::Signal {
                id: ingest.id,
                signal,
            },
            &[],
        );
        match self.event() {
            LaunchEvent::Exited { id, .. } if id == ingest.id => {}
            other => panic!("not the end of {}: {other:?}", ingest.id),
        }
    }

    /// No chance to put anything in order.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        drop(self.channel.take());
        self.child.wait().ok();
    }
}

impl Ingest {
    pub(crate) fn ask(&mut self, words: &str) -> String {
        self.tell(words);
        self.answer()
    }

    pub(crate) fn tell(&self, words: &str) {
        self.channel.send(&words, &[], &[]).unwrap();
    }

    pub(crate) fn answer(&mut self) -> String {
        wait_readable(self.lines.get_ref(), "an answer of the ingest");
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

pub(crate) fn wait_readable(fd: impl AsFd, what: &str) {
    let limit = Timespec::try_from(LIMIT).unwrap();
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap();
    assert_ne!(ready, 0, "{what} did not come within {LIMIT:?}");
}

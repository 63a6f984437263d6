//! A launcher as the agent starts it, on a host of one kind after the other, and what it is asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{PipeReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parapet_sandbox::channel::Channel;
use parapet_sandbox::launch::{LaunchEvent, LaunchRequest, Resources, Worker};
use parapet_sandbox::launcher_process::{ID_BASE, LauncherOptions, RUN, spawn_launcher};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest wait for anything.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
pub(crate) const IMAGE: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const NOBODY: u32 = 65534;

/// One host at a time: a file that a test has just written cannot be executed while the fork of
/// another test, not yet at its exec, has it open for writing.
pub(crate) static TURN: Mutex<()> = Mutex::new(());

/// How the launcher is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    Root,
    User,
    /// Where no namespaces can be made.
    Caged,
    /// As root, where `nft` is not installed.
    WithoutNft,
    /// As root, with applications run by an OCI runtime: runc.
    Runtime,
    /// Likewise: crun.
    Crun,
    /// As root, with one that is too old.
    OldRuntime,
}

pub(crate) struct Host {
    pub(crate) how: As,
    pub(crate) directory: tempfile::TempDir,
    /// Where only its user may write.
    pub(crate) private: tempfile::TempDir,
    pub(crate) child: Child,
    pub(crate) channel: Option<Channel>,
    pub(crate) missing: Vec<String>,
    pub(crate) applications: String,
    /// Whether applications ask for accelerators.
    pub(crate) gpu: bool,
    pub(crate) next: u64,
    pub(crate) _turn: MutexGuard<'static, ()>,
}

impl Host {
    /// A launcher with an image, an instance `one` and its node `node`; `None` where this machine
    /// cannot have it.
    pub(crate) fn start(how: As) -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let root = rustix::process::geteuid().is_root();
        if !matches!(how, As::User | As::Caged) && !root {
            eprintln!("skipped: not root");
            return None;
        }
        let directory = tempfile::Builder::new()
            .prefix("parapet-launcher-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        let path = directory.path();
        let state = path.join("state");
        for place in [
            format!("images/{IMAGE}/rootfs/panorama"),
            "instances/one/run/node".to_owned(),
            "instances/two/run/node".to_owned(),
            "device".to_owned(),
        ] {
            fs::create_dir_all(state.join(place)).unwrap();
        }
        let panorama = state.join(format!("images/{IMAGE}/rootfs/panorama"));
        fs::write(panorama.join("probe.py"), include_str!("probe.py")).unwrap();
        fs::write(state.join("device/key"), "secret").unwrap();
        fs::create_dir(path.join("libexec")).unwrap();
        fs::create_dir(path.join("sdk")).unwrap();
        // A copy: the directories above the build may be closed to the ordinary user.
        let launcher = path.join("libexec/parapet-launcher");
        fs::copy(env!("CARGO_BIN_EXE_parapet-launcher"), &launcher).unwrap();
        let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
        let start = match (how, root) {
            (As::Root | As::Runtime | As::Crun | As::OldRuntime, _) | (As::User, false) => {
                format!("exec {} \"$@\"", launcher.display())
            }
            (As::User, true) => {
                give(&state, NOBODY);
                format!("exec {user} {} \"$@\"", launcher.display())
            }
            (As::WithoutNft, _) => format!(
                "exec unshare --mount sh -c 'mount --bind /dev/null /usr/sbin/nft && exec {} \
                 \"$@\"' sh \"$@\"",
                launcher.display()
            ),
            (As::Caged, _) => format!(
                "exec unshare --user --map-root-user sh -c 'echo 0 > \
                 /proc/sys/user/max_user_namespaces; exec {} \"$@\"' sh \"$@\"",
                launcher.display()
            ),
        };
        let executable = script(&path.join("start"), &start);
        let private = tempfile::tempdir_in(if root { "/run" } else { "/tmp" }).unwrap();
        let runtime = crate::runtime::stand_in(private.path(), how);
        let (child, channel) = spawn_launcher(&LauncherOptions {
            executable,
            state,
            libexec: path.join("libexec"),
            sdk: path.join("sdk"),
            // What a model's worker is given; an attacker in its place needs none.
            onnxruntime: Some(path.join("sdk/libonnxruntime.so")),
            runtime,
            id_base: ID_BASE,
            run: RUN.into(),
            // The host's own network is not these tests' to rule.
            network: None,
        })
        .unwrap();
        let mut host = Self {
            how,
            directory,
            private,
            child,
            channel: Some(channel),
            missing: Vec::new(),
            applications: String::new(),
            gpu: false,
            next: 1,
            _turn: turn,
        };
        let LaunchEvent::Ready {
            privileged,
            missing,
            applications,
            ..
        } = host.event()
        else {
            panic!("the first event is not ready")
        };
        let own_users = !matches!(how, As::User | As::Caged);
        assert_eq!(privileged, own_users, "{missing:?}");
        let forbidden = missing
            .iter()
            .any(|sentence| sentence.starts_with("sandboxes"));
        if how != As::Caged && forbidden {
            eprintln!("skipped: this host allows no sandboxes: {missing:?}");
            return None;
        }
        host.missing = missing;
        host.applications = applications;
        Some(host)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn channel(&self) -> &Channel {
        self.channel.as_ref().unwrap()
    }

    pub(crate) fn worker_script(&self, name: &str, lines: &str) {
        script(&self.directory.path().join("libexec").join(name), lines);
    }

    pub(crate) fn event(&self) -> LaunchEvent {
        wait_readable(self.channel(), "an event of the launcher");
        self.channel()
            .recv::<LaunchEvent>()
            .unwrap()
            .unwrap()
            .header
    }

    pub(crate) fn send(&self, request: &LaunchRequest, fds: &[OwnedFd]) {
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        self.channel().send(request, &[], &fds).unwrap();
    }

    pub(crate) fn try_application(
        &mut self,
        instance: &str,
        command: &[&str],
    ) -> Result<(u64, u32, PipeReader), String> {
        let (id, reader) = self.ask_for(instance, command, false);
        self.begun(id).map(|pid| (id, pid, reader))
    }

    pub(crate) fn ask_for(
        &mut self,
        instance: &str,
        command: &[&str],
        gateway: bool,
    ) -> (u64, PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        let id = self.next;
        self.next += 1;
        let request = LaunchRequest::Application {
            id,
            instance: instance.to_owned(),
            node: "node".to_owned(),
            image: IMAGE.to_owned(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            environment: Vec::new(),
            resources: Resources {
                memory_bytes: 1 << 30,
                cpu_millis: 2000,
                processes: 512,
                io_bytes_per_second: None,
            },
            gateway,
            gpu: self.gpu,
        };
        self.send(&request, &[writer.into()]);
        (id, reader)
    }

    /// An application with a gateway, and the gateway's sockets for names and for calls.
    pub(crate) fn with_gateway(
        &mut self,
        command: &[&str],
    ) -> (u64, PipeReader, UdpSocket, TcpListener) {
        let (id, reader) = self.ask_for("one", command, true);
        wait_readable(self.channel(), "the start of an application");
        let packet = self.channel().recv::<LaunchEvent>().unwrap().unwrap();
        match packet.header {
            LaunchEvent::Started {
                id: started,
                no_gateway,
                ..
            } => assert_eq!((started, no_gateway), (id, None)),
            other => panic!("not a start: {other:?}"),
        }
        let [names, calls]: [OwnedFd; 2] = packet.fds.try_into().unwrap();
        (id, reader, names.into(), calls.into())
    }

    pub(crate) fn application(&mut self, command: &[&str]) -> (u64, u32, PipeReader) {
        self.try_application("one", command).unwrap()
    }

    pub(crate) fn worker(&mut self, worker: Worker) -> (u64, u32, PipeReader, Channel) {
        let (reader, writer) = std::io::pipe().unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let id = self.next;
        self.next += 1;
        self.send(
            &LaunchRequest::Worker { id, worker },
            &[theirs.into_fd(), writer.into()],
        );
        let pid = self.begun(id).unwrap();
        (id, pid, reader, ours)
    }

    pub(crate) fn begun(&self, wanted: u64) -> Result<u32, String> {
        match self.event() {
            LaunchEvent::Started { id, pid, .. } if id == wanted => Ok(pid),
            LaunchEvent::Failed { id, message } if id == wanted => Err(message),
            other => panic!("not about the start of {wanted}: {other:?}"),
        }
    }

    pub(crate) fn exit_code(&self, wanted: u64) -> i32 {
        match self.event() {
            LaunchEvent::Exited { id, code, .. } if id == wanted => code,
            other => panic!("not the end of {wanted}: {other:?}"),
        }
    }

    pub(crate) fn remove(&self, instance: &str) -> Option<String> {
        self.send(
            &LaunchRequest::Remove {
                instance: instance.to_owned(),
            },
            &[],
        );
        match self.event() {
            LaunchEvent::Removed {
                instance: removed,
                error,
            } if removed == instance => error,
            other => panic!("not about {instance}: {other:?}"),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.channel.take());
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) fn on_each_host(test: impl Fn(&mut Host)) {
    for &how in crate::runtime::hosts() {
        if let Some(mut host) = Host::start(how) {
            eprintln!("as {how:?}");
            test(&mut host);
        }
    }
}

pub(crate) fn script(path: &Path, lines: &str) -> PathBuf {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_owned()
}

pub(crate) fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

pub(crate) fn wait_readable(fd: impl AsFd, what: &str) {
    let limit = Timespec {
        tv_sec: LIMIT.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap();
    assert_ne!(ready, 0, "{what} did not come within {LIMIT:?}");
}

pub(crate) fn text(mut pipe: PipeReader) -> String {
    let mut text = String::new();
    let begin = Instant::now();
    loop {
        wait_readable(&pipe, "the end of an output");
        let mut bytes = [0; 4096];
        let count = pipe.read(&mut bytes).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        if count == 0 {
            return text;
        }
        assert!(begin.elapsed() < LIMIT, "the output has no end: {text}");
    }
}

pub(crate) fn wait_line(pipe: &mut PipeReader, line: &str) {
    read_until(pipe, line, &mut String::new());
}

pub(crate) fn read_until(pipe: &mut PipeReader, line: &str, text: &mut String) {
    while !text.contains(line) {
        wait_readable(&*pipe, line);
        let mut bytes = [0; 256];
        let count = pipe.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "the output ended without {line:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

pub(crate) fn wait_gone(pid: u32) {
    let begin = Instant::now();
    let status = PathBuf::from(format!("/proc/{pid}/status"));
    // A process that its parent's parent has yet to reap is gone for our purpose.
    while fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
        assert!(
            begin.elapsed() < LIMIT,
            "process {pid} outlived the launcher"
        );
        std::thread::yield_now();
    }
}

pub(crate) fn findings(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .collect()
}

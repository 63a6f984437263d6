//! What the launcher gives an application and what it holds it to: limits, accelerators.
//!
//! As root, with a launcher as the agent starts it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step of a test is its failure"
)]

use std::fs;
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use parapet_sandbox::channel::Channel;
use parapet_sandbox::launch::{LaunchEvent, LaunchRequest, Resources};
use parapet_sandbox::launcher_process::{LauncherOptions, spawn_launcher};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const IMAGE: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const LIMIT: Duration = Duration::from_mins(1);
const MIB: u64 = 1 << 20;

const RESOURCES: Resources = Resources {
    memory_bytes: 128 * MIB,
    cpu_millis: 1000,
    processes: 64,
    io_bytes_per_second: None,
};

struct Host {
    directory: tempfile::TempDir,
    child: Child,
    channel: Option<Channel>,
    missing: Vec<String>,
    next: u64,
}

impl Host {
    fn start() -> Option<Self> {
        Self::start_by("exec \"$LAUNCHER\" \"$@\"")
    }

    /// By a line of shell, which ends with the launcher and its arguments.
    fn start_by(line: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return None;
        }
        let directory = tempfile::Builder::new()
            .prefix("parapet-limits-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        let path = directory.path();
        let state = path.join("state");
        fs::create_dir_all(state.join(format!("images/{IMAGE}/rootfs/panorama"))).unwrap();
        for instance in ["one", "two"] {
            fs::create_dir_all(state.join(format!("instances/{instance}/run/node"))).unwrap();
        }
        for name in ["libexec", "sdk"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        let start = path.join("start");
        let launcher = env!("CARGO_BIN_EXE_parapet-launcher");
        let script = format!("#!/bin/sh\nexport LAUNCHER={launcher}\n{line}\n");
        fs::write(&start, script).unwrap();
        fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).unwrap();
        let (child, channel) = spawn_launcher(&LauncherOptions {
            executable: start,
            state,
            libexec: path.join("libexec"),
            sdk: path.join("sdk"),
            onnxruntime: None,
            runtime: None,
            run: parapet_sandbox::launcher_process::RUN.into(),
            network: None,
            // Of this test process alone: groups of others are none of its business.
            id_base: 0x3000_0000 + std::process::id() % 0x1000_0000,
        })
        .unwrap();
        let mut host = Self {
            directory,
            child,
            channel: Some(channel),
            missing: Vec::new(),
            next: 1,
        };
        let LaunchEvent::Ready { missing, .. } = host.event() else {
            panic!("the first event is not ready")
        };
        host.missing = missing;
        Some(host)
    }

    fn channel(&self) -> &Channel {
        self.channel.as_ref().unwrap()
    }

    fn event(&self) -> LaunchEvent {
        wait_readable(self.channel(), "an event of the launcher");
        let packet = self.channel().recv::<LaunchEvent>().unwrap().unwrap();
        packet.header
    }

    fn application(
        &mut self,
        instance: &str,
        script: &str,
        resources: Resources,
        gpu: bool,
    ) -> Result<(u64, PipeReader), String> {
        let (reader, writer) = std::io::pipe().unwrap();
        let id = self.next;
        self.next += 1;
        let request = LaunchRequest::Application {
            id,
            instance: instance.to_owned(),
            node: "node".to_owned(),
            image: IMAGE.to_owned(),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            environment: Vec::new(),
            resources,
            gateway: false,
            gpu,
        };
        self.channel()
            .send(&request, &[], &[writer.as_fd()])
            .unwrap();
        match self.event() {
            LaunchEvent::Started { id: begun, .. } if begun == id => Ok((id, reader)),
            LaunchEvent::Failed { message, .. } => Err(message),
            other => panic!("not about a start: {other:?}"),
        }
    }

    /// Code, and whether it was for want of memory.
    fn end(&self, wanted: u64) -> (i32, bool) {
        match self.event() {
            LaunchEvent::Exited {
                id,
                code,
                out_of_memory,
            } if id == wanted => (code, out_of_memory),
            other => panic!("not the end of {wanted}: {other:?}"),
        }
    }

    fn says(&mut self, script: &str, gpu: bool) -> String {
        let (id, output) = self.application("one", script, RESOURCES, gpu).unwrap();
        let text = text(output);
        assert_eq!(self.end(id), (0, false), "{text}");
        text
    }

    /// Whether this host limits; says so where it does not.
    fn limits(&self, what: &str) -> bool {
        let lacks = self
            .missing
            .iter()
            .any(|sentence| sentence.starts_with("limits of") && sentence.contains(what));
        if lacks {
            eprintln!("skipped: {:?}", self.missing);
        }
        !lacks
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.channel.take());
        let begin = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begin.elapsed() > LIMIT {
                self.child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn wait_readable(fd: impl AsFd, what: &str) {
    let limit = Timespec {
        tv_sec: LIMIT.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap();
    assert_ne!(ready, 0, "{what} did not come within {LIMIT:?}");
}

fn text(mut pipe: PipeReader) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn an_application_without_memory_ends_whole_and_it_is_said() {
    let Some(mut host) = Host::start() else {
        return;
    };
    if !host.limits("memory") {
        return;
    }
    // The first process is small and would go on for ever.
    let eater = "dd if=/dev/zero of=/dev/null bs=512M count=1 & sleep 600; sleep 600";
    let (id, _output) = host.application("one", eater, RESOURCES, false).unwrap();
    let (code, out_of_memory) = host.end(id);
    assert!(out_of_memory, "code {code} tells nothing of memory");
    assert_eq!(code, 137);
    // Files in memory count, and are freed with it.
    let files = "dd if=/dev/zero of=/tmp/x bs=1M count=200; sleep 600";
    let (id, _output) = host.application("one", files, RESOURCES, false).unwrap();
    assert_eq!(host.end(id), (137, true));
    assert_eq!(host.says("echo alive", false), "alive\n");
}

#[test]
fn a_fork_bomb_meets_its_limit_and_leaves_nothing() {
    let Some(mut host) = Host::start() else {
        return;
    };
    let bomb = "i=0; while [ $i -lt 500 ]; do sleep 600 & i=$((i+1)); done 2>/dev/null";
    let (id, _output) = host.application("one", bomb, RESOURCES, false).unwrap();
    let (other, output) = host
        .application("two", "echo alive", RESOURCES, false)
        .unwrap();
    assert_eq!(text(output), "alive\n");
    let mut ends = vec![host.end_of_any(), host.end_of_any()];
    ends.sort_unstable();
    assert_eq!(ends[1].0, other, "{ends:?}");
    assert_eq!(ends[0].0, id, "{ends:?}");
    assert_ne!(ends[0].1, 0, "500 processes were to be had");
}

impl Host {
    fn end_of_any(&self) -> (u64, i32) {
        match self.event() {
            LaunchEvent::Exited { id, code, .. } => (id, code),
            other => panic!("not an end: {other:?}"),
        }
    }
}

#[test]
fn limits_that_nothing_can_run_with_are_refused_by_name() {
    let Some(mut host) = Host::start() else {
        return;
    };
    let refused = host.application(
        "one",
        "true",
        Resources {
            memory_bytes: 1000,
            ..RESOURCES
        },
        false,
    );
    let message = refused.err().unwrap_or_default();
    assert!(message.contains("memory_bytes = 1000"), "{message}");
}

#[test]
fn groups_are_gone_with_the_launcher() {
    let Some(mut host) = Host::start() else {
        return;
    };
    let (_id, _output) = host
        .application("one", "sleep 600", RESOURCES, false)
        .unwrap();
    let pid = host.child.id();
    let ours = move || {
        let mut found = below(Path::new("/sys/fs/cgroup"), 3);
        found.retain(|path| path.ends_with(format!("{pid}.0")));
        found
    };
    if !host.missing.iter().any(|m| m.starts_with("limits of")) {
        assert!(!ours().is_empty(), "no group was made");
    }
    drop(host);
    assert_eq!(ours(), Vec::<PathBuf>::new());
}

fn below(directory: &Path, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
            if depth > 0 {
                found.extend(below(&entry.path(), depth - 1));
            }
        }
    }
    found
}

/// A node that looks like an accelerator and is `/dev/null`.
struct StandIn(PathBuf);

impl StandIn {
    fn make() -> Self {
        let path = PathBuf::from(format!("/dev/nvidia{}", 100_000 + std::process::id()));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::from_raw_mode(0o666),
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        Self(path)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

#[test]
fn an_accelerator_is_there_for_who_asks_and_for_nobody_else() {
    let Some(mut host) = Host::start() else {
        return;
    };
    let node = StandIn::make();
    let path = node.0.display();
    let with = host.says(&format!("echo x > {path} && echo used"), true);
    assert_eq!(with, "used\n");
    let without = host.says(
        &format!("ls -d {path} /dev/nvidia* 2>/dev/null; true"),
        false,
    );
    assert_eq!(without, "");
    let others = host.says("ls /dev", true);
    assert!(!others.contains("mem"), "{others}");
    assert!(host.directory.path().exists());
}

/// A program for aarch64 that writes `arm` and ends: an ELF header, one segment, nine instructions.
fn aarch64() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let code: [u32; 8] = [
        0xd280_0020, // mov x0, 1
        0x1000_00e1, // adr x1, text
        0xd280_0082, // mov x2, 4
        0xd280_0808, // mov x8, 64 (write)
        0xd400_0001, // svc 0
        0xd280_0000, // mov x0, 0
        0xd280_0ba8, // mov x8, 93 (exit)
        0xd400_0001, // svc 0
    ];
    let text = b"arm\n";
    let length = HEADERS + code.len() as u64 * 4 + text.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
    file.resize(16, 0);
    file.extend([2u16, 183].map(u16::to_le_bytes).concat());
    file.extend(1u32.to_le_bytes());
    file.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0u32.to_le_bytes());
    file.extend([64u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([1u32, 5].map(u32::to_le_bytes).concat());
    let segment = [0, BASE, BASE, length, length, 0x1000];
    file.extend(segment.map(u64::to_le_bytes).concat());
    file.extend(code.map(u32::to_le_bytes).concat());
    file.extend(text);
    file
}

/// Handlers of foreign programs belong to a user namespace since Linux 6.7: this one is the
/// test's alone, and the host's stay as they are.
const WITH_EMULATOR: &str = r#"exec unshare --user --map-root-user --mount sh -c '
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 9
magic="\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
printf %s ":qemu-aarch64:M::$magic:$mask:/usr/bin/qemu-aarch64-static:F" \
    > /proc/sys/fs/binfmt_misc/register || exit 9
exec "$LAUNCHER" "$@"' sh "$@""#;

#[test]
fn a_foreign_program_runs_through_a_registered_emulator_and_not_without() {
    let program = |host: &Host| {
        let rootfs = host
            .directory
            .path()
            .join(format!("state/images/{IMAGE}/rootfs"));
        let path = rootfs.join("panorama/arm");
        fs::write(&path, aarch64()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let Some(mut host) = Host::start() else {
        return;
    };
    program(&host);
    if Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() {
        eprintln!("skipped: this host emulates aarch64 for everybody");
    } else {
        let text = host.says("/panorama/arm 2>/dev/null || echo no", false);
        assert!(!text.contains("arm"), "{text}");
    }
    drop(host);
    assert!(
        Path::new("/usr/bin/qemu-aarch64-static").exists(),
        "tools/setup --tests installs qemu-user-static"
    );
    let Some(mut host) = Host::start_by(WITH_EMULATOR) else {
        return;
    };
    program(&host);
    assert_eq!(host.says("exec /panorama/arm", false), "arm\n");
}

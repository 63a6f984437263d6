//! The kernel's limits, as [`parapet_sandbox::cgroup`] sets them: on this host, whatever version
//! of control groups it has, and once more in a guest whose kernel has version 2 alone.
//!
//! Needs root. What this host cannot show is said on standard error; in the guest everything must
//! hold.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step of a test is its failure"
)]

mod guest;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use parapet_sandbox::cgroup::{Controller, Disk, Group, Groups, Limits, Weight};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Set inside of the guest.
const GUEST: &str = "PARAPET_TEST_GUEST";
const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(20);

const NONE: Limits = Limits {
    memory_bytes: None,
    cpu_millis: None,
    processes: None,
    io_bytes_per_second: None,
    weight: Weight::Application,
    ends_whole: true,
};

/// Groups with a controller, unless this is no root or the host lacks it.
fn groups(controller: Controller, disk: Option<Disk>) -> Option<Groups> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return None;
    }
    let (groups, missing) = Groups::prepare(id_base(), disk, &NONE);
    if groups.limits(controller) {
        return Some(groups);
    }
    assert!(
        std::env::var_os(GUEST).is_none(),
        "the guest has no limits of {controller}: {missing:?}"
    );
    eprintln!("skipped: {missing:?}");
    None
}

/// Of this test process alone: what it finds left over is its own.
fn id_base() -> u32 {
    0x6000_0000 + std::process::id() % 0x1000_0000
}

/// A shell in a group, which waits for a line before it begins.
struct Held(Child);

impl Held {
    fn new(group: &Group, script: &str) -> Self {
        let child = Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        group.place().unwrap().take(child.id()).unwrap();
        Self(child)
    }

    fn go(&mut self) {
        self.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
    }

    fn output(mut self) -> Output {
        self.go();
        self.0.wait_with_output().unwrap()
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Touches so much memory at once.
fn touch(mebibytes: u64) -> String {
    format!("dd if=/dev/zero of=/dev/null bs={mebibytes}M count=1")
}

#[test]
fn limits_hold_memory_and_the_end_is_told_apart() {
    let Some(groups) = groups(Controller::Memory, None) else {
        return;
    };
    let limits = Limits {
        memory_bytes: Some(64 * MIB),
        ..NONE
    };
    let group = groups.make("memory", &limits).unwrap();
    let fits = Held::new(&group, &touch(32)).output();
    assert!(fits.status.success(), "{fits:?}");
    assert!(!group.ran_out_of_memory());
    // Half of an application helps nobody: its other process ends, too, by the kernel or on the
    // alarm.
    let mut other = Held::new(&group, "sleep 60");
    other.go();
    let too_much = Held::new(&group, &touch(128)).output();
    assert!(!too_much.status.success(), "{too_much:?}");
    if let Some(alarm) = group.alarm() {
        let limit = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        let polled = &mut [PollFd::new(&alarm, PollFlags::IN)];
        assert_eq!(poll(polled, Some(&limit)), Ok(1), "no alarm");
        group.silence();
    } else {
        wait_until("the rest of the tree has ended", || other.has_ended());
    }
    wait_until("the end for want of memory is known", || {
        group.ran_out_of_memory()
    });
    drop(group);
    wait_until("the tree ends with its group", || other.has_ended());
}

#[test]
fn limits_hold_a_fork_bomb() {
    let Some(groups) = groups(Controller::Pids, None) else {
        return;
    };
    let limits = Limits {
        processes: Some(16),
        ..NONE
    };
    let group = groups.make("bomb", &limits).unwrap();
    let script = "i=0; while [ $i -lt 64 ]; do sleep 60 & i=$((i+1)); done; sleep 60";
    let mut bomb = Held::new(&group, script);
    bomb.go();
    let processes = || {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let held = entries.filter(|entry| {
            fs::read_to_string(entry.path().join("cgroup")).is_ok_and(|text| text.contains("/bomb"))
        });
        held.count()
    };
    // A shell may give up at the first refusal.
    wait_until("the limit is reached", || processes() >= 15);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        let count = processes();
        assert!(count <= 16, "{count} processes");
    }
    drop(group);
    bomb.0.wait().unwrap();
    wait_until("all of it has ended", || processes() == 0);
    let mut text = String::new();
    let mut stderr = bomb.0.stderr.take().unwrap();
    stderr.read_to_string(&mut text).unwrap();
    assert!(text.contains("fork"), "nothing was refused: {text}");
}

#[test]
fn limits_hold_a_busy_loop() {
    let Some(groups) = groups(Controller::Cpu, None) else {
        return;
    };
    let limits = Limits {
        cpu_millis: Some(200),
        ..NONE
    };
    let group = groups.make("busy", &limits).unwrap();
    let mut busy = Held::new(&group, "while :; do :; done");
    busy.go();
    let ticks = |pid: u32| -> u64 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (begin, before) = (Instant::now(), ticks(busy.0.id()));
    std::thread::sleep(Duration::from_secs(2));
    let used = (ticks(busy.0.id()) - before) as f64 / 100.0;
    let share = used / begin.elapsed().as_secs_f64();
    drop(group);
    busy.0.wait().unwrap();
    // A fifth, and what one tick and one period more or less amount to.
    assert!(share < 0.27, "a limit of 0.2 processors gave {share:.2}");
}

#[test]
fn limits_hold_writes_to_a_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (disk, target) = if std::env::var_os(GUEST).is_some() {
        let text = fs::read_to_string("/sys/block/vda/dev").unwrap();
        let (major, minor) = text.trim().split_once(':').unwrap();
        let disk = Disk {
            major: major.parse().unwrap(),
            minor: minor.parse().unwrap(),
        };
        (Some(disk), "/dev/vda".to_owned())
    } else {
        let handle = fs::File::open(path).unwrap();
        (Disk::below(handle.as_fd()), format!("{}/x", path.display()))
    };
    if disk.is_none() {
        eprintln!("skipped: {} is on no disk of its own", path.display());
        return;
    }
    let Some(groups) = groups(Controller::Io, disk) else {
        return;
    };
    let limits = Limits {
        io_bytes_per_second: Some(8 * MIB),
        ..NONE
    };
    let group = groups.make("io", &limits).unwrap();
    let script = format!("dd if=/dev/zero of={target} bs=1M count=24 oflag=direct");
    let begin = Instant::now();
    let written = Held::new(&group, &script).output();
    assert!(written.status.success(), "{written:?}");
    let seconds = begin.elapsed().as_secs_f64();
    assert!(seconds > 1.8, "24 MiB at 8 MiB/s took {seconds:.1} s");
}

#[test]
fn limits_hold_after_a_launcher_was_killed_what_it_left_is_ended() {
    let Some(living) = groups(Controller::Pids, None) else {
        return;
    };
    let kept = living.make("kept", &NONE).unwrap();
    let mut guarded = Held::new(&kept, "sleep 60");
    guarded.go();
    let left = living.make("left", &NONE).unwrap();
    let mut orphan = Held::new(&left, "sleep 60");
    orphan.go();
    let (second, _) = Groups::prepare(id_base(), None, &NONE);
    assert!(
        !guarded.has_ended() && !orphan.has_ended(),
        "a living launcher's processes were ended"
    );
    drop(second);
    drop(kept);
    guarded.0.wait().unwrap();
    // Gone without a chance to tidy up.
    living.abandon();
    std::mem::forget(left);
    let (third, _) = Groups::prepare(id_base(), None, &NONE);
    wait_until("the orphan has ended", || orphan.has_ended());
    drop(third);
    let name = format!("parapet-{:x}", id_base());
    let of_ours = |path: &PathBuf| path.iter().any(|part| part == name.as_str());
    let mut left_over = below("/sys/fs/cgroup".as_ref(), 3);
    left_over.retain(of_ours);
    assert_eq!(left_over, Vec::<PathBuf>::new());
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

#[test]
fn all_of_it_holds_on_version_2_in_a_guest() {
    let log = guest::run(&guest::Guest {
        filter: "limits_hold_",
        variable: GUEST,
        modules: &["modules"],
        programs: &[],
        files: &[],
    });
    assert!(log.contains("test result: ok. 5 passed"), "{log}");
    assert!(!log.contains("skipped:"), "{log}");
}

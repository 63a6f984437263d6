//! A guest with Debian's kernel, in which this very test executable runs again.
//!
//! An initial file system in memory with busybox, this executable and its libraries; QEMU emulates
//! the processor, since hosts of tests allow no virtualisation. `tools/setup --tests` brings QEMU,
//! busybox and the kernel (`target/guest`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest life of a guest; it takes seconds on a quiet machine.
const LIMIT: Duration = Duration::from_mins(2);
/// What the guest says when it is done.
const END: &str = "guest is done";

/// Runs this executable's tests whose names contain `filter` in a guest, with `variable` set, and
/// gives what they said.
pub(super) fn run(filter: &str, variable: &str) -> String {
    let kernel = kernel();
    let directory = tempfile::tempdir().unwrap();
    let initrd = directory.path().join("initrd");
    archive(&kernel, &initrd, filter, variable);
    let disk = directory.path().join("disk");
    File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    let log = directory.path().join("log");
    let mut guest = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
        .args(["-m", "512", "-nographic", "-no-reboot", "-nic", "none"])
        .arg("-kernel")
        .arg(kernel.join("vmlinuz"))
        .arg("-initrd")
        .arg(&initrd)
        .arg("-drive")
        .arg(format!("file={},if=virtio,format=raw", disk.display()))
        .args(["-append", "console=ttyS0 loglevel=0 panic=-1"])
        .stdin(Stdio::null())
        .stdout(File::create(&log).unwrap())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("qemu-system-x86_64 starts; tools/setup --tests installs it");
    let begin = Instant::now();
    while guest.try_wait().unwrap().is_none() {
        if begin.elapsed() > LIMIT {
            guest.kill().unwrap();
            guest.wait().unwrap();
            panic!("the guest did not end within {LIMIT:?}:\n{}", text(&log));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = text(&log);
    assert!(log.contains(END), "the guest broke off:\n{log}");
    eprintln!("guest: {:.1} s", begin.elapsed().as_secs_f64());
    log
}

fn text(log: &Path) -> String {
    let mut bytes = Vec::new();
    File::open(log).unwrap().read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).replace('\r', "")
}

/// `target/guest`, above this executable.
fn kernel() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let found = executable
        .ancestors()
        .map(|above| above.join("guest"))
        .find(|guest| guest.join("vmlinuz").exists());
    found.expect("a kernel for guests in target/guest; run tools/setup --tests")
}

fn archive(kernel: &Path, initrd: &Path, filter: &str, variable: &str) {
    let mut archive = Archive {
        out: File::create(initrd).unwrap(),
        number: 0,
    };
    for directory in ["bin", "dev", "proc", "sys", "tmp", "modules"] {
        archive.directory(directory);
    }
    let busybox = Path::new("/bin/busybox");
    assert!(
        busybox.exists(),
        "busybox is not there; tools/setup --tests installs it"
    );
    archive.file("bin/busybox", busybox);
    let executable = std::env::current_exe().unwrap();
    archive.file("tests", &executable);
    for library in libraries(&executable) {
        let place = library.strip_prefix("/").unwrap();
        archive.file(&place.to_string_lossy(), &library);
    }
    let mut modules: Vec<PathBuf> = fs::read_dir(kernel.join("modules"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    modules.sort();
    for module in modules {
        let name = module.file_name().unwrap().to_string_lossy().into_owned();
        archive.file(&format!("modules/{name}"), &module);
    }
    let init = format!(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s /bin\n\
         export PATH=/bin {variable}=1 RUST_BACKTRACE=0\n\
         mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         for module in /modules/*; do insmod $module; done\n\
         /tests {filter} --test-threads=1 --nocapture 2>&1\n\
         echo {END}\n\
         poweroff -f\n"
    );
    archive.entry("init", 0o100_755, init.as_bytes());
    archive.entry("TRAILER!!!", 0, b"");
}

/// What the loader maps, itself included.
fn libraries(executable: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(executable).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found: Vec<PathBuf> = text
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect();
    assert!(!found.is_empty(), "{text}");
    found
}

/// `cpio`, format `newc` (Documentation/driver-api/early-userspace/buffer-format.rst).
struct Archive {
    out: File,
    number: u32,
}

impl Archive {
    fn directory(&mut self, name: &str) {
        let mut made = PathBuf::new();
        for part in Path::new(name).components() {
            made.push(part);
            self.entry(&made.to_string_lossy(), 0o040_755, b"");
        }
    }

    fn file(&mut self, name: &str, from: &Path) {
        if let Some(above) = Path::new(name).parent().filter(|p| *p != OsStr::new("")) {
            self.directory(&above.to_string_lossy());
        }
        let mode = fs::metadata(from).unwrap().permissions().mode();
        self.entry(name, mode, &fs::read(from).unwrap());
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.number += 1;
        let fields = [
            self.number,
            mode,
            0,
            0,
            1,
            0,
            data.len() as u32,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        let mut bytes = b"070701".to_vec();
        for field in fields {
            bytes.extend(format!("{field:08X}").into_bytes());
        }
        bytes.extend(OsStr::new(name).as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.out.write_all(&bytes).unwrap();
    }
}

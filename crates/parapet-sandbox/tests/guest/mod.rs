//! A guest with Debian's kernel, in which this very test executable runs again.
//!
//! An initial file system in memory with busybox, this executable, what it asks for, and their
//! libraries; QEMU emulates the processor, since hosts of tests allow no virtualisation.
//! `tools/setup --tests` brings QEMU, busybox and the kernel (`target/guest`).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest life of a guest; it takes seconds on a quiet machine, and a minute or two where
/// interpreters and runtimes run in it.
const LIMIT: Duration = Duration::from_mins(6);
/// Links to the directories of these names below `usr`.
const LINKS: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// What the guest says when it is done.
const END: &str = "guest is done";

/// What runs in a guest, and what it finds there.
pub(super) struct Guest<'a> {
    /// Tests of this executable whose names contain it.
    pub(super) filter: &'a str,
    /// A variable that is set for them.
    pub(super) variable: &'a str,
    /// Sets of the kernel's modules: directories of `target/guest`.
    pub(super) modules: &'a [&'a str],
    /// Programs of this host, at the same places.
    pub(super) programs: &'a [&'a str],
    /// Further files of this host, at the same places.
    pub(super) files: &'a [PathBuf],
}

/// Runs a guest, and gives what was said in it.
pub(super) fn run(wanted: &Guest<'_>) -> String {
    let kernel = kernel();
    let directory = tempfile::tempdir().unwrap();
    let initrd = directory.path().join("initrd");
    archive(&kernel, &initrd, wanted);
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

fn archive(kernel: &Path, initrd: &Path, wanted: &Guest<'_>) {
    let mut archive = Archive {
        out: File::create(initrd).unwrap(),
        number: 0,
        held: BTreeSet::new(),
    };
    for directory in ["dev", "proc", "sys", "tmp", "run", "root", "modules"] {
        archive.directory(directory);
    }
    // As on Debian: what a sandbox shows of the system is below /usr.
    for name in LINKS {
        archive.directory(&format!("usr/{name}"));
        archive.entry(name, 0o120_777, format!("usr/{name}").as_bytes());
    }
    let busybox = Path::new("/bin/busybox");
    assert!(
        busybox.exists(),
        "busybox is not there; tools/setup --tests installs it"
    );
    archive.file("usr/bin/busybox", busybox);
    let executable = std::env::current_exe().unwrap();
    archive.file("tests", &executable);
    let mut needed = libraries(&executable);
    for program in wanted.programs {
        archive.file(place(program), Path::new(program));
        needed.extend(libraries(Path::new(program)));
    }
    for file in wanted.files {
        archive.file(place(&file.to_string_lossy()), file);
        if file.extension() == Some(OsStr::new("so")) {
            needed.extend(libraries(file));
        }
    }
    for library in needed {
        archive.file(place(&library.to_string_lossy()), &library);
    }
    for set in wanted.modules {
        let modules: BTreeSet<PathBuf> = fs::read_dir(kernel.join(set))
            .expect("a set of modules; run tools/setup --tests")
            .map(|entry| entry.unwrap().path())
            .collect();
        for module in modules {
            let name = module.file_name().unwrap().to_string_lossy().into_owned();
            archive.file(&format!("modules/{set}-{name}"), &module);
        }
    }
    // The first file system is nobody's to leave (`pivot_root`), nor may somebody whose root is
    // below another make a user namespace: so all of it is mounted over itself.
    let init = "#!/bin/busybox sh\n\
         /bin/busybox mount --bind / /root\n\
         cd /root\n\
         /bin/busybox mount --move . /\n\
         exec /bin/busybox chroot . /begin\n";
    archive.entry("init", 0o100_755, init.as_bytes());
    let Guest {
        filter, variable, ..
    } = wanted;
    let begin = format!(
        "#!/bin/busybox sh\n\
         export PATH=/usr/sbin:/usr/bin:/applets {variable}=1 RUST_BACKTRACE=0\n\
         /bin/busybox mkdir /applets; /bin/busybox --install -s /applets\n\
         [ -e /bin/sh ] || ln -s busybox /bin/sh\n\
         mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n\
         mount -t tmpfs -o mode=755 run /run; mount -t tmpfs tmp /tmp; chmod 1777 /tmp; chmod 755 /\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         for module in /modules/*; do insmod $module; done\n\
         /tests {filter} --test-threads=1 --nocapture 2>&1\n\
         echo {END}\n\
         poweroff -f\n"
    );
    archive.entry("begin", 0o100_755, begin.as_bytes());
    archive.entry("TRAILER!!!", 0, b"");
}

/// Where a file of this host is in the guest, which keeps no directories behind its links.
fn place(path: &str) -> &str {
    path.strip_prefix('/').unwrap()
}

/// Of this host's Python: what the programs of tests import.
#[allow(dead_code, reason = "not every test has programs in Python")]
pub(super) fn python() -> Vec<PathBuf> {
    let listed = "import concurrent.futures.thread, ctypes, json, os, socket, struct, sys, time\n\
        import encodings.idna, threading\n\
        print(*sorted(it.__file__ for it in list(sys.modules.values())\n \
          if getattr(it, '__file__', None)), sep='\\n')";
    let output = Command::new("/usr/bin/python3")
        .args(["-I", "-c", listed])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(PathBuf::from).collect()
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
    assert!(
        !found.is_empty() || text.contains("statically linked"),
        "{text}"
    );
    found
}

/// `cpio`, format `newc` (Documentation/driver-api/early-userspace/buffer-format.rst).
struct Archive {
    out: File,
    number: u32,
    /// What is in it, by name.
    held: BTreeSet<String>,
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
        let linked = LINKS.iter().any(|link| Path::new(name).starts_with(link));
        let name = &if linked {
            format!("usr/{name}")
        } else {
            name.to_owned()
        };
        if let Some(above) = Path::new(name).parent().filter(|p| *p != OsStr::new("")) {
            self.directory(&above.to_string_lossy());
        }
        let mode = fs::metadata(from).unwrap().permissions().mode();
        self.entry(name, mode, &fs::read(from).unwrap());
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        if !self.held.insert(name.to_owned()) {
            return;
        }
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

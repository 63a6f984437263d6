//! The host itself: firmware, consoles, USB, dumps, the kernel's switches and what it offers.

use std::ops::RangeInclusive;
use std::path::Path;

use super::read;
use crate::facts::{Console, Dumps, Hardening, Host, Known, Unknown, Usb};
use crate::report::plain;

/// The variable by which UEFI tells whether it checks what it starts (UEFI 2.10, section 3.3).
const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Switches that keep ordinary users out of the kernel, and their good values.
const HARDENING: [(&str, RangeInclusive<i64>); 9] = [
    ("kernel.dmesg_restrict", 1..=i64::MAX),
    ("kernel.kptr_restrict", 1..=i64::MAX),
    ("kernel.perf_event_paranoid", 2..=i64::MAX),
    ("kernel.unprivileged_bpf_disabled", 1..=i64::MAX),
    ("kernel.yama.ptrace_scope", 1..=i64::MAX),
    ("fs.protected_hardlinks", 1..=i64::MAX),
    ("fs.protected_symlinks", 1..=i64::MAX),
    ("net.core.bpf_jit_harden", 1..=i64::MAX),
    ("vm.unprivileged_userfaultfd", 0..=0),
];

/// Looks at the host.
pub(crate) fn host() -> Host {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| plain(&part.to_string_lossy());
    Host {
        name: text(system.nodename()),
        kernel: text(system.release()),
        machine: text(system.machine()),
        secure_boot: secure_boot(Path::new("/sys/firmware/efi"), Path::new(SECURE_BOOT)),
        firmware: firmware(Path::new(FIRMWARE_DATE)),
        consoles: consoles(),
        usb: usb(Path::new("/"), &text(system.release())),
        dumps: dumps(),
        hardening: HARDENING
            .into_iter()
            .map(|(name, good)| Hardening {
                name: name.to_owned(),
                value: read::number_if_there(Path::new("/proc/sys").join(name.replace('.', "/"))),
                guards_a_part: name != "kernel.yama.ptrace_scope",
                good,
            })
            .collect(),
        lockdown: lockdown(),
        sandbox: sandbox(),
    }
}

fn secure_boot(firmware: &Path, variable: &Path) -> Known<Option<bool>> {
    if !firmware.exists() {
        return Ok(None);
    }
    match std::fs::read(variable) {
        // Four bytes of attributes, then the value.
        Ok(bytes) if bytes.len() == 5 => Ok(Some(bytes[4] == 1)),
        Ok(_) => Err(Unknown::because(
            "the firmware's SecureBoot variable is damaged",
        )),
        Err(error) => Err(Unknown::because(format!(
            "the firmware's variables cannot be read (is efivarfs mounted?): {error}"
        ))),
    }
}

/// Where firmware that speaks SMBIOS (DSP0134, BIOS Information) says when it was made.
const FIRMWARE_DATE: &str = "/sys/class/dmi/id/bios_date";

fn firmware(date: &Path) -> Known<i64> {
    let text = read::file_if_there(date)?
        .ok_or_else(|| Unknown::because("this machine's firmware tells no date (SMBIOS)"))?;
    let no_date = || {
        let shown: String = text.trim().chars().take(20).collect();
        Unknown::because(format!("the firmware's date {:?} is none", plain(&shown)))
    };
    let made = jiff::civil::Date::strptime("%m/%d/%Y", text.trim()).map_err(|_| no_date())?;
    let made = jiff::tz::Offset::UTC
        .to_timestamp(made.to_datetime(jiff::civil::Time::midnight()))
        .map_err(|_| no_date())?;
    Ok(made.as_second())
}

fn consoles() -> Known<Vec<Console>> {
    let mut found = Vec::new();
    for name in read::names("/proc")? {
        if !name.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let process = Path::new("/proc").join(&name);
        // Ended meanwhile, or one of the kernel's own without a command.
        let Ok(Some(command)) = read::file_if_there(process.join("cmdline")) else {
            continue;
        };
        found.extend(console(&command));
    }
    found.extend(planned(Path::new("/")));
    found.sort_by(|a, b| (&a.name, &a.program).cmp(&(&b.name, &b.program)));
    found.dedup();
    Ok(found)
}

/// The console that a process waits at.
fn console(command: &str) -> Option<Console> {
    let words: Vec<&str> = command
        .split('\0')
        .filter(|word| !word.is_empty())
        .collect();
    let program = words.first()?.rsplit('/').next()?;
    let program = program.trim_start_matches('-');
    if !["agetty", "getty", "mgetty", "mingetty", "sulogin", "login"].contains(&program) {
        return None;
    }
    let name = words
        .iter()
        .skip(1)
        .find(|word| is_terminal(word))
        .map_or("console", |word| word.trim_start_matches("/dev/"));
    Some(Console {
        name: plain(name),
        program: program.to_owned(),
        is_open: words.iter().any(|word| is_open(program, word)),
    })
}

fn is_terminal(word: &str) -> bool {
    let name = word.trim_start_matches("/dev/");
    ["tty", "hvc", "ttyS", "ttyAMA", "console", "xvc"]
        .iter()
        .any(|kind| name.starts_with(kind))
}

/// Whether an option lets somebody in without a password.
fn is_open(program: &str, word: &str) -> bool {
    if program.ends_with("login") {
        return word == "-f";
    }
    word == "-a" || word.starts_with("--autologin") || word.starts_with("--skip-login")
}

/// Units of systemd that log somebody in without a password at the next start, and its root shell
/// without one.
fn planned(root: &Path) -> Vec<Console> {
    let mut found = Vec::new();
    let directory = root.join("etc/systemd/system");
    // A directory that cannot be listed has no drop-ins that this user could name.
    for unit in read::names(&directory).unwrap_or_default() {
        if !unit.contains("getty@") && !unit.contains("console-getty") {
            continue;
        }
        let path = directory.join(&unit);
        let files: Vec<_> = if path.is_dir() {
            let names = read::names(&path).unwrap_or_default();
            names.into_iter().map(|name| path.join(name)).collect()
        } else {
            vec![path]
        };
        for file in files {
            let Ok(Some(text)) = read::file_if_there(&file) else {
                continue;
            };
            let opens = text
                .lines()
                .filter(|line| line.trim_start().starts_with("ExecStart="))
                .any(|line| line.split_whitespace().any(|word| is_open("agetty", word)));
            if opens {
                found.push(Console {
                    name: plain(unit.trim_end_matches(".d")),
                    program: format!("unit file {}", plain(&file.to_string_lossy())),
                    is_open: true,
                });
            }
        }
    }
    for wants in ["sysinit.target.wants", "multi-user.target.wants"] {
        if directory.join(wants).join("debug-shell.service").exists() {
            found.push(Console {
                name: "tty9".to_owned(),
                program: "debug-shell.service".to_owned(),
                is_open: true,
            });
        }
    }
    found
}

fn usb(root: &Path, release: &str) -> Known<Usb> {
    let bus = root.join("sys/bus/usb");
    if !bus.exists() {
        return Ok(Usb::Absent);
    }
    let driver = root.join("sys/module/usb_storage");
    if read::names(bus.join("drivers/usb-storage"))?
        .iter()
        .any(|name| name.starts_with(|c: char| c.is_ascii_digit()))
    {
        return Ok(Usb::InUse);
    }
    let mut new_are_refused = false;
    let mut new_are_let_in = false;
    for device in read::names(bus.join("devices"))? {
        match read::number_if_there(bus.join("devices").join(device).join("authorized_default"))? {
            Some(0) => new_are_refused = true,
            Some(_) => new_are_let_in = true,
            None => {}
        }
    }
    if new_are_refused && !new_are_let_in {
        return Ok(Usb::Guarded);
    }
    if driver.exists() {
        return Ok(Usb::Allowed);
    }
    if is_blocked(root)? {
        return Ok(Usb::Blocked);
    }
    let modules = root.join("lib/modules").join(release);
    if !modules.exists() {
        return Err(Unknown::because(format!(
            "{} is not there: which drivers this kernel can load is not known",
            modules.display()
        )));
    }
    let listed = |name: &str| -> Known<bool> {
        let text = read::file_if_there(modules.join(name))?;
        Ok(text.is_some_and(|text| text.contains("usb-storage")))
    };
    Ok(if listed("modules.dep")? || listed("modules.builtin")? {
        Usb::Allowed
    } else {
        Usb::Blocked
    })
}

/// Whether `modprobe` is told never to load the driver. A blacklist keeps it from being loaded for
/// a device; `install ... false` from being loaded at all. Both are taken.
fn is_blocked(root: &Path) -> Known<bool> {
    for directory in [
        "etc/modprobe.d",
        "usr/lib/modprobe.d",
        "lib/modprobe.d",
        "run/modprobe.d",
    ] {
        for name in read::names(root.join(directory))? {
            if Path::new(&name).extension().is_none_or(|end| end != "conf") {
                continue;
            }
            let text = read::file_if_there(root.join(directory).join(name))?;
            let blocks = text.unwrap_or_default().lines().any(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words[..] {
                    ["blacklist", module] => is_storage(module),
                    ["install", module, program, ..] => {
                        is_storage(module)
                            && (program.ends_with("/false") || program.ends_with("/true"))
                    }
                    _ => false,
                }
            });
            if blocks {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn is_storage(module: &str) -> bool {
    module == "usb-storage" || module == "usb_storage"
}

fn dumps() -> Known<Dumps> {
    let of_privileged = read::number_if_there("/proc/sys/fs/suid_dumpable")?;
    Ok(Dumps {
        pattern: plain(read::file("/proc/sys/kernel/core_pattern")?.trim()),
        of_privileged: of_privileged
            .ok_or_else(|| Unknown::because("/proc/sys/fs/suid_dumpable is not there"))?,
    })
}

fn lockdown() -> Known<Option<bool>> {
    let modes = read::file_if_there("/sys/kernel/security/lockdown")?;
    match modes {
        Some(modes) => Ok(Some(!modes.contains("[none]"))),
        None if Path::new("/sys/kernel/security/lsm").exists() => Ok(None),
        None => Err(Unknown::because(
            "securityfs is not mounted at /sys/kernel/security: lockdown is not known",
        )),
    }
}

/// What sandboxes are made of, and whether this kernel has it.
fn sandbox() -> Vec<(String, Known<bool>)> {
    let namespaces = |name: &str| {
        let limit = read::number_if_there(
            Path::new("/proc/sys/user").join(format!("max_{name}_namespaces")),
        );
        limit.map(|limit| limit.is_some_and(|limit| limit > 0))
    };
    let seccomp = read::file("/proc/self/status").map(|status| {
        status
            .lines()
            .any(|line| line.starts_with("Seccomp_filters:"))
    });
    let landlock = match parapet_sandbox::examine::landlock_version() {
        Ok(version) => (
            format!("Landlock (version {version}; 4 or later for networks)"),
            Ok(version >= 4),
        ),
        Err(_) => ("Landlock".to_owned(), Ok(false)),
    };
    let mut all = vec![
        ("user namespaces".to_owned(), namespaces("user")),
        ("network namespaces".to_owned(), namespaces("net")),
        ("process namespaces".to_owned(), namespaces("pid")),
        ("mount namespaces".to_owned(), namespaces("mnt")),
        ("system call filters (seccomp)".to_owned(), seccomp),
        landlock,
    ];
    for controller in ["memory", "cpu", "pids"] {
        all.push((
            format!("control group {controller}"),
            read::file("/proc/cgroups").and_then(|old| has_controller(&old, controller)),
        ));
    }
    all
}

/// Whether a controller is mounted somewhere, in the first or the second kind of control groups.
fn has_controller(old: &str, controller: &str) -> Known<bool> {
    for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        let list = read::file_if_there(Path::new(mount).join("cgroup.controllers"))?;
        if list.is_some_and(|list| list.split_whitespace().any(|name| name == controller)) {
            return Ok(true);
        }
    }
    // Name, hierarchy, groups, whether it is enabled; hierarchy 0 is mounted nowhere.
    Ok(old.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [name, hierarchy, _, "1"] if name == controller && hierarchy != "0")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn a_login_without_a_password_is_seen() {
        let seen = console("/sbin/agetty\0--autologin\0op\0tty1\0linux\0").unwrap();
        assert!(seen.is_open);
        assert_eq!(seen.name, "tty1");
        let seen = console("/sbin/agetty\0-o\0-p -- \\u\0--noclear\0ttyS0\0").unwrap();
        assert_eq!((seen.name.as_str(), seen.is_open), ("ttyS0", false));
        assert_eq!(console("/usr/bin/python3\0tty1\0"), None);
        assert_eq!(console(""), None);
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            "etc/systemd/system/getty@tty1.service.d/autologin.conf",
            "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin op %I\n",
        );
        assert!(planned(dir.path())[0].is_open);
    }

    #[test]
    fn what_a_usb_stick_can_do_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(usb(root, "6.1"), Ok(Usb::Absent));
        write(root, "sys/bus/usb/devices/usb1/authorized_default", "1");
        assert!(usb(root, "6.1").is_err(), "the modules are not there");
        write(
            root,
            "lib/modules/6.1/modules.dep",
            "kernel/usb-storage.ko:\n",
        );
        assert_eq!(usb(root, "6.1"), Ok(Usb::Allowed));
        write(
            root,
            "etc/modprobe.d/no-usb.conf",
            "install usb-storage /bin/false\n",
        );
        assert_eq!(usb(root, "6.1"), Ok(Usb::Blocked));
        write(root, "sys/module/usb_storage/refcnt", "0");
        assert_eq!(usb(root, "6.1"), Ok(Usb::Allowed), "it is loaded already");
        write(root, "sys/bus/usb/devices/usb1/authorized_default", "0");
        assert_eq!(usb(root, "6.1"), Ok(Usb::Guarded));
        write(root, "sys/bus/usb/drivers/usb-storage/1-1:1.0/x", "");
        assert_eq!(usb(root, "6.1"), Ok(Usb::InUse));
    }

    #[test]
    fn the_firmwares_date_is_read_as_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let date = dir.path().join("bios_date");
        assert!(firmware(&date).is_err());
        std::fs::write(&date, "11/28/2026\n").unwrap();
        assert_eq!(firmware(&date), Ok(1_795_824_000));
        for wrong in ["", "28/11/2026", "2026-11-28", "11/28/99999", "\u{1b}[2J"] {
            std::fs::write(&date, wrong).unwrap();
            assert!(firmware(&date).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_firmwares_word_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let variable = dir.path().join("v");
        assert_eq!(secure_boot(&dir.path().join("no"), &variable), Ok(None));
        assert!(secure_boot(dir.path(), &variable).is_err());
        std::fs::write(&variable, [6, 0, 0, 0, 1]).unwrap();
        assert_eq!(secure_boot(dir.path(), &variable), Ok(Some(true)));
        std::fs::write(&variable, [6, 0, 0, 0, 0]).unwrap();
        assert_eq!(secure_boot(dir.path(), &variable), Ok(Some(false)));
        std::fs::write(&variable, [6]).unwrap();
        assert!(secure_boot(dir.path(), &variable).is_err());
    }

    #[test]
    fn a_controller_that_is_mounted_nowhere_is_none() {
        let old = "#name h n e\nfrobs\t0\t1\t1\nknobs\t7\t1\t1\nlocks\t8\t1\t0\n";
        assert_eq!(has_controller(old, "frobs"), Ok(false));
        assert_eq!(has_controller(old, "knobs"), Ok(true));
        assert_eq!(has_controller(old, "locks"), Ok(false));
    }
}

//! Which processor an image is for, and whether this host can run it.
//!
//! Looked at before the start: the kernel would say no more than "exec format error". Reads the
//! first bytes of the program, of its interpreter where it is a script, else of `/bin/sh` and
//! `python3`, within the image's root. Formats: elf(5); Linux,
//! `Documentation/admin-guide/binfmt-misc.rst`.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// Where the kernel lists what runs foreign programs.
pub(crate) const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";
/// As the launcher has it for applications.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Scripts whose interpreter is a script; the kernel follows no more either.
const LONGEST_CHAIN: usize = 4;

/// A kind of processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine(u16);

impl Machine {
    const I386: Self = Self(3);
    const ARM: Self = Self(40);
    const X86_64: Self = Self(62);
    const AARCH64: Self = Self(183);
    const RISCV: Self = Self(243);

    /// This host's; `None` where Parapet was built for one that it cannot name.
    pub(crate) fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::AARCH64),
            "arm" => Some(Self::ARM),
            "riscv64" => Some(Self::RISCV),
            _ => None,
        }
    }

    fn of_elf(head: &[u8]) -> Option<Self> {
        let machine: [u8; 2] = head.get(18..20)?.try_into().ok()?;
        let little = match head.get(..6)? {
            [0x7f, b'E', b'L', b'F', _, 1] => true,
            [0x7f, b'E', b'L', b'F', _, 2] => false,
            _ => return None,
        };
        Some(Self(if little {
            u16::from_le_bytes(machine)
        } else {
            u16::from_be_bytes(machine)
        }))
    }

    /// Whether a host of this kind runs the other's programs without help.
    fn runs(self, other: Self) -> bool {
        self == other
            || (self == Self::X86_64 && other == Self::I386)
            || (self == Self::AARCH64 && other == Self::ARM)
    }

    /// As Docker names it.
    fn docker(self) -> &'static str {
        match self {
            Self::I386 => "386",
            Self::ARM => "arm",
            Self::X86_64 => "amd64",
            Self::AARCH64 => "arm64",
            Self::RISCV => "riscv64",
            _ => "another processor",
        }
    }

    /// As QEMU names its emulators.
    fn qemu(self) -> Option<&'static str> {
        Some(match self {
            Self::I386 => "i386",
            Self::ARM => "arm",
            Self::X86_64 => "x86_64",
            Self::AARCH64 => "aarch64",
            Self::RISCV => "riscv64",
            _ => return None,
        })
    }
}

/// Why an image cannot run here; `None` when it can, or when nothing can be said.
pub(crate) fn refusal(
    host: Machine,
    image: Option<Machine>,
    emulate: bool,
    handlers: &Path,
) -> Option<String> {
    let image = image.filter(|image| !host.runs(*image))?;
    let (wanted, ours) = (image.docker(), host.docker());
    if !emulate {
        return Some(format!(
            "run the image: it is for {wanted} and this appliance is {ours}; build it with docker \
             buildx build --platform linux/{ours}, or allow emulation for the instance (slow)"
        ));
    }
    let Some(name) = image.qemu() else {
        return Some(format!(
            "run the image: it is for {wanted}, which cannot be emulated"
        ));
    };
    if has_handler(&handlers.join(format!("qemu-{name}"))) {
        return None;
    }
    Some(format!(
        "emulate the image, which is for {wanted}: {} has no enabled qemu-{name} with the flag F; \
         install qemu-user-static and binfmt-support on the appliance",
        handlers.display()
    ))
}

/// Whether a handler is enabled and its program was opened when it was registered (F): no path of
/// it is looked up inside of a sandbox.
fn has_handler(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    text.lines().next() == Some("enabled") && flags.is_some_and(|flags| flags.contains('F'))
}

/// The processor that an image's program is for; `None` when the image has none of its own, or
/// nothing that says so.
pub(crate) fn of_image(
    rootfs: &Path,
    program: &str,
    environment: &[(String, String)],
) -> Option<Machine> {
    let root = rustix::fs::openat(
        CWD,
        rootfs,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let path = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(PATH, |(_, value)| value.as_str());
    [program, "/bin/sh", "python3"]
        .into_iter()
        .find_map(|program| of_program(&root, program, path, LONGEST_CHAIN))
}

fn of_program(root: &OwnedFd, program: &str, path: &str, chain: usize) -> Option<Machine> {
    let head = if program.contains('/') {
        head(root, program)
    } else {
        path.split(':')
            .find_map(|directory| head(root, &format!("{directory}/{program}")))
    }?;
    if let Some(machine) = Machine::of_elf(&head) {
        return Some(machine);
    }
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let interpreter = words.next()?;
    let chain = chain.checked_sub(1)?;
    // `/usr/bin/env python3` is as foreign as either of both.
    of_program(root, interpreter, path, chain)
        .or_else(|| of_program(root, words.next()?, path, chain))
}

/// The first bytes of a file of the image. Links are followed as if the image were the root.
fn head(root: &OwnedFd, path: &str) -> Option<Vec<u8>> {
    let file = rustix::fs::openat2(
        root,
        path,
        // A pipe of the image must not hold the agent up.
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
    )
    .ok()?;
    let mut head = Vec::new();
    File::from(file).take(256).read_to_end(&mut head).ok()?;
    Some(head)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn elf(machine: u16) -> Vec<u8> {
        let mut head = vec![0x7f, b'E', b'L', b'F', 2, 1];
        head.resize(18, 0);
        head.extend(machine.to_le_bytes());
        head.resize(64, 0);
        head
    }

    fn image() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::create_dir_all(root.join("panorama")).unwrap();
        fs::write(root.join("usr/bin/python3.8"), elf(183)).unwrap();
        // Absolute: the host's own python3 must not be looked at.
        symlink("/usr/bin/python3.8", root.join("usr/bin/python3")).unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        fs::write(root.join("usr/bin/env"), elf(183)).unwrap();
        fs::write(root.join("panorama/app.py"), "#!/usr/bin/env python3\n").unwrap();
        fs::write(root.join("panorama/loop"), "#!/panorama/loop\n").unwrap();
        dir
    }

    #[test]
    fn an_image_is_known_by_its_program_or_its_scripts_interpreter() {
        let image = image();
        let of = |program| of_image(image.path(), program, &[]);
        for program in ["python3", "/panorama/app.py", "/bin/python3", "missing"] {
            assert_eq!(of(program), Some(Machine::AARCH64), "{program}");
        }
        // A chain without end says nothing; the interpreter of other applications does.
        assert_eq!(of("/panorama/loop"), Some(Machine::AARCH64));
        let path = [("PATH".to_owned(), "/panorama".to_owned())];
        assert_eq!(of_image(image.path(), "env", &path), None);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(of_image(empty.path(), "python3", &[]), None);
    }

    #[test]
    fn a_foreign_image_is_refused_with_the_way_out_unless_it_can_be_emulated() {
        let dir = tempfile::tempdir().unwrap();
        let (host, foreign) = (Machine::X86_64, Some(Machine::AARCH64));
        let refused = refusal(host, foreign, false, dir.path()).unwrap();
        assert!(
            refused.contains("arm64") && refused.contains("--platform linux/amd64"),
            "{refused}"
        );
        let refused = refusal(host, foreign, true, dir.path()).unwrap();
        assert!(refused.contains("qemu-user-static"), "{refused}");
        let handler = dir.path().join("qemu-aarch64");
        for (text, can) in [
            ("enabled\ninterpreter /q\nflags: OCF\noffset 0\n", true),
            ("enabled\ninterpreter /q\nflags: OC\noffset 0\n", false),
            ("disabled\ninterpreter /q\nflags: F\noffset 0\n", false),
        ] {
            fs::write(&handler, text).unwrap();
            let refused = refusal(host, foreign, true, dir.path());
            assert_eq!(refused.is_none(), can, "{text}");
        }
        for native in [Some(Machine::X86_64), Some(Machine::I386), None] {
            assert_eq!(refusal(host, native, false, dir.path()), None);
        }
    }
}

//! What each kind of process sees as `/`, and what it is told at its start.
//!
//! The one place that says which files of the host reach into which sandbox. `docs/sandbox.md` has
//! the same as a table. Decides; `parapet_sandbox` executes.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use parapet_sandbox::gateway::RESOLV_CONF;
use parapet_sandbox::launch::Worker;
use parapet_sandbox::root::{Access, Origin, Proc, Root, RootError, open_below};
use parapet_sandbox::spawn::Command;
use rustix::fs::OFlags;
use rustix::io::Errno;
use thiserror::Error;

use crate::accelerators;
use crate::host::Host;
use crate::names::{Image, Name};

/// Where a program without a path is looked for (spec/sdk.md 3.3).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Links or directories of the host beside `/usr`.
const BESIDE_USR: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// How many processors there are and how they hang together, for libraries that start threads.
const PROCESSORS: &str = "sys/devices/system/cpu";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      parapet:x:1000:1000:parapet:/:/usr/sbin/nologin\n\
                      nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nparapet:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost parapet\n::1 localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\n";

/// Places of an application's root that are ours whatever the image has.
const RESERVED: [&str; 9] = [
    "dev",
    "proc",
    "sys",
    "tmp",
    "run",
    "var/tmp",
    "opt/aws/panorama/logs",
    "opt/aws/panorama/storage",
    "opt/parapet",
];
/// Further ones where it brings no `/usr` and gets the host's. Its own `/etc` gives way too.
const RESERVED_FOR_HOST: [&str; 8] = [
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc",
];

/// Where an application finds the agent.
const SOCKET: &str = "/run/parapet/sdk.sock";
/// Where it finds `panoramasdk`, before any of the image's own.
const PYTHON: &str = "/opt/parapet/python";

/// Why a request cannot become a process.
#[derive(Debug, Error)]
pub(crate) enum RootsError {
    /// A part of the root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A directory of the instance or the image.
    #[error("open {what}; the agent makes it before the start")]
    Missing {
        /// Which one.
        what: String,
        /// Why.
        #[source]
        source: Errno,
    },
    /// ONNX Runtime.
    #[error("start a model: no ONNX Runtime was given; start the agent with --onnxruntime FILE")]
    NoOnnxRuntime,
    /// The command or a variable.
    #[error("use {field} {value:?}: {remedy}")]
    Text {
        /// Which one.
        field: &'static str,
        /// As given, shortened.
        value: String,
        /// What to do.
        remedy: &'static str,
    },
}

/// A worker's executable.
pub(crate) fn executable(worker: Worker) -> &'static str {
    match worker {
        Worker::Ingest => "parapet-ingest",
        Worker::Codec => "parapet-codec",
        Worker::Infer => "parapet-infer",
    }
}

/// A worker's root: the host's programs and libraries and its own executable, no data.
pub(crate) fn worker_root(host: &Host, worker: Worker) -> Result<Root, RootsError> {
    let mut root = Root::new();
    host_system(&mut root)?;
    root.file("etc/passwd", PASSWD)?;
    root.file("etc/group", GROUP)?;
    root.devices()?;
    let name = executable(worker);
    let place = format!("opt/parapet/libexec/{name}");
    root.bind(&place, Origin::Host, &host.libexec.join(name), Access::Read)?;
    match worker {
        // No resolver: ingest is told the address.
        Worker::Ingest | Worker::Codec => root.proc(Proc::Processes)?,
        Worker::Infer => {
            let library = host
                .onnxruntime
                .as_deref()
                .ok_or(RootsError::NoOnnxRuntime)?;
            let directory = library.parent().unwrap_or(Path::new("/"));
            root.bind("opt/onnxruntime", Origin::Host, directory, Access::Read)?;
            root.bind_if_there(PROCESSORS, &format!("/{PROCESSORS}"))?;
            root.proc(Proc::Machine)?;
        }
    }
    Ok(root)
}

/// What a worker is told.
pub(crate) fn worker_command(host: &Host, worker: Worker) -> Result<Command, RootsError> {
    let program = text(
        "worker",
        format!("/opt/parapet/libexec/{}", executable(worker)),
    )?;
    let mut environment = vec![c"PATH=/usr/bin:/bin".to_owned(), c"LANG=C.UTF-8".to_owned()];
    if let (Worker::Infer, Some(library)) = (worker, &host.onnxruntime) {
        let file = library.file_name().unwrap_or_default().to_string_lossy();
        environment.push(text(
            "onnxruntime",
            format!("ORT_DYLIB_PATH=/opt/onnxruntime/{file}"),
        )?);
    }
    Ok(Command {
        candidates: vec![program.clone()],
        arguments: vec![program],
        environment,
    })
}

/// What only some applications have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extras {
    /// It knows whom to ask for names.
    pub(crate) gateway: bool,
    /// It has the host's accelerators.
    pub(crate) gpu: bool,
}

/// An application's root: its image, or the host's system with the image's directories in it.
pub(crate) fn application_root(
    host: &Host,
    image: &Image,
    instance: &Name,
    node: &Name,
    Extras { gateway, gpu }: Extras,
) -> Result<Root, RootsError> {
    let mut root = Root::new();
    let tree = directory(host.state(), &format!("images/{}/rootfs", image.as_str()))?;
    let own_usr = rustix::fs::statat(&tree, "usr", rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if own_usr {
        root.compose(tree.as_fd(), &RESERVED)?;
    } else {
        let reserved = [&RESERVED[..], &RESERVED_FOR_HOST].concat();
        root.compose(tree.as_fd(), &reserved)?;
        host_system(&mut root)?;
        root.file("etc/passwd", PASSWD)?;
        root.file("etc/group", GROUP)?;
        root.file("etc/hosts", HOSTS)?;
        root.file("etc/nsswitch.conf", NSSWITCH)?;
        if gateway {
            root.file("etc/resolv.conf", RESOLV_CONF)?;
        }
        root.bind_if_there("etc/ssl/certs", "/etc/ssl/certs")?;
        root.bind_if_there("etc/localtime", "/etc/localtime")?;
    }
    root.devices()?;
    if gpu {
        let dev = Path::new("/dev");
        for name in accelerators::nodes(dev) {
            let place = format!("dev/{name}");
            root.bind(&place, Origin::Host, &dev.join(&name), Access::Device)?;
        }
    }
    root.scratch("dev/shm", 256)?;
    root.proc(Proc::Machine)?;
    root.bind_if_there(PROCESSORS, &format!("/{PROCESSORS}"))?;
    root.scratch("tmp", 256)?;
    root.scratch("var/tmp", 64)?;
    root.scratch("run", 16)?;
    let instances = directory(host.state(), &format!("instances/{instance}"))?;
    let below = Origin::Distrusted(instances.as_fd());
    let run = PathBuf::from(format!("run/{node}"));
    let logs = PathBuf::from(format!("logs/{node}"));
    root.bind("run/parapet", below, &run, Access::Read)?;
    root.bind("opt/aws/panorama/logs", below, &logs, Access::Write)?;
    root.bind(
        "opt/aws/panorama/storage",
        below,
        Path::new("storage"),
        Access::Write,
    )?;
    root.bind("opt/parapet/python", Origin::Host, &host.sdk, Access::Read)?;
    if own_usr {
        // Exported images come with an empty file here, in which nobody has written "localhost".
        root.file("opt/parapet/hosts", HOSTS)?;
        root.over("etc/hosts", "opt/parapet/hosts")?;
        if gateway {
            // A question to any other resolver is turned to ours as well; this spares the wait
            // where the image names one by an IPv6 address.
            root.file("opt/parapet/resolv.conf", RESOLV_CONF)?;
            root.over("etc/resolv.conf", "opt/parapet/resolv.conf")?;
        }
    }
    Ok(root)
}

/// What an application is told (spec/sdk.md 3.3). What the package asks for wins over our
/// defaults, and loses against what the SDK needs.
pub(crate) fn application_command(
    command: Vec<String>,
    wanted: Vec<(String, String)>,
) -> Result<Command, RootsError> {
    let mut variables: Vec<(String, String)> = [
        ("PATH", PATH),
        ("TERM", "xterm"),
        ("container", "podman"),
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
        ("PYTHONUNBUFFERED", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for (name, value) in wanted {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            let remedy = "name a variable with letters, digits and '_'";
            return Err(RootsError::Text {
                field: "the variable",
                value: cut(name),
                remedy,
            });
        }
        set(&mut variables, &name, value);
    }
    let python = match get(&variables, "PYTHONPATH") {
        Some(own) if !own.is_empty() => format!("{PYTHON}:{own}"),
        _ => PYTHON.to_owned(),
    };
    set(&mut variables, "PYTHONPATH", python);
    set(&mut variables, "PARAPET_SOCKET", SOCKET.to_owned());

    let program = command
        .first()
        .filter(|program| !program.is_empty())
        .ok_or_else(|| {
            let remedy = "name a program in the descriptor";
            RootsError::Text {
                field: "the command",
                value: String::new(),
                remedy,
            }
        })?;
    let candidates = if program.contains('/') {
        vec![program.clone()]
    } else {
        let path = get(&variables, "PATH").unwrap_or(PATH);
        // An empty entry would mean the current directory.
        path.split(':')
            .filter(|entry| !entry.is_empty())
            .map(|d| format!("{d}/{program}"))
            .collect()
    };
    let texts = |field, list: Vec<String>| -> Result<Vec<_>, RootsError> {
        list.into_iter().map(|value| text(field, value)).collect()
    };
    Ok(Command {
        candidates: texts("the command", candidates)?,
        arguments: texts("the argument", command)?,
        environment: texts(
            "the variable",
            variables
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        )?,
    })
}

/// The host's programs and libraries, read-only; of its `/etc` only what the loader needs.
fn host_system(root: &mut Root) -> Result<(), RootsError> {
    root.bind("usr", Origin::Host, Path::new("/usr"), Access::Read)?;
    for name in BESIDE_USR {
        let path = format!("/{name}");
        match std::fs::read_link(&path) {
            Ok(target) => root.link(name, &target.to_string_lossy())?,
            // No link: a directory of a host that keeps them apart, or nothing.
            Err(_) => root.bind_if_there(name, &path)?,
        }
    }
    root.bind_if_there("etc/ld.so.cache", "/etc/ld.so.cache")?;
    root.bind_if_there("etc/alternatives", "/etc/alternatives")?;
    Ok(())
}

fn directory(below: BorrowedFd<'_>, path: &str) -> Result<std::os::fd::OwnedFd, RootsError> {
    open_below(below, Path::new(path), OFlags::PATH | OFlags::DIRECTORY).map_err(|source| {
        RootsError::Missing {
            what: path.to_owned(),
            source,
        }
    })
}

fn set(variables: &mut Vec<(String, String)>, name: &str, value: String) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, known)) => *known = value,
        None => variables.push((name.to_owned(), value)),
    }
}

fn get<'a>(variables: &'a [(String, String)], name: &str) -> Option<&'a str> {
    variables
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
}

fn text(field: &'static str, value: String) -> Result<CString, RootsError> {
    CString::new(value).map_err(|error| RootsError::Text {
        field,
        value: cut(String::from_utf8_lossy(&error.into_vec()).into_owned()),
        remedy: "leave out the null byte",
    })
}

fn cut(mut value: String) -> String {
    value.truncate(value.floor_char_boundary(80));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(
        command: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<(Vec<String>, Vec<String>), String> {
        let owned = |text: &&str| (*text).to_owned();
        let environment = environment
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let made = application_command(command.iter().map(owned).collect(), environment)
            .map_err(|error| error.to_string())?;
        let plain = |list: Vec<CString>| {
            list.into_iter()
                .map(|entry| entry.to_string_lossy().into_owned())
                .collect()
        };
        Ok((plain(made.candidates), plain(made.environment)))
    }

    #[test]
    fn a_program_without_a_path_is_looked_for_in_the_standard_places() {
        let (candidates, _) = command(&["python3", "/panorama/app.py"], &[]).unwrap();
        assert!(
            candidates.contains(&"/usr/bin/python3".to_owned()),
            "{candidates:?}"
        );
        assert_eq!(command(&["/app/run"], &[]).unwrap().0, ["/app/run"]);
    }

    #[test]
    fn the_package_cannot_put_another_sdk_before_ours() {
        let wanted = [
            ("PYTHONPATH", "/panorama/lib"),
            ("PARAPET_SOCKET", "/tmp/x"),
        ];
        let (_, environment) = command(&["a"], &wanted).unwrap();
        assert!(environment.contains(&"PYTHONPATH=/opt/parapet/python:/panorama/lib".to_owned()));
        assert!(environment.contains(&format!("PARAPET_SOCKET={SOCKET}")));
        assert_eq!(
            environment
                .iter()
                .filter(|v| v.starts_with("PARAPET_SOCKET="))
                .count(),
            1
        );
    }

    #[test]
    fn what_the_package_asks_for_wins_over_our_defaults() {
        let (candidates, environment) = command(&["a"], &[("PATH", "/app:")]).unwrap();
        assert_eq!(candidates, ["/app/a"]);
        assert!(environment.contains(&"PATH=/app:".to_owned()));
    }

    #[test]
    fn what_cannot_be_passed_is_refused_by_name() {
        for (words, variables) in [
            (&[][..], &[][..]),
            (&[""][..], &[][..]),
            (&["a\0b"][..], &[][..]),
            (&["a", "b\0"][..], &[][..]),
            (&["a"][..], &[("A=B", "x")][..]),
            (&["a"][..], &[("", "x")][..]),
            (&["a"][..], &[("A", "\0")][..]),
        ] {
            assert!(
                command(words, variables).is_err(),
                "{words:?} {variables:?}"
            );
        }
    }
}

//! The worker as the launcher starts it, with a real model. Skipped, loudly, where ONNX Runtime's
//! library is not installed (`make` installs it).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use parapet_media::protocol::{Hello, InferEvent, InferRequest, TensorShape};
use parapet_sandbox::channel::Channel;
use rustix::fs::{MemfdFlags, SealFlags};
use serde_json::{Value, json};

struct Worker {
    child: Child,
    channel: Channel,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself, which the tests look at where it matters.
        let _: std::io::Result<()> = self.child.kill();
        let _: std::io::Result<std::process::ExitStatus> = self.child.wait();
    }
}

impl Worker {
    /// `None` without the library.
    fn start() -> Option<Self> {
        let Some(library) = library() else {
            eprintln!("skipped: there is no libonnxruntime.so; run `make setup`");
            return None;
        };
        Some(Self::start_with(&library))
    }

    /// Started with the channel as descriptor 3.
    fn start_with(library: &Path) -> Self {
        let (ours, theirs) = Channel::pair().unwrap();
        let child = Command::new("sh")
            .args(["-c", "exec \"$0\" 3<&0 0</dev/null"])
            .arg(env!("CARGO_BIN_EXE_parapet-infer"))
            .env("ORT_DYLIB_PATH", library)
            .stdin(Stdio::from(theirs.into_fd()))
            .spawn()
            .unwrap();
        let hello = ours.recv::<Hello>().unwrap().expect("a hello").header;
        assert_eq!(hello.version, env!("CARGO_PKG_VERSION"));
        Self {
            child,
            channel: ours,
        }
    }

    fn load(&self, file: &Path, inputs: Vec<TensorShape>) -> InferEvent {
        let file = File::open(file).unwrap();
        let request = InferRequest::Load { inputs, threads: 1 };
        self.channel.send(&request, &[], &[file.as_fd()]).unwrap();
        self.channel
            .recv::<InferEvent>()
            .unwrap()
            .expect("an answer")
            .header
    }

    fn attach(&self) -> Channel {
        let (ours, theirs) = Channel::pair().unwrap();
        self.channel
            .send(&InferRequest::Attach, &[], &[theirs.as_fd()])
            .unwrap();
        ours
    }
}

fn library() -> Option<PathBuf> {
    let given = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from);
    given.filter(|file| file.is_file()).or_else(|| {
        Path::new(env!("CARGO_BIN_EXE_parapet-infer"))
            .ancestors()
            .find_map(|directory| {
                let packages = directory.join("venv/lib");
                let pythons = std::fs::read_dir(packages).ok()?;
                pythons.flatten().find_map(|python| {
                    let capi = python.path().join("site-packages/onnxruntime/capi");
                    let files = std::fs::read_dir(capi)
                        .ok()?
                        .flatten()
                        .map(|entry| entry.path());
                    files.into_iter().find(|file| {
                        let name = file.file_name().unwrap_or_default().to_string_lossy();
                        name.starts_with("libonnxruntime.so")
                    })
                })
            })
    })
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/double.onnx")
}

fn promise(name: &str, shape: &[u64]) -> Vec<TensorShape> {
    vec![TensorShape {
        name: name.to_owned(),
        dtype: String::new(),
        shape: shape.to_vec(),
    }]
}

fn memory(values: &[f32]) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = rustix::fs::memfd_create("test", flags).unwrap();
    let mut file = File::from(fd.try_clone().unwrap());
    for value in values {
        file.write_all(&value.to_le_bytes()).unwrap();
    }
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    fd
}

fn call(line: &Channel, seq: u64, input: &Value, fd: Option<&OwnedFd>) -> (Value, Vec<OwnedFd>) {
    let header = json!({"op": "call", "seq": seq, "buffer": fd.is_some(), "inputs": [input]});
    let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
    line.send(&header, &[], &fds).unwrap();
    let packet = line.recv::<Value>().unwrap().expect("an answer");
    (packet.header, packet.fds)
}

fn floats(fd: &OwnedFd, output: &Value) -> Vec<f32> {
    let mut bytes = vec![0; output["bytes"].as_u64().unwrap() as usize];
    rustix::io::pread(fd, &mut bytes, output["offset"].as_u64().unwrap()).unwrap();
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn without_the_library_the_answer_says_so() {
    let worker = Worker::start_with(Path::new("/nowhere/libonnxruntime.so"));
    let InferEvent::Failed { code, message } = worker.load(&model(), Vec::new()) else {
        panic!("loaded without a library")
    };
    assert_eq!(code, "model_load");
    assert!(message.contains("set ORT_DYLIB_PATH"), "{message}");
}

#[test]
fn calls_are_answered_and_wrong_ones_leave_the_worker_alive() {
    let Some(worker) = Worker::start() else {
        return;
    };
    let loaded = worker.load(&model(), promise("data", &[1, 1, 2, 3]));
    let InferEvent::Loaded { inputs, outputs } = loaded else {
        panic!("{loaded:?}")
    };
    assert_eq!(
        (inputs[0].dtype.as_str(), inputs[0].shape.as_slice()),
        ("float32", &[1, 1, 2, 3][..])
    );
    assert_eq!(
        outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(),
        ["doubled", "sum"]
    );

    let line = worker.attach();
    let good = json!({"name": "data", "dtype": "float32", "shape": [1, 1, 2, 3], "offset": 0, "bytes": 24});
    let (refused, _) = call(&line, 1, &good, None);
    assert_eq!(
        (&refused["event"], &refused["code"]),
        (&json!("error"), &json!("input"))
    );

    let input = memory(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let (answer, fds) = call(&line, 2, &good, Some(&input));
    assert_eq!(
        (&answer["event"], &answer["seq"]),
        (&json!("result"), &json!(2)),
        "{answer}"
    );
    assert_eq!(
        floats(&fds[0], &answer["outputs"][0]),
        [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    );
    assert_eq!(floats(&fds[0], &answer["outputs"][1]), [21.0]);
    let seals = rustix::fs::fcntl_get_seals(&fds[0]).unwrap();
    assert!(seals.contains(SealFlags::SHRINK), "the caller maps it");

    let wrong = [
        json!({"name": "data", "dtype": "float32", "shape": [1, 1, 3, 2], "offset": 0, "bytes": 24}),
        json!({"name": "data", "dtype": "float32", "shape": [1, 1, 2, 3], "offset": 0, "bytes": 23}),
        json!({"name": "data", "dtype": "float32", "shape": [1, 1, 2, 3], "offset": 8, "bytes": 24}),
        json!({"name": "data", "dtype": "float32", "shape": [1, 1, 2, 3], "offset": u64::MAX, "bytes": 24}),
        json!({"name": "data", "dtype": "float32", "shape": [u64::MAX, 9, 2, 3], "offset": 0, "bytes": 24}),
        json!({"name": "other", "dtype": "float32", "shape": [1, 1, 2, 3], "offset": 0, "bytes": 24}),
    ];
    for input in &wrong {
        let (answer, _) = call(&line, 3, input, None);
        assert_eq!(
            (&answer["event"], &answer["code"]),
            (&json!("error"), &json!("input")),
            "{input}"
        );
    }
    rustix::io::write(&line, b"no packet").unwrap();
    let second = worker.attach();
    let (answer, _) = call(&second, 1, &good, Some(&input));
    assert_eq!(
        answer["event"], "result",
        "another caller is not harmed: {answer}"
    );
}

#[test]
fn a_file_that_is_no_model_is_told() {
    let Some(worker) = Worker::start() else {
        return;
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[7; 4096]).unwrap();
    let event = worker.load(file.path(), Vec::new());
    let InferEvent::Failed { code, message } = event else {
        panic!("{event:?}")
    };
    assert_eq!(code, "model_load");
    assert!(message.chars().count() <= 200);
}

#[test]
fn a_descriptor_that_does_not_fit_is_told_with_both_sides() {
    for (name, shape, telling) in [
        ("image", &[1, 1, 2, 3][..], "\"data\""),
        ("data", &[1, 3, 2, 3][..], "[1, 3, 2, 3]"),
        ("data", &[1, 2][..], "[1, 2]"),
    ] {
        let Some(worker) = Worker::start() else {
            return;
        };
        let event = worker.load(&model(), promise(name, shape));
        let InferEvent::Failed { code, message } = event else {
            panic!("{event:?}")
        };
        assert_eq!(code, "model_descriptor");
        assert!(message.contains(telling), "{message}");
    }
    let Some(worker) = Worker::start() else {
        return;
    };
    let event = worker.load(&model(), Vec::new());
    assert!(
        matches!(event, InferEvent::Failed { .. }),
        "an input without a promise: {event:?}"
    );
}

#[test]
fn the_worker_ends_with_its_channel() {
    let Some(mut worker) = Worker::start() else {
        return;
    };
    let (ours, _) = Channel::pair().unwrap();
    drop(std::mem::replace(&mut worker.channel, ours));
    assert!(worker.child.wait().unwrap().success());
}

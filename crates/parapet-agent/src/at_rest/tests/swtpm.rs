//! A TPM 2.0 in software, of one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::settings::KeySettings;

const LIMIT: Duration = Duration::from_secs(20);

/// Ends with the test.
pub(super) struct Swtpm {
    directory: PathBuf,
    process: Child,
}

impl Swtpm {
    /// A new one, or the one whose state lies in `directory`; `None`, said loudly, where the
    /// programs are missing.
    pub(super) fn start(directory: &Path) -> Option<Self> {
        for program in ["/usr/bin/swtpm", "/usr/bin/tpm2_create"] {
            if !Path::new(program).exists() {
                eprintln!("skipped: {program} is missing: tools/setup --tests installs it");
                return None;
            }
        }
        let state = directory.join("state");
        std::fs::create_dir_all(&state).unwrap();
        let socket = directory.join("tpm");
        let control = directory.join("tpm.ctrl");
        for left in [&socket, &control] {
            if left.exists() {
                std::fs::remove_file(left).unwrap();
            }
        }
        let process = Command::new("/usr/bin/swtpm")
            .args(["socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}", control.display()))
            .args(["--flags", "not-need-init,startup-clear"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let begin = Instant::now();
        while !(socket.exists() && control.exists()) {
            assert!(begin.elapsed() < LIMIT, "swtpm listens within {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Self {
            directory: directory.to_owned(),
            process,
        })
    }

    /// Keys are to be sealed by this one.
    pub(super) fn settings(&self) -> KeySettings {
        KeySettings {
            tpm_device: self.directory.join("tpm"),
            ..KeySettings::default()
        }
    }

    /// Off and on again.
    pub(super) fn restart(self) -> Self {
        let directory = self.directory.clone();
        drop(self);
        Self::start(&directory).unwrap()
    }

    /// What an operator or the firmware does with the TPM.
    pub(super) fn ask(&self, tool: &str, words: &[&str]) {
        let tcti = format!("swtpm:path={}", self.directory.join("tpm").display());
        let done = Command::new(tool)
            .args(["-T", &tcti])
            .args(words)
            .output()
            .unwrap();
        assert!(done.status.success(), "{tool}: {done:?}");
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

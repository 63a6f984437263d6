//! Where the demo lives: its directory, and the parts it starts.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// Directories and programs of one run.
#[derive(Debug)]
pub(crate) struct Place {
    /// All that the demo writes.
    pub(crate) dir: PathBuf,
    /// Executables of Parapet: beside this one.
    pub(crate) libexec: PathBuf,
    /// The pinned AWS CLI.
    pub(crate) aws: PathBuf,
    /// Sample applications.
    pub(crate) examples: PathBuf,
    /// ONNX Runtime, from the same environment as the CLI; the agent knows other places.
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Rendered scenes, kept between runs.
    pub(crate) cache: PathBuf,
}

impl Place {
    /// Finds the parts: in a checkout through the executable's own path, else where packages of a
    /// distribution put them. `PARAPET_AWS` and `PARAPET_SHARE` override.
    pub(crate) fn find(dir: PathBuf) -> Result<Self> {
        let executable = std::env::current_exe().context("find this executable")?;
        let libexec = executable.parent().unwrap_or(Path::new("/")).to_owned();
        let share =
            std::env::var_os("PARAPET_SHARE").map_or_else(|| share(&libexec), PathBuf::from);
        let aws = std::env::var_os("PARAPET_AWS")
            .map(PathBuf::from)
            .or_else(|| ancestors_with(&libexec, "venv/bin/aws"))
            .unwrap_or_else(|| "aws".into());
        let examples = share.join("examples");
        ensure!(
            examples.is_dir(),
            "there are no sample applications at {}: set PARAPET_SHARE to the directory that \
             holds `examples`",
            examples.display()
        );
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
            .unwrap_or_else(|| dir.join("cache"))
            .join("parapet");
        fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        let onnxruntime = ancestors_with(&libexec, "venv/lib").and_then(|lib| wheel(&lib));
        Ok(Self {
            dir,
            libexec,
            aws,
            examples,
            onnxruntime,
            cache,
        })
    }

    /// The control plane's data.
    pub(crate) fn server(&self) -> PathBuf {
        self.dir.join("server")
    }

    /// The appliance's data.
    pub(crate) fn agent(&self) -> PathBuf {
        self.dir.join("agent")
    }
}

/// The directory that holds `examples` and `python`.
fn share(libexec: &Path) -> PathBuf {
    libexec
        .ancestors()
        .find(|directory| directory.join("examples/people-counter").is_dir())
        .map_or_else(|| "/usr/share/parapet".into(), Path::to_owned)
}

/// `pythonX.Y/site-packages/onnxruntime/capi/libonnxruntime.so.A.B.C` below `lib`.
fn wheel(lib: &Path) -> Option<PathBuf> {
    let list = |directory: PathBuf| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    };
    list(lib.to_owned())
        .flat_map(|python| list(python.join("site-packages/onnxruntime/capi")))
        .find(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libonnxruntime.so.")
        })
}

fn ancestors_with(from: &Path, relative: &str) -> Option<PathBuf> {
    from.ancestors()
        .map(|directory| directory.join(relative))
        .find(|path| path.exists())
}

/// What a second run on the same directory needs to find everything where it was. No `Debug`: it
/// holds a password.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Of this file.
    version: u32,
    /// Ports of the control plane: API, devices, administration.
    pub(crate) api_port: u16,
    /// See above.
    pub(crate) device_port: u16,
    /// See above.
    pub(crate) admin_port: u16,
    /// Password of the virtual cameras.
    pub(crate) camera_password: String,
    /// Ports of the virtual cameras, in the order of the run.
    pub(crate) camera_ports: Vec<u16>,
    /// Among the demos of this machine, where the demo is root; see `network`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<u32>,
}

impl Settings {
    const VERSION: u32 = 1;
    const PREFERRED: [u16; 3] = [8443, 8444, 8445];

    /// Reads `DIR/demo.json`, or makes it: with the usual ports where they are free, and with free
    /// ones for a `--check` (several may run at a time).
    pub(crate) fn load_or_create(place: &Place, any_ports: bool, cameras: usize) -> Result<Self> {
        let file = place.dir.join("demo.json");
        let mut settings = if file.exists() {
            let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            serde_json::from_slice(&text).with_context(|| {
                format!(
                    "read {}: delete the directory to begin anew",
                    file.display()
                )
            })?
        } else {
            let mut ports = FreePorts::default();
            let mut port = |preferred| ports.take((!any_ports).then_some(preferred));
            Self {
                version: Self::VERSION,
                api_port: port(Self::PREFERRED[0])?,
                device_port: port(Self::PREFERRED[1])?,
                admin_port: port(Self::PREFERRED[2])?,
                camera_password: random_word()?,
                camera_ports: Vec::new(),
                number: None,
            }
        };
        let mut ports = FreePorts::default();
        while settings.camera_ports.len() < cameras {
            settings.camera_ports.push(ports.take(None)?);
        }
        settings.save(place)?;
        Ok(settings)
    }

    /// Writes `DIR/demo.json`.
    pub(crate) fn save(&self, place: &Place) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("write the demo's settings")?;
        write_private(&place.dir.join("demo.json"), &text)
    }
}

/// Writes a file that only its owner reads.
pub(crate) fn write_private(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut handle| handle.write_all(bytes))
        .with_context(|| format!("write {}", file.display()))
}

/// Hands out ports nobody listens on, holding them until all are chosen, so that none comes twice.
#[derive(Default)]
struct FreePorts {
    held: Vec<TcpListener>,
}

impl FreePorts {
    fn take(&mut self, preferred: Option<u16>) -> Result<u16> {
        let listener = preferred
            .and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok())
            .map_or_else(|| TcpListener::bind(("127.0.0.1", 0)), Ok)
            .context("find a free port on 127.0.0.1")?;
        let port = listener
            .local_addr()
            .context("find a free port on 127.0.0.1")?
            .port();
        self.held.push(listener);
        Ok(port)
    }
}

/// Twenty hexadecimal digits from the kernel.
fn random_word() -> Result<String> {
    let mut bytes = [0_u8; 10];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("draw a password")?;
    let mut word = String::new();
    for byte in bytes {
        write!(word, "{byte:02x}").context("draw a password")?;
    }
    Ok(word)
}

//! How an appliance is set up: command line and configuration file.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use parapet_device::confinement::{HostPort, host_name};
use parapet_sandbox::launcher_process::{ID_BASE, LauncherOptions, RUN};
use parapet_sandbox::zones::Ports;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::at_rest::KeySettings;
use crate::limits::{Configured, Cpus, Defaults, Size};

/// Frame memory where the file names none.
const RING_MB: u64 = 2048;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read {path}", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The file is not what it should be.
    #[error("read {path}: {1}", path = .0.display())]
    Parse(PathBuf, String),
    /// Ports that cannot be used.
    #[error("read {path}: network.{1}", path = .0.display())]
    Network(PathBuf, String),
    /// Keys that cannot be kept so.
    #[error("read {path}: keys.{1}", path = .0.display())]
    Keys(PathBuf, String),
    /// A path does not lead anywhere.
    #[error("find {what} at {path}: set `{key}` in the configuration file", path = .path.display())]
    Missing {
        /// What is missing.
        what: &'static str,
        /// The key that names it.
        key: &'static str,
        /// Where it was sought.
        path: PathBuf,
    },
}

/// Everything `parapet agent` is started with. All paths are absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The state directory.
    pub data: PathBuf,
    /// The archive of `ProvisionDevice`, for the first start.
    pub enroll: Option<PathBuf>,
    /// A desired document on disk, instead of a control plane.
    pub desired: Option<PathBuf>,
    /// The socket of a launcher that a service manager starts; without it the agent starts one.
    pub launcher: Option<PathBuf>,
    /// Directory of `parapet-launcher` and the workers.
    pub libexec: PathBuf,
    /// Directory that holds the Python package `panoramasdk`.
    pub sdk: PathBuf,
    /// ONNX Runtime's shared library; without it no model can be loaded.
    pub onnxruntime: Option<PathBuf>,
    /// First host user and group of Parapet's processes.
    pub id_base: u32,
    /// Where the camera zone is kept while nothing runs.
    pub run: PathBuf,
    /// The host's ports, for the rules that keep networks apart; `None` for no rules.
    pub network: Option<Ports>,
    /// Whether a camera may be on this host itself, for who develops.
    pub loopback_cameras: bool,
    /// Memory for frames.
    pub ring_bytes: u64,
    /// Limits of applications whose policies set none.
    pub limits: Defaults,
    /// `AWS_REGION` of applications on a device that is not enrolled.
    pub region: String,
    /// Files, and directories of files, that may play a camera.
    pub files: Vec<PathBuf>,
    /// What applications may reach and be reached by.
    pub applications: Applications,
    /// Interfaces towards the control plane; inbound ports are open there.
    pub uplink: Vec<String>,
    /// How keys are kept.
    pub keys: KeySettings,
    /// The device key, as a unit of root's has left it for an agent that is an ordinary user from
    /// the beginning.
    pub device_key: Option<PathBuf>,
}

/// Hosts and names for applications.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applications {
    /// Hosts that every instance with a runtime role may call, beside its own:
    /// `s3.us-west-2.amazonaws.com:443`, `*.example.com:8883`.
    #[serde(default, deserialize_with = "hosts")]
    pub hosts: Vec<HostPort>,
    /// Names that clients of inbound ports know this appliance by, for its certificate.
    #[serde(default, deserialize_with = "names")]
    pub names: Vec<String>,
    /// The OCI runtime that all applications of this appliance are run by; `None`, in the file
    /// `"own"`, for the launcher's own set-up.
    #[serde(default, deserialize_with = "runtime")]
    pub runtime: Option<PathBuf>,
}

fn runtime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let path = PathBuf::from(&text);
    let plain = path.is_absolute() && path.components().all(|part| part != Component::ParentDir);
    match text.as_str() {
        "own" => Ok(None),
        _ if plain && !text.contains('\0') => Ok(Some(path)),
        _ => Err(D::Error::custom(format!(
            "use {text:?} as applications.runtime: write \"own\", or the absolute path of an OCI \
             runtime without `..`"
        ))),
    }
}

fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HostPort>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let read = |text: String| text.parse().map_err(D::Error::custom);
    texts.into_iter().map(read).collect()
}

fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let read = |text: String| {
        let remedy = || D::Error::custom(format!("use {text:?} as a name: write it as in DNS"));
        host_name(&text).ok_or_else(remedy)
    };
    texts.into_iter().map(read).collect()
}

/// The file. Keys that are unknown are refused: a misspelt one must not be lost.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    paths: Paths,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    process: Process,
    #[serde(default)]
    network: Network,
    #[serde(default)]
    applications: Applications,
    #[serde(default)]
    cameras: Cameras,
    #[serde(default)]
    keys: KeySettings,
}

/// Cameras that are none.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cameras {
    #[serde(default, deserialize_with = "absolute_paths")]
    files: Vec<PathBuf>,
}

fn absolute_paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    let paths = Vec::<PathBuf>::deserialize(deserializer)?;
    let plain = |path: &&PathBuf| {
        !path.is_absolute() || path.components().any(|part| part == Component::ParentDir)
    };
    match paths.iter().find(plain) {
        Some(path) => Err(D::Error::custom(format!(
            "use {:?} as a file or directory: write an absolute path without `..`",
            path.display().to_string()
        ))),
        None => Ok(paths),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paths {
    libexec: Option<PathBuf>,
    sdk: Option<PathBuf>,
    onnxruntime: Option<PathBuf>,
    /// Where the camera zone is kept.
    run: Option<PathBuf>,
    /// Searched for the wheel `onnxruntime`.
    #[serde(default)]
    site_packages: Vec<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    ring_mb: Option<u64>,
    memory: Option<Size>,
    cpus: Option<Cpus>,
    processes: Option<u32>,
    io: Option<Size>,
    storage: Option<Size>,
}

impl Limits {
    fn of_applications(&self) -> Configured {
        Configured {
            memory: self.memory,
            cpus: self.cpus,
            processes: self.processes,
            io: self.io,
            storage: self.storage,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Process {
    id_base: Option<u32>,
}

/// Which port is whose (`docs/zones.md`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Network {
    uplink: Vec<String>,
    cameras: Vec<String>,
    camera_addresses: Vec<String>,
    others: Vec<String>,
    rules: bool,
    loopback_cameras: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            uplink: Vec::new(),
            cameras: Vec::new(),
            camera_addresses: Vec::new(),
            others: Vec::new(),
            rules: true,
            loopback_cameras: false,
        }
    }
}

impl Network {
    /// The ports, or the field at fault with its remedy.
    fn ports(&self) -> Result<Ports, String> {
        let ports = Ports {
            uplink: list("uplink", &self.uplink)?,
            cameras: list("cameras", &self.cameras)?,
            camera_addresses: list("camera_addresses", &self.camera_addresses)?,
            others: list("others", &self.others)?,
        };
        ports.check().map_err(|error| error.to_string())?;
        Ok(ports)
    }
}

fn list<T: FromStr<Err: ToString>>(field: &str, texts: &[String]) -> Result<Vec<T>, String> {
    texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, T::Err>>()
        .map_err(|error| format!("{field}: {}", error.to_string()))
}

impl Config {
    /// Reads the configuration file, if there is one, and finds what it does not name: executables
    /// beside this one, the SDK beside them or in a source tree, ONNX Runtime by `ORT_DYLIB_PATH`
    /// or in the wheel.
    pub fn load(
        data: &Path,
        file: Option<&Path>,
        enroll: Option<&Path>,
        desired: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|e| ConfigError::Read(path.to_owned(), e))
        };
        let parsed = match file {
            None => File::default(),
            Some(path) => {
                let text =
                    fs::read_to_string(path).map_err(|e| ConfigError::Read(path.to_owned(), e))?;
                toml::from_str(&text)
                    .map_err(|e| ConfigError::Parse(path.to_owned(), e.to_string()))?
            }
        };
        let ports = parsed
            .network
            .ports()
            .map_err(|why| ConfigError::Network(file.unwrap_or(Path::new("")).to_owned(), why))?;
        parsed
            .keys
            .check()
            .map_err(|why| ConfigError::Keys(file.unwrap_or(Path::new("")).to_owned(), why))?;
        let uplink = ports.uplink.iter().map(ToString::to_string).collect();
        let loopback_cameras = parsed.network.loopback_cameras || ports.cameras.is_empty();
        let beside = std::env::current_exe()
            .ok()
            .and_then(|path| path.parent().map(Path::to_owned))
            .unwrap_or_default();
        let libexec = match parsed.paths.libexec {
            Some(path) => path,
            None => find(&libexec_places(&beside), "parapet-launcher").unwrap_or(beside.clone()),
        };
        let sdk = match parsed.paths.sdk {
            Some(path) => path,
            None => find(&sdk_places(&beside), "panoramasdk").unwrap_or(beside.clone()),
        };
        let (libexec, sdk) = (absolute(&libexec)?, absolute(&sdk)?);
        present(
            "the launcher",
            "paths.libexec",
            &libexec.join("parapet-launcher"),
        )?;
        present("the SDK", "paths.sdk", &sdk.join("panoramasdk"))?;
        let onnxruntime = std::env::var_os("ORT_DYLIB_PATH")
            .map(PathBuf::from)
            .or(parsed.paths.onnxruntime)
            .or_else(|| {
                parsed
                    .paths
                    .site_packages
                    .iter()
                    .find_map(|path| wheel(path))
            })
            .map(|path| absolute(&path))
            .transpose()?;
        if let Some(path) = &onnxruntime {
            present("ONNX Runtime", "paths.onnxruntime", path)?;
        }
        let ring_mb = parsed.limits.ring_mb.unwrap_or(RING_MB);
        Ok(Self {
            data: absolute(data)?,
            enroll: enroll.map(absolute).transpose()?,
            desired: desired.map(absolute).transpose()?,
            launcher: None,
            libexec,
            sdk,
            onnxruntime,
            id_base: parsed.process.id_base.unwrap_or(ID_BASE),
            run: absolute(parsed.paths.run.as_deref().unwrap_or(Path::new(RUN)))?,
            network: parsed.network.rules.then_some(ports),
            loopback_cameras,
            ring_bytes: ring_mb.saturating_mul(1_000_000),
            limits: Defaults::of_this_machine().with(parsed.limits.of_applications()),
            region: "us-west-2".to_owned(),
            files: parsed.cameras.files,
            applications: parsed.applications,
            uplink,
            keys: parsed.keys,
            device_key: None,
        })
    }
}

impl Config {
    /// What the launcher of this appliance is started with.
    #[must_use]
    pub fn launcher_options(&self) -> LauncherOptions {
        LauncherOptions {
            executable: self.libexec.join("parapet-launcher"),
            state: self.data.clone(),
            libexec: self.libexec.clone(),
            sdk: self.sdk.clone(),
            onnxruntime: self.onnxruntime.clone(),
            runtime: self.applications.runtime.clone(),
            id_base: self.id_base,
            run: self.run.clone(),
            network: self.network.clone(),
        }
    }
}

/// Installed below a prefix, or all in one directory as cargo builds them (tests one deeper).
fn libexec_places(beside: &Path) -> Vec<PathBuf> {
    vec![
        beside.to_owned(),
        beside.join("../libexec/parapet"),
        beside.join(".."),
    ]
}

fn sdk_places(beside: &Path) -> Vec<PathBuf> {
    let in_source = beside
        .ancestors()
        .skip(1)
        .take(4)
        .map(|above| above.join("python"));
    [
        beside.join("../share/parapet/python"),
        beside.join("python"),
    ]
    .into_iter()
    .chain(in_source)
    .collect()
}

fn find(places: &[PathBuf], name: &str) -> Option<PathBuf> {
    places
        .iter()
        .find(|place| place.join(name).exists())
        .cloned()
}

fn present(what: &'static str, key: &'static str, path: &Path) -> Result<(), ConfigError> {
    if path.exists() {
        return Ok(());
    }
    Err(ConfigError::Missing {
        what,
        key,
        path: path.to_owned(),
    })
}

/// `onnxruntime/capi/libonnxruntime.so.1.x` of a directory of Python packages.
fn wheel(site_packages: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(site_packages.join("onnxruntime/capi")).ok()?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"))
        })
        .collect();
    found.sort();
    found.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> (tempfile::TempDir, Result<Config, ConfigError>) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sdk/panoramasdk")).unwrap();
        fs::create_dir_all(dir.path().join("libexec")).unwrap();
        fs::write(dir.path().join("libexec/parapet-launcher"), b"").unwrap();
        let capi = dir.path().join("site/onnxruntime/capi");
        fs::create_dir_all(&capi).unwrap();
        fs::write(capi.join("libonnxruntime.so.1.32.0"), b"").unwrap();
        let text = text.replace("DIR", dir.path().to_str().unwrap());
        let file = dir.path().join("agent.toml");
        fs::write(&file, text).unwrap();
        let config = Config::load(&dir.path().join("data"), Some(&file), None, None);
        (dir, config)
    }

    #[test]
    fn a_file_names_what_stands_elsewhere() {
        let (dir, config) = load(
            "[paths]\nlibexec = 'DIR/libexec'\nsdk = 'DIR/sdk'\nsite_packages = ['DIR/no', 'DIR/site']\n\
             [limits]\nring_mb = 300\n[network]\nuplink = ['eth0']\n",
        );
        let config = config.unwrap();
        assert_eq!(config.ring_bytes, 300_000_000);
        assert_eq!(config.libexec, dir.path().join("libexec"));
        if std::env::var_os("ORT_DYLIB_PATH").is_none() {
            let file = dir
                .path()
                .join("site/onnxruntime/capi/libonnxruntime.so.1.32.0");
            assert_eq!(config.onnxruntime, Some(file));
        }
    }

    #[test]
    fn files_that_play_cameras_are_named_by_absolute_paths() {
        let paths = "[paths]\nlibexec = 'DIR/libexec'\nsdk = 'DIR/sdk'\n";
        let (_dir, config) = load(&format!("{paths}[cameras]\nfiles = ['/srv/clips']\n"));
        assert_eq!(config.unwrap().files, [PathBuf::from("/srv/clips")]);
        for wrong in ["clips", "/srv/../etc", ""] {
            let (_dir, config) = load(&format!("{paths}[cameras]\nfiles = ['{wrong}']\n"));
            let error = config.unwrap_err().to_string();
            assert!(error.contains("absolute path"), "{error}");
        }
    }

    #[test]
    fn a_host_that_is_none_is_refused_by_its_text() {
        let paths = "[paths]\nlibexec = 'DIR/libexec'\nsdk = 'DIR/sdk'\n";
        let (_dir, config) = load(&format!(
            "{paths}[applications]\nhosts = ['S3.example.com:443', '*.iot.example:8883']\n\
             names = ['Gate.Example']\n"
        ));
        let applications = config.unwrap().applications;
        let hosts: Vec<_> = applications.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["s3.example.com:443", "*.iot.example:8883"]);
        assert_eq!(applications.names, ["gate.example"]);
        for wrong in ["hosts = ['s3.example.com']", "names = ['a b']", "host = []"] {
            let (_dir, config) = load(&format!("{paths}[applications]\n{wrong}\n"));
            let error = config.err().map(|error| error.to_string());
            let told = wrong.split('\'').nth(1).unwrap_or("host");
            assert!(
                error.as_ref().is_some_and(|e| e.contains(told)),
                "{error:?}"
            );
        }
    }

    #[test]
    fn applications_are_run_by_the_launcher_itself_or_by_a_runtime_that_is_named() {
        let paths = "[paths]\nlibexec = 'DIR/libexec'\nsdk = 'DIR/sdk'\n[applications]\n";
        let runtime = |text: &str| {
            let config = load(&format!("{paths}{text}\n")).1;
            config.map(|config| config.launcher_options().runtime)
        };
        assert_eq!(runtime("").unwrap(), None);
        assert_eq!(runtime("runtime = 'own'").unwrap(), None);
        let named = runtime("runtime = '/usr/local/bin/crun'").unwrap();
        assert_eq!(named, Some("/usr/local/bin/crun".into()));
        for wrong in ["runc", "", "Own", "/usr/../runc"] {
            let error = runtime(&format!("runtime = '{wrong}'")).unwrap_err();
            let error = error.to_string();
            for part in [&format!("{wrong:?}"), "applications.runtime", "\"own\""] {
                assert!(error.contains(part), "{part} in {error}");
            }
        }
        assert!(runtime("runtime = 3").is_err());
    }

    #[test]
    fn a_misspelt_key_is_refused_by_name() {
        let (_dir, config) = load("[limits]\nring_mib = 300\n");
        let error = config
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains("ring_mib"), "{error}");
    }

    #[test]
    fn limits_of_applications_are_read_and_wrong_ones_refused_by_key() {
        let paths = "[paths]\nlibexec = 'DIR/libexec'\nsdk = 'DIR/sdk'\n";
        let limits = "[limits]\nmemory = '2GiB'\ncpus = 1.5\nprocesses = 64\nio = '50MB'\n\
                      storage = 1000\n";
        let (_dir, config) = load(&format!("{paths}{limits}"));
        let expected = Defaults {
            memory_bytes: 2 << 30,
            cpu_millis: 1500,
            processes: 64,
            io_bytes_per_second: Some(50_000_000),
            storage_bytes: 1000,
        };
        assert_eq!(config.map(|config| config.limits).ok(), Some(expected));
        for (wrong, key) in [
            ("memory = '2 gigs'", "memory"),
            ("cpus = 0", "cpus"),
            ("storage = -1", "storage"),
            ("processes = 'many'", "processes"),
            ("memery = '1GiB'", "memery"),
        ] {
            let (_dir, config) = load(&format!("{paths}[limits]\n{wrong}\n"));
            let error = config.err().map(|error| error.to_string());
            assert!(
                error.as_deref().is_some_and(|error| error.contains(key)),
                "{wrong}: {error:?}"
            );
        }
    }

    #[test]
    fn ports_are_read_and_what_contradicts_is_refused_by_its_field() {
        let paths = "[paths]\nlibexec = 'DIR/libexec'\nsdk = 'DIR/sdk'\n[network]\n";
        let network = |text: &str| load(&format!("{paths}{text}\n")).1;
        let config = network(
            "uplink = ['eth0']\ncameras = ['eth1']\ncamera_addresses = ['10.77.1.1/24']\n\
             others = ['docker0']",
        )
        .unwrap();
        let ports = config.network.unwrap();
        assert_eq!(ports.cameras, ["eth1".parse().unwrap()]);
        assert!(!config.loopback_cameras);
        let config = network("").unwrap();
        assert!(config.network == Some(Ports::default()) && config.loopback_cameras);
        let config = network("rules = false").unwrap();
        assert_eq!(config.network, None);
        for (text, field) in [
            ("uplnk = ['eth0']", "uplnk"),
            ("uplink = ['eth0 up']", "network.uplink: "),
            (
                "camera_addresses = ['10.0.0.1']",
                "network.camera_addresses: ",
            ),
            ("cameras = ['eth1']", "network.uplink: "),
            (
                "uplink = ['eth0']\ncameras = ['eth1']\nothers = ['eth1']",
                "network.others: ",
            ),
        ] {
            let error = network(text).unwrap_err().to_string();
            assert!(error.contains(field), "{text}: {error}");
        }
    }

    #[test]
    fn the_keeping_of_keys_is_read_and_what_is_unknown_is_refused() {
        let paths = "[paths]\nlibexec = 'DIR/libexec'\nsdk = 'DIR/sdk'\n[keys]\n";
        let keys = |text: &str| load(&format!("{paths}{text}\n")).1;
        let usual = keys("").unwrap().keys;
        assert_eq!(usual, KeySettings::default());
        let config = keys("tpm = 'require'\npcr7 = true\ntpm_device = '/run/tpm.sock'").unwrap();
        assert_eq!(config.keys.tpm, crate::at_rest::TpmUse::Require);
        assert!(config.keys.pcr7);
        for (text, told) in [
            ("tpm = 'sometimes'", "unknown variant `sometimes`"),
            ("tmp = 'auto'", "tmp"),
            ("tpm_device = 'tpmrm0'", "keys.tpm_device: "),
            ("tpm_device = '/dev/tpm,x'", "keys.tpm_device: "),
            ("passphrase_file = 'here'", "keys.passphrase_file: "),
        ] {
            let error = keys(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_that_leads_nowhere_is_named_with_its_key() {
        let (_dir, config) = load("[paths]\nlibexec = 'DIR/nowhere'\nsdk = 'DIR/sdk'\n");
        let error = config
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains("paths.libexec"), "{error}");
    }
}

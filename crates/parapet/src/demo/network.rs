//! A network of the cameras' own, where the demo is root: what an appliance with two ports has.
//!
//! The virtual cameras run in a network namespace; the other end of its cable is the camera port
//! that the agent's configuration names, and the agent's launcher takes it into the camera zone.
//! Nothing of this machine but that zone is on the cable. A demo also gets host users of its own
//! (`process.id_base`), because zones and rules are named by them and several demos may run.
//!
//! Owns `/run/parapet-demo/<number>`, one file a running demo, locked as long as it lives. What
//! belongs to the number of an unlocked one is left over from a demo that was killed, and is removed
//! at the next start.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::FlockOperation;

use super::place::{Place, Settings, write_private};
use super::processes::Service;

/// Where running demos are written down.
const PLACE: &str = "/run/parapet-demo";
/// Numbers of demos that keep their directory, and with it their users.
const LASTING: Range<u32> = 0..14;
/// Numbers of checks, which begin anew each time. Those from 40 to 46 are for tests.
const PASSING: Range<u32> = 14..40;
/// First host user of the demo with number 0: past those of an appliance on the same machine.
const FIRST_ID: u32 = 0x5100_0000;
/// Host users of an appliance (`SPAN` of the launcher's `users`).
const IDS: u32 = 0x100_0000;
/// The appliance's address among the cameras.
const APPLIANCE: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
/// Bits that it shares with theirs.
const PREFIX: u8 = 24;
/// Last part of the first camera's address.
const FIRST_CAMERA: u8 = 11;
/// Addresses that cameras get; further cameras share them, with ports of their own.
const CAMERAS: usize = 32;
/// Where `ip` is, which an ordinary user's `PATH` may lack.
const SYSTEM_PROGRAMS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// What the demo's appliance stands on: users of its own, and its cameras' network.
#[derive(Debug)]
pub(crate) struct Ground {
    turn: Option<Turn>,
    network: Option<CameraNetwork>,
    /// Why the cameras have no network of their own.
    pub(crate) lacking: Option<String>,
}

/// What is asked of the ground.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// A check, which begins anew each time.
    pub(crate) passing: bool,
    /// Somebody wants all on one network, or has cameras there; why.
    pub(crate) one_network: Option<&'static str>,
    /// Virtual cameras.
    pub(crate) cameras: usize,
}

impl Ground {
    /// As root prepares both; else, and where the network cannot be had, says why.
    pub(crate) fn prepare(place: &Place, settings: &mut Settings, wanted: Wanted) -> Result<Self> {
        let without = |turn, why: String| Self {
            network: None,
            turn,
            lacking: Some(why),
        };
        if !rustix::process::geteuid().is_root() {
            let why = "the demo is not root: start it as root to give the cameras a network";
            return Ok(without(None, why.to_owned()));
        }
        if settings.number.is_none() && place.agent().exists() {
            let why = format!(
                "{} is of an earlier release: delete it to begin anew",
                place.dir.display()
            );
            return Ok(without(None, why));
        }
        let launcher = place.libexec.join("parapet-launcher");
        let turn = Turn::take(&launcher, settings.number, wanted.passing)?;
        settings.number = Some(turn.number);
        settings.save(place)?;
        if let Some(why) = wanted.one_network {
            return Ok(without(Some(turn), why.to_owned()));
        }
        Ok(match CameraNetwork::build(turn.number, wanted.cameras) {
            Ok(network) => Self {
                network: Some(network),
                turn: Some(turn),
                lacking: None,
            },
            Err(error) => without(Some(turn), format!("{error:#}")),
        })
    }

    /// Whether the cameras have a network of their own.
    pub(crate) fn has_camera_network(&self) -> bool {
        self.network.is_some()
    }

    /// A camera's program, where it belongs, and the address it listens at.
    pub(crate) fn camera(&self, index: usize) -> Ipv4Addr {
        match &self.network {
            Some(_) => camera_address(index),
            None => Ipv4Addr::LOCALHOST,
        }
    }

    /// The same program, where cameras are.
    pub(crate) fn among_cameras(&self, service: Service) -> Service {
        match &self.network {
            Some(network) => network.inside(service),
            None => service,
        }
    }

    /// Writes the agent's configuration, which allows it to play these files; `None` where it needs
    /// none.
    pub(crate) fn agent_configuration(
        &self,
        place: &Place,
        files: &[PathBuf],
    ) -> Result<Option<PathBuf>> {
        let mut text = String::new();
        if let Some(turn) = &self.turn {
            let _ = writeln!(text, "[process]\nid_base = {}", id_base(turn.number));
        }
        if let Some(network) = &self.network {
            text.push_str(&network.section()?);
        }
        if !files.is_empty() {
            let _ = writeln!(text, "[cameras]\nfiles = {files:?}");
        }
        if text.is_empty() {
            return Ok(None);
        }
        let file = place.dir.join("agent.toml");
        write_private(&file, text.as_bytes())?;
        Ok(Some(file))
    }
}

/// The number of a running demo, nobody else's as long as this lives.
#[derive(Debug)]
struct Turn {
    number: u32,
    /// `parapet-launcher`, which takes away the zones that its appliance leaves.
    launcher: PathBuf,
    place: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl Turn {
    /// Takes a number: the one that the demo's directory had before, if it had one. What killed
    /// demos have left is removed on the way.
    fn take(launcher: &Path, before: Option<u32>, passing: bool) -> Result<Self> {
        let numbers = if passing { PASSING } else { LASTING };
        Self::take_in(Path::new(PLACE), launcher, before, numbers)
    }

    fn take_in(
        place: &Path,
        launcher: &Path,
        before: Option<u32>,
        numbers: Range<u32>,
    ) -> Result<Self> {
        fs::create_dir_all(place).with_context(|| format!("make {}", place.display()))?;
        clean(place, launcher)?;
        if let Some(number) = before {
            return Self::lock(place, launcher, number)?.with_context(|| {
                format!(
                    "take number {number} of this directory's demo: another demo has it; end that \
                     one, or begin anew with --data NEW_DIRECTORY"
                )
            });
        }
        for number in numbers {
            if let Some(turn) = Self::lock(place, launcher, number)? {
                return Ok(turn);
            }
        }
        bail!(
            "take a number for this demo: all in {} are taken",
            place.display()
        )
    }

    fn lock(place: &Path, launcher: &Path, number: u32) -> Result<Option<Self>> {
        let path = place.join(number.to_string());
        let file = open(&path)?;
        if !try_lock(&file)? {
            return Ok(None);
        }
        // Its last owner may have deleted it between the two steps.
        if !path.exists() {
            return Self::lock(place, launcher, number);
        }
        Ok(Some(Self {
            number,
            launcher: launcher.to_owned(),
            place: place.to_owned(),
            _lock: file,
        }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        remove(self.number, &self.launcher);
        // Still locked: nobody else can have it yet.
        let path = self.place.join(self.number.to_string());
        if let Err(error) = fs::remove_file(&path) {
            eprintln!("demo: failed to remove {}: {error}", path.display());
        }
    }
}

fn id_base(number: u32) -> u32 {
    FIRST_ID + number * IDS
}

fn open(path: &Path) -> Result<File> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

fn try_lock(file: &File) -> Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno).context("lock the number of a demo"),
    }
}

/// Removes what demos have left that were killed.
fn clean(place: &Path, launcher: &Path) -> Result<()> {
    let entries = fs::read_dir(place).with_context(|| format!("read {}", place.display()))?;
    for entry in entries {
        let path = entry.context("read the numbers of demos")?.path();
        let number = path.file_name().and_then(|name| name.to_str());
        let Some(number) = number.and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            // Its owner has just removed it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        };
        if !try_lock(&file)? || !path.exists() {
            continue;
        }
        remove(number, launcher);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// Removes all that belongs to a number. First the zone, which gives the port back, and the rules:
/// both outlive the agent on purpose. Then the two ends of the cable.
fn remove(number: u32, launcher: &Path) {
    let base = id_base(number).to_string();
    if let Err(error) = run(launcher, &["--remove-zones", "--id-base", &base]) {
        eprintln!("demo: {error:#}");
    }
    let names = Names::of(number);
    for (place, name, kind) in [
        ("/sys/class/net", &names.port, "link"),
        ("/run/netns", &names.namespace, "netns"),
    ] {
        if Path::new(place).join(name).exists()
            && let Err(error) = ip(&[kind, "delete", name])
        {
            eprintln!("demo: {error:#}");
        }
    }
}

/// What the kernel calls the two ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names {
    namespace: String,
    port: String,
}

impl Names {
    fn of(number: u32) -> Self {
        Self {
            namespace: format!("parapet-demo-cameras-{number}"),
            port: format!("pdemo-cam{number}"),
        }
    }
}

/// The cameras' namespace and the cable from it.
#[derive(Debug)]
struct CameraNetwork {
    names: Names,
}

impl CameraNetwork {
    /// Builds it, or says why this machine cannot have one.
    fn build(number: u32, cameras: usize) -> Result<Self> {
        let names = Names::of(number);
        let Names { namespace, port } = &names;
        ip(&["netns", "add", namespace])?;
        ip(&[
            "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace,
        ])?;
        for index in 0..cameras.min(CAMERAS) {
            let address = format!("{}/{PREFIX}", camera_address(index));
            ip(&["-n", namespace, "address", "add", &address, "dev", "eth0"])?;
        }
        for interface in ["lo", "eth0"] {
            ip(&["-n", namespace, "link", "set", interface, "up"])?;
        }
        Ok(Self { names })
    }

    /// The same program, in there.
    fn inside(&self, service: Service) -> Service {
        let mut arguments = vec![
            format!("--net=/run/netns/{}", self.names.namespace),
            "--".to_owned(),
            service.program.display().to_string(),
        ];
        arguments.extend(service.arguments);
        Service {
            program: "nsenter".into(),
            arguments,
            ..service
        }
    }

    /// `[network]` of the agent's configuration. All other ports are left as they are: the demo is
    /// a guest on this machine.
    fn section(&self) -> Result<String> {
        let others = other_ports(&self.names.port)?;
        let list = |names: &[String]| {
            let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            quoted.join(", ")
        };
        Ok(format!(
            "[network]\nuplink = [\"lo\"]\ncameras = [{:?}]\ncamera_addresses = [\"{APPLIANCE}/{PREFIX}\"]\n\
             others = [{}]\n",
            self.names.port,
            list(&others)
        ))
    }
}

/// Where camera number `index` listens.
fn camera_address(index: usize) -> Ipv4Addr {
    let [a, b, c, _] = APPLIANCE.octets();
    // Less than `CAMERAS`, which fits.
    let offset = u8::try_from(index % CAMERAS).unwrap_or(0);
    Ipv4Addr::new(a, b, c, FIRST_CAMERA + offset)
}

/// Network interfaces of this machine beside its loopback and this one.
fn other_ports(own: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir("/sys/class/net").context("list network interfaces")? {
        let entry = entry.context("list network interfaces")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // `bonding_masters` is a file in there.
        if name != "lo" && name != own && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let program = SYSTEM_PROGRAMS
        .iter()
        .map(|directory| Path::new(directory).join("ip"))
        .find(|path| path.exists())
        .context("find ip: install the package iproute2")?;
    run(&program, arguments)
}

fn run(program: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} {}: {}",
        program.display(),
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of these tests alone: no demo takes them.
    /// Of no demo, and with users that exist.
    const NUMBER: u32 = 40;
    const OTHERS: Range<u32> = 42..44;

    /// Beside the executable of these tests' crate.
    fn launcher() -> Result<PathBuf> {
        let executable = std::env::current_exe()?;
        let found = executable
            .ancestors()
            .map(|directory| directory.join("parapet-launcher"))
            .find(|path| path.is_file());
        found.context("find parapet-launcher: run make build")
    }

    fn exists(names: &Names) -> (bool, bool) {
        let namespace = Path::new("/run/netns").join(&names.namespace);
        let port = Path::new("/sys/class/net").join(&names.port);
        (namespace.exists(), port.exists())
    }

    #[test]
    fn what_a_killed_demo_has_left_is_removed_at_the_next_start() -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root, which a namespace needs");
            return Ok(());
        }
        let place = tempfile::tempdir()?;
        let names = Names::of(NUMBER);
        CameraNetwork::build(NUMBER, 2)?;
        File::create(place.path().join(NUMBER.to_string()))?;
        assert_eq!(exists(&names), (true, true));

        let turn = Turn::take_in(place.path(), &launcher()?, None, OTHERS)?;
        assert_eq!(turn.number, OTHERS.start);
        assert_eq!(exists(&names), (false, false));
        assert!(!place.path().join(NUMBER.to_string()).exists());
        Ok(())
    }

    #[test]
    fn the_network_of_a_running_demo_stays_and_goes_with_it() -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root, which a namespace needs");
            return Ok(());
        }
        let place = tempfile::tempdir()?;
        let number = NUMBER + 1;
        let turn = Turn::take_in(place.path(), &launcher()?, Some(number), OTHERS)?;
        let network = CameraNetwork::build(turn.number, 1)?;
        let other = Turn::take_in(place.path(), &launcher()?, None, OTHERS)?;
        assert_eq!(other.number, OTHERS.start);
        assert!(Turn::take_in(place.path(), &launcher()?, Some(number), OTHERS).is_err());
        assert_eq!(exists(&Names::of(number)), (true, true));
        assert!(network.section()?.contains("cameras = [\"pdemo-cam41\"]"));
        drop(turn);
        assert_eq!(exists(&Names::of(number)), (false, false));
        Ok(())
    }

    #[test]
    fn users_of_two_demos_are_apart_and_below_the_highest() {
        assert_eq!(id_base(1) - id_base(0), IDS);
        // `users::HIGHEST_BASE` of the launcher.
        assert!(id_base(PASSING.end - 1) <= (1 << 31) - IDS);
    }
}
